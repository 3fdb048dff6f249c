"""What a config may say, and how it is told what it may not."""

import textwrap

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


def write(folder, name, text):
    path = folder / name
    path.write_text(textwrap.dedent(text))
    return path


def test_the_kind_follows_from_the_keys(tmp_path):
    data = write(tmp_path, "data.yaml", "data: {competition: understanding_clouds}")
    blend = write(tmp_path, "blend.yaml", "base: data.yaml\nname: b\nruns: [run.yaml]")
    assert isinstance(load_config(data), DatasetConfig)
    assert isinstance(load_config(write(tmp_path, "run.yaml", RUN)), RunConfig)
    assert isinstance(load_config(blend), BlendConfig)


def test_scientific_notation_without_a_dot_is_a_number(tmp_path):
    """PyYAML reads 1e-4 as text."""
    config = load_run(write(tmp_path, "run.yaml", RUN + "optimizer: {learning_rate: 1e-4}"))
    assert config.optimizer.learning_rate == 1e-4


def test_a_number_that_is_not_finite_is_refused_by_its_key(tmp_path):
    for text, key in (("learning_rate: .inf", "learning_rate"), ("weight_decay: .nan", "weight_decay")):
        path = write(tmp_path, "run.yaml", RUN + f"optimizer: {{{text}}}")
        with pytest.raises(ConfigError, match=rf"'optimizer\.{key}': Input should be a finite number"):
            load_run(path)


def test_a_key_that_stands_there_twice_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"run\.yaml: not valid YAML: the key 'name' stands there twice"):
        load_config(write(tmp_path, "run.yaml", RUN + "name: other\n"))


def test_a_list_with_a_wrong_entry_is_not_told_that_it_is_short(tmp_path):
    table = "name: a\ndata: {competition: hydro_rain}\nforecasts: [{name: b, famly: persistence}]"
    with pytest.raises(ConfigError) as error:
        load_config(write(tmp_path, "table.yaml", table))
    assert "did you mean 'family'" in str(error.value)
    assert "at least 1 item" not in str(error.value)


def test_a_misspelt_key_is_one_fault_and_not_two(tmp_path):
    with pytest.raises(ConfigError) as error:
        load_config(write(tmp_path, "run.yaml", RUN.replace("name:", "nmae:")))
    assert str(error.value).count("\n") == 1
    assert "unknown key 'nmae' (did you mean 'name'?)" in str(error.value)
    with pytest.raises(ConfigError, match=r"run\.yaml:\n  - 'name' is missing\."):
        load_config(write(tmp_path, "run.yaml", RUN.replace("name: unet", "")))


def test_the_key_that_gives_a_config_its_kind_may_be_misspelt_too(tmp_path):
    table = "name: a\nbaseline: b\ndata: {competition: hydro_rain}\nforcasts: [{name: b, family: persistence}]"
    with pytest.raises(ConfigError) as error:
        load_config(write(tmp_path, "table.yaml", table))
    assert str(error.value).endswith("table.yaml:\n  - unknown key 'forcasts' (did you mean 'forecasts'?).")


def test_unknown_key_names_file_and_nearest_key(tmp_path):
    path = write(tmp_path, "run.yaml", RUN + "training: {epoch: 3}")
    with pytest.raises(ConfigError, match=r"run\.yaml.*\n.*unknown key 'training\.epoch' \(did you mean 'epochs'"):
        load_run(path)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("training: {seeds: [1, 1]}", "each once"),
        ("training: {mixed_precision: float16}", "bfloat16"),
        ("image: {size: [4, 96]}", "at least 8"),
        ("training: {ema: 1.0}", "less than 1"),
        ("tta: [hflip, rot90]", "rot90 turns images of 64x96 pixels into 96x64.*Make image.size square"),
        ("tta: [d4]", "d4 turns images of 64x96"),
        ("tta: [hflip, hflip]", "each name once"),
        ("tta: [hflip, d4]", "d4 .* alone"),
        ("name: ../elsewhere", "pattern"),
        ("image: {size: [64, 64, 3]}", "'image.size': List should have at most 2 items"),
        ("name: tuning", "lies beside the folders of runs already; take another name"),
    ],
)
def test_wrong_values_are_explained(tmp_path, extra, message):
    key = extra.split(":")[0]
    text = "\n".join(line for line in RUN.splitlines() if not line.startswith(key)) + "\n" + extra
    with pytest.raises(ConfigError, match=message):
        load_run(write(tmp_path, "run.yaml", text))


