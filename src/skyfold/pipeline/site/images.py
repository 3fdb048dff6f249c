"""Thumbnails of out-of-fold predictions, each made once and kept under a name that depends on what it shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from skyfold.config.data import DataConfig
from skyfold.data.class_subset import of_classes
from skyfold.data.dataset import Dataset, with_masks_packed
from skyfold.errors import OofMismatch
from skyfold.files import digest, write_atomic
from skyfold.pipeline.outdated import data_of
from skyfold.pipeline.site.stored import StoredEntry
from skyfold.pipeline.stored_masks import stored_masks
from skyfold.reports.site.pages import Prediction
from skyfold.reports.site.thumbnails import errors_webp, image_webp, masks_webp
from skyfold.store.rows import RowStore, release_pages
from skyfold.tasks import task_class
from skyfold.types import ArraySequence, Samples
from skyfold.workspace import Workspace

FOLDER = "images"  # in the site


@dataclass
class Thumbnails:
    """Writes thumbnails into the site `folder`; those that are there already are kept. shown: addresses of all that
    are asked for are added."""

    dataset: Dataset
    folder: Path
    shown: set[str]

    def __post_init__(self) -> None:
        self._opened: dict[Path, tuple[RowStore, dict[str, int], ArraySequence, str]] = {}
        self._rows = {name: row for row, name in enumerate(self.dataset.train.ids.tolist())}
        contents = self.dataset.contents.parts["train"]
        self._digests = {"inputs": contents.inputs, "targets": contents.targets}

    def predictions(self, entry: StoredEntry, captions: Mapping[str, str], *, errors: bool = True) -> list[Prediction]:
        """Samples as `entry` predicts them: truth, prediction and, with `errors`, error. captions: by id."""
        if entry.folder not in self._opened:  # to check the ids of a store takes longer than to draw a page
            store, blend, how = entry.oof, entry.blend, "at 0.5"
            masks = stored_masks(entry.folder, store, blend, self.dataset.train.valid)
            place = {name: row for row, name in enumerate(store.ids.tolist())}
            if blend is not None:
                how = f"{blend['selection']['final']} {blend.get('presence_stack')} {blend['gate']}"
            self._opened[entry.folder] = store, place, masks, how
        store, place, masks, how = self._opened[entry.folder]
        samples = of_classes(self.dataset.train, self.dataset.competition.classes, entry.info.classes)
        found = []
        for name, caption in captions.items():
            if name not in self._rows:
                raise OofMismatch(f"'{name}' is not in the data any more; '{entry.info.name}' was made from it.")
            mask = partial(masks.__getitem__, place[name])
            counted = [own.get(name, "") for own in self._digests.values()]  # which pixels count
            key = digest(how, name, store.row_checksum(place[name]), *counted)
            found.append(self.prediction(name, caption, samples, mask, key, errors))
        release_pages(store.values)  # stores of all entries stay open
        return found

    def prediction(
        self, name: str, caption: str, samples: Samples, mask: Callable[[], np.ndarray], key: str, errors: bool
    ) -> Prediction:
        """The sample `name` of `samples`; mask: makes its predicted mask; key: of what that depends on."""
        row, targets = self._rows[name], samples.targets
        assert targets is not None
        image_key = digest("image", name, self._digests["inputs"].get(name, ""))
        truth = np.asarray(targets[row].astype(bool))
        truth_key = digest("truth", name, self._digests["targets"].get(name, ""), str(truth.shape[-1]))
        valid = None if samples.valid is None else samples.valid[row]
        layers = [
            ("truth", self._write(truth_key, lambda: masks_webp(truth))),
            ("prediction", self._write(f"{key}p", lambda: masks_webp(mask()))),
        ]
        if errors:
            made = self._write(digest(key, truth_key), lambda: errors_webp(truth, mask(), valid))
            layers.append(("error", made))
        return Prediction(name, caption, self._write(image_key, lambda: image_webp(samples.inputs[row])), layers)

    def _write(self, key: str, make: Callable[[], bytes]) -> str:
        """Address of the thumbnail `key`, from the site's folder."""
        address = f"{FOLDER}/{key}.webp"
        path = self.folder / address
        self.shown.add(address)
        if not path.is_file():
            data = make()
            write_atomic(path, lambda beside: beside.write_bytes(data))
        return address


def data_of_masks(
    entries: Sequence[StoredEntry], workspace: Workspace, at_hand: dict[str, Dataset | None]
) -> Dataset | None:
    """The data that `entries` were made from; None where they cannot be read, which a note says, and of tasks without
    masks. at_hand: as of `outdated.data_of`."""
    entry = next((one for one in entries if task_class(one.info.task).MASKS and "data" in one.info.config), None)
    dataset = None if entry is None else data_of(entry.info, workspace, at_hand)
    if entry is None or dataset is None:
        return None
    return with_masks_packed(dataset, DataConfig.model_validate(entry.info.config["data"]), workspace)
