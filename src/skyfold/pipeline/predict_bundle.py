"""Predict images, or frames to come, with a bundle: no training data, nothing written but below one folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from skyfold import plugins
from skyfold.competition import Competition, build
from skyfold.config.run import RunConfig
from skyfold.config.training import Precision
from skyfold.data.duplicates import files_of_samples
from skyfold.data.images import SUFFIXES, Resizable, Selectable
from skyfold.data.rescale import StoredPixels
from skyfold.data.segmentation_files import read_each
from skyfold.data.unlike_training import band_statistics, far_outside
from skyfold.errors import ConfigError, DataLayoutError, OofMismatch, Problems, shortened
from skyfold.files import digest, require_file, write_csv
from skyfold.progress import note
from skyfold.store.bundle import Bundle, open_bundle
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.locks import held
from skyfold.store.rows import RowStore
from skyfold.submission.formats import RleTable
from skyfold.tasks import build_task, task_class
from skyfold.tasks.predicted import Predicted
from skyfold.training.fold_trainer import FoldTrainer
from skyfold.types import JsonDict, Samples

UNLIKE = "unlike_training.csv"
WORK = ".work"  # below the folder of the predictions: what makes a killed command resume


def predict_bundle(
    path: Path,
    out: Path,
    *,
    images: Path | None = None,
    frames: Sequence[Path] = (),
    data: Path | None = None,
    sample: Path | None = None,
    outputs: Sequence[str] = (),
    skip_damaged: bool = False,
    code: Path | None = None,
    precision: Precision | None = None,
) -> list[Path]:
    """Predict with the bundle at `path`, and write `outputs` into the folder `out`. Returns their paths.

    images        a folder of images and nothing else; frames: files of the newest frames, which are forecast from; or
                  data: a folder laid out as the contest's, whose test part is predicted
    sample        a sample submission: its ids, in its order, are submitted
    outputs       names of `Task.OUTPUTS` of the bundle's task; none: the first
    skip_damaged  images that cannot be read get empty masks, and are listed in `skipped.csv`; those that are unlike the
                  training images are always predicted, and listed in `unlike_training.csv`
    code          folder of plug-ins; code is never read from the bundle
    precision     that networks compute in; None: that of training, to the same bits

    ConfigError or DataLayoutError, before anything is predicted, where the bundle and the files do not fit.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: a file, expected a folder. Name another --out.")
    (out / WORK).mkdir(parents=True, exist_ok=True)
    with held(writes=[out / WORK]):
        bundle = open_bundle(path, out / WORK / "bundle")
        task = task_class(bundle.manifest["task"])
        competition = _competition(bundle, code, data)
        task.require_outputs(outputs, competition)
        source, samples = _samples(competition, images, frames, data, out)
        skipped: dict[str, str] = {}
        if sample is None and data is not None:
            sample = competition.sample_table(data)
        ids = _wanted(competition, samples, sample, images or data)
        samples = _taken(samples, set(ids), "--sample")
        if skip_damaged:
            samples, skipped = _readable(samples)
        task.require_inputs(samples, bundle.manifest)
        unlike = _unlike(bundle, competition, samples, out / WORK)
        stores = [_rows_of_run(bundle, run, competition, samples, out / WORK, precision) for run in bundle.members()]
        gate = stores.pop() if bundle.manifest["gate"] else None
        rows = task.combine(bundle.manifest, samples, stores, out / WORK)
        values, probability = cast(np.ndarray, rows.checked), None if gate is None else gate.values
        made = Predicted(bundle, competition, samples, source, ids, sample, values, probability)
        written = [task.OUTPUTS[name](made, out) for name in outputs or list(task.OUTPUTS)[:1]]
        for name, reasons in (("skipped.csv", skipped), (UNLIKE, unlike)):
            (out / name).unlink(missing_ok=True)
            if reasons:
                written.append(out / name)
                write_csv(written[-1], [("id", "reason"), *reasons.items()])
        return written


