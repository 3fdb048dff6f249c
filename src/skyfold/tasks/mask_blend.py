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

from skyfold.blending.recipe import BlendedRows, Combination
from skyfold.blending.stack import LogisticStack
from skyfold.config.blend import BlendConfig, PostprocessConfig
from skyfold.data.class_subset import of_classes
from skyfold.data.dataset import Dataset, open_masks
from skyfold.files import write_json
from skyfold.postprocess.evaluate import Evaluation, evaluate, map_columns, write_rows
from skyfold.postprocess.gate_stack import fit_gate_stack, gate_features
from skyfold.postprocess.threshold_sweep import measure
from skyfold.store.alignment import require_aligned
from skyfold.store.runs import StoredRun, read_info, read_run, record_scores
from skyfold.tasks.fit_mask_blend import FittedCombination, check_blend, fit_combination
from skyfold.tasks.stored_blend import config_json, made_of, read_member, store_blend
from skyfold.types import JsonDict, Predictions
from skyfold.workspace import Workspace

RUN_POSTPROCESS = PostprocessConfig()
GAINS = {
    "gate": "gain of the gate",
    "over_best_single": "gain over the best single run, post-processed alike",
    "over_equal_weights": "gain over the mean with equal weights, post-processed alike",
    "over_best_single_at_0.5": "gain over the best single run at 0.5",
    "over_largest": "gain over taking the class with the largest probability",
}


def score_run(run_folder: Path, dataset: Dataset) -> JsonDict:
    """Score one run's out-of-fold masks alone, with a threshold per class, and record it in its run.json.

    A run that learned some classes is scored on these.
    """
    run, competition = read_run(run_folder, dataset.folds), dataset.competition
    samples = of_classes(dataset.train, competition.classes, run.info.classes)
    sweep = measure(run.oof, samples, dataset.folds, competition.metric, RUN_POSTPROCESS, folder=run_folder)
    evaluation = evaluate(sweep, dataset.folds, RUN_POSTPROCESS)
    scores = {**evaluation.scores(draws=1000, seed=0), "metric": dataset.competition.metric.name}
    record_scores(run_folder, scores)
    write_rows(run_folder / "rows.csv", run.oof.ids, dataset.folds, evaluation.columns(run.info.classes))
    return scores


def blend(config: BlendConfig, workspace: Workspace) -> JsonDict:
    """Combine the runs of `config`, choose post-processing, and write it down. Returns what `blend.json` holds.

    OofMismatch where a run is missing, unfinished, of another config than its file has now, or not of these folds.
    """
    dataset = open_masks(config.data, workspace)
    classes, metric = dataset.competition.classes, dataset.competition.metric
    check_blend(config, [(run.name, run.classes or classes) for run in config.runs], dataset.competition)
    runs = [read_member(run, dataset.folds, workspace) for run in config.runs]
    gate = read_member(config.classifier_gate, dataset.folds, workspace) if config.classifier_gate else None
    require_aligned(runs, gate, dataset.competition.grid, any_classes=config.merge is not None)
    for run in runs:
        if read_info(run.folder).scores.get("metric") != metric.name:
            score_run(run.folder, dataset)
    fitted = fit_combination(config, runs, dataset.train, dataset.folds, dataset.competition)
    fitted_values = [fitted.whole.hash()] if fitted.by_fold or config.merge else []
    blended = store_blend(config, fitted.whole, runs, dataset, workspace, fitted=fitted_values)
    scored = _score(config, blended.oof, gate, dataset, blended.folder)
    for fold, combination in fitted.by_fold.items():
        if combination != fitted.whole:
            without = _score(config, _lazily(combination, runs), gate, dataset)
            scored = replace(
                scored,
                before=_with_fold_of(scored.before, without.before, fold),
                final=_with_fold_of(scored.final, without.final, fold),
            )

    result = _summary(config, runs, gate, fitted, blended, scored, dataset)
    before_gate = map_columns("before_gate", scored.before.map_scores, classes)
    columns = {**scored.final.columns(classes), **before_gate}
    write_rows(blended.folder / "rows.csv", blended.oof.ids, dataset.folds, columns)
    write_json(blended.folder / "blend.json", result)
    record_scores(blended.folder, {**result["scores"]["final"], "metric": result["metric"]})
    return result


