"""A blend's honest score: weights and stacks chosen without the fold that is scored, on a small made-up contest.

Runs are written as training would write them: the truth, blurred by errors of their own.
"""

import json
import re
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from conftest import begin_stored, store_rows
from skyfold.blending import uncertain_pixels
from skyfold.config.files import load_blend, load_run
from skyfold.data.dataset import open_masks
from skyfold.errors import OofMismatch
from skyfold.pipeline.prepare import prepare
from skyfold.pipeline.submit import submit
from skyfold.postprocess.evaluate import evaluate
from skyfold.postprocess.measure import measure
from skyfold.postprocess.selection import Selection
from skyfold.store.alignment import require_aligned
from skyfold.store.records import RunRecord, read_record, write_record
from skyfold.store.rows import CheckedRows
from skyfold.store.runs import read_made_blend, read_run
from skyfold.tasks._fit_combination import blended_oof, fit_combination
from skyfold.tasks.segmentation import Segmentation
from skyfold.workspace import Workspace

NOISE = {"good": 0.9, "fair": 1.3, "poor": 4.0}
BLEND = """
data:
  competition: understanding_clouds
  name: tiny
  folds: {k: 3, seed: 0}
  sample: {train: 18, test: 4, seed: 0, height: 64}
name: both
image: {size: [32, 48]}
model: {family: colour_threshold}
runs: [{name: good}, {name: fair}, {name: poor}]
postprocess: {thresholds: 17, min_areas: [0, 20]}
bootstrap: 50
"""
KINDS = {"greedy": "weights: {search: greedy, steps: 8, thresholds: 5}", "stack": "combine: stack"}