def _competition(bundle: Bundle, code: Path | None, data: Path | None) -> Competition:
    """The competition as it was in training, for the files in `data`.

    ConfigError where code that it needs is missing, or is other code.
    """
    if code is not None:
        plugins.add_folder(code)
    for kind, expected in bundle.manifest["plugins"].items():
        package, _, name = kind.rpartition("/")
        if name not in plugins.names(package):
            raise ConfigError(f"the bundle needs {kind}.py, code outside skyfold. Give its folder: --plugins DIR.")
        if plugins.outside_digest(package, name) != expected:
            raise ConfigError(
                f"{kind}.py is not the code that the bundle was packed with. Give the folder of that code: "
                "--plugins DIR."
            )
    about = bundle.manifest["competition"]
    competition = build(about["name"], about["options"], data)
    if list(competition.classes) != bundle.manifest["classes"]:
        raise OofMismatch(
            f"{bundle.folder}: the bundle has the classes {', '.join(bundle.manifest['classes'])}, competition "
            f"'{about['name']}' of this skyfold {', '.join(competition.classes)}. Use the skyfold that packed it."
        )
    return competition


def _samples(
    competition: Competition, images: Path | None, frames: Sequence[Path], data: Path | None, out: Path
) -> tuple[Path | Sequence[Path], Samples]:
    """The folder or files that were named, and their samples; those below `out` were written by `predict_bundle`."""
    given = competition.given
    if sum(map(bool, (images, frames, data))) != 1:
        other = "" if given.startswith("--data") else f"{given}, or "
        raise ConfigError(f"name what to predict: {other}the contest's own folder: --data DIR.")
    for path in frames:
        require_file(path, "a file of frames")
    if frames:
        if competition.read_frames is None:
            raise ConfigError(f"competition '{competition.name}' reads no frames. Name what it reads: {given}.")
        return frames, competition.read_frames(frames)
    for folder in filter(None, (images, data)):
        if not folder.is_dir():
            raise DataLayoutError(f"{folder}: no such folder.")
    if data is not None:
        if "test" not in competition.parts:
            raise ConfigError(f"competition '{competition.name}' has no test part here. Name others: {given}.")
        return data, competition.load(data, "test")
    assert images is not None
    if competition.read_images is None:
        raise ConfigError(f"competition '{competition.name}' reads no folder of images. Name what it reads: {given}.")
    samples = competition.read_images(images)
    if deeper := left_out(images, samples, out):
        note(
            f"{images}: {len(deeper)} images in folders inside it are not predicted: {shortened(deeper)}. Predict each "
            "folder by itself, or move them up."
        )
    return images, samples


def left_out(folder: Path, samples: Samples, out: Path) -> list[str]:
    """Paths, from `folder`, of the images in folders inside it, but not below `out`, of which no sample is made, as far
    as samples tell."""
    if not isinstance(samples.inputs, Resizable):
        return []
    used = {path for files in files_of_samples(samples.inputs) for path in files}
    own = None if out.resolve() == folder.resolve() else out.resolve()
    inside = (path for path in folder.glob("*/**/*") if path.suffix.lower() in SUFFIXES and path not in used)
    others = (path for path in inside if own is None or not path.resolve().is_relative_to(own))
    return sorted(str(path.relative_to(folder)) for path in others)


def _wanted(competition: Competition, samples: Samples, sample: Path | None, folder: Path | None) -> list[str]:
    """Ids to submit: those of the sample submission, in its order, or all. DataLayoutError where one has no image."""
    found = samples.ids.tolist()
    table = competition.submission
    if sample is None or not isinstance(table, RleTable):
        return found
    listed = table.ids_of(table.read(sample))
    if not listed:
        raise DataLayoutError(f"{sample}: names no id. Write the rows below its header, or leave out --sample.")
    if missing := sorted(set(listed) - set(found)):
        raise DataLayoutError(
            f"{folder}: no image for {len(missing)} of the {len(listed)} ids of {sample}: {shortened(missing)}. Add "
            "them, or leave out --sample."
        )
    if more := sorted(set(found) - set(listed)):
        note(f"{folder}: {len(more)} images are not in {sample} and are not predicted: {shortened(more)}.")
    return listed