def test_base_is_merged_table_by_table(tmp_path):
    write(tmp_path, "base.yaml", RUN + "training: {epochs: 7, batch_size: 4}")
    config = load_run(write(tmp_path, "own.yaml", "base: base.yaml\nname: own\ntraining: {epochs: 9}"))
    assert (config.name, config.training.epochs, config.training.batch_size) == ("own", 9, 4)


def test_a_base_that_leads_back_is_refused(tmp_path):
    write(tmp_path, "a.yaml", "base: b.yaml")
    path = write(tmp_path, "b.yaml", "base: a.yaml")
    with pytest.raises(ConfigError, match="leads back"):
        load_config(path)


def test_set_overrides_and_is_checked_like_the_file(tmp_path):
    path = write(tmp_path, "run.yaml", RUN)
    assert load_run(path, ["training.epochs=3", "training.seeds=[0, 1]"]).training.seeds == (0, 1)
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        load_run(path, ["training.epoks=3"])
    with pytest.raises(ConfigError, match="key=value"):
        load_run(path, ["training.epochs"])


def test_hash_changes_with_the_training_but_not_with_the_sample_settings(tmp_path):
    path = write(tmp_path, "run.yaml", RUN)
    same = load_run(path, ["data.sample={seed: 3}"])
    assert load_run(path).hash() == same.hash()
    assert load_run(path).hash() != load_run(path, ["training.epochs=3"]).hash()


def test_hashes_depend_on_values_alone(tmp_path):
    """Neither the order of keys nor a key that is written at its default changes them."""
    text = RUN + "augment: [{name: HorizontalFlip, p: 0.5}]"
    run = load_run(write(tmp_path, "run.yaml", text))
    spelled_out = load_run(write(tmp_path, "b.yaml", text + "\nmix: []\ntta: []\nactivation: sigmoid"))
    assert (run.hash(), run.fit_hash()) == (spelled_out.hash(), spelled_out.fit_hash())
    path = write(tmp_path, "run.yaml", text)
    one, other = (
        load_run(path, [f"model.options={{{options}}}"])
        for options in ("encoder: vgg16, encoder_freeze: true", "encoder_freeze: true, encoder: vgg16")
    )
    assert one.fit_hash() == other.fit_hash()
    for change in (
        "training.gradient_accumulation_steps=2",
        "training.swa_epochs=2",
        "mix=[{name: cutmix}]",
        "augment=[{name: HorizontalFlip, p: 0.4}]",
    ):
        assert load_run(path, [change]).fit_hash() != run.fit_hash()
    assert load_run(path, ["tta=[hflip]"]).fit_hash() == run.fit_hash()


@pytest.mark.parametrize(
    ("extra", "known"),
    [
        ("mix: [{name: cutmix, q: 1}]", "unknown key 'mix.0.q'.*Known: name, p"),
        ("mix: [{name: cutmix, p: -3}]", "'mix.0.p': Input should be greater than or equal to 0"),
    ],
)
def test_unknown_keys_in_lists_and_inner_tables_are_named(tmp_path, extra, known):
    with pytest.raises(ConfigError, match=known):
        load_run(write(tmp_path, "run.yaml", RUN + extra))


@pytest.mark.parametrize(("text", "message"), [("[1, 2]", "keys and values"), ("a: [", "not valid YAML")])
def test_files_that_are_no_config(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, "x.yaml", text))


def test_missing_file_and_wrong_kind(tmp_path):
    with pytest.raises(ConfigError, match="no such config file"):
        load_config(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match="no 'runs'"):
        load_blend(write(tmp_path, "run.yaml", RUN))


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


def test_inline_runs_start_from_the_keys_beside_them_and_files_do_not(tmp_path):
    write(tmp_path, "other.yaml", RUN.replace("name: unet", "name: other"))
    path = write(tmp_path, "blend.yaml", BLEND)
    blend = load_blend(path)
    unet, deeper, fpn, other = blend.runs
    assert [run.training.epochs for run in blend.members] == [7, 7, 7, 20, 7]
    assert (unet.training.batch_size, deeper.training.batch_size, fpn.training.batch_size) == (4, 4, 16)
    assert [run.model.options for run in (unet, deeper, fpn)] == [{"encoder": "resnet18"}, {"encoder": "resnet34"}, {}]
    assert (blend.classifier_gate.task, other.data.competition) == ("classification", "understanding_clouds")
    dumped = blend.model_dump(mode="json")
    assert (dumped["runs"], dumped["classifier_gate"]) == (["unet", "deeper", "fpn", "other"], "gate")


