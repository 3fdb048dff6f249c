"""What a config may say, and how it is told what it may not."""

from operator import attrgetter

import pytest

from skyfold.config.blend import BlendConfig
from skyfold.config.data import DatasetConfig
from skyfold.config.files import load_blend, load_config, load_run
from skyfold.config.run import RunConfig
from skyfold.errors import ConfigError

RUN = """
name: unet
data: {competition: understanding_clouds}
image: {size: [64, 96]}
model: {family: segmentation_models, options: {decoder: unet}}
"""
RAIN = "name: a\ndata: {competition: hydro_rain}\n"


def write(folder, name, text):
    path = folder / name
    path.write_text(text)
    return path


def test_the_kind_of_a_config_follows_from_its_keys(tmp_path):
    for kind, name, text in [
        (DatasetConfig, "data.yaml", "data: {competition: understanding_clouds}"),
        (RunConfig, "run.yaml", RUN),
        (BlendConfig, "blend.yaml", "base: data.yaml\nname: b\nruns: [run.yaml]"),
    ]:
        assert isinstance(load_config(write(tmp_path, name, text)), kind)
    with pytest.raises(ConfigError, match="expected keys and values, got list"):
        load_config(write(tmp_path, "x.yaml", "[1, 2]"))
    with pytest.raises(ConfigError, match="no such config file"):
        load_config(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match="no 'runs'"):
        load_blend(tmp_path / "data.yaml")
    alone = load_blend(tmp_path / "run.yaml")
    assert (alone.name, alone.runs) == ("unet_alone", (load_run(tmp_path / "run.yaml"),))
    both = write(tmp_path, "both.yaml", "base: run.yaml\nname: blend\nruns: [run.yaml]\nbootstrap: 5")
    with pytest.raises(ConfigError, match=r"both\.yaml: image, model: keys of a run, and no run is written inline"):
        load_blend(both)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        # A key that is misspelt is one problem and not two, and a list with a wrong entry is not short.
        (RUN.replace("name:", "nmae:"), "unknown key 'nmae' (did you mean 'name'?). Known: activation, "),
        (RUN.replace("name: unet", ""), "'name' is missing."),
        (
            RAIN + "forecasts: [{name: b, famly: persistence}]",
            "unknown key 'forecasts.0.famly' (did you mean 'family'?).",
        ),
        # The key that tells the kind of a config may be misspelt, too.
        (RAIN + "baseline: b\nforcasts: []", "unknown key 'forcasts' (did you mean 'forecasts'?)."),
        (
            RAIN + "forecasts: [{name: a, family: rain_extrapolation, options: {combine: max}}]",
            "'forecasts.0.options.combine': unknown. There are: mean, median",
        ),
        (RUN + "training: {epoch: 3}", "unknown key 'training.epoch' (did you mean 'epochs'?). Known: "),
        (RUN + "mix: [{name: cutmix, q: 1}]", "unknown key 'mix.0.q'. Known: name, p."),
    ],
)
def test_a_mistake_is_one_problem_and_the_nearest_name_is_given(tmp_path, text, problem):
    with pytest.raises(ConfigError) as error:
        load_config(write(tmp_path, "config.yaml", text))
    assert str(error.value).startswith(f"{tmp_path}/config.yaml:\n  - {problem}")
    assert str(error.value).count("\n") == 1


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("training: {seeds: [1, 1]}", "each once"),
        ("training: {mixed_precision: float8}", "bfloat16"),
        ("image: {size: [4, 96]}", "'image.size.0': Input should be greater than or equal to 8"),
        ("training: {ema: 1.0}", "less than 1"),
        ("tta: [hflip, rot90]", "rot90 turns images of 64x96 pixels into 96x64.*Make image.size square"),
        ("tta: [d4]", "d4 turns images of 64x96"),
        ("tta: [hflip, hflip]", "'tta': give each once"),
        ("tta: [hflip, d4]", "d4 is all 8 flips and quarter turns; give no other with it"),
        (
            "name: ../elsewhere",
            "use letters, digits, '_', '.' and '-', the first a letter or digit; got '../elsewhere'",
        ),
        ("name: 123", "'name': expected text; quote it: \"123\""),
        ("image: {size: [64, 64, 3]}", "'image.size': List should have at most 2 items"),
        ("name: tuning", "lies beside the folders of runs already; take another name"),
        ("mix: [{name: cutmix, p: -3}]", "'mix.0.p': Input should be greater than or equal to 0"),
        ("optimizer: {learning_rate: .inf}", r"'optimizer\.learning_rate': Input should be a finite number"),
        ("image: [64, 96]\nimage: {}", r"run\.yaml: not valid YAML: the key 'image' stands there twice"),
        ("model: [", r"run\.yaml: not valid YAML"),
    ],
)
def test_wrong_values_are_explained(tmp_path, extra, message):
    key = extra.split(":")[0]
    text = "\n".join(line for line in RUN.splitlines() if not line.startswith(key)) + "\n" + extra
    with pytest.raises(ConfigError, match=message):
        load_run(write(tmp_path, "run.yaml", text))