def _taken(samples: Samples, names: set[str], why: str) -> Samples:
    """The samples whose ids are among `names`; ConfigError, with `why`, where files cannot be left out."""
    rows = [row for row, name in enumerate(samples.ids.tolist()) if name in names]
    if len(rows) == len(samples):
        return samples
    if not isinstance(samples.inputs, Selectable):
        raise ConfigError(f"{why}: not supported for this competition, whose samples are more than one image file.")
    sizes = None if samples.sizes is None else samples.sizes[rows]
    return replace(samples, ids=samples.ids[rows], inputs=samples.inputs.take(rows), sizes=sizes)


def _readable(samples: Samples) -> tuple[Samples, dict[str, str]]:
    """The samples whose images can be read, and why the others cannot, by id."""
    problems, reasons = Problems(), {}

    def read(row: int) -> None:
        try:
            _ = samples.inputs[row]
        except DataLayoutError as error:
            reasons[str(samples.ids[row])] = str(error)

    read_each("reading images", read, range(len(samples)), problems)
    if reasons:
        note(f"{len(reasons)} images cannot be read and get empty masks: {shortened(sorted(reasons))}.")
    if len(reasons) == len(samples):
        raise DataLayoutError(f"none of the {len(samples)} images can be read. {next(iter(reasons.values()))}")
    return _taken(samples, set(samples.ids.tolist()) - set(reasons), "--on-error skip"), reasons


def _unlike(bundle: Bundle, competition: Competition, samples: Samples, work: Path) -> dict[str, str]:
    """Why samples are unlike the training images, by id; they are named, and predicted all the same."""
    if not (limits := bundle.manifest.get("limits")):
        return {}
    run = next(run for run in bundle.members() if run["name"] == limits["run"])
    task = build_task(RunConfig.model_validate(run["config"]), competition)
    arrays = task.arrays(samples, "test", work / "cache")
    assert isinstance(arrays, StoredPixels)
    rows = far_outside(band_statistics(arrays, len(samples)), limits)
    found = {str(samples.ids[row]): why for row, why in rows.items()}
    if found:
        note(
            f"{len(found)} of {len(samples)} images are unlike those of training, by the statistics of their bands; "
            f"{UNLIKE} says why: {shortened([*found])}. Look at them, and at what is predicted of them."
        )
    return found


def _rows_of_run(
    bundle: Bundle,
    run: JsonDict,
    competition: Competition,
    samples: Samples,
    work: Path,
    precision: Precision | None,
) -> RowStore:
    """The mean prediction of the fits of a run, as training stores it for the test part."""
    trained = RunConfig.model_validate(run["config"])
    config = trained if precision is None else trained.in_precision(precision)
    task = build_task(config, competition)
    arrays = task.arrays(samples, "test", work / "cache")
    fingerprint = Fingerprint.from_json(run["fingerprint"], str(bundle.folder))
    trainer = FoldTrainer(task, arrays, bundle.folder, fingerprint)
    trainer.threads = int(fingerprint.threads) if fingerprint.threads else None
    fits = bundle.fits(run)
    store = RowStore.open_or_create(
        work / "rows" / config.name,
        ids=samples.ids,
        shape=task.row_shape(arrays),
        dtype=task.dtype,
        fingerprint=digest(
            fingerprint.digest(),
            arrays.checksum,
            *(str(fit.weights_sha256) for fit in fits),
            *([] if config == trained else [str(precision)]),
        ),
    )
    trainer.predict(arrays, np.arange(len(samples)), store, fits, label=config.name)
    return store
