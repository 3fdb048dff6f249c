"""One network for all classes or one for each, merged in several ways: trained, scored and compared by one command."""

import keras
import numpy as np
import pytest

from skyfold.competition import build
from skyfold.config.files import load_config
from skyfold.data.class_subset import require_one_class, with_classes
from skyfold.data.dataset import open_masks
from skyfold.errors import ConfigError
from skyfold.files import read_json
from skyfold.metrics.segmentation import GlobalIoU
from skyfold.models._softmax import log_odds
from skyfold.pipeline.experiment_table import as_text, experiment_table
from skyfold.pipeline.leaderboard import leaderboard
from skyfold.pipeline.run import run_job
from skyfold.reports.scene_maps import class_map
from skyfold.store.folds import read_folds
from skyfold.store.runs import read_run
from skyfold.workspace import Workspace

pytestmark = pytest.mark.usefixtures("tiny_families")

CONFIG = """
data:
  competition: cloud_cover
  name: tiny_cover
  options: {grid: [24, 24]}
  folds: {k: 2, seed: 0, phash_max_distance: -1}
  sample: {train: 11, validation: 1, test: 2, side: 64, seed: 0}
name: classes
image: {size: [32, 32]}
model: {family: tiny_net}
optimizer: {learning_rate: 3.0e-2}
training: {epochs: 6, batch_size: 4, checkpoint: last}
models:
  - model: softmax
    blend:
      name: one_softmax
      runs: [{name: softmax, activation: softmax, loss: {name: cce_dice}}]
      merge: {rule: largest}
  - model: one a class
    blend:
      name: apart
      runs: [{name: thick, classes: [thick_cloud]}, {name: others, classes: [shadow, thin_cloud]}]
      merge: {rule: largest}
  - {model: normalised, blend: {base: apart, name: normalised, merge: {rule: normalised}}}
  - model: by priority
    blend: {base: apart, name: priority, merge: {rule: priority, order: [thick_cloud, shadow, thin_cloud]}}
  - {model: as it comes, run: {name: sigmoid}}
"""


@pytest.fixture(scope="module")
def printed(tmp_path_factory, own_data, tiny_families):
    """A working folder in which `skyfold run` has done the whole table, and what it printed."""
    folder, lines = tmp_path_factory.mktemp("work"), []
    run_table(folder, CONFIG, lines.append)
    return folder, lines


@pytest.fixture(scope="module")
def finished(printed):
    return printed[0]


def run_table(folder, text, log=lambda line: None):
    (folder / "table.yaml").write_text(text)
    run_job(folder / "table.yaml", Workspace(folder), log=log)


def stored(folder, name):
    workspace = Workspace(folder)
    return read_run(workspace.run("tiny_cover", name), read_folds(workspace.folds("tiny_cover")))


def probabilities(folder, name, part="oof"):
    return np.asarray(getattr(stored(folder, name), part).values).astype(int)


def truth(folder):
    samples = open_masks(load_config(folder / "table.yaml").data, Workspace(folder)).train
    return np.stack([samples.targets[i] for i in range(len(samples))]).astype(bool)


def global_iou(target, pred):
    return GlobalIoU().score(GlobalIoU().stats(target=target, pred=pred))


def test_one_command_compares_them_by_miou(printed):
    """The figures of merges that fit nothing are those of the largest probability, counted here by hand."""
    folder, lines = printed
    table = experiment_table(load_config(folder / "table.yaml"), folder / "table.yaml", Workspace(folder))
    softmax, apart, normalised, priority, _ = table.lines
    one_hot = probabilities(folder, "softmax").argmax(axis=-1)[..., np.newaxis] == np.arange(4)
    target = truth(folder)
    expected = global_iou(target, one_hot)
    assert softmax.figures.cross_fitted == pytest.approx(expected)
    assert softmax.figures.pixel_accuracy == pytest.approx((one_hot == target).all(axis=-1).mean())
    assert softmax.gain is None
    assert apart.figures.cross_fitted == pytest.approx(expected + apart.gain.value)
    assert apart.gain.low < apart.gain.value < apart.gain.high
    assert (softmax.figures.fits, apart.figures.fits) == (2, 4)
    assert all(line.figures.cross_fitted is not None for line in (normalised, priority))
    assert lines[-1] == as_text(table)
    assert lines[-1].startswith("tiny_cover: synthetic sample, 12 samples")
    assert "published" not in lines[-1]
    assert "\nglobal_iou, cross-fitted\nmodel        cross-fitted  95 % interval" in lines[-1]


@pytest.mark.parametrize("name", ["one_softmax", "apart", "normalised", "priority"])
@pytest.mark.parametrize("part", ["oof", "test"])
def test_what_is_merged_gives_each_pixel_one_class_and_is_what_products_draw(finished, name, part):
    assert stored(finished, name).info.classes == ("background", "thick_cloud", "thin_cloud", "shadow")
    values = probabilities(finished, name, part)
    assert ((values > 127).sum(axis=-1) == 1).all()
    assert (class_map(values[0].astype(np.uint8), (24, 24)) == values[0].argmax(axis=-1)).all()


