"""Predict images with a bundle: no training data, no network, nothing written but below one folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from skyfold import plugins
from skyfold.blending.recipe import Combination
from skyfold.competition import Competition, build
from skyfold.config.run import RunConfig
from skyfold.data.images import Selectable
from skyfold.data.segmentation_files import read_each
from skyfold.errors import ConfigError, DataLayoutError, OofMismatch, Problems, shortened
from skyfold.files import digest, file_digest, write_atomic, write_csv
from skyfold.pipeline.products import colours_of, scene_maps, write_products
from skyfold.postprocess.masks import chosen_masks
from skyfold.progress import Progress, note
from skyfold.reports.mask_plot import draw_masks
from skyfold.store.bundle import MANIFEST, Bundle, open_bundle
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.locks import held
from skyfold.store.rows import RowStore, Shape, release_pages, row_shape
from skyfold.submission.formats import RleTable
from skyfold.submission.write import write_submission
from skyfold.tasks import build_task
from skyfold.training.fold_trainer import FoldTrainer
from skyfold.types import ArraySequence, JsonDict, LazyArrays, Samples

WORK = ".work"  # below the folder of the predictions: what makes a killed command resume


def predict_bundle(
    path: Path,
    out: Path,
    *,
    images: Path | None = None,
    data: Path | None = None,
    sample: Path | None = None,
    outputs: Sequence[str] = ("csv",),
    preview: int = 0,
    skip_damaged: bool = False,
    code: Path | None = None,
) -> list[Path]:
    """Predict every image with the bundle at `path`, and write `outputs` into the folder `out`. Returns their paths.

    images        a folder of images and nothing else; or data: a folder laid out as the contest's, whose test part is
                  predicted
    sample        a sample submission: its ids, in its order, are submitted
    outputs       "csv": `submission.csv`, in the contest's format; "masks": a PNG of 0 and 255 for each image and
                  class; "products": maps in the classes' colours, see `products.write_products`; "probabilities": a
                  `.npy` of 255 x the probability for each image, uint8 (H, W, K)
    preview       so many images, evenly spread, are drawn with their masks in `preview.png`
    skip_damaged  images that cannot be read get empty masks, and are listed in `skipped.csv`
    code          folder of plug-ins; code is never read from the bundle

    ConfigError or DataLayoutError, before anything is predicted, where the bundle and the images do not fit.
    """
    (out / WORK).mkdir(parents=True, exist_ok=True)
    with held(writes=[out / WORK]):
        bundle = open_bundle(path, out / WORK / "bundle")
        competition = _competition(bundle, code)
        if "products" in outputs:
            colours_of(competition)
        samples = _samples(competition, images, data)
        skipped: dict[str, str] = {}
        if sample is None and data is not None:
            sample = competition.sample_table(data)
        ids = _wanted(competition, samples, sample, images or data)
        samples = _taken(samples, set(ids), "--sample")
        if skip_damaged:
            samples, skipped = _readable(samples)
        _require_inputs(bundle, samples)
        masks, values = _predicted(bundle, competition, samples, out / WORK)
        written = []
        if "csv" in outputs:
            written.append(_write_table(bundle, competition, samples, masks, ids, sample, out / "submission.csv"))
        if "masks" in outputs:
            written.append(_write_masks(out / "masks", samples.ids, masks, competition.classes))
        if "products" in outputs:
            maps = scene_maps(competition, samples, samples.ids, values if competition.colours else masks)
            written.append(out / "products")
            write_products(written[-1], maps, colours_of(competition), count=len(samples))
        if "probabilities" in outputs:
            written.append(_write_probabilities(out / "probabilities", samples.ids, values))
        if preview:
            written.append(_draw_preview(out / "preview.png", bundle, samples, masks, preview))
        if skipped:
            written.append(out / "skipped.csv")
            write_csv(written[-1], [("id", "reason"), *skipped.items()])
        return written


def _competition(bundle: Bundle, code: Path | None) -> Competition:
    """The competition as it was in training. ConfigError where code that it needs is missing, or is other code."""
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
    competition = build(about["name"], about["options"])
    if list(competition.classes) != bundle.manifest["classes"]:
        raise OofMismatch(
            f"{bundle.folder}: the bundle has the classes {', '.join(bundle.manifest['classes'])}, competition "
            f"'{about['name']}' of this skyfold {', '.join(competition.classes)}. Use the skyfold that packed it."
        )
    return competition


def _samples(competition: Competition, images: Path | None, data: Path | None) -> Samples:
    if (images is None) == (data is None):
        raise ConfigError("name the images to predict: --images DIR, or the contest's own folder: --data DIR.")
    for folder in filter(None, (images, data)):
        if not folder.is_dir():
            raise DataLayoutError(f"{folder}: no such folder.")
    if data is not None:
        if "test" not in competition.parts:
            raise ConfigError(f"competition '{competition.name}' has no test part here. Name a folder: --images DIR.")
        return competition.load(data, "test")
    assert images is not None
    if competition.read_images is None:
        raise ConfigError(
            f"competition '{competition.name}' reads no folder of images. Name its own folder: --data DIR."
        )
    return competition.read_images(images)


def _wanted(competition: Competition, samples: Samples, sample: Path | None, folder: Path | None) -> list[str]:
    """Ids to submit: those of the sample submission, in its order, or all. DataLayoutError where one has no image."""
    found = samples.ids.tolist()
    table = competition.submission
    if sample is None or not isinstance(table, RleTable):
        return found
    listed = table.ids_of(table.read(sample))
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


def _require_inputs(bundle: Bundle, samples: Samples) -> None:
    first, wanted = samples.inputs[0], bundle.manifest["inputs"]
    if (first.shape[-1], first.dtype.name) != (wanted["bands"], wanted["dtype"]):
        raise DataLayoutError(
            f"'{samples.ids[0]}': {first.shape[-1]} bands of {first.dtype.name}; the bundle was trained on "
            f"{wanted['bands']} bands of {wanted['dtype']}. Write the images as those were."
        )


def _predicted(
    bundle: Bundle, competition: Competition, samples: Samples, work: Path
) -> tuple[ArraySequence, np.ndarray]:
    """Submitted masks and blended rows of all samples; rows are kept in `work`, so that a killed command resumes."""
    manifest = bundle.manifest
    stores = [_rows_of_run(bundle, run, competition, samples, work) for run in manifest["runs"]]
    about_gate = manifest["gate"]
    gate = None if about_gate is None else _rows_of_run(bundle, about_gate, competition, samples, work)
    combination, arrays = Combination.from_dict(manifest["combination"]), [store.values for store in stores]
    classes = combination.classes(arrays)
    shape: Shape | list[Shape] = (*arrays[0].shape[1:-1], classes)
    if None in shape:
        shape = [(*row_shape(arrays[0], row)[:-1], classes) for row in range(len(samples))]
    made_of = digest(combination.hash(), *(store.fingerprint for store in stores))
    blended = RowStore.open_or_create(
        work / "blend", ids=samples.ids, shape=shape, dtype=arrays[0].dtype.str, fingerprint=made_of
    )
    missing = np.flatnonzero(~blended.complete)
    if len(missing):
        with Progress("blending", len(missing), "rows") as progress:
            for chunk, values in combination.rows(arrays, missing):
                blended.write(chunk, values)
                release_pages(blended.values)
                progress.advance(len(chunk))
        blended.flush()
    values = cast(np.ndarray, blended.checked)
    return chosen_masks(manifest, "final", values, None if gate is None else gate.values), values


def _rows_of_run(bundle: Bundle, run: JsonDict, competition: Competition, samples: Samples, work: Path) -> RowStore:
    """The mean prediction of the fits of a run, as training stores it for the test part."""
    config = RunConfig.model_validate(run["config"])
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
        fingerprint=digest(fingerprint.digest(), arrays.checksum, *(str(fit.weights_sha256) for fit in fits)),
    )
    trainer.predict(arrays, np.arange(len(samples)), store, fits, label=config.name)
    return store


def _write_table(
    bundle: Bundle,
    competition: Competition,
    samples: Samples,
    masks: ArraySequence,
    ids: Sequence[str],
    sample: Path | None,
    path: Path,
) -> Path:
    """The submission of `ids`, in their order; an id without a sample gets an empty mask."""
    table, row_of = competition.submission, {name: row for row, name in enumerate(samples.ids.tolist())}
    if samples.sizes is not None and isinstance(table, RleTable):
        own = zip(samples.ids.tolist(), samples.sizes.tolist(), strict=True)
        table = replace(table, sizes={name: (height, width) for name, (height, width) in own})
    empty = np.zeros((*(competition.grid or (1, 1)), len(competition.classes)), dtype=bool)
    values = LazyArrays(len(ids), lambda i: masks[row_of[ids[i]]] if ids[i] in row_of else empty)
    manifest = bundle.manifest
    about = {
        "name": manifest["name"],
        "stage": "final",
        "bundle": file_digest(bundle.folder / MANIFEST),
        "scores": manifest["scores"],
    }
    write_submission(path, np.array(ids), values, table, sample, {**about, "metric": manifest["metric"]})
    return path


def _write_masks(folder: Path, ids: np.ndarray, masks: ArraySequence, classes: Sequence[str]) -> Path:
    """`<id>.png`, with several classes `<id>_<class>.png`: 255 in the mask, else 0."""
    folder.mkdir(exist_ok=True)
    with Progress("writing masks", len(ids)) as progress:
        for row, name in enumerate(ids.tolist()):
            mask = masks[row]
            for place, label in enumerate(classes):
                path = folder / (f"{name}_{label}.png" if len(classes) > 1 else f"{name}.png")
                picture = Image.fromarray(255 * mask[..., place].astype(np.uint8))
                write_atomic(path, partial(picture.save, format="PNG"))
            progress.advance()
    return folder


def _draw_preview(path: Path, bundle: Bundle, samples: Samples, masks: ArraySequence, count: int) -> Path:
    rows = np.unique(np.linspace(0, len(samples) - 1, count).round().astype(int)).tolist()
    draw_masks(
        path,
        images=[samples.inputs[row] for row in rows],
        pred=[masks[row] for row in rows],
        classes=bundle.manifest["classes"],
        captions=[str(samples.ids[row]) for row in rows],
        title=f"{bundle.manifest['name']}, {len(rows)} of {len(samples)} images",
    )
    return path


def _write_probabilities(folder: Path, ids: np.ndarray, values: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    for row, name in enumerate(ids.tolist()):
        write_atomic(folder / f"{name}.npy", partial(np.save, arr=np.asarray(values[row]), allow_pickle=False))
    return folder