def test_bases_are_merged_table_by_table_and_the_last_one_wins_and_the_file_over_all(tmp_path):
    write(tmp_path, "one.yaml", RUN + "training: {epochs: 1, batch_size: 1, ema: 0.1}")
    write(tmp_path, "two.yaml", "training: {epochs: 2, batch_size: 2}")
    config = load_run(write(tmp_path, "own.yaml", "base: [one.yaml, two.yaml]\nname: own\ntraining: {epochs: 3}"))
    assert (config.name, config.training.epochs, config.training.batch_size, config.training.ema) == ("own", 3, 2, 0.1)
    write(tmp_path, "two.yaml", "base: own.yaml")
    with pytest.raises(ConfigError, match="leads back"):
        load_config(tmp_path / "own.yaml")


def test_set_overrides_and_is_checked_like_the_file(tmp_path):
    path = write(tmp_path, "run.yaml", RUN + "optimizer: {learning_rate: 1e-4}")  # text to PyYAML
    assert load_run(path).optimizer.learning_rate == 1e-4
    assert load_run(path, ["training.epochs=3", "training.seeds=[0, 1]"]).training.seeds == (0, 1)
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        load_run(path, ["training.epoks=3"])
    with pytest.raises(ConfigError, match="key=value"):
        load_run(path, ["training.epochs"])


def test_hashes_depend_on_values_alone(tmp_path):
    """Neither the order of keys, nor a key that is written at its default, nor the sample's settings change them."""
    text = RUN + "augment: [{name: HorizontalFlip, p: 0.5}]"
    path = write(tmp_path, "run.yaml", text)
    run = load_run(path)
    spelled_out = write(tmp_path, "b.yaml", text + "\nmix: []\ntta: []\nactivation: sigmoid")
    for same in (load_run(spelled_out), load_run(path, ["data.sample={seed: 3}"])):
        assert (run.hash(), run.fit_hash()) == (same.hash(), same.fit_hash())
    orders = ("encoder: vgg16, encoder_freeze: true", "encoder_freeze: true, encoder: vgg16")
    one, other = (load_run(path, [f"model.options={{{options}}}"]) for options in orders)
    assert one.fit_hash() == other.fit_hash()
    for change in ("training.swa_epochs=2", "mix=[{name: cutmix}]", "augment=[{name: HorizontalFlip, p: 0.4}]"):
        assert load_run(path, [change]).fit_hash() != run.fit_hash()
        assert load_run(path, [change]).hash() != run.hash()
    assert load_run(path, ["tta=[hflip]"]).fit_hash() == run.fit_hash()
    assert load_run(path, ["tta=[hflip]"]).hash() != run.hash()


BLEND = """
data: {competition: understanding_clouds}
name: blend
image: {size: [64, 96]}
training: {epochs: 7}
model: {family: unet, options: {encoder: resnet18}}
runs:
  - {name: unet, training: {batch_size: 4}}
  - {name: deeper, base: unet, model: {options: {encoder: resnet34}}}
  - {name: fpn, model: {family: fpn}}
  - other.yaml
classifier_gate: {name: gate, task: classification, model: {family: efficientnet_classifier}, loss: {name: bce}}
"""