@dataclass(frozen=True)
class _Scored:
    """A blend's evaluations without and with the gate, and the stacked gate of the test part, if any."""

    before: Evaluation
    final: Evaluation
    stack: LogisticStack | None


def _score(
    config: BlendConfig, oof: Predictions, gate: StoredRun | None, dataset: Dataset, folder: Path | None = None
) -> _Scored:
    """Measure and choose post-processing; folder: where `oof` is stored and its counts are kept, None: nowhere."""
    sweep = measure(oof, dataset.train, dataset.folds, dataset.competition.metric, config.postprocess, folder=folder)
    before = evaluate(sweep, dataset.folds, config.postprocess)
    if gate is None:
        return _Scored(before, before, None)
    if config.postprocess.gate_input == "classifier":
        final = evaluate(sweep, dataset.folds, config.postprocess, gate.oof.values[sweep.rows])
        return _Scored(before, final, None)
    features = gate_features(sweep.histogram[:, :, 1], gate.oof.values[sweep.rows])
    present = ~sweep.empty

    def fitted(rows: np.ndarray) -> np.ndarray:
        """Probability by a model fitted on `rows` only, so that no fold is scored by one that was fitted on it."""
        return fit_gate_stack(features[rows], present[rows]).probability(features)

    final = evaluate(sweep, dataset.folds, config.postprocess, fitted)
    return _Scored(before, final, fit_gate_stack(features, present))


def _with_fold_of(whole: Evaluation, without: Evaluation, fold: int) -> Evaluation:
    """`whole`, its cross-fitted part of `fold` taken from the combination that was chosen without the fold."""
    in_fold = whole.fold == fold
    return replace(
        whole,
        by_fold={**whole.by_fold, fold: without.by_fold[fold]},
        stats=np.where(in_fold[:, None], without.stats, whole.stats),
        map_scores=np.where(in_fold[:, None], without.map_scores, whole.map_scores),
    )


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


def _summary(
    config: BlendConfig,
    runs: list[StoredRun],
    gate: StoredRun | None,
    fitted: FittedCombination,
    blended: StoredRun,
    scored: _Scored,
    dataset: Dataset,
) -> JsonDict:
    before, final = scored.before, scored.final
    sweep, metric = before.sweep, dataset.competition.metric
    best_of = max if metric.greater_is_better else min
    singles = {run.info.name: read_info(run.folder).scores for run in runs}
    draws, seed = max(config.bootstrap, 1), config.seed

    def gain(evaluation: Evaluation, baseline: np.ndarray) -> JsonDict:
        interval = evaluation.gain_over(baseline, draws, seed)
        return {"value": interval.value, "low": interval.low, "high": interval.high}

    gains = {"gate": gain(final, before.stats)} if gate else {}
    all_empty = sweep.all_empty()
    baselines: JsonDict = {"all_empty": float(all_empty.mean())}
    if config.merge is None:
        best = best_of(singles, key=lambda name: float(singles[name]["cv_at_0.5"]))
        best_run = next(run for run in runs if run.info.name == best)
        alone = _score(config, best_run.oof, None, dataset, best_run.folder).before
        if len(runs) > 1:
            gains["over_best_single"] = gain(before, alone.stats)
        if fitted.whole != Combination("mean") and len(runs) > 1:
            equal = _score(config, _lazily(Combination("mean"), runs), None, dataset).before
            gains["over_equal_weights"] = gain(before, equal.stats)
        gains["over_best_single_at_0.5"] = gain(final, alone.at_half[0])
        baselines |= {"best_single": best, "best_single_at_0.5": metric.score(alone.at_half[0])}
    elif fitted.by_fold and fitted.whole.merge:
        largest = replace(fitted.whole, merge=replace(fitted.whole.merge, rule="largest", thresholds=None, order=None))
        gains["over_largest"] = gain(before, _score(config, _lazily(largest, runs), None, dataset).before.stats)
    # The oracle keeps a mask exactly where emptying it would score less: a perfect classifier with these masks.
    better = np.maximum if metric.greater_is_better else np.minimum
    oracle = better(before.in_sample_map_scores, all_empty)
    weights = fitted.whole.weights or (1.0,) * len(runs)
    return {
        "name": config.name,
        "config": config_json(config),
        "runs": [made_of(run) for run in runs],
        "gate": made_of(gate) if gate else None,
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
