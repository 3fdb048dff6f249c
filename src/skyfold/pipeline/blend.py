"""Blend runs, fit the post-processing on their out-of-fold predictions, and say what it gains.

A blend is stored like a run, so that a blend can be read, compared and handed in the same way. Beside its rows stand
`blend.json` (members, weights, what was chosen, scores) and `rows.csv` (scores per image and class).

Where weights are searched, or votes or a stack fitted, every fold is scored with a combination, thresholds, areas and a
gate that were all chosen without it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from skyfold.blending.recipe import BlendedRows, Combination
from skyfold.competition import Competition, build
from skyfold.config.blend import BlendConfig, PostprocessConfig
from skyfold.config.data import DataConfig
from skyfold.config.run import RunConfig
from skyfold.data.cache import with_packed_masks
from skyfold.data.class_subset import with_classes, with_planes
from skyfold.errors import ConfigError, OofMismatch
from skyfold.files import digest, read_json, write_json
from skyfold.pipeline.fit_blend import FittedCombination, check_blend, fit_combination
from skyfold.postprocess.evaluate import Evaluation, evaluate, map_columns, write_rows
from skyfold.postprocess.gate_stack import GateStack, fit_gate_stack
from skyfold.postprocess.sweep_maps import measure
from skyfold.progress import Progress
from skyfold.store.alignment import require_aligned
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.fold_files import load_folds
from skyfold.store.folds import Folds
from skyfold.store.rows import release_pages
from skyfold.store.runs import StoredRun, begin_run, open_rows, read_info, read_run, record_scores
from skyfold.types import JsonDict, Predictions, Samples
from skyfold.workspace import Workspace

RUN_POSTPROCESS = PostprocessConfig()
GAINS = {
    "gate": "gain of the gate",
    "over_best_single": "gain over the best single run, post-processed alike",
    "over_equal_weights": "gain over the mean with equal weights, post-processed alike",
    "over_best_single_at_0.5": "gain over the best single run at 0.5",
    "over_largest": "gain over taking the class with the largest probability",
}


@dataclass(frozen=True)
class Context:
    """What every stage after training needs of a data set."""

    competition: Competition
    samples: Samples
    folds: Folds


def open_context(data: DataConfig, workspace: Workspace) -> Context:
    """The competition, its training samples with masks packed on the grid, and the folds."""
    folder = workspace.data(data.folder)
    competition = build(data.competition, data.options, folder)
    samples = with_packed_masks(competition.load(folder, "train"), workspace.cache(data.folder) / "grid")
    return Context(competition, samples, load_folds(data, samples.ids, workspace))


def read_member(config: RunConfig, folds: Folds, workspace: Workspace) -> StoredRun:
    """The finished run of `config`; OofMismatch where the one that is stored was trained with another config."""
    run = read_run(workspace.run(config.data.folder, config.name), folds)
    if run.info.fingerprint.rows != config.hash():
        raise OofMismatch(
            f"run '{config.name}' was trained with another config than its file has now. Train it again with "
            "skyfold train --restart, or take back what was changed."
        )
    return run


def score_run(run_folder: Path, context: Context) -> JsonDict:
    """Score one run's out-of-fold masks alone, with a threshold per class, and record it in its run.json.

    A run that learned some classes is scored on these.
    """
    run = read_run(run_folder, context.folds)
    context = _of_classes(context, run.info.classes)
    sweep = measure(
        run.oof, context.samples, context.folds, context.competition.metric, RUN_POSTPROCESS, folder=run_folder
    )
    evaluation = evaluate(sweep, context.folds, RUN_POSTPROCESS)
    scores = {**evaluation.scores(draws=1000, seed=0), "metric": context.competition.metric.name}
    record_scores(run_folder, scores)
    write_rows(run_folder / "rows.csv", run.oof.ids, context.folds, evaluation.columns(run.info.classes))
    return scores


def _of_classes(context: Context, classes: tuple[str, ...]) -> Context:
    known = context.competition.classes
    if classes == known:
        return context
    competition = with_classes(context.competition, classes)
    return replace(
        context,
        competition=competition,
        samples=with_planes(context.samples, tuple(known.index(name) for name in classes)),
    )


def blend(config: BlendConfig, workspace: Workspace) -> JsonDict:
    """Combine the runs of `config`, choose post-processing, and write it down. Returns what `blend.json` holds.

    OofMismatch where a run is missing, unfinished, of another config than its file has now, or not of these folds.
    """
    context = open_context(config.data, workspace)
    classes, metric = context.competition.classes, context.competition.metric
    check_blend(config, [(run.name, run.classes or classes) for run in config.runs], context.competition)
    runs = [read_member(run, context.folds, workspace) for run in config.runs]
    gate = read_member(config.classifier_gate, context.folds, workspace) if config.classifier_gate else None
    require_aligned(runs, gate, context.competition.grid, any_classes=config.merge is not None)
    for run in runs:
        if read_info(run.folder).scores.get("metric") != metric.name:
            score_run(run.folder, context)
    fitted = fit_combination(config, runs, context.samples, context.folds, context.competition)
    blended = _store(config, fitted, runs, context, workspace)
    scored = _score(config, blended.oof, gate, context, blended.folder)
    for fold, combination in fitted.by_fold.items():
        if combination != fitted.whole:
            without = _score(config, _lazily(combination, runs), gate, context)
            scored = replace(
                scored,
                before=_with_fold_of(scored.before, without.before, fold, context.folds),
                final=_with_fold_of(scored.final, without.final, fold, context.folds),
            )

    result = _summary(config, runs, gate, fitted, blended, scored, context)
    before_gate = map_columns("before_gate", scored.before.cross.map_scores, classes)
    columns = {**scored.final.columns(classes), **before_gate}
    write_rows(blended.folder / "rows.csv", blended.oof.ids, context.folds, columns)
    write_json(blended.folder / "blend.json", result)
    record_scores(blended.folder, {**result["scores"]["final"], "metric": result["metric"]})
    return result


@dataclass(frozen=True)
class _Scored:
    """A blend's evaluations without and with the gate, and the stacked gate of the test part, if any."""

    before: Evaluation
    final: Evaluation
    stack: GateStack | None