@pytest.fixture
def blend_file(tmp_path):
    write(tmp_path, "other.yaml", RUN.replace("name: unet", "name: other"))
    return write(tmp_path, "blend.yaml", BLEND)


def test_inline_runs_start_from_the_keys_beside_them_and_files_do_not(blend_file):
    blend = load_blend(blend_file)
    unet, deeper, fpn, other = blend.runs
    assert [run.training.epochs for run in blend.members] == [7, 7, 7, 20, 7]
    assert (unet.training.batch_size, deeper.training.batch_size, fpn.training.batch_size) == (4, 4, 16)
    assert [run.model.options for run in (unet, deeper, fpn)] == [{"encoder": "resnet18"}, {"encoder": "resnet34"}, {}]
    assert (blend.classifier_gate.task, other.data.competition) == ("classification", "understanding_clouds")
    dumped = blend.model_dump(mode="json")
    assert (dumped["runs"], dumped["classifier_gate"]) == (["unet", "deeper", "fpn", "other"], "gate")


def test_an_inline_run_is_addressed_by_file_and_name(blend_file, tmp_path):
    address = tmp_path / "blend.yaml#deeper"
    assert load_run(address) == load_blend(blend_file).runs[1]
    assert load_run(address, ["training.epochs=3"]).training.epochs == 3
    assert {run.training.epochs for run in load_config(blend_file, ["training.epochs=3"]).runs[:3]} == {3}
    own = write(tmp_path, "own.yaml", "base: blend.yaml#deeper\nname: own\ntraining: {ema: 0.5}")
    assert load_run(own).model == load_run(address).model
    with pytest.raises(ConfigError, match=r"no run or blend 'deepr' .*did you mean 'deeper'.*unet, deeper"):
        load_run(tmp_path / "blend.yaml#deepr")
    with pytest.raises(ConfigError, match=r"no 'model'\)\. It contains .*blend\.yaml#unet, .*blend\.yaml#deeper"):
        load_run(blend_file)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch_size: 4", "batch_sise: 4", r"blend\.yaml#unet:\n.*'training\.batch_sise' \(did you mean 'batch_size'"),
        ("other.yaml", "{name: it, model: {family: [1]}}", r"blend\.yaml#it:\n.*'model\.family'"),
        ("base: unet", "base: unett", r"no run or blend 'unett' .*\(did you mean 'unet'\?\)"),
        ("base: unet", "base: deeper", r"blend\.yaml#deeper: 'base' leads back to this config"),
        ("name: fpn", "name: unet", r"two runs or blends have the name 'unet'\. Rename one"),
        ("name: fpn", "nmae: fpn", r"blend\.yaml: 'runs\.2': what is written inline needs a name; got .*nmae"),
        ("fpn, ", "fpn, data: {name: far}, ", r"the data set of the blend, understanding_clouds; got fpn \(far\)"),
        ("name: gate", "name: blend", r"need different names, got unet, deeper, fpn, other, blend, blend"),
        ("name: blend\n", "name: blend\ntrainig: {}\n", r"unknown key 'trainig' \(did you mean 'training'\?\)"),
    ],
)
def test_errors_name_the_member(blend_file, old, new, message):
    blend_file.write_text(BLEND.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        load_blend(blend_file)


MODELS = """
models:
  - {model: A, run: {name: a, model: {options: {encoder: resnet50}}}}
  - {model: B, blend: {name: both, runs: [a, other.yaml, {name: b}]}}
  - {model: C, blend: {base: both, name: stacked, combine: stack}}
"""


def test_a_blend_that_is_based_on_an_inline_one_has_its_runs(blend_file, tmp_path):
    (tmp_path / "far").mkdir()
    path = write(tmp_path, "table.yaml", BLEND.partition("runs:")[0] + MODELS)
    own = load_blend(write(tmp_path / "far", "own.yaml", f"base: {path}#both\nseed: 1"))
    assert own.runs == load_blend(tmp_path / "table.yaml#stacked").runs
    assert [(run.name, run.training.epochs) for run in own.runs] == [("a", 7), ("other", 20), ("b", 7)]
    assert [run.name for run in load_config(path).runs] == ["a", "other", "b"]


@pytest.mark.parametrize(
    ("own", "kept", "dropped"),
    [
        ("model: {family: fpn}", "model.family", "model.options"),
        ("loss: {name: bce}", "loss.name", "loss.options"),
        ("optimizer: {name: sgd}", "optimizer.name", "optimizer.learning_rate"),
        ("schedule: {name: constant}", "schedule.name", "schedule.warmup_epochs"),
        ("data: {competition: cloud_cover}", "data.competition", "data.folds"),
    ],
)
def test_a_table_that_names_something_else_replaces_that_of_the_base(tmp_path, own, kept, dropped):
    base = RUN.replace("understanding_clouds", "understanding_clouds, folds: {k: 3}") + (
        "loss: {options: {dice_weight: 0.3}}\noptimizer: {learning_rate: 0.3}\nschedule: {warmup_epochs: 3}"
    )
    base = load_run(write(tmp_path, "base.yaml", base))
    same = load_run(write(tmp_path, "same.yaml", f"base: base.yaml\n{own.split(':')[0]}: {{}}"))
    other = load_run(write(tmp_path, "own.yaml", f"base: base.yaml\n{own}"))
    value = attrgetter(kept)
    assert same == base
    assert load_run(tmp_path / "base.yaml", [f"{kept}={value(other)}"]) == other
    assert value(other) != value(base)
    assert attrgetter(dropped)(other) != attrgetter(dropped)(base)


def test_a_sweep_stands_for_a_member_of_each_value(blend_file, tmp_path):
    sweep = "sweep: {model.options.encoder: [vgg16, vgg19], training.seeds: [[0], [0, 1]]}"
    swept = f'name: "unet_{{encoder}}_{{seeds}}", {sweep}'
    blend_file.write_text(BLEND.replace("name: fpn, model: {family: fpn}", swept))
    runs = load_blend(blend_file).runs[2:6]
    assert [run.name for run in runs] == ["unet_vgg16_0", "unet_vgg16_0_1", "unet_vgg19_0", "unet_vgg19_0_1"]
    assert (runs[3].model.options, runs[3].training.seeds) == ({"encoder": "vgg19"}, (0, 1))
    swept = '{name: "mean_of_{years}", family: mean_of_years, sweep: {options.years: [5, 10]}}'
    table = f"{RAIN}forecasts: [{swept}]"
    forecasts = load_config(write(tmp_path, "table.yaml", table)).forecasts
    assert [(one.name, one.options["years"]) for one in forecasts] == [("mean_of_5", 5), ("mean_of_10", 10)]
    with pytest.raises(ConfigError, match=r"table\.yaml: sweep: write it as"):
        load_config(write(tmp_path, "table.yaml", table.replace("[5, 10]", "5")))
    with pytest.raises(ConfigError, match=r"table\.yaml: sweep\.name\.years: 'name' is a value"):
        load_config(write(tmp_path, "table.yaml", table.replace("options.years", "name.years")))


def test_wrong_options_of_every_plug_in_are_listed_when_a_config_is_read(tmp_path):
    text = """
name: unet
data: {competition: hydro_rain, options: {submission_unt: mm/h}}
task: forecasting
frame_adapter: {name: advected, options: {motion: [dis]}}
model: {family: rain_unt}
loss: {name: mae, options: {scale: 1}}
training: {checkpoint: last}
"""
    with pytest.raises(ConfigError) as error:
        load_config(write(tmp_path, "config.yaml", text))
    for problem in (
        "config.yaml:",
        "unknown key 'data.options.submission_unt'. Known: corner, minutes, raw_per_dbz.",
        "models: there is no 'rain_unt' (did you mean 'rain_unet'?)",
        "unknown key 'loss.options.scale'",
        "unknown key 'frame_adapter.options.motion' (did you mean 'motions'",
    ):
        assert problem in str(error.value)
