"""All stages of a config in order, each skipped where its work is done."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np

from skyfold.competition import build
from skyfold.config.blend import BlendConfig
from skyfold.config.data import DatasetConfig
from skyfold.config.experiment import TableConfig
from skyfold.config.files import AnyConfig, load_config
from skyfold.config.forecasts import ForecastConfig
from skyfold.config.run import RunConfig
from skyfold.data.class_subset import with_classes
from skyfold.errors import ConfigError
from skyfold.files import write_json
from skyfold.metrics.bootstrap import paired_difference
from skyfold.pipeline.blend import (
    blend,
    blend_lines,
    blend_row_scores,
    open_context,
    read_blend,
    score_run,
)
from skyfold.pipeline.experiment import run_table
from skyfold.pipeline.fit_blend import check_blend
from skyfold.pipeline.forecasts import run_forecasts, table_of_run
from skyfold.pipeline.leaderboard import leaderboard
from skyfold.pipeline.prepare import prepare
from skyfold.pipeline.score import prediction_stats
from skyfold.pipeline.submit import PostprocessedMasks, gate_probability, submission_names, submit
from skyfold.postprocess.selection import HALF, Selection
from skyfold.reports.leaderboard import as_text
from skyfold.reports.mask_plot import draw_examples
from skyfold.store.folds import read_folds
from skyfold.store.runs import read_run
from skyfold.types import ArraySequence
from skyfold.workspace import Workspace

TRUTH_FILE = "test_truth.csv"


def run_job(
    path: Path, workspace: Workspace, log: Callable[[str], None] = print, overrides: tuple[str, ...] = ()
) -> None:
    """Prepare, train every run of the config at `path`, blend, submit, score and rank, as far as the config goes.

    Of a table of models: search where a row asks for it, and say the table. Forecasts without a network: see
    `run_forecasts`.
    """
    from skyfold.pipeline.train import train
    from skyfold.tasks.open_run import check

    config = load_config(path, overrides)
    if isinstance(config, ForecastConfig):
        run_forecasts(path, workspace, log, overrides)
        return
    if isinstance(config, DatasetConfig):
        raise ConfigError(f"{path}: names no model and no runs; there is nothing to train.")
    trained = _runs_of(config)
    for run in trained:
        check(run)
    folder = workspace.data(config.data.folder)
    if not workspace.folds(config.data.folder).is_file():
        for line in prepare(config.data, workspace, sample=bool(config.data.sample) and not folder.exists()):
            log(line)
    _check_classes(config, trained, workspace)
    if isinstance(config, TableConfig):
        run_table(config, path, workspace, log)
        return
    for run in trained:
        log(f"run {run.name}")
        train(run, workspace)
    if isinstance(config, RunConfig):
        if config.task == "forecasting":
            log(table_of_run(config, workspace))
            return
        if config.task == "segmentation":
            score_run(workspace.run(config.data.folder, config.name), open_context(config.data, workspace))
        log(as_text(leaderboard(config.data.folder, workspace)))
        return
    for line in blend_lines(blend(config, workspace)):
        log(line)
    log(f"examples: {draw_oof_examples(config, workspace)}")
    truth = folder / TRUTH_FILE
    if read_run(workspace.run(config.data.folder, config.name), read_folds(workspace.folds(config.data.folder))).test:
        for written in submit(config, workspace):
            log(f"submission: {written}")
        if truth.is_file():
            for line in score_on_test(config, truth, workspace):
                log(line)
    log(as_text(leaderboard(config.data.folder, workspace)))


def _runs_of(config: RunConfig | BlendConfig | TableConfig) -> tuple[RunConfig, ...]:
    """All runs that a config names, known before anything is trained."""
    if isinstance(config, RunConfig):
        return (config,)
    return config.members if isinstance(config, BlendConfig) else config.runs


def _check_classes(config: AnyConfig, runs: tuple[RunConfig, ...], workspace: Workspace) -> None:
    """Refuse, before anything is trained, classes that are not there, and blends whose runs do not know all."""
    competition = build(config.data.competition, config.data.options, workspace.data(config.data.folder))
    for run in runs:
        with_classes(competition, run.classes)
    blends = [config] if isinstance(config, BlendConfig) else []
    if isinstance(config, TableConfig):
        blends = [row.blend for row in config.models if row.blend]
    for blended in blends:
        members = [(run.name, run.classes or competition.classes) for run in blended.runs]
        check_blend(blended, members, competition)


def score_on_test(config: BlendConfig, truth: Path, workspace: Workspace) -> list[str]:
    """Score the submissions and the baselines on the kept-aside truth, paired; writes `<name>.test_scores.json`."""
    competition = build(config.data.competition, config.data.options, workspace.data(config.data.folder))
    ids = competition.read_truth(truth).ids
    predictions: dict[str, ArraySequence] = {}
    for stage, name in submission_names(config).items():
        file = workspace.submissions(config.data.folder) / f"{name}.csv"
        predictions[stage] = competition.read_pred(file, ids)
    if config.merge is None:
        predictions["best_single_at_0.5"] = _in_order(ids, *_best_single_at_half(config, workspace))
    nothing = np.zeros((*competition.grid, len(competition.classes)), dtype=bool)
    predictions["all_empty"] = [nothing] * len(ids)
    stats = {name: prediction_stats(competition, truth, pred) for name, pred in predictions.items()}
    scores = {name: competition.metric.score(rows) for name, rows in stats.items()}
    order = [name for name in ("final", "before_gate", "best_single_at_0.5", "all_empty") if name in stats]
    differences = {}
    lines = [
        f"on the test truth, {len(ids)} images: " + ", ".join(f"{n.replace('_', ' ')} {scores[n]:.4f}" for n in order)
    ]
    for better, worse in pairwise(order):
        gain = paired_difference(competition.metric, stats[better], stats[worse], seed=config.seed)
        differences[f"{better} - {worse}"] = {"value": gain.value, "low": gain.low, "high": gain.high}
        lines.append(
            f"  {better.replace('_', ' ')} - {worse.replace('_', ' ')}: {gain.value:+.4f} "
            f"({gain.low:+.4f} to {gain.high:+.4f})"
        )
    path = workspace.submissions(config.data.folder) / f"{config.name}.test_scores.json"
    write_json(path, {"truth": truth.name, "images": len(ids), "scores": scores, "differences": differences})
    return lines


def draw_oof_examples(config: BlendConfig, workspace: Workspace, count: int = 4) -> Path:
    """Draw out-of-fold masks beside the truth, for images at evenly spread quantiles of their cross-fitted score.

    So the picture shows what the blend does to images that its models did not see, good ones and bad ones alike.
    """
    context = open_context(config.data, workspace)
    result = read_blend(config, workspace)
    folder = workspace.run(config.data.folder, config.name)
    blended = read_run(folder, context.folds)
    gate = result["gate"] and read_run(workspace.run(config.data.folder, result["gate"]["name"]), context.folds)
    masks = PostprocessedMasks(
        blended.oof.values,
        gate_probability(result, blended.oof, gate.oof, context.samples) if gate else None,
        Selection.from_dict(result["selection"]["final"]),
    )
    scores = blend_row_scores(folder)
    rows = np.flatnonzero(blended.oof.has_prediction)
    ranked = rows[np.argsort(scores, kind="stable")]
    chosen = ranked[np.linspace(0.15, 0.95, count).dot(len(ranked) - 1).round().astype(int)]
    assert context.samples.targets is not None
    draw_examples(
        folder / "examples.png",
        images=[context.samples.inputs[i] for i in chosen],
        truth=[context.samples.targets[i].astype(bool) for i in chosen],
        pred=[masks[i] for i in chosen],
        classes=context.competition.classes,
        captions=[f"{context.samples.ids[i]}: {scores[rows == i][0]:.2f}" for i in chosen],
        title=f"{config.data.folder}, {config.name}: out-of-fold, {result['metric']} per image",
    )
    return folder / "examples.png"


def _best_single_at_half(config: BlendConfig, workspace: Workspace) -> tuple[np.ndarray, ArraySequence]:
    best = read_blend(config, workspace)["scores"]["baselines"]["best_single"]
    run = read_run(workspace.run(config.data.folder, best), read_folds(workspace.folds(config.data.folder)))
    if run.test is None:
        raise ConfigError(f"run '{best}' has no test part.")
    classes = len(run.info.classes)
    selection = Selection((HALF,) * classes, (0,) * classes, None)
    return run.test.ids, PostprocessedMasks(run.test.values, None, selection)


def _in_order(ids: np.ndarray, own: np.ndarray, masks: ArraySequence) -> ArraySequence:
    place = {name: i for i, name in enumerate(own.tolist())}
    return [masks[place[name]] for name in ids.tolist()]