@pytest.fixture(scope="module")
def made(tmp_path_factory, own_data):
    """A working folder with a contest, its folds, three runs and both kinds of blends, and what these returned."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "both.yaml").write_text(BLEND)
    for name, text in KINDS.items():
        (folder / f"{name}.yaml").write_text(f"base: both.yaml\nname: {name}\n{text}\n")
    config, workspace = load_blend(folder / "both.yaml"), Workspace(folder)
    prepare(config.data, workspace, sample=True)
    context = open_masks(config.data, workspace)
    truth = np.stack([context.train.targets[i] for i in range(len(context.train))]).astype(np.float64)
    rng = np.random.default_rng(0)
    for name, noise in NOISE.items():
        run, config = workspace.run("tiny", name), load_run(folder / f"both.yaml#{name}")
        info = begin_stored(run, context.folds, context.competition.classes, config=config)
        for part, ids, target in (("oof", context.train.ids, truth), ("test", list("abcd"), truth[:4])):
            logits = 2 * target - 1 + noise * rng.standard_normal(target.shape)
            store_rows(run, info, part, ids, np.rint(255 / (1 + np.exp(-logits))).astype(np.uint8))
    return folder, {kind: run_blend(folder, kind) for kind in KINDS}


@pytest.fixture
def work(made, tmp_path):
    return shutil.copytree(made[0], tmp_path / "work")


def run_blend(folder, name):
    return Segmentation.blend(load_blend(folder / f"{name}.yaml"), Workspace(folder))


def test_runs_of_another_grid_or_config_or_trained_anew_are_refused(work):
    path, stored = work / "both.yaml", work / "oof/tiny/good/run.json"
    with pytest.raises(OofMismatch, match=r"run 'good' is stored on \d+ x \d+ pixels, the competition's grid is 9 x 9"):
        require_aligned(members(work)[0], grid=(9, 9))
    path.write_text(BLEND.replace("{name: good}", "{name: good, optimizer: {learning_rate: 0.123}}"))
    with pytest.raises(OofMismatch, match="run 'good' was trained with another config than its file has now"):
        run_blend(work, "greedy")
    path.write_text(BLEND)
    info = read_record(stored, RunRecord, remedy="")
    write_record(stored, {**info, "fingerprint": {**info["fingerprint"], "rows": "of another"}})
    with pytest.raises(OofMismatch, match=r"run 'good' was trained anew.*`skyfold blend` again"):
        submit(load_blend(work / "greedy.yaml"), Workspace(work))
    assert {path.name for path in (work / "submissions").glob("*/*")} <= {".locks"}


@pytest.mark.parametrize(("scored", "most"), [(False, 2), (True, 1)])
def test_a_row_is_read_once_and_once_more_to_be_swept(work, monkeypatch, scored, most):
    """Members without scores are scored, blended, and the best one is post-processed by itself."""
    for name in NOISE:
        folder = work / "oof/tiny" / name
        shutil.rmtree(folder / "threshold_sweep", ignore_errors=True)
        write_record(folder / "run.json", {**read_record(folder / "run.json", RunRecord, remedy=""), "scores": {}})
    if scored:
        run_blend(work, "both")
        shutil.rmtree(work / "oof/tiny/both")
    times, read = Counter(), CheckedRows.__getitem__

    def counted(rows, index):
        times.update((rows.store.folder, row) for row in np.atleast_1d(np.arange(len(rows))[index]))
        return read(rows, index)

    monkeypatch.setattr(CheckedRows, "__getitem__", counted)
    result = run_blend(work, "both")
    assert "over_best_single" in result["scores"]["gains"]
    of_members = {count for (folder, _), count in times.items() if folder.parent.name in NOISE}
    assert max(of_members) == most


def members(folder):
    workspace = Workspace(folder)
    context = open_masks(load_blend(folder / "both.yaml").data, workspace)
    return [read_run(workspace.run("tiny", name), context.folds) for name in NOISE], context


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_combined_for_a_fold_does_not_change_with_its_truth(kind, made):
    runs, context = members(made[0])
    config, fold = load_blend(made[0] / f"{kind}.yaml"), context.folds.fold[:, None, None, None]
    targets = np.stack([context.train.targets[i] for i in range(18)])
    one, other = (
        fit_combination(config, runs, replace(context, samples={"train": replace(context.train, targets=truth)}))
        for truth in (targets, np.where(fold == 1, 1 - targets, targets))
    )
    assert one.by_fold[1] == other.by_fold[1]
    assert one.by_fold[0] != other.by_fold[0]
    assert set(one.by_fold) == {0, 1, 2}


@pytest.mark.parametrize("kind", KINDS)
def test_the_cross_fitted_score_is_that_of_masks_made_without_the_fold(kind, made):
    """Every fold again by hand: its own combination, thresholds of the other folds, masks, Dice."""
    folder, results = made
    runs, context = members(folder)
    config, metric = load_blend(folder / f"{kind}.yaml"), context.competition.metric
    targets = np.stack([context.train.targets[i] for i in range(18)]).astype(bool)
    scores = np.empty(18)
    for fold, combination in fit_combination(config, runs, context).by_fold.items():
        rows = np.flatnonzero(context.folds.fold == fold)
        oof = blended_oof(combination, runs)
        sweep = measure(oof, context.train, context.folds, metric, config.postprocess)
        masks = evaluate(sweep, context.folds, config.postprocess).by_fold[fold].apply(oof.values[rows])
        scores[rows] = metric.per_row(metric.stats(target=targets[rows], pred=masks))
    final = results[kind]["scores"]["final"]
    assert final["cv_cross_fitted"] == pytest.approx(scores.mean(), abs=1e-9)
    assert final["optimism"] == pytest.approx(final["cv_in_sample"] - scores.mean())


def test_the_poor_run_gets_little_say_and_the_blend_beats_equal_weights(made):
    folder, results = made
    for result in results.values():
        gains = result["scores"]["gains"]
        assert gains["over_equal_weights"]["value"] > 0
        assert gains["over_best_single"]["value"] > 0
        assert all(gain["low"] <= gain["value"] <= gain["high"] for gain in gains.values())
        lines = "\n".join(Segmentation.blend_lines(result))
        assert "gain over the best single run, post-processed alike: " in lines
        assert re.search(r"gain over the mean with equal weights, .*: [+-]0\.\d{4} \([+-]0\.\d{4} to [+-]0\.\d", lines)
    result = results["greedy"]
    lines = "\n".join(Segmentation.blend_lines(result))
    assert re.search(r"weights: good 0\.\d\d, fair 0\.\d\d, poor 0\.\d\d", lines)
    assert result["weights"][2] < 0.15
    assert sum(result["weights"]) == pytest.approx(1)
    search = result["combination"]["search"]
    assert search["rows"] == search["of_rows"] == 18
    assert search["optimism"] == pytest.approx(search["cv_in_sample"] - search["cv_cross_fitted"])
    assert set(search["weights_by_fold"]) == {"0", "1", "2"}
    runs, context = members(folder)
    stored = read_run(Workspace(folder).run("tiny", "greedy"), context.folds)
    for part in ("oof", "test"):
        arrays = [np.asarray(getattr(run, part).values, dtype=np.float64) for run in runs]
        mean = sum(w * a for w, a in zip(result["weights"], arrays, strict=True))
        assert np.abs(getattr(stored, part).values - mean).max() <= 0.5 + 1e-9
    assert Selection.from_dict(result["selection"]["final"]).thresholds


def test_a_search_that_does_not_fit_says_on_how_many_rows_it_was_made(work, monkeypatch):
    monkeypatch.setattr(uncertain_pixels, "MAX_BYTES", 60_000)
    lines = "\n".join(Segmentation.blend_lines(run_blend(work, "greedy")))
    assert re.search(r"weights: .*, searched on \d+ of 18 rows", lines)


def test_fixed_weights_are_scored_as_ever_and_fit_nothing(work):
    (work / "fixed.yaml").write_text("base: both.yaml\nname: fixed\nweights: [2, 1, 0]\n")
    result = run_blend(work, "fixed")
    assert result["weights"] == [2.0, 1.0, 0.0]
    assert result["combination"]["by_fold"] == {}
    runs, context = members(work)
    stored = read_run(Workspace(work).run("tiny", "fixed"), context.folds)
    mean = (2.0 * runs[0].oof.values[:] + runs[1].oof.values[:]) / 3
    np.testing.assert_array_equal(stored.oof.values, np.rint(mean).astype(np.uint8))


@pytest.mark.parametrize("kind", KINDS)
def test_a_blend_that_was_broken_off_ends_as_one_that_was_not(kind, made, work):
    whole, folder = made[1][kind], Workspace(work).run("tiny", kind)
    values = np.load(folder / "oof" / "values.npy")
    for name in ("complete.npy", "values.npy"):
        array = np.load(folder / "oof" / name, mmap_mode="r+")
        array[7:] = 0
        array.flush()
    (folder / "blend.json").unlink()
    assert run_blend(work, kind) == whole
    np.testing.assert_array_equal(np.load(folder / "oof" / "values.npy"), values)
    assert read_made_blend(folder) == json.loads(json.dumps(whole))
