"""A contest with its own metric is blended, searched, cross-fitted and compared like any other, only slower."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from conftest import begin_stored, store_rows
from skyfold.config.files import load_blend, load_run
from skyfold.data.dataset import open_masks
from skyfold.errors import ConfigError
from skyfold.metrics.bootstrap import bootstrap_interval
from skyfold.pipeline.compare import compare
from skyfold.pipeline.prepare import prepare
from skyfold.pipeline.run import run_job
from skyfold.postprocess.evaluate import difference, evaluate
from skyfold.postprocess.measure import measure
from skyfold.store.runs import read_info, read_run
from skyfold.tasks.segmentation import Segmentation
from skyfold.workspace import Workspace

CONFIGS = {
    "data": "data: {competition: buildings, folds: {k: 3, seed: 0, phash_max_distance: -1}}\n",
    "good": "base: data.yaml\nname: good\nimage: {size: [24, 30]}\nmodel: {family: colour_threshold}\n",
    "poor": "base: good.yaml\nname: poor\n",
    "both": "base: data.yaml\nname: both\nruns: [good.yaml, poor.yaml]\nbootstrap: 200\n"
    "postprocess: {thresholds: 7, min_areas: [0, 4, 30]}\n",
}


@pytest.fixture
def work(tmp_path, own_data, made_up_plugins):
    """A working folder with the contest, its folds, and two runs: the truth and noise."""
    for name, text in CONFIGS.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    workspace, data = Workspace(tmp_path), load_blend(tmp_path / "both.yaml").data
    workspace.data("buildings").mkdir(parents=True)
    prepare(data, workspace)
    context = open_masks(data, workspace)
    truth = np.stack([context.train.targets[i] for i in range(len(context.train))]).astype(np.float64)
    rng = np.random.default_rng(1)
    for name, noise in (("good", 1.2), ("poor", 2.5)):
        run, config = workspace.run("buildings", name), load_run(tmp_path / f"{name}.yaml")
        info = begin_stored(run, context.folds, context.competition.classes, config=config)
        logits = 3 * truth - 2 + noise * rng.standard_normal(truth.shape)
        store_rows(run, info, "oof", context.train.ids, np.rint(255 / (1 + np.exp(-logits))).astype(np.uint8))
    return tmp_path


def run_blend(work):
    config, workspace = load_blend(work / "both.yaml"), Workspace(work)
    result, context = Segmentation.blend(config, workspace), open_masks(config.data, workspace)
    return result, context, read_run(workspace.run("buildings", "both"), context.folds)


def test_blend_thresholds_areas_and_scores_are_those_of_brute_force(work):
    result, context, blended = run_blend(work)
    metric, post = context.competition.metric, load_blend(work / "both.yaml").postprocess
    members = [read_run(Workspace(work).run("buildings", name), context.folds).oof.values for name in ("good", "poor")]
    np.testing.assert_array_equal(blended.oof.values, np.rint(np.mean(members, axis=0)).astype(np.uint8))
    sweep = measure(blended.oof, context.train, context.folds, metric, post, folder=blended.folder)
    found = evaluate(sweep, context.folds, post)
    truth = np.stack([context.train.targets[i] for i in range(len(context.train))]).astype(bool)
    prob, fold = blended.oof.values[:], context.folds.fold

    def score(rows, k, threshold, area):
        masks = large_components(prob[rows, ..., k] > threshold, area)
        return metric.score(metric.stats(target=truth[rows, ..., k : k + 1], pred=masks[..., None]))

    stats = np.full((len(truth), 2), np.nan)
    for f, chosen in found.by_fold.items():
        others, own = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        for k in range(2):
            best = max(score(others, k, t, a) for t, a in itertools.product(sweep.thresholds, (0, 4, 30)))
            assert score(others, k, chosen.thresholds[k], chosen.min_areas[k]) == pytest.approx(best)
        masks = [large_components(prob[own, ..., k] > chosen.thresholds[k], chosen.min_areas[k]) for k in range(2)]
        stats[own] = metric.stats(target=truth[own], pred=np.stack(masks, axis=-1))
    scores = result["scores"]["final"]
    assert scores["cv_cross_fitted"] == pytest.approx(metric.score(stats))
    interval = bootstrap_interval(metric, stats, groups=context.folds.groups, draws=200, seed=0)
    assert (scores["low"], scores["high"]) == pytest.approx((interval.low, interval.high))
    assert scores["low"] < scores["cv_cross_fitted"] < scores["high"]
    assert scores["cv_at_0.5"] == pytest.approx(metric.score(metric.stats(target=truth, pred=prob > 127)))
    assert result["scores"]["baselines"]["all_empty"] == pytest.approx(1 / 3)


def large_components(masks, area):
    """bool (n, H, W), 8-connected components of `area` pixels or more."""
    labels = [ndimage.label(mask, structure=np.ones((3, 3)))[0] for mask in masks]
    return masks & np.stack([np.bincount(own.ravel())[own] >= area for own in labels])


def test_runs_are_compared_by_the_statistics_in_their_rows(work):
    _, context, _ = run_blend(work)
    folders = [Workspace(work).run("buildings", name) for name in ("both", "good")]
    found = difference(*(folder / "rows.csv" for folder in folders), metric=context.competition.metric)
    expected = [read_info(folder).scores["cv_cross_fitted"] for folder in folders]
    assert found.value == pytest.approx(expected[0] - expected[1])
    head, *lines = compare(*folders)
    assert head.startswith("mean_average_precision  both")
    assert any(line.startswith(f"both - good: {found.value:+.4f} ({found.low:+.4f} to ") for line in lines)


def test_what_cannot_work_is_refused_before_anything_is_trained(work):
    (work / "own.yaml").write_text("base: both.yaml\nname: own\nweights: {search: greedy}\n")
    (work / "oof/buildings/good/run.json").unlink()  # not trained
    with pytest.raises(ConfigError, match=r"weights: .* 'mean_average_precision' is not.*Give fixed weights"):
        run_job(work / "own.yaml", Workspace(work))
    assert not (work / "oof/buildings/good/run.json").exists()
