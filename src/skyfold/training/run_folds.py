"""Train all folds and seeds of a run and store its out-of-fold and test predictions; resume where it stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skyfold import plugins
from skyfold.config.run import RunConfig
from skyfold.errors import ConfigError, DamagedFile, MissingWeights, OofMismatch
from skyfold.loggers import FOLDER as LOGS
from skyfold.loggers import Loggers
from skyfold.metrics.forecast_sums import FILE as SUMS
from skyfold.models import RuleFamily, family_of
from skyfold.progress import note
from skyfold.store.contents import FILE as CONTENTS_FILE
from skyfold.store.contents import Contents, require_run_of
from skyfold.store.fingerprint import NOT_APPLICABLE, Fingerprint
from skyfold.store.fits import FULL, FitResult
from skyfold.store.folds import Folds
from skyfold.store.rows import RowStore
from skyfold.store.runs import RunInfo, as_begun, begin_run, current_fingerprint, open_rows, read_info, record_scores
from skyfold.training import backend
from skyfold.training.fold_trainer import FoldTrainer, OnEpoch
from skyfold.training.init_weights import find_init_weights
from skyfold.training.objective import Objective, RunArrays
from skyfold.training.pseudo_labels import Teacher, find_teacher

FIT_PARTS = ("data", "folds", "fit", "source", "init_weights", "pseudo_labels")  # that a fit records


@dataclass(frozen=True)
class RunResult:
    """folder: of the run; scores: by fold, the mean validation score of its fits; complete: whether all folds are
    trained and predicted; full: fits on all samples, where they were asked for."""

    folder: Path
    scores: dict[int, float]
    complete: bool
    full: Sequence[FitResult] = ()


def run_folds(
    objective: Objective,
    train: RunArrays,
    test: RunArrays | None,
    folds: Folds,
    run_folder: Path,
    *,
    only_folds: Sequence[int] | None = None,
    restart: bool = False,
    full: bool = False,
    contents: Contents | None = None,
) -> RunResult:
    """Fit every fold with every seed, store the fold's rows in `run_folder/oof`, and, once all folds are complete, the
    test rows in `run_folder/test`: the mean over seeds (and folds), rounded once.

    What is finished is not done again. only_folds: fit these only. restart: discard existing results and start over.
    full: then fit one network per seed on all samples, which enters no row.
    contents: what the samples hold, recorded with the run and compared when it is resumed. ConfigError or OofMismatch
    where the folder holds a run of another config or of other contents, or finished fits of folds that `restart` would
    lose, or where the arrays are not those of the folds.
    """
    config = objective.config
    chosen = _chosen_folds(folds, only_folds)
    if not np.array_equal(train.ids, folds.ids):
        raise ConfigError("folds.csv lists other samples than the training data hold. Run `skyfold prepare` again.")
    # Before anything is written: what the config asks for may not fit these images.
    teacher = find_teacher(objective, run_folder.parent, folds, test) if config.pseudo_labels else None
    if teacher is not None and contents is not None:
        require_run_of(
            contents, teacher.run.folder, teacher.run.info.name, imported=teacher.run.info.kind == "imported"
        )
    restart = restart or _nothing_done(run_folder, task=config.task)
    init, init_weights, missing = None, None, None
    try:
        if config.model.init_from:
            init = find_init_weights(objective, run_folder.parent.parent, folds, train.checksum, contents)
        init_weights = init.provenance if init else family_of(config.model).init_weights()
    except (MissingWeights, OofMismatch) as error:
        if restart or not (run_folder / "run.json").is_file():
            raise
        missing = error
    fingerprint = fingerprint_of_run(objective, folds, train.checksum, init_weights, teacher=teacher)
    if contents is not None and not restart:
        fingerprint = as_begun(fingerprint, run_folder, folds)
    trainer = FoldTrainer(objective, train, run_folder / "models", fingerprint.of(*FIT_PARTS), init_weights=init)
    trainer.missing_weights, trainer.loggers = missing, Loggers(config.loggers)
    if contents is not None and not restart:
        require_run_of(contents.of("train"), run_folder, config.name, later=folds.later)
    if restart:
        _refuse_loss(run_folder, folds, chosen)
    begun = RunInfo(
        name=config.name,
        kind="run",
        task=config.task,
        classes=objective.classes,
        unit=objective.competition.unit,
        config=config.stored(),
        fingerprint=fingerprint,
    )
    of_run = ("models", "oof", "test", "pseudo_labels", LOGS, CONTENTS_FILE, SUMS)
    info = begin_run(run_folder, begun, restart=restart, discard=of_run)
    trainer.threads = int(info.fingerprint.threads) if info.fingerprint.threads else None
    if contents is not None:
        contents.of("train").record(run_folder)
    if missing is not None:
        note(f"run '{config.name}': whether its initial weights changed since is not known. {missing}")
    if current_fingerprint(info).different(fingerprint, "source"):
        trainer.refusal = OofMismatch(
            f"{run_folder}: the code of model.family {config.model.family} (or of its frame adapter, or of a "
            f"competition outside skyfold) changed since run '{config.name}' was begun, so that what is missing would "
            "come from another network. Take the change "
            f"back, or start over with skyfold train CONFIG --restart."
        )
    if teacher is not None:
        trainer.add_pseudo_labels = teacher.labels(objective).added_to
    dtype = objective.dtype
    oof = open_rows(run_folder, "oof", info, ids=train.ids, shape=objective.row_shape(train), dtype=dtype)
    scored_by: set[str] = set()
    for fold in chosen:
        fits = trainer.fits(folds, fold)
        scored_by |= {former for fit in fits if (former := _former_metric(fit, objective))}
        for rows in folds.rows_of(fold):
            trainer.predict(train, rows, oof, fits, label=f"{config.name} fold {fold}")
        if fits:
            record_scores(run_folder, {f"fold{fold}": float(np.mean([fit.score for fit in fits]))})
    if scored_by:
        note(
            f"run '{config.name}': validation scores, and the epochs kept by them, are of "
            f"{', '.join(sorted(scored_by))}, not of {objective.validation.name} as it is now. Finished fits stay as "
            "they are; to choose anew, train with --restart."
        )
    everywhere = bool(oof.complete[folds.fold >= 0].all())
    if everywhere and test is not None:
        shape = objective.row_shape(test)
        store = open_rows(run_folder, "test", info, ids=test.ids, shape=shape, dtype=dtype, checksum=test.checksum)
        fits = [fit for fold in folds.of_test for fit in trainer.fits(folds, fold)]
        trainer.predict(test, np.arange(len(test.ids)), store, fits, label=f"{config.name} test")
        if contents is not None:
            contents.of("test").record(run_folder)
    of_all = trainer.fits(folds, FULL) if full else []
    recorded = read_info(run_folder).scores
    scores = {fold: recorded[f"fold{fold}"] for fold in range(folds.k) if f"fold{fold}" in recorded}
    return RunResult(folder=run_folder, scores=scores, complete=everywhere, full=of_all)


def fit_score(
    objective: Objective,
    arrays: RunArrays,
    folds: Folds,
    folder: Path,
    only_folds: Sequence[int],
    on_epoch: OnEpoch,
    *,
    threads: int | None = None,
) -> float:
    """Fit these folds with every seed, their files in `folder`, and predict no row: one trial of a search.

    threads: that the network computes in; None: as many as there are cores.
    Returns the mean validation score. Finished fits are not repeated, nor is `on_epoch` called for them; an exception
    that it raises ends the fit, and the same call resumes it. ConfigError on keys that a search does not support.
    """
    config = objective.config
    for key, given in (("pseudo_labels", config.pseudo_labels), ("model.init_from", config.model.init_from)):
        if given is not None:
            raise ConfigError(f"{key}: not supported in a search. Remove it, and set it for the best trial.")
    init_weights = family_of(config.model).init_weights()
    fingerprint = fingerprint_of_run(objective, folds, arrays.checksum, init_weights)
    trainer = FoldTrainer(objective, arrays, folder, fingerprint.of(*FIT_PARTS), on_epoch=on_epoch)
    trainer.threads = threads
    scores = [
        float(np.mean([fit.score for fit in trainer.fits(folds, fold)])) for fold in _chosen_folds(folds, only_folds)
    ]
    return sum(scores) / len(scores)


def fingerprint_of_run(
    objective: Objective, folds: Folds, checksum: str, init_weights: str | None, *, teacher: Teacher | None = None
) -> Fingerprint:
    """checksum: of the training arrays; init_weights: what they are, None: unknown; teacher: where the config names
    one."""
    config = objective.config
    source = plugins.source_digest("models", config.model.family) + objective.competition.source
    if config.frame_adapter is not None:
        source += plugins.source_digest("forecasting.frame_adapters", config.frame_adapter.name)
    return Fingerprint(
        data=checksum,
        folds=folds.hash(),
        fit=config.fit_hash(),
        source=source,
        init_weights=init_weights,
        pseudo_labels=teacher.provenance if teacher else NOT_APPLICABLE,
        rows=config.hash(),
        blend=NOT_APPLICABLE,
        threads=_threads(config),
    )


def _former_metric(fit: FitResult, objective: Objective) -> str:
    """What the epoch of a fit was chosen by, where that is not the validation score as it is now; '' else, and where it
    is not known."""
    now = objective.validation.name, objective.validation_source
    if fit.metric is None or (fit.metric, fit.metric_source) == now:
        return ""
    return fit.metric if fit.metric != now[0] else f"an earlier {fit.metric}"


def _threads(config: RunConfig) -> str | None:
    """Threads of a run that begins now; unknown where they do not decide what the weights are, or cannot be set."""
    if isinstance(family_of(config.model), RuleFamily):
        return NOT_APPLICABLE
    settable = backend.name() == "tensorflow"
    return str(backend.default_threads()) if config.training.deterministic is not False and settable else None


def _nothing_done(run_folder: Path, *, task: str) -> bool:
    """Whether a run of this task ended before its first epoch, refused by its network, say, and has nothing to keep."""
    if not (run_folder / "run.json").is_file():
        return False
    info = read_info(run_folder)
    if (info.kind, info.task) != ("run", task):
        return False
    if any((run_folder / "models").glob("fold*")):
        return False
    rows = run_folder / "oof"
    try:
        return not (rows / "rows.json").is_file() or not RowStore.open(rows).complete.any()
    except DamagedFile:
        return False  # its rows are made again


def _refuse_loss(run_folder: Path, folds: Folds, chosen: Sequence[int]) -> None:
    """ConfigError where folds other than those chosen are finished: starting over would delete their weights."""
    others = [
        str(fold)
        for fold in range(folds.k)
        if fold not in chosen and any((run_folder / "models").glob(f"fold{fold}_seed*.weights.h5"))
    ]
    if others:
        raise ConfigError(
            f"--restart discards the whole run, and its fold {', '.join(others)} would be lost, which --fold does "
            f"not train ({run_folder}). Remove --fold, or give the run another name."
        )


def _chosen_folds(folds: Folds, only_folds: Sequence[int] | None) -> list[int]:
    every = list(range(folds.k))
    for fold in only_folds or []:
        if fold not in every:
            raise ConfigError(f"--fold {fold}: folds.csv has folds 0 to {folds.k - 1}.")
    return sorted(set(only_folds)) if only_folds else every
