"""Post-processing and scores of a blend of masks, its submitted masks, and pictures of its out-of-fold masks.

Where the combination is fitted, every fold is scored with a combination, thresholds, areas and a gate that were all
chosen without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np

from skyfold.blending.recipe import Combination
from skyfold.blending.stack import LogisticStack
from skyfold.competition import Competition, build
from skyfold.config.blend import BlendConfig, PostprocessConfig, WeightsConfig
from skyfold.config.data import DataConfig
from skyfold.data.class_subset import of_classes
from skyfold.data.dataset import Dataset, open_masks
from skyfold.errors import ConfigError
from skyfold.files import file_digest, read_csv
from skyfold.metrics.bootstrap import Interval, paired_difference
from skyfold.metrics.score_submission import prediction_stats, volumes_of
from skyfold.postprocess.evaluate import Evaluation, evaluate, map_columns, write_rows
from skyfold.postprocess.gate_stack import fit_gate_stack, gate_features
from skyfold.postprocess.measure import measure
from skyfold.postprocess.selection import HALF, chosen_masks
from skyfold.reports.leaderboard import GAINS, with_excluded
from skyfold.reports.mask_plot import draw_examples
from skyfold.reports.scene_maps import colours_of
from skyfold.store.folds import read_folds
from skyfold.store.records import write_record
from skyfold.store.runs import StoredRun, read_info, read_run, record_scores
from skyfold.tasks._fit_combination import blended_oof, merge_of
from skyfold.tasks._predicted_masks import (
    draw_preview,
    write_masks,
    write_probabilities,
    write_scene_maps,
    write_table,
)
from skyfold.tasks.scored_with import scored_with
from skyfold.tasks.stored_blend import Blend, read_blend
from skyfold.tasks.task import Task
from skyfold.types import ArraySequence, CountMetric, JsonDict, LazyArrays, Predictions, Samples, VolumeMetric
from skyfold.workspace import Workspace

EXAMPLES = 4  # images drawn of a blend


class MaskBlending(Task):
    """Blends of masks: thresholds, minimum areas and a classifier gate are chosen for them."""

    OUTPUTS: ClassVar = {
        "csv": write_table,
        "masks": write_masks,
        "products": write_scene_maps,
        "probabilities": write_probabilities,
        "preview": draw_preview,
    }

    @classmethod
    def require_outputs(cls, names: Sequence[str], competition: Competition) -> None:
        """As `Task.require_outputs`; maps need classes that exclude each other, or one."""
        super().require_outputs(names, competition)
        if "products" in names:
            colours_of(competition)

    @classmethod
    def open_targets(cls, data: DataConfig, workspace: Workspace) -> Dataset:
        return open_masks(data, workspace)

    @classmethod
    def score_run(cls, folder: Path, dataset: Dataset, *, draws: int = 1000, seed: int = 0) -> JsonDict:
        """As `Task.score_run`, with a threshold per class; a run that learned some classes is scored on these."""
        run, competition, post = read_run(folder, dataset.folds), dataset.competition, PostprocessConfig()
        samples = of_classes(dataset.train, competition.classes, run.info.classes)
        sweep = measure(run.oof, samples, dataset.folds, competition.metric, post, folder=folder)
        evaluation = evaluate(sweep, dataset.folds, post)
        scores = evaluation.scores(draws=draws, seed=seed)
        record_scores(folder, {**scores, **scored_with(competition)})
        write_rows(folder / "rows.csv", run.oof.ids, dataset.folds, evaluation.columns(run.info.classes))
        return scores

    @classmethod
    def baselines(cls, dataset: Dataset) -> dict[str, float]:
        """Of masks that are the same for every image: all empty, all full."""
        known, scores = dataset.truth(), {}
        for name, filled in (("empty masks", False), ("full masks", True)):
            masks = LazyArrays(len(known.ids), partial(_uniform, known.targets, filled))
            scores[name] = dataset.competition.metric.score(prediction_stats(dataset.competition, known, masks))
        return scores

    @classmethod
    def check_blend(cls, config: BlendConfig, competition: Competition) -> None:
        metric, classes = competition.metric, competition.classes
        counted = isinstance(metric, CountMetric) and metric.greater_is_better
        if isinstance(config.weights, WeightsConfig) and not counted:
            raise ConfigError(
                f"weights: they are searched for scores of pixel counts, which '{metric.name}' is not. Give fixed "
                "weights or leave them off, or let the metric offer `of_counts` (skyfold.types.CountMetric)."
            )
        members = [(run.name, run.classes or classes) for run in config.runs]
        if isinstance(metric, VolumeMetric) and config.classifier_gate:
            raise ConfigError(
                f"classifier_gate: it empties single slices, which '{metric.name}', a metric of volumes, cannot score "
                "by itself. Remove it."
            )
        if config.merge is not None:
            merge_of(config, config.merge, members, classes)
            return
        for name, own in members:
            if tuple(own) != classes:
                raise ConfigError(
                    f"runs: '{name}' learned {', '.join(own)} of {', '.join(classes)}. Say how classes of several runs "
                    "become one map: merge: {rule: largest}."
                )

    @classmethod
    def score_member(cls, config: BlendConfig, run: StoredRun, dataset: Dataset) -> None:
        """As `Task.score_member`; the minimum areas of `config` are swept while its rows are read.

        The blend compares itself with the best run under the same post-processing, which would read its rows again.
        Metrics that are no function of counts pay for each setting instead: theirs are swept for the best run alone.
        """
        metric = dataset.competition.metric
        if config.merge is None and isinstance(metric, CountMetric):
            measure(run.oof, dataset.train, dataset.folds, metric, config.postprocess, folder=run.folder)
        cls.score_run(run.folder, dataset)

    @classmethod
    def evaluate_blend(cls, blend: Blend) -> JsonDict:
        """Choose post-processing on the out-of-fold rows, and write the scores per image to `rows.csv`.

        Returns what `blend.json` holds of it: selection, presence_stack, scores, maps.
        """
        config, dataset, runs, fitted = blend.config, blend.dataset, blend.runs, blend.fitted
        metric, classes = dataset.competition.metric, dataset.competition.classes
        before, final, stack = cross_fitted(blend, folder=blend.stored.folder)
        draws, seed = max(config.bootstrap, 1), config.seed
        gains: JsonDict = {}

        def compare(what: str, evaluation: Evaluation, baseline: np.ndarray) -> None:
            gains[what] = _limits(evaluation.gain_over(baseline, draws, seed))

        def stats_of(combination: Combination) -> np.ndarray:
            """Cross-fitted statistics of another combination of the runs, without a gate."""
            return _evaluated(blend, blended_oof(combination, runs), gated=False)[0].stats

        if blend.gate:
            compare("gate", final, before.stats)
        scored = before.scored
        all_empty = before.sweep.all_empty()[scored]
        baselines: JsonDict = {"all_empty": float(all_empty.mean())}
        if config.merge is None:
            best_of = max if metric.greater_is_better else min
            best = best_of(runs, key=lambda run: float(read_info(run.folder).scores["cv_at_0.5"]))
            alone = _evaluated(blend, best.oof, folder=best.folder, gated=False)[0]
            if len(runs) > 1:
                compare("over_best_single", before, alone.stats)
            if fitted.whole != Combination("mean") and len(runs) > 1:
                compare("over_equal_weights", before, stats_of(Combination("mean")))
            compare("over_best_single_at_0.5", final, alone.at_half[0])
            baselines |= {"best_single": best.info.name, "best_single_at_0.5": metric.score(alone.at_half[0][scored])}
        elif fitted.by_fold and fitted.whole.merge:
            largest = replace(fitted.whole.merge, rule="largest", thresholds=None, order=None)
            compare("over_largest", before, stats_of(replace(fitted.whole, merge=largest)))
        # The oracle keeps a mask exactly where emptying it would score less: a perfect classifier with these masks.
        better = np.maximum if metric.greater_is_better else np.minimum
        baselines["oracle"] = float(better(before.in_sample_map_scores[scored], all_empty).mean())
        columns = {**final.columns(classes), **map_columns("before_gate", before.map_scores[scored], classes)}
        write_rows(blend.stored.folder / "rows.csv", blend.stored.oof.ids, dataset.folds, columns)
        return {
            **_choices(before, final, stack),
            "scores": {
                "final": final.scores(draws, seed),
                "before_gate": before.scores(draws, seed),
                "baselines": baselines,
                "gains": gains,
            },
            "maps": int(before.sweep.empty.size),
        }

    @classmethod
    def evaluate_unstored(cls, blend: Blend) -> JsonDict:
        """As `Task.evaluate_unstored`: post-processing and gate are chosen as for a stored blend."""
        before, final, stack = cross_fitted(blend)
        scores = final.scores(max(blend.config.bootstrap, 1), blend.config.seed)
        return {**_choices(before, final, stack), "scores": scores}

    @classmethod
    def blend_lines(cls, result: JsonDict) -> list[str]:
        scores = result["scores"]
        lines = []
        for stage in ("before_gate", "final") if result["gate"] else ("final",):
            s = scores[stage]
            lines.append(
                f"{result['name']}, {stage.replace('_', ' ')}: {result['metric']} in-sample {s['cv_in_sample']:.4f}, "
                f"cross-fitted {s['cv_cross_fitted']:.4f} ({s['low']:.4f} to {s['high']:.4f}), "
                f"optimism {s['optimism']:+.4f}, at 0.5 {s['cv_at_0.5']:.4f}{with_excluded(s)}"
            )
        if search := result["combination"]["search"]:
            names, (rows, all_rows) = [run["name"] for run in result["runs"]], (search["rows"], search["of_rows"])
            weights = [f"{name} {weight:.2f}" for name, weight in zip(names, result["weights"], strict=True)]
            on = f", searched on {rows} of {all_rows} rows" if rows < all_rows else ""
            lines.append(f"weights: {', '.join(weights)}{on}")
        for what, gain in scores["gains"].items():
            lines.append(f"{GAINS[what]}: {gain['value']:+.4f} ({gain['low']:+.4f} to {gain['high']:+.4f})")
        return lines + cls.unknown_lines(result)

    @classmethod
    def show_blend(cls, config: BlendConfig, workspace: Workspace) -> list[str]:
        """Draw out-of-fold masks beside the truth, for images at evenly spread quantiles of their cross-fitted score.

        The picture shows predictions of images that the models were not trained on, good and bad ones alike.
        """
        dataset, result = open_masks(config.data, workspace), read_blend(config, workspace)
        folder, train = workspace.run(config.data.folder, config.name), dataset.train
        blended = read_run(folder, dataset.folds)
        masks = _masks(config, "final", blended.oof, "oof", workspace, train)
        again = "Run `skyfold blend` on its config again."
        table = read_csv(folder / "rows.csv", text=("id", "group"), remedy=again).filter(regex="^cv_cross_fitted ")
        scores = table.to_numpy(dtype=np.float64).mean(axis=1)
        ranks = np.linspace(0.15, 0.95, EXAMPLES).dot(len(scores) - 1).round().astype(int)
        order = np.argsort(scores, kind="stable")[ranks]
        chosen = dataset.folds.scored[order]
        assert train.targets is not None
        draw_examples(
            folder / "examples.png",
            images=[train.inputs[i] for i in chosen],
            truth=[train.targets[i].astype(bool) for i in chosen],
            pred=[masks[i] for i in chosen],
            classes=dataset.competition.classes,
            captions=[f"{train.ids[i]}: {score:.2f}" for i, score in zip(chosen, scores[order], strict=True)],
            title=f"{config.data.folder}, {config.name}: out-of-fold, {result['metric']} per image",
        )
        return [f"examples: {folder / 'examples.png'}"]

    @classmethod
    def postprocessed(cls, config: BlendConfig, stage: str, test: Predictions, workspace: Workspace) -> ArraySequence:
        return _masks(config, stage, test, "test", workspace)

    @classmethod
    def score_on_test(cls, config: BlendConfig, truth: Path, workspace: Workspace) -> list[str]:
        """As `Task.score_on_test`, with baselines and paired differences; writes `<blend>.test_scores.json`."""
        data, folder = config.data.folder, workspace.submissions(config.data.folder)
        competition = build(config.data.competition, config.data.options, workspace.data(data))
        known = competition.read_truth(truth)
        preds: dict[str, ArraySequence] = {}
        for stage, name in reversed(cls.submissions(config).items()):
            preds[stage] = competition.read_pred(folder / f"{name}.csv", known.ids)
        if config.merge is None:
            best = read_blend(config, workspace)["scores"]["baselines"]["best_single"]
            run = read_run(workspace.run(data, best), read_folds(workspace.folds(data)))
            assert run.test is not None
            values, row = run.test.values, {name: i for i, name in enumerate(run.test.ids.tolist())}
            rows = [row[name] for name in known.ids.tolist()]
            preds["best_single_at_0.5"] = LazyArrays(len(rows), lambda i: values[rows[i]] > HALF)
        preds["all_empty"] = LazyArrays(len(known.ids), partial(_uniform, known.targets, False))
        stats = {name: prediction_stats(competition, known, pred) for name, pred in preds.items()}
        scores = {name: competition.metric.score(rows) for name, rows in stats.items()}
        title = {name: name.replace("_", " ") for name in stats}
        listed = ", ".join(f"{title[name]} {score:.4f}" for name, score in scores.items())
        lines, differences = [f"on the test truth, {len(known.ids)} images: {listed}"], {}
        for better, worse in pairwise(stats):
            gain = paired_difference(
                competition.metric,
                stats[better],
                stats[worse],
                groups=volumes_of(competition.metric, known.ids),
                seed=config.seed,
            )
            differences[f"{better} - {worse}"] = _limits(gain)
            lines.append(f"  {title[better]} - {title[worse]}: {gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})")
        result = {
            "truth": truth.name,
            "images": len(known.ids),
            "scores": scores,
            "differences": differences,
            "sha256": {stage: file_digest(folder / f"{name}.csv") for stage, name in cls.submissions(config).items()},
        }
        write_record(folder / f"{config.name}.test_scores.json", result)
        return lines


def cross_fitted(blend: Blend, *, folder: Path | None = None) -> tuple[Evaluation, Evaluation, LogisticStack | None]:
    """Evaluations of a blend without and with its gate, every fold scored with a combination, thresholds, areas and a
    gate that were chosen without it; and the stacked gate of the test part, if any.

    folder: where its rows are stored and their counts are kept; None: nowhere.
    """
    fitted = blend.fitted
    before, final, stack = _evaluated(blend, blend.stored.oof, folder=folder)
    for fold, combination in fitted.by_fold.items():
        if combination != fitted.whole:
            before_without, final_without, _ = _evaluated(blend, blended_oof(combination, blend.runs))
            before = _with_fold_of(before, before_without, fold)
            final = _with_fold_of(final, final_without, fold)
    return before, final, stack


def _choices(before: Evaluation, final: Evaluation, stack: LogisticStack | None) -> JsonDict:
    """What `blend.json` and a bundle hold of what was chosen."""
    return {
        "presence_stack": asdict(stack) if stack else None,
        "selection": {"before_gate": asdict(before.selection), "final": asdict(final.selection)},
    }


def _evaluated(
    blend: Blend, oof: Predictions, *, folder: Path | None = None, gated: bool = True
) -> tuple[Evaluation, Evaluation, LogisticStack | None]:
    """Evaluations of `oof` without and with the gate of `blend`, and the stacked gate of the test part, if any.

    folder: where `oof` is stored and its counts are kept; None: nowhere.
    """
    dataset, post, gate = blend.dataset, blend.config.postprocess, blend.gate
    sweep = measure(oof, dataset.train, dataset.folds, dataset.competition.metric, post, folder=folder)
    before = evaluate(sweep, dataset.folds, post)
    if gate is None or not gated:
        return before, before, None
    gate_prob = gate.oof.values[sweep.rows]
    if post.gate_input == "classifier":
        return before, evaluate(sweep, dataset.folds, post, gate_prob), None
    features, present = gate_features(sweep.histogram[:, :, 1], gate_prob), ~sweep.empty

    def fitted(rows: np.ndarray) -> np.ndarray:
        """Probability by a model fitted on `rows` only, so that no fold is scored by one that was fitted on it."""
        return fit_gate_stack(features[rows], present[rows]).probability(features)

    stack = fit_gate_stack(features[before.scored], present[before.scored])
    return before, evaluate(sweep, dataset.folds, post, fitted), stack


def _with_fold_of(whole: Evaluation, without: Evaluation, fold: int) -> Evaluation:
    """`whole`, its cross-fitted part of `fold` taken from the combination that was chosen without the fold."""
    in_fold = (whole.fold == fold)[:, None]
    return replace(
        whole,
        by_fold={**whole.by_fold, fold: without.by_fold[fold]},
        stats=np.where(in_fold, without.stats, whole.stats),
        map_scores=np.where(in_fold, without.map_scores, whole.map_scores),
    )


def _masks(
    config: BlendConfig, stage: str, pred: Predictions, part: str, workspace: Workspace, samples: Samples | None = None
) -> LazyArrays:
    """Masks, bool (H, W, K), of the rows `pred` of `part` ("oof" or "test") at `stage` ("before_gate" or "final").

    samples: with the valid pixels; None: all are.
    """
    result = read_blend(config, workspace)
    gate_prob = None
    if stage == "final" and result["gate"]:
        folds = read_folds(workspace.folds(config.data.folder))
        gate = getattr(read_run(workspace.run(config.data.folder, result["gate"]["name"]), folds), part)
        gate_prob = gate.values
    return chosen_masks(result, stage, pred.values, gate_prob, None if samples is None else samples.valid)


def _uniform(targets: ArraySequence, filled: bool, index: int) -> np.ndarray:
    return np.full(targets[index].shape, filled)


def _limits(interval: Interval) -> JsonDict:
    return {"value": interval.value, "low": interval.low, "high": interval.high}