def test_an_inline_run_is_addressed_by_file_and_name(tmp_path):
    write(tmp_path, "other.yaml", RUN.replace("name: unet", "name: other"))
    path = write(tmp_path, "blend.yaml", BLEND)
    address = tmp_path / "blend.yaml#deeper"
    assert load_run(address) == load_blend(path).runs[1]
    assert load_run(address, ["training.epochs=3"]).training.epochs == 3
    assert {run.training.epochs for run in load_config(path, ["training.epochs=3"]).runs[:3]} == {3}
    own = write(tmp_path, "own.yaml", "base: blend.yaml#deeper\nname: own\ntraining: {ema: 0.5}")
    assert load_run(own).model == load_run(address).model
    with pytest.raises(ConfigError, match=r"no run or blend 'deepr' .*did you mean 'deeper'.*unet, deeper"):
        load_run(tmp_path / "blend.yaml#deepr")
    with pytest.raises(ConfigError, match=r"no 'model'\)\. It contains .*blend\.yaml#unet, .*blend\.yaml#deeper"):
        load_run(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch_size: 4", "batch_sise: 4", r"blend\.yaml#unet:\n.*'training\.batch_sise' \(did you mean 'batch_size'"),
        ("other.yaml", "{name: it, model: {family: [1]}}", r"blend\.yaml#it:\n.*'model\.family'"),
        ("base: unet", "base: unett", r"no run or blend 'unett' .*\(did you mean 'unet'\?\)"),
        ("base: unet", "base: deeper", r"blend\.yaml#deeper: 'base' leads back to this config"),
        ("name: fpn", "name: unet", r"two runs or blends have the name 'unet'\. Rename one"),
        ("name: fpn", "nmae: fpn", r"blend\.yaml: 'runs\.2': what is written inline needs a name; got .*nmae"),
        ("name: gate", "name: blend", r"need different names, got unet, deeper, fpn, other, blend, blend"),
        ("trainig: {}", "trainig: {}", r"unknown key 'trainig' \(did you mean 'training'\?\)"),
    ],
)
def test_errors_name_the_member(tmp_path, old, new, message):
    write(tmp_path, "other.yaml", RUN.replace("name: unet", "name: other"))
    text = BLEND.replace(old, new) if old != new else BLEND + new
    with pytest.raises(ConfigError, match=message):
        load_blend(write(tmp_path, "blend.yaml", text))


def test_keys_of_a_run_beside_members_that_are_all_files_are_refused(tmp_path):
    write(tmp_path, "run.yaml", RUN)
    path = write(tmp_path, "blend.yaml", "base: run.yaml\nname: blend\nruns: [run.yaml]\nbootstrap: 5")
    with pytest.raises(ConfigError, match=r"blend\.yaml: image, model: keys of a run, and no run is written inline"):
        load_blend(path)


def test_a_blend_that_is_based_on_an_inline_one_has_its_runs(tmp_path):
    (tmp_path / "far").mkdir()
    write(tmp_path, "other.yaml", RUN.replace("name: unet", "name: other"))
    table = (
        BLEND.replace("name: blend\n", "name: table\n").partition("runs:")[0]
        + """
models:
  - {model: A, run: {name: a, model: {options: {encoder: resnet50}}}}
  - {model: B, blend: {name: both, runs: [a, other.yaml, {name: b}]}}
  - {model: C, blend: {base: both, name: voted, combine: vote}}
"""
    )
    own = load_blend(write(tmp_path / "far", "own.yaml", f"base: {write(tmp_path, 't.yaml', table)}#both\nseed: 1"))
    assert own.runs == load_blend(tmp_path / "t.yaml#voted").runs
    assert [(run.name, run.training.epochs) for run in own.runs] == [("a", 7), ("other", 20), ("b", 7)]
    assert [run.name for run in load_config(tmp_path / "t.yaml").runs] == ["a", "other", "b"]