def _score(
    config: BlendConfig, oof: Predictions, gate: StoredRun | None, context: Context, folder: Path | None = None
) -> _Scored:
    """Measure and choose post-processing; folder: where `oof` is stored and its counts are kept, None: nowhere."""
    sweep = measure(oof, context.samples, context.folds, context.competition.metric, config.postprocess, folder=folder)
    before = evaluate(sweep, context.folds, config.postprocess)
    if gate is None:
        return _Scored(before, before, None)
    if config.postprocess.gate_input == "classifier":
        final = evaluate(sweep, context.folds, config.postprocess, gate.oof.values[sweep.rows])
        return _Scored(before, final, None)
    features = sweep.gate_features(gate.oof.values[sweep.rows])
    present = ~sweep.empty

    def fitted(rows: np.ndarray) -> np.ndarray:
        """Probability by a model fitted on `rows` only, so that no fold is scored by one that was fitted on it."""
        return fit_gate_stack(features[rows], present[rows]).probability(features)

    final = evaluate(sweep, context.folds, config.postprocess, fitted)
    return _Scored(before, final, fit_gate_stack(features, present))


def _with_fold_of(whole: Evaluation, without: Evaluation, fold: int, folds: Folds) -> Evaluation:
    """`whole`, its cross-fitted part of `fold` taken from the combination that was chosen without the fold."""
    in_fold = folds.fold[whole.sweep.rows] == fold
    cross = replace(
        whole.cross,
        by_fold={**whole.cross.by_fold, fold: without.cross.by_fold[fold]},
        stats=np.where(in_fold[:, None], without.cross.stats, whole.cross.stats),
        map_scores=np.where(in_fold[:, None], without.cross.map_scores, whole.cross.map_scores),
    )
    return replace(whole, cross=cross)


