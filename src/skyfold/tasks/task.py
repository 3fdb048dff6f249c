"""Base of all tasks: everything that differs between segmentation, classification and forecasting."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from skyfold.blending.recipe import Combination
from skyfold.competition import Competition, build
from skyfold.config.blend import BlendConfig, PostprocessConfig, WeightsConfig
from skyfold.config.data import DataConfig
from skyfold.config.run import RunConfig
from skyfold.data.dataset import Dataset, open_dataset
from skyfold.errors import ConfigError, DataLayoutError
from skyfold.files import digest
from skyfold.metrics.bootstrap import bootstrap_interval
from skyfold.metrics.sample_stats import sample_stats
from skyfold.metrics.score_submission import score_lines
from skyfold.postprocess.evaluate import SampleScores
from skyfold.progress import note
from skyfold.reports.leaderboard import Entry, blend_entries, run_entry, with_excluded
from skyfold.reports.paired_scores import PairedScores, pair_rows, scores_of_rows
from skyfold.store.alignment import require_aligned
from skyfold.store.contents import read_contents
from skyfold.store.folds import read_folds
from skyfold.store.locks import held
from skyfold.store.records import write_record
from skyfold.store.rows import RowStore
from skyfold.store.runs import RunInfo, StoredRun, read_info, read_run, record_scores, require_kind
from skyfold.tasks._fit_combination import fit_combination
from skyfold.tasks.predicted import Predicted
from skyfold.tasks.scored_with import scored_by, scored_with
from skyfold.tasks.stored_blend import (
    Blend,
    config_json,
    made_of,
    note_replaced,
    note_unknown_folds,
    read_member,
    rows_of,
    store_blend,
)
from skyfold.training.objective import Objective, RunArrays
from skyfold.types import ArraySequence, JsonDict, Predictions, Samples
from skyfold.workspace import Workspace


class Task(Objective):
    """What one run reads, learns and stores; built once from its config, and asked by everything else.

    MASKS: whether it predicts masks, which model families without training do and experiments of `models` compare.
    TARGETS: the task of the competitions whose samples it reads, see `Competition`.
    OUTPUTS: what `skyfold predict` writes, by name: write(predicted, folder) -> path; the first is the default, without
    any the task cannot be packed.
    """

    MASKS: ClassVar[bool] = False
    TARGETS: ClassVar[str] = "segmentation"
    OUTPUTS: ClassVar[Mapping[str, Callable[[Predicted, Path], Path]]] = {}

    @classmethod
    @abstractmethod
    def check(cls, config: RunConfig) -> None:
        """ValueError on keys of a run's config that the task does not support, or that it lacks."""

    @abstractmethod
    def arrays(self, samples: Samples, part: str, cache: Path) -> RunArrays:
        """The samples of one part as a network reads them; what is decoded is stored below `cache`."""

    def read_foreign(self, path: Path, ids: np.ndarray, listed: Sequence[str] | None) -> ArraySequence:
        """Predictions of `ids` (n,) by another framework, in the file or folder `path`, see `data.foreign_predictions`.

        listed: ids of the rows of an array, None: those of `ids`. DataLayoutError names what is wrong with the file;
        ConfigError where predictions of this task cannot be imported.
        """
        raise ConfigError(f"{path}: predictions of task: {self.config.task} cannot be imported.")

    @classmethod
    def open_targets(cls, data: DataConfig, workspace: Workspace) -> Dataset:
        """The training samples and folds, to score runs of this task on."""
        return open_dataset(data, workspace)

    @classmethod
    def score_run(cls, folder: Path, dataset: Dataset, *, draws: int = 1000, seed: int = 0) -> JsonDict:
        """Out-of-fold score of the run in `folder` with its bootstrap interval, recorded in its `run.json`.

        Nothing is chosen on the rows, so the score is the cross-fitted one.
        """
        scores = _scores_of(read_run(folder, dataset.folds).oof, dataset, draws, seed)
        record_scores(folder, {**scores, **scored_with(dataset.competition)})
        return scores

    @classmethod
    def baselines(cls, dataset: Dataset) -> dict[str, float]:
        """Out-of-fold scores of predictions that take no model, by name; none where none are known."""
        return {}

    @classmethod
    def report_run(cls, config: RunConfig, workspace: Workspace) -> list[str]:
        """Score a complete run out of fold, record it in `run.json`, and describe it in lines for people."""
        folder = workspace.run(config.data.folder, config.name)
        with held(writes=[folder]):
            dataset = cls.open_targets(config.data, workspace)
            scores = cls.score_run(folder, dataset)
        interval = f"({scores['low']:.4f} to {scores['high']:.4f})"
        at_half = f"{scores['cv_at_0.5']:.4f} at 0.5, cross-fitted " if "cv_at_0.5" in scores else ""
        line = f"out of fold: {dataset.competition.metric.name} {at_half}{scores['cv_cross_fitted']:.4f} {interval}"
        return [line + with_excluded(scores)]

    @classmethod
    def check_blend(cls, config: BlendConfig, competition: Competition) -> None:
        """ConfigError, before anything is trained, on what a blend of this task cannot do."""
        for_masks = {
            "merge": config.merge,
            "classifier_gate": config.classifier_gate,
            "combine": config.combine == "stack",
            "weights.search": isinstance(config.weights, WeightsConfig),
            "postprocess": config.postprocess != PostprocessConfig(),
        }
        for key, given in for_masks.items():
            if given:
                raise ConfigError(f"{key}: not supported by a blend of task: {config.task}; remove it.")

    @classmethod
    def blend(cls, config: BlendConfig, workspace: Workspace) -> JsonDict:
        """Combine the runs of `config`, choose what the task chooses on out-of-fold rows, score and store the blend.

        Returns what `blend.json` holds. OofMismatch where a run is missing, unfinished, of another config than its file
        has now, or not of these folds; ConfigError as `check_blend`; Locked where another process trains a run of it.
        """
        folder = workspace.run(config.data.folder, config.name)
        with held(writes=[folder], reads=[folder.with_name(run.name) for run in config.members]):
            return cls._blend(config, workspace)

    @classmethod
    def _blend(cls, config: BlendConfig, workspace: Workspace) -> JsonDict:
        dataset = cls.open_targets(config.data, workspace)
        competition = dataset.competition
        cls.check_blend(config, competition)
        require_kind(workspace.run(config.data.folder, config.name), "blend")
        runs = [read_member(run, dataset, workspace) for run in config.runs]
        gate = read_member(config.classifier_gate, dataset, workspace) if config.classifier_gate else None
        note_unknown_folds([*runs, *([gate] if gate else [])])
        require_aligned(runs, gate, competition.grid, any_classes=config.merge is not None)
        for run in runs:
            if not scored_by(run.info, competition):
                if "metric" in run.info.scores and any((run.folder / "models").glob("fold*.json")):
                    note(
                        f"run '{run.info.name}' is scored anew, since the metric changed; the epochs that its fits "
                        "kept were chosen by the former one. To choose them anew, train it with --restart."
                    )
                cls.score_member(config, run, dataset)
        fitted = fit_combination(config, runs, dataset)
        record = workspace.run(config.data.folder, config.name) / "blend.json"
        note_replaced(record.parent, config)
        record.unlink(missing_ok=True)  # it is of the rows before; a process killed now leaves an unfinished blend
        stored = store_blend(config, fitted, runs, dataset, workspace)
        weights: Sequence[float] = fitted.whole.weights or (1.0,) * len(runs)
        if not isinstance(config.weights, tuple):
            weights = [weight / sum(weights) for weight in weights]
        result = {
            "name": config.name,
            "config": config_json(config),
            "runs": [made_of(run) for run in runs],
            "gate": made_of(gate) if gate else None,
            "weights": list(weights),
            "combination": fitted.to_dict(),
            "fingerprint": stored.info.fingerprint.to_json(),
            "rows": rows_of(stored.folder),
            "metric": competition.metric.name,
            **cls.evaluate_blend(Blend(config, dataset, runs, gate, fitted, stored)),
            "unknown_data": [run.info.name for run in runs if read_contents(run.folder) is None],
        }
        result["scores"]["runs"] = {run.info.name: read_info(run.folder).scores for run in runs}
        record_scores(stored.folder, {**result["scores"]["final"], **scored_with(competition)})
        write_record(record, result)
        return result

    @classmethod
    def score_member(cls, config: BlendConfig, run: StoredRun, dataset: Dataset) -> None:
        """Score a run of a blend that has no scores by the competition's metric, as `score_run` does."""
        cls.score_run(run.folder, dataset)

    @classmethod
    def evaluate_blend(cls, blend: Blend) -> JsonDict:
        """Selection and scores of a blend, for `blend.json`."""
        draws, seed = max(blend.config.bootstrap, 1), blend.config.seed
        scores = cls.score_run(blend.stored.folder, blend.dataset, draws=draws, seed=seed)
        return {"selection": {"final": None}, "scores": {"final": scores, "baselines": {}}}

    @classmethod
    def evaluate_unstored(cls, blend: Blend) -> JsonDict:
        """What a bundle holds of a blend that is not stored: `selection`, `presence_stack` and its final `scores`."""
        scores = _scores_of(blend.stored.oof, blend.dataset, max(blend.config.bootstrap, 1), blend.config.seed)
        return {"selection": {"final": None}, "presence_stack": None, "scores": scores}

    @classmethod
    def blend_lines(cls, result: JsonDict) -> list[str]:
        """The scores of a blend in lines for people."""
        scores = result["scores"]["final"]
        interval = f"({scores['low']:.4f} to {scores['high']:.4f})"
        line = f"{result['name']}: {result['metric']} {scores['cv_cross_fitted']:.4f} {interval}{with_excluded(scores)}"
        return [line, *cls.unknown_lines(result)]

    @classmethod
    def unknown_lines(cls, result: JsonDict) -> list[str]:
        """What is not known of the runs of a blend, which older versions of skyfold made, in lines for people."""
        return [
            f"run '{name}' does not record its data: whether they changed since is not known. `skyfold train` records "
            "them."
            for name in result["unknown_data"]
        ]

    @classmethod
    def show_blend(cls, config: BlendConfig, workspace: Workspace) -> list[str]:
        """Draw what a blend predicts out of fold; lines that name the files."""
        return []

    @classmethod
    def submissions(cls, config: BlendConfig) -> dict[str, str]:
        """Submissions of a blend: stage -> file name without suffix."""
        before = {"before_gate": f"{config.name}_before_gate"} if config.classifier_gate else {}
        return {**before, "final": config.name}

    @classmethod
    def submitted(cls, config: BlendConfig, stage: str, workspace: Workspace) -> tuple[np.ndarray, ArraySequence]:
        """Ids of the test part, and the values that are submitted for them at `stage`.

        ConfigError where the data set has no test part.
        """
        folds = read_folds(workspace.folds(config.data.folder))
        test = read_run(workspace.run(config.data.folder, config.name), folds).test
        if test is None:
            raise ConfigError(f"data set '{config.data.folder}' has no test part; there is nothing to submit.")
        return test.ids, cls.postprocessed(config, stage, test, workspace)

    @classmethod
    def postprocessed(cls, config: BlendConfig, stage: str, test: Predictions, workspace: Workspace) -> ArraySequence:
        """The values that are submitted at `stage` for the test rows of a blend."""
        return test.values

    @classmethod
    def bundle_inputs(cls, samples: Samples) -> JsonDict:
        """What a bundle records of the samples that it was trained on, see `store.bundle.BundledInputs`."""
        first = samples.inputs[0]
        return {"bands": int(first.shape[-1]), "dtype": first.dtype.name}

    @classmethod
    def bundle_lines(cls, manifest: JsonDict) -> list[str]:
        """What a bundle reads and predicts, in lines of Markdown."""
        inputs = manifest["inputs"]
        return [
            f"- **Images**: {inputs['bands']} bands of {inputs['dtype']}, of any size.",
            f"- **Classes**: {', '.join(manifest['classes'])}.",
        ]

    @classmethod
    def require_outputs(cls, names: Sequence[str], competition: Competition) -> None:
        """ConfigError where one of `names` cannot be written, before anything is predicted."""
        for name in names:
            if name not in cls.OUTPUTS:
                known = ", ".join(cls.OUTPUTS)
                raise ConfigError(f"--write {name}: not for a bundle of task: {competition.task}. Choose of {known}.")

    @classmethod
    def require_inputs(cls, samples: Samples, manifest: JsonDict) -> None:
        """DataLayoutError where the bundle was trained on other samples than these, which it is to predict."""
        found, wanted = cls.bundle_inputs(samples), manifest["inputs"]
        if found != wanted:
            raise DataLayoutError(
                f"'{samples.ids[0]}': {found['bands']} bands of {found['dtype']}; the bundle was trained on "
                f"{wanted['bands']} bands of {wanted['dtype']}. Write the images as those were."
            )

    @classmethod
    def combine(cls, manifest: JsonDict, samples: Samples, runs: Sequence[RowStore], work: Path) -> RowStore:
        """The rows that a bundle predicts for `samples`, of those of its `runs`; kept in `work`."""
        combination, arrays = Combination.from_dict(manifest["combination"]), [run.values for run in runs]
        shape = combination.row_shape(arrays)
        made_of = digest(combination.hash(), *(run.fingerprint for run in runs))
        blended = RowStore.open_or_create(
            work / "blend", ids=samples.ids, shape=shape, dtype=arrays[0].dtype.str, fingerprint=made_of
        )
        missing = np.flatnonzero(~blended.complete)
        if len(missing):
            blended.fill(combination.rows(arrays, missing), count=len(missing), label="blending")
        return blended

    @classmethod
    def score_on_test(cls, config: BlendConfig, truth: Path, workspace: Workspace) -> list[str]:
        """Score the submissions of a blend on a truth file; lines for people."""
        competition = build(config.data.competition, config.data.options, workspace.data(config.data.folder))
        return score_lines(competition, workspace.submissions(config.data.folder) / f"{config.name}.csv", truth)

    @classmethod
    def entries(cls, folder: Path, info: RunInfo, submissions: Path) -> Sequence[Entry]:
        """Leaderboard entries of what is stored in `folder`. submissions: folder of the data set's submissions."""
        return blend_entries(folder, submissions) if info.kind == "blend" else [run_entry(info)]

    @classmethod
    def paired(cls, first: Path, second: Path) -> PairedScores:
        """Scores of two entries of the leaderboard that are stored in these folders, and their paired difference."""
        return pair_rows(first, second)

    @classmethod
    def sample_scores(cls, folder: Path) -> SampleScores:
        """Statistics of each out-of-fold sample of the entry in `folder`; OofMismatch where it was not scored yet."""
        return scores_of_rows(folder)


def _scores_of(oof: Predictions, dataset: Dataset, draws: int, seed: int) -> JsonDict:
    """Score of out-of-fold rows that nothing is chosen on, with its bootstrap interval."""
    metric, rows = dataset.competition.metric, dataset.folds.scored
    every = np.flatnonzero(dataset.folds.fold >= 0)
    stats = sample_stats({metric.name: metric}, dataset.train, every, lambda chunk: oof.values[chunk])[metric.name]
    scored = np.isin(every, rows)
    groups = dataset.folds.groups[rows]
    found = bootstrap_interval(metric, stats[scored], groups=groups, draws=draws, seed=seed)
    together = {} if scored.all() else {"cv_with_excluded": metric.score(stats)}
    return {"cv_cross_fitted": found.value, "low": found.low, "high": found.high, **together}


def refuse_keys(config: RunConfig, *keys: str) -> None:
    """ValueError on a softmax activation, or one of the dotted `keys`, which the config's task does not support."""
    if config.activation == "softmax":
        raise ValueError(f"activation: softmax is not supported by task: {config.task}; use sigmoid")
    for key in keys:
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        if value:
            raise ValueError(f"{key}: not supported by task: {config.task}; remove it")
