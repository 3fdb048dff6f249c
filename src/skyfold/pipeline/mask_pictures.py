"""Pictures of the out-of-fold masks of a run or blend: image, truth, prediction and error, with the scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from skyfold.config.blend import BlendConfig
from skyfold.config.run import RunConfig
from skyfold.data.class_subset import of_classes
from skyfold.errors import ConfigError
from skyfold.files import write_atomic
from skyfold.pipeline.stored_masks import stored_masks
from skyfold.plugins import nearest
from skyfold.postprocess.evaluate import SampleScores
from skyfold.reports.mask_plot import MaskPanels, draw_samples
from skyfold.store.rows import RowStore
from skyfold.tasks import task_class
from skyfold.tasks.stored_blend import read_blend, read_member
from skyfold.types import VolumeMetric
from skyfold.workspace import Workspace

WORST = 12  # samples, where none are named


def draw_mask_pictures(
    config: RunConfig | BlendConfig,
    workspace: Workspace,
    *,
    ids: Sequence[str] = (),
    worst: int | None = None,
    label: str | None = None,
) -> list[Path]:
    """Draw samples of a scored run or blend into `pictures` in its folder; returns the files.

    ids: samples, a file each; worst: how many of the worst, on one sheet, with neither `WORST`; label: a class, to draw
    and rank by it only. ConfigError on a sample or class that does not exist, and where slices of volumes,
    which have no score of their own, would be ranked; OofMismatch on what is not stored or not scored, or was made with
    another config or from other data.
    """
    task = task_class(config.task)
    if not task.MASKS:
        raise ConfigError(f"'{config.name}' is of task: {config.task}, which predicts no masks to draw.")
    folder, dataset = workspace.run(config.data.folder, config.name), task.open_targets(config.data, workspace)
    blend, known = None, dataset.competition.classes
    if isinstance(config, BlendConfig):
        blend, classes = read_blend(config, workspace, dataset.contents), known
    else:
        classes = read_member(config, dataset, workspace).info.classes
    scores = task.sample_scores(folder)
    if label is not None and label not in classes:
        there = f"There are: {', '.join(classes)}."
        raise ConfigError(f"--class {label}: no class of '{config.name}'{nearest(label, list(classes))}. {there}")
    if isinstance(scores.metric, VolumeMetric) and not ids and label is None:
        raise ConfigError(f"'{scores.metric.name}' scores volumes, not slices. Name slices with --id, or a --class.")
    own, place = scores.of_samples(label), {name: row for row, name in enumerate(scores.rows["id"].tolist())}
    if unknown := [name for name in ids if name not in place]:
        raise ConfigError(f"no scored sample '{unknown[0]}'{nearest(unknown[0], list(place))}.")
    samples = of_classes(dataset.train, known, classes)
    store = RowStore.open(folder / "oof")
    masks = stored_masks(folder, store, blend, samples.valid)
    row_of = {name: row for row, name in enumerate(store.ids.tolist())}
    planes = [classes.index(label)] if label else list(range(len(classes)))

    def panels(name: str) -> MaskPanels:
        row = row_of[name]
        assert samples.targets is not None
        return MaskPanels(
            image=samples.inputs[row],
            truth=samples.targets[row].astype(bool)[..., planes],
            pred=masks[row][..., planes],
            valid=None if samples.valid is None else samples.valid[row],
            caption=_caption(scores, place[name], name, float(own[place[name]]), [] if label else classes),
        )

    def write(path: Path, names: Sequence[str], what: str) -> Path:
        of = f", {label}" if label else ""
        title = f"{config.data.folder}, {config.name}{of}: {what}, out of fold, {scores.metric.name.replace('_', ' ')}"
        png = draw_samples([panels(name) for name in names], classes=[classes[k] for k in planes], title=title)
        write_atomic(path, lambda beside: beside.write_bytes(png))
        return path

    pictures, of = folder / "pictures", f"_{label}" if label else ""
    files = [write(pictures / f"{Path(name).stem}{of}.png", [name], name) for name in ids]
    count = worst or (0 if ids else WORST)
    if count and (lowest := scores.worst_first(own)[:count]):
        chosen = [str(scores.rows["id"].iloc[row]) for row in lowest]
        files.append(write(pictures / f"worst{of}.png", chosen, f"the {len(chosen)} worst"))
    return files


def _caption(scores: SampleScores, row: int, name: str, score: float, classes: Sequence[str]) -> str:
    """Name and score of a sample, and the score of each of its maps where there are several."""
    maps = {one: own[row] for one in classes if (own := scores.of_class(one)) is not None}
    parts = [f"{one} {value:.4f}" for one, value in maps.items() if np.isfinite(value)] if len(maps) > 1 else []
    return f"{name}: {score:.4f}" + (f" ({', '.join(parts)})" if parts else "")