def _lazily(combination: Combination, runs: list[StoredRun]) -> Predictions:
    first = runs[0].oof
    values = cast(np.ndarray, BlendedRows(combination, [run.oof.values for run in runs]))
    return Predictions(ids=first.ids, values=values, has_prediction=first.has_prediction, unit=first.unit)


def blend_lines(result: JsonDict) -> list[str]:
    """What a blend came to, in words."""
    scores = result["scores"]
    lines = []
    for stage in ("before_gate", "final") if result["gate"] else ("final",):
        s = scores[stage]
        lines.append(
            f"{result['name']}, {stage.replace('_', ' ')}: {result['metric']} in-sample {s['cv_in_sample']:.4f}, "
            f"cross-fitted {s['cv_cross_fitted']:.4f} ({s['low']:.4f} to {s['high']:.4f}), "
            f"optimism {s['optimism']:+.4f}, at 0.5 {s['cv_at_0.5']:.4f}"
        )
    if search := result["combination"]["search"]:
        shares = zip((run["name"] for run in result["runs"]), result["weights"], strict=True)
        on = f", searched on {search['rows']} of {search['of_rows']} rows" if search["rows"] < search["of_rows"] else ""
        lines.append("weights: " + ", ".join(f"{name} {weight:.2f}" for name, weight in shares) + on)
    for what, gain in scores["gains"].items():
        lines.append(f"{GAINS[what]}: {gain['value']:+.4f} ({gain['low']:+.4f} to {gain['high']:+.4f})")
    return lines


def read_blend(config: BlendConfig, workspace: Workspace) -> JsonDict:
    """What `blend` wrote; ConfigError where it has not run with this config."""
    path = workspace.run(config.data.folder, config.name) / "blend.json"
    if not path.is_file():
        raise ConfigError(f"{path}: not there yet. Run `skyfold blend` on the config first.")
    result: JsonDict = read_json(path)
    if result["config"] != _config_json(config):
        raise ConfigError(f"{path}: made with another version of this config. Run `skyfold blend` again.")
    return result


def blend_row_scores(folder: Path) -> np.ndarray:
    """Mean cross-fitted score of each validated sample, float64 (n,), in the order of folds.csv."""
    table = pd.read_csv(folder / "rows.csv", dtype={"id": str})
    columns = [name for name in table.columns if name.startswith("cv_cross_fitted ")]
    scores: np.ndarray = table[columns].to_numpy(dtype=np.float64).mean(axis=1)
    return scores


def _store(
    config: BlendConfig, fitted: FittedCombination, runs: list[StoredRun], context: Context, workspace: Workspace
) -> StoredRun:
    folder = workspace.run(config.data.folder, config.name)
    if (folder / "run.json").is_file() and read_info(folder).kind != "blend":
        raise ConfigError(f"{folder}: holds the run '{config.name}'. Give the blend a name of its own.")
    members = [f"{run.info.name} {run.info.fingerprint.digest()}" for run in runs]
    what = [config.combine, str(config.weights)]
    if fitted.by_fold or config.merge:
        what.append(fitted.whole.hash())
    info = begin_run(
        folder,
        name=config.name,
        kind="blend",
        task=runs[0].info.task,
        classes=context.competition.classes,
        unit=runs[0].info.unit,
        config=_config_json(config),
        fingerprint=Fingerprint(folds=context.folds.hash(), blend=digest(*what, *members)),
        restart=True,
    )
    parts = {"oof": [run.oof for run in runs], "test": [run.test for run in runs if run.test is not None]}
    for part, predictions in parts.items():
        if not predictions:
            continue
        first = predictions[0]
        arrays = [one.values for one in predictions]
        shape = (*first.values.shape[1:-1], fitted.whole.classes(arrays))
        rows = open_rows(folder, part, info, ids=first.ids, shape=shape, dtype=first.values.dtype.str)
        if np.array_equal(rows.complete, first.has_prediction):
            continue
        with Progress(f"blending {part}", len(first.ids), "rows") as progress:
            for chunk, values in fitted.whole.rows(arrays, np.flatnonzero(first.has_prediction)):
                rows.write(chunk, values)
                release_pages(rows.values)
                progress.advance(len(chunk))
        rows.flush()
    return read_run(folder, context.folds)