def test_a_fold_is_merged_with_thresholds_that_were_chosen_without_it(finished):
    """Of a fold's rows, by the levels in `blend.json`, the first of thick, shadow and thin that is above its own."""
    made = read_json(finished / "oof" / "tiny_cover" / "priority" / "blend.json")
    others = probabilities(finished, "others")
    planes = {1: probabilities(finished, "thick")[..., 0], 3: others[..., 0], 2: others[..., 1]}
    fold = read_folds(Workspace(finished).folds("tiny_cover")).fold
    target, stats = truth(finished), []
    for number in (0, 1):
        rows, merge = np.flatnonzero(fold == number), made["combination"]["by_fold"][str(number)]["merge"]
        above = {place: planes[place][rows] > merge["thresholds"][place] for place in planes}
        merged = np.select([above[1], above[3], above[2]], [1, 3, 2], 0)
        stats.append(GlobalIoU().stats(target=target[rows], pred=merged[..., np.newaxis] == np.arange(4)))
    assert made["scores"]["final"]["cv_cross_fitted"] == pytest.approx(GlobalIoU().score(np.concatenate(stats)))
    assert list(made["scores"]["gains"]) == ["over_largest"]


def test_a_run_of_one_class_is_scored_on_it_and_named_so(finished):
    thick, pred = stored(finished, "thick"), probabilities(finished, "thick") > 127
    assert thick.info.classes == ("thick_cloud",)
    assert pred.shape == (12, 24, 24, 1)
    assert thick.info.scores["cv_at_0.5"] == pytest.approx(global_iou(truth(finished)[..., 1:2], pred))
    entries = {entry.name: entry for entry in leaderboard("tiny_cover", Workspace(finished))}
    assert entries["thick"].kind == "run, thick_cloud alone"
    assert entries["sigmoid"].kind == "run"


def test_softmax_is_stored_as_fractions_that_sum_to_one(finished):
    softmax, sigmoid = (probabilities(finished, name).sum(axis=-1) - 255 for name in ("softmax", "sigmoid"))
    assert abs(softmax).max() <= 2  # four roundings
    assert sigmoid.std() > 2


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ("thick]", r"'thick' learned thick_cloud of background, .*: merge: \{rule: largest\}"),
        ("thick, table.yaml#others]\nweights: [0, 1]\nmerge: {rule: largest}", "learned thick_cloud have weight 0"),
    ],
)
def test_runs_that_learned_other_classes_are_not_blended_without_a_merge(finished, runs, message):
    data = CONFIG[: CONFIG.index("image:")].replace("name: classes", "name: mixed")
    (finished / "mixed.yaml").write_text(f"{data}runs: [table.yaml#{runs}\n")
    with pytest.raises(ConfigError, match=message):
        run_job(finished / "mixed.yaml", Workspace(finished), log=lambda line: None)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("order: [thick_cloud, shadow, ", "order: [thick_cloud, ", r"merge\.order: name all but one of background"),
        ("classes: [thick_cloud]", "classes: [thick_clouds]", r"no class 'thick_clouds' \(did you mean 'thick_cloud'"),
    ],
)
def test_classes_that_do_not_fit_are_refused_before_anything_is_trained(tmp_path, own_data, old, new, message):
    with pytest.raises(ConfigError, match=message):
        run_table(tmp_path, CONFIG.replace(old, new))
    assert not list((tmp_path / "oof").rglob("run.json"))


def test_log_odds_are_those_of_softmax():
    """Of shares 1/6, 2/6 and 3/6, and of logits far apart, which stay numbers."""
    logits = np.float32([np.log([1, 2, 3]), [200, -150, 0]]).reshape(2, 1, 1, 3)
    odds = keras.ops.convert_to_numpy(log_odds(keras.ops.convert_to_tensor(logits), 3))
    np.testing.assert_allclose(odds[0].ravel(), np.log([1 / 5, 2 / 4, 3 / 3]), atol=1e-6)
    np.testing.assert_allclose(odds[1].ravel(), [200, -350, -200])


BLEND = "runs: [{name: b}]\nmerge: {rule: largest}\n"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("activation: softmax\nclasses: [shadow]", "softmax needs two classes or more"),
        ("activation: softmax\ntask: classification", "softmax is not supported by task: classification"),
        ("loss: {name: cce}", "cce is for activation: softmax"),
        (f"{BLEND}postprocess: {{thresholds: 5}}", "would undo what merge: decides"),
        (f"{BLEND}classifier_gate: {{name: c, task: classification, loss: {{name: bce}}}}", "without a gate"),
        (f"{BLEND}weights: {{search: greedy}}", "equal or of fixed weights"),
        ("runs: [{name: b}]\nmerge: {rule: priority}", "order: give it with rule: priority"),
        ("runs: [{name: b}]\nmerge: {rule: largets}", "'merge.rule': Input should be 'largest'"),
    ],
)
def test_configs_that_make_no_sense_are_refused(tmp_path, keys, message):
    (tmp_path / "a.yaml").write_text(f"{CONFIG[: CONFIG.index('optimizer:')]}{keys}\n")
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "a.yaml")


def test_each_class_is_named_once_and_softmax_and_merges_want_one_for_each_pixel(finished):
    data = finished / "data" / "tiny_cover"
    contest = build("cloud_cover", {"grid": [24, 24]}, data)
    require_one_class(contest.load(data, "train"), contest.classes, why="merge")
    assert with_classes(contest, []) is contest
    with pytest.raises(ConfigError, match="name each class once"):
        with_classes(contest, ["shadow", "shadow"])
    some = with_classes(contest, ["thick_cloud", "shadow"]).load(data, "train")
    with pytest.raises(ConfigError, match=r"merge is for data .* thick_cloud, shadow.*pixels of no class.*Name the"):
        require_one_class(some, ("thick_cloud", "shadow"), why="merge")
