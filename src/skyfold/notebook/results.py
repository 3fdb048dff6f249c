"""The results of a data set: score, tune thresholds, blend, look at single images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import numpy as np
import pandas as pd
from pydantic import BaseModel, ValidationError

from skyfold.competition import Truth, build
from skyfold.config.blend import BlendConfig, PostprocessConfig
from skyfold.config.data import DataConfig
from skyfold.config.errors import explain
from skyfold.config.run import RunConfig
from skyfold.config.training import IMPORTED, ModelConfig
from skyfold.data.class_subset import of_classes, with_classes
from skyfold.data.dataset import Dataset
from skyfold.data.foreign_predictions import as_probability_map
from skyfold.errors import ConfigError, OofMismatch, shortened
from skyfold.metrics.score_submission import prediction_stats, score_predictions
from skyfold.notebook.display import Picture, html_table
from skyfold.notebook.members import SCORES, Blend, Run
from skyfold.notebook.scores import Score, Thresholds, masks_of, selection_of
from skyfold.pipeline.import_predictions import as_row
from skyfold.plugins import nearest
from skyfold.postprocess.evaluate import evaluate
from skyfold.postprocess.measure import measure
from skyfold.postprocess.selection import Selection
from skyfold.reports.mask_plot import MaskPanels, draw_samples
from skyfold.store.contents import require_unchanged
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.folds import read_folds
from skyfold.store.rows import RowsOfShapes, row_shape
from skyfold.store.runs import RunInfo, StoredRun, read_info, read_made_blend, read_run
from skyfold.submission.write import write_submission
from skyfold.tasks import build_task, task_class
from skyfold.tasks.blend_in_memory import blend_in_memory, evaluate_in_memory
from skyfold.types import LazyArrays, Predictions, VolumeMetric
from skyfold.workspace import Workspace

Arrays = Predictions | np.ndarray | Sequence[np.ndarray] | Mapping[str, np.ndarray]
Values = str | Run | Arrays
OfProbability = float | Sequence[float] | Mapping[str, float] | Thresholds
Checked = TypeVar("Checked", bound=BaseModel)


class Results:
    """Runs, blends, folds and ground truth of a data set, as `open` returns them.

    Values, wherever a method takes them, are the name of a run or blend, a `Run` or `Blend`, or arrays of another
    framework: (n, H, W[, K]) with rows as in `folds`, or a mapping from id to (H, W[, K]); uint8 is 255 x the
    probability, floating point the probability itself. Methods that need masks raise ConfigError for forecasts.
    """

    def __init__(self, data: DataConfig, workspace: Workspace) -> None:
        self.data, self.workspace = data, workspace
        self._folds = read_folds(workspace.folds(data.folder))

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self.data.folder

    @property
    def folds(self) -> pd.DataFrame:
        """The fold of every training sample: id, fold (-1: none validates it), group."""
        return pd.DataFrame({"id": self._folds.ids, "fold": self._folds.fold, "group": self._folds.groups})

    @property
    def runs(self) -> pd.DataFrame:
        """Runs, imported ones and forecasts by name, with their kind, task and scores."""
        return self._table(lambda info: info.kind != "blend")

    @property
    def blends(self) -> pd.DataFrame:
        """Stored blends by name, with their scores."""
        return self._table(lambda info: info.kind == "blend")

    @property
    def truth(self) -> Truth:
        """Ground truth of the training samples, rows as in `folds`: ids, targets (H, W, K) each, valid pixels."""
        train = self._dataset.train
        assert train.targets is not None
        return Truth(train.ids, train.targets, train.valid)

    @property
    def test_ids(self) -> np.ndarray:
        """Ids of the test part (n,), in the order of its rows; none where there is no such part."""
        test = self._dataset.test
        return np.array([], dtype=str) if test is None else test.ids

    def run(self, name: str) -> Run:
        """The finished run or blend `name`, its rows memory-mapped.

        ConfigError where there is none; OofMismatch where rows are missing, damaged or of other folds.
        """
        folder, known = self.workspace.run(self.name, name), self._names()
        if name not in known:
            raise ConfigError(f"no run '{name}'{nearest(name, known)}. There are: {shortened(known)}.")
        return Run(read_run(folder, self._folds))

    def from_arrays(self, oof: Arrays, test: Arrays | None = None, *, name: str = "arrays") -> Run:
        """Predictions of another framework as a run that is not stored.

        oof: predicted with `folds`, of every row that a fold validates; test: of the test part, rows as in `test_ids`,
        None: none. Maps of another size are resampled bilinearly. DataLayoutError names a map that is no probability,
        OofMismatch ids that are missing.
        """
        info = RunInfo(
            name=name,
            kind=IMPORTED,
            task=self._masks.competition.task,
            classes=self._masks.competition.classes,
            unit=self._masks.competition.unit,
            config={},
            fingerprint=Fingerprint(folds=self._folds.hash()),
        )
        on_test = None if test is None else self._predictions(test, "test")
        return Run(StoredRun(Path(name), info, self._predictions(oof, "train"), on_test))

    def score(self, values: Values, thresholds: OfProbability = 0.5, *, draws: int = 1000) -> Score:
        """Score of out-of-fold masks by the competition's metric, with its 95 % bootstrap interval.

        thresholds: of the probability, one or one of each class, or what `tune_thresholds` returned, whose score is
        then in-sample; draws: of the bootstrap.
        """
        own, dataset = self._member(values)
        masks = self._oof_masks(own, dataset, thresholds)
        groups = self._folds.groups[self._folds.scored]
        found = score_predictions(dataset.competition, dataset.truth(), masks, groups=groups, draws=draws)
        fitted = ["blend"] * self._is_fitted(own) + ["thresholds"] * isinstance(thresholds, Thresholds)
        note = f"In-sample: {' and '.join(fitted)} fitted on these rows. See tune_thresholds." if fitted else ""
        interval = found.interval
        metric = dataset.competition.metric.name
        return Score(metric, found.score, interval.low, interval.high, found.per_class, found.samples, note)

    def tune_thresholds(
        self,
        values: Values,
        *,
        thresholds: int = 51,
        min_areas: Sequence[int] = (0,),
        rule: str = "component",
        draws: int = 1000,
        seed: int = 0,
    ) -> Thresholds:
        """Choose a threshold and a minimum area per class on out-of-fold predictions, in-sample and cross-fitted.

        Every choice is nested: it is refitted without fold k before fold k is scored. That holds for the weights of a
        `Blend`, too. thresholds: how many are searched; min_areas: pixels, searched too; rule: as `postprocess.rule` of
        a config; draws, seed: of the bootstrap. The figures are those of `skyfold train` and `skyfold blend`.
        ConfigError for a stored blend with fitted weights, which cannot be refitted from its rows.
        """
        post = _checked(PostprocessConfig, thresholds=thresholds, min_areas=tuple(min_areas), rule=rule)
        own, dataset = self._member(values)
        if isinstance(own, Blend):
            evaluation = evaluate_in_memory(own.made, post)
        elif self._is_fitted(own):
            raise ConfigError(
                f"the weights of blend '{own.name}' were fitted on the rows that thresholds would be chosen on. Its "
                f"cross-fitted scores are run('{own.name}').scores; to tune it again blend its runs here, with blend()."
            )
        else:
            sweep = measure(own.oof, dataset.train, self._folds, dataset.competition.metric, post)
            evaluation = evaluate(sweep, self._folds, post)
        scores = evaluation.scores(draws=draws, seed=seed)
        metric = dataset.competition.metric.name
        return Thresholds(metric, own.classes, evaluation.selection, evaluation.by_fold, scores)

    def blend(
        self,
        members: Sequence[Values] | Mapping[str, Values],
        *,
        combine: Literal["mean", "stack"] = "mean",
        weights: Sequence[float] | Mapping[str, Any] | None = None,
        seed: int = 0,
        name: str = "blend",
    ) -> Blend:
        """Blend runs, arrays or both; nothing is written.

        members: values, those of a mapping under its names; combine, weights: as in the config of a blend: "mean" of
        equal or given weights, or of `{"search": "greedy"}`; or "stack", a logistic regression per class. What is
        fitted is fitted without each fold, too, so that `tune_thresholds` scores it cross-fitted. ConfigError and
        OofMismatch as `skyfold blend`.
        """
        if isinstance(members, Mapping):
            named = [self._member(values, name)[0] for name, values in members.items()]
        else:
            named = [self._member(values, f"arrays_{place}")[0] for place, values in enumerate(members)]
        known = self._masks.competition.classes
        runs = [
            _checked(
                RunConfig,
                name=own.name,
                data=self.data,
                task=own.stored.info.task,
                classes=() if own.classes == known else own.classes,
                model=ModelConfig(family=IMPORTED),
            )
            for own in named
        ]
        how = {"combine": combine, "weights": weights, "seed": seed}
        config = _checked(BlendConfig, name=name, data=self.data, runs=runs, **how)
        made = blend_in_memory(config, [own.stored for own in named], self._masks)
        return Blend(made.stored, made)

    def show(self, id: str, values: Values | None = None, thresholds: OfProbability = 0.5) -> Picture:
        """A picture of a sample: image, truth, prediction, error; of a test sample image and prediction.

        values: what is predicted of it, None: only image and truth; thresholds: as in `score`. ConfigError where there
        is no sample `id`.
        """
        part, row = self._place(id)
        own, dataset = (None, self._masks) if values is None else self._member(values)
        samples, competition = dataset.samples[part], dataset.competition
        truth = None if samples.targets is None else samples.targets[row].astype(bool)
        valid = None if samples.valid is None else samples.valid[row]
        pred, title = None, f"{self.name}: {id}"
        if own is not None:
            pred = _mask(own, part, id, selection_of(thresholds, own.classes))
            title = f"{self.name}, {own.name}: {id}"
        if pred is not None and truth is not None and not isinstance(competition.metric, VolumeMetric):
            one = Truth(samples.ids[row : row + 1], [truth], None if valid is None else [valid])
            score = competition.metric.score(prediction_stats(competition, one, [pred]))
            title += f", {competition.metric.name} {score:.4f}"
        panels = MaskPanels(samples.inputs[row], truth, pred, valid)
        return Picture(draw_samples([panels], classes=competition.classes, title=title))

    def write_submission(self, path: str | Path, values: Values, thresholds: OfProbability = 0.5) -> Path:
        """Write the masks of the test part as a submission, checked as by `skyfold submit`; beside it a JSON record.

        InvalidSubmission lists what the competition would refuse; ConfigError where there are no test predictions.
        """
        own, _ = self._member(values)
        if own.test is None:
            raise ConfigError(f"'{own.name}' has no test predictions, so that there is nothing to submit. Give them.")
        competition, path = self._masks.competition, Path(path)
        if own.classes != competition.classes:
            raise ConfigError(f"'{own.name}' predicts {', '.join(own.classes)} of {', '.join(competition.classes)}.")
        masks = masks_of(selection_of(thresholds, own.classes), own.test.values)
        tuned = {"scores": thresholds.scores} if isinstance(thresholds, Thresholds) else {}
        about = {"name": path.stem, "stage": "final", "metric": competition.metric.name, **tuned}
        sample = competition.sample_table(self.workspace.data(self.name))
        write_submission(path, own.test.ids, masks, competition.submission, sample, about)
        return path

    def __repr__(self) -> str:
        return f"results of data set '{self.name}': {len(self.runs)} runs, {len(self.blends)} blends"

    def _repr_html_(self) -> str:
        table = pd.concat([self.runs, self.blends]).reset_index()
        note = f"{len(self._folds.ids)} samples in {self._folds.k} folds of data set {self.name}"
        return html_table({str(name): table[name].tolist() for name in table}, note)

    @cached_property
    def _dataset(self) -> Dataset:
        competition = build(self.data.competition, self.data.options, self.workspace.data(self.name))
        return task_class(competition.task).open_targets(self.data, self.workspace)

    @property
    def _masks(self) -> Dataset:
        """The data set; ConfigError unless its predictions are masks."""
        task = self._dataset.competition.task
        if not task_class(task).MASKS:
            raise ConfigError(
                f"data set '{self.name}' is of task: {task}; scores, blends and pictures here are of masks. Read its "
                "scores from `runs`, or use skyfold leaderboard and skyfold plot."
            )
        return self._dataset

    def _names(self) -> list[str]:
        return sorted(path.parent.name for path in self.workspace.oof(self.name).glob("*/run.json"))

    def _table(self, wanted: Callable[[RunInfo], bool]) -> pd.DataFrame:
        infos = [read_info(self.workspace.run(self.name, name)) for name in self._names()]
        rows = [
            {"name": info.name, "kind": info.kind, "task": info.task, **{key: info.scores.get(key) for key in SCORES}}
            for info in infos
            if wanted(info)
        ]
        return pd.DataFrame(rows, columns=["name", "kind", "task", *SCORES]).set_index("name")

    def _member(self, values: Values, name: str = "arrays") -> tuple[Run, Dataset]:
        """The values as a run, called `name` where they are arrays, and the data set with the classes of the run."""
        dataset = self._masks
        if isinstance(values, str):
            own = self.run(values)
        else:
            own = values if isinstance(values, Run) else self.from_arrays(values, name=name)
        info, folder, competition = own.stored.info, own.stored.folder, dataset.competition
        if not task_class(info.task).MASKS:
            raise ConfigError(f"run '{own.name}' is of task: {info.task}; give one that predicts masks.")
        if info.fingerprint.folds != self._folds.hash():
            raise OofMismatch(f"'{own.name}' has other folds than data set '{self.name}'. Open the results again.")
        if folder == self.workspace.run(self.name, own.name):
            remedy = "Make it again, or bring the data back to what they were."
            require_unchanged(folder, dataset.contents, since=f"'{own.name}' was made", remedy=remedy)
        samples = {part: of_classes(some, competition.classes, own.classes) for part, some in dataset.samples.items()}
        return own, replace(dataset, competition=with_classes(competition, own.classes), samples=samples)

    def _is_fitted(self, own: Run) -> bool:
        """Whether its weights were fitted on the out-of-fold rows."""
        if isinstance(own, Blend):
            return own.fitted
        return own.kind == "blend" and bool(read_made_blend(own.stored.folder)["combination"].get("by_fold"))

    def _oof_masks(self, own: Run, dataset: Dataset, thresholds: OfProbability) -> LazyArrays:
        """Masks of the rows that are scored."""
        rows = self._folds.scored
        masks = masks_of(selection_of(thresholds, own.classes), own.oof.values, dataset.train.valid)
        return LazyArrays(len(rows), lambda i: masks[rows[i]])

    def _place(self, name: str) -> tuple[str, int]:
        """Part and row of a sample."""
        for part, samples in self._masks.samples.items():
            if len(rows := np.flatnonzero(samples.ids == name)):
                return part, int(rows[0])
        raise ConfigError(f"no sample '{name}'{nearest(name, self._masks.train.ids.tolist())}.")

    def _predictions(self, values: Arrays, part: str) -> Predictions:
        """Arrays as stored rows: those that are, uint8 on the grid, as they are; others are converted in memory."""
        dataset = self._masks
        if part not in dataset.samples:
            raise ConfigError(f"data set '{self.name}' has no {part} part. Leave its predictions off.")
        samples, competition = dataset.samples[part], dataset.competition
        ids, has_prediction = samples.ids, np.ones(len(samples), dtype=bool)
        if part == "train":
            has_prediction = self._folds.fold >= 0
        config = RunConfig(name=IMPORTED, data=self.data, task=competition.task, model=ModelConfig(family=IMPORTED))
        task = build_task(config, competition)
        shape = task.row_shape(samples)
        given = values if isinstance(values, np.ndarray) else None
        if given is None or given.dtype != task.dtype or given.shape != (len(ids), *shape):
            find = _by_id(values, ids, has_prediction, part)
            if isinstance(shape, tuple):
                given = np.zeros((len(ids), *shape), dtype=task.dtype)
            else:
                flat = np.zeros(sum(map(math.prod, shape)), dtype=task.dtype)
                given = cast(np.ndarray, RowsOfShapes(flat, shape))
            for row in np.flatnonzero(has_prediction).tolist():
                name = str(ids[row])
                one = as_probability_map(np.asarray(find(name)), len(competition.classes), f"{part}, '{name}'")
                given[row][...] = as_row(one, task, samples, row, row_shape(given, row))
        return Predictions(ids, given, has_prediction, competition.unit)


def _mask(own: Run, part: str, name: str, selection: Selection) -> np.ndarray:
    """The predicted mask of a sample, bool (H, W, K)."""
    rows = own.oof if part == "train" else own.test
    if rows is None or name not in rows.ids[rows.has_prediction]:
        raise ConfigError(f"'{own.name}' has no prediction of '{name}'. Give other values, or none.")
    return masks_of(selection, rows.values)[int(np.flatnonzero(rows.ids == name)[0])]


def _by_id(values: Arrays, ids: np.ndarray, wanted: np.ndarray, part: str) -> Callable[[str], Any]:
    """What finds the array of an id; OofMismatch where one that is wanted is missing, or one is unknown."""
    if isinstance(values, Mapping):
        place: Mapping[str, Any] = {name: name for name in values}
    else:
        listed = values.ids if isinstance(values, Predictions) else ids
        values = values.values if isinstance(values, Predictions) else values
        if len(values) != len(listed):
            raise OofMismatch(
                f"{part}: {len(values)} maps of {len(listed)} ids. Give one of each, in their order, or a mapping from "
                "id to map."
            )
        place = {name: row for row, name in enumerate(listed.tolist())}
    missing = [name for name in ids[wanted].tolist() if name not in place]
    unknown = sorted(place.keys() - set(ids.tolist()))
    if missing or unknown:
        what, names = ("there is no map of", missing) if missing else ("there are maps of unknown", unknown)
        raise OofMismatch(f"{part}: {what} {len(names)} ids: {shortened(names)}. Give one of each sample.")
    rows: Any = values
    return lambda name: rows[place[name]]


def _checked(kind: type[Checked], **values: Any) -> Checked:
    """A config of these values; ConfigError names the key that is wrong."""
    try:
        return kind(**values)
    except ValidationError as error:
        raise ConfigError("\n".join(explain(kind, error))) from None