def test_the_last_of_several_bases_wins_and_the_file_over_all(tmp_path):
    write(tmp_path, "one.yaml", RUN + "training: {epochs: 1, batch_size: 1, ema: 0.1}")
    write(tmp_path, "two.yaml", "training: {epochs: 2, batch_size: 2}")
    config = load_run(write(tmp_path, "own.yaml", "base: [one.yaml, two.yaml]\ntraining: {epochs: 3}"))
    assert (config.training.epochs, config.training.batch_size, config.training.ema) == (3, 2, 0.1)


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
    base = (
        RUN
        + """
loss: {options: {dice_weight: 0.3}}
optimizer: {learning_rate: 0.3}
schedule: {name: cosine, warmup_epochs: 3}
"""
    )
    write(tmp_path, "base.yaml", base.replace("understanding_clouds", "understanding_clouds, folds: {k: 3}"))

    def value(config, key):
        table, name = key.split(".")
        return getattr(getattr(config, table), name)

    base = load_run(tmp_path / "base.yaml")
    same = load_run(write(tmp_path, "same.yaml", f"base: base.yaml\n{own.split(':')[0]}: {{}}"))
    other = load_run(write(tmp_path, "own.yaml", f"base: base.yaml\n{own}"))
    replaced = load_run(tmp_path / "base.yaml", [f"{kept}={value(other, kept)}"])
    assert same == base
    assert replaced == other
    assert value(other, kept) != value(base, kept)
    assert value(other, dropped) != value(base, dropped)


def test_a_sweep_stands_for_a_member_of_each_value(tmp_path):
    write(tmp_path, "other.yaml", RUN.replace("name: unet", "name: other"))
    sweep = "sweep: {model.options.encoder: [vgg16, vgg19], training.seeds: [[0], [0, 1]]}"
    text = BLEND.replace("name: fpn, model: {family: fpn}", f'name: "unet_{{encoder}}_{{seeds}}", {sweep}')
    blend = load_blend(write(tmp_path, "blend.yaml", text))
    assert [run.name for run in blend.runs[2:6]] == ["unet_vgg16_0", "unet_vgg16_0_1", "unet_vgg19_0", "unet_vgg19_0_1"]
    assert (blend.runs[5].model.options, blend.runs[5].training.seeds) == ({"encoder": "vgg19"}, (0, 1))
    forecasts = """
data: {competition: hydro_rain}
name: table
forecasts:
  - {name: "mean_of_{years}", family: mean_of_years, sweep: {options.years: [5, 10]}}
"""
    config = load_config(write(tmp_path, "table.yaml", forecasts))
    assert [(model.name, model.options) for model in config.forecasts] == [
        ("mean_of_5", {"years": 5}),
        ("mean_of_10", {"years": 10}),
    ]
    with pytest.raises(ConfigError, match=r"table\.yaml: sweep: write it as"):
        load_config(write(tmp_path, "table.yaml", forecasts.replace("[5, 10]", "5")))
    with pytest.raises(ConfigError, match=r"table\.yaml: sweep\.name\.years: 'name' is a value"):
        load_config(write(tmp_path, "table.yaml", forecasts.replace("options.years", "name.years")))


def test_wrong_options_of_every_plug_in_are_listed_when_a_config_is_read(tmp_path):
    run = """
    name: unet
    data: {competition: hydro_rain, options: {unit: mm/h}}
    task: forecasting
    frame_adapter: {name: advected, options: {motion: [dis]}}
    model: {family: rain_unt}
    loss: {name: mae, options: {scale: 1}}
    training: {checkpoint: last}
    """
    with pytest.raises(ConfigError) as error:
        load_run(write(tmp_path, "run.yaml", run))
    for problem in (
        f"{tmp_path / 'run.yaml'}:",
        "unknown key 'data.options.unit'",
        "models: there is no 'rain_unt' (did you mean 'rain_unet'?)",
        "unknown key 'loss.options.scale'",
    ):
        assert problem in str(error.value)
    run = run.replace("options: {scale: 1}", "")
    with pytest.raises(ConfigError, match=r"unknown key 'frame_adapter.options.motion' \(did you mean 'motions'"):
        load_run(write(tmp_path, "run.yaml", run))
    table = """
    name: a
    data: {competition: hydro_rain}
    forecasts: [{name: a, family: persistence}, {name: b, family: rain_extrapolation, options: {combine: max}}]
    """
    with pytest.raises(ConfigError, match=r"'forecasts.1.options.combine': unknown. There are: mean, median"):
        load_config(write(tmp_path, "table.yaml", table))