def _summary(
    config: BlendConfig,
    runs: list[StoredRun],
    gate: StoredRun | None,
    fitted: FittedCombination,
    blended: StoredRun,
    scored: _Scored,
    context: Context,
) -> JsonDict:
    before, final = scored.before, scored.final
    sweep, metric = before.sweep, context.competition.metric
    best_of = max if metric.greater_is_better else min
    singles = {run.info.name: read_info(run.folder).scores for run in runs}
    draws, seed = max(config.bootstrap, 1), config.seed

    def gain(evaluation: Evaluation, baseline: np.ndarray) -> JsonDict:
        interval = evaluation.gain_over(baseline, draws, seed)
        return {"value": interval.value, "low": interval.low, "high": interval.high}

    gains = {"gate": gain(final, before.cross.stats)} if gate else {}
    all_empty = sweep.all_empty()
    baselines: JsonDict = {"all_empty": float(all_empty.mean())}
    if config.merge is None:
        best = best_of(singles, key=lambda name: float(singles[name]["cv_at_0.5"]))
        best_run = next(run for run in runs if run.info.name == best)
        alone = _score(config, best_run.oof, None, context, best_run.folder).before
        if len(runs) > 1:
            gains["over_best_single"] = gain(before, alone.cross.stats)
        if fitted.whole != Combination("mean") and len(runs) > 1:
            equal = _score(config, _lazily(Combination("mean"), runs), None, context).before
            gains["over_equal_weights"] = gain(before, equal.cross.stats)
        gains["over_best_single_at_0.5"] = gain(final, alone.at_half[0])
        baselines |= {"best_single": best, "best_single_at_0.5": metric.score(alone.at_half[0])}
    elif fitted.by_fold and fitted.whole.merge:
        largest = replace(fitted.whole, merge=replace(fitted.whole.merge, rule="largest", thresholds=None, order=None))
        gains["over_largest"] = gain(before, _score(config, _lazily(largest, runs), None, context).before.cross.stats)
    # The oracle keeps a mask exactly where emptying it would score less: a perfect classifier with these masks.
    better = np.maximum if metric.greater_is_better else np.minimum
    oracle = better(before.cross.in_sample_map_scores, all_empty)
    weights = fitted.whole.weights or (1.0,) * len(runs)
    return {
        "name": config.name,
        "config": _config_json(config),
        "runs": [_made_of(run) for run in runs],
        "gate": _made_of(gate) if gate else None,
        "weights": list(config.weights) if isinstance(config.weights, tuple) else [w / sum(weights) for w in weights],
        "combination": fitted.to_dict(),
        "presence_stack": asdict(scored.stack) if scored.stack else None,
        "fingerprint": blended.info.fingerprint.to_json(),
        "metric": metric.name,
        "selection": {"before_gate": asdict(before.selection), "final": asdict(final.selection)},
        "scores": {
            "final": final.scores(draws, seed),
            "before_gate": before.scores(draws, seed),
            "runs": singles,
            "baselines": {**baselines, "oracle": float(oracle.mean())},
            "gains": gains,
        },
        "maps": int(sweep.empty.size),
    }


def _made_of(run: StoredRun) -> JsonDict:
    return {"name": run.info.name, "fingerprint": run.info.fingerprint.to_json()}


def _config_json(config: BlendConfig) -> JsonDict:
    values: JsonDict = config.model_dump(mode="json", exclude={"data": {"sample"}})
    return values
