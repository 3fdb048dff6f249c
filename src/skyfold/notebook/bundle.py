"""A bundle in a notebook: predict a folder of images or arrays, with nothing left on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from skyfold.errors import ConfigError
from skyfold.notebook.display import html_table
from skyfold.pipeline.predict_bundle import predict_bundle
from skyfold.store.bundle import open_bundle
from skyfold.types import JsonDict


@dataclass(frozen=True, repr=False)
class PredictedImages:
    """Predictions of images by a bundle: one array each, all of one size or each of its own.

    ids: (n,) str, the names of the files; values: uint8 (H, W, K), 255 x the probability; masks: bool (H, W, K), after
    thresholds, minimum areas and gate.
    """

    ids: np.ndarray
    values: Sequence[np.ndarray]
    masks: Sequence[np.ndarray]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"predictions of {len(self)} images: {', '.join(self.classes)}"

    def _repr_html_(self) -> str:
        fractions = np.array([mask.mean(axis=(0, 1)) for mask in self.masks])
        by_class = {name: fractions[:, k] for k, name in enumerate(self.classes)}
        return html_table({"id": self.ids, **by_class}, "Fraction of the pixels in the mask of each class.")


@dataclass(frozen=True, repr=False)
class Bundle:
    """A packed blend. plugins: folder of the plug-ins that it needs."""

    path: Path
    manifest: JsonDict
    plugins: Path | None

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that it predicts, in the order of the last axis."""
        return tuple(self.manifest["classes"])

    @property
    def scores(self) -> JsonDict:
        """Scores of the blend when it was packed, out of fold."""
        found: JsonDict = self.manifest["scores"]
        return found

    def predict(self, images: str | Path | Sequence[np.ndarray]) -> PredictedImages:
        """Predict images as `skyfold predict` does.

        images: a folder of images and nothing else; or arrays (H, W, C), of the number type and bands that the bundle
        was trained on, which are predicted in their order. ConfigError where there are none; DataLayoutError where they
        do not fit the bundle.
        """
        with tempfile.TemporaryDirectory(prefix="skyfold-") as name:
            folder = Path(name)
            read_from = Path(images) if isinstance(images, str | Path) else _write(folder / "images", images)
            out = folder / "out"
            written = ("masks", "probabilities")
            predict_bundle(self.path, out, images=read_from, outputs=written, code=self.plugins)
            return self._read(out)

    def _read(self, out: Path) -> PredictedImages:
        files = sorted((out / "probabilities").glob("*.npy"))
        ids = [path.name.removesuffix(".npy") for path in files]
        labels = [f"_{label}" for label in self.classes] if len(self.classes) > 1 else [""]
        masks = [
            np.stack([np.asarray(Image.open(out / "masks" / f"{name}{label}.png")) > 0 for label in labels], axis=-1)
            for name in ids
        ]
        return PredictedImages(np.array(ids), [np.load(path) for path in files], masks, self.classes)

    def __repr__(self) -> str:
        return f"bundle '{self.manifest['name']}': {', '.join(self.classes)}"

    def _repr_html_(self) -> str:
        scores = {key: [value] for key, value in self.scores.items() if isinstance(value, float)}
        return html_table({"bundle": [self.manifest["name"]], "classes": [", ".join(self.classes)], **scores})


def load_bundle(path: str | Path, *, plugins: str | Path | None = None) -> Bundle:
    """The bundle in the folder or zip file `path`, every file compared with its checksum.

    plugins: folder of the plug-ins that it needs; code is never read from a bundle. ConfigError where there is no
    bundle, DamagedFile where a file of it changed.
    """
    with tempfile.TemporaryDirectory(prefix="skyfold-") as unpacked:
        manifest = open_bundle(Path(path), Path(unpacked) / "bundle").manifest
    return Bundle(Path(path), manifest, None if plugins is None else Path(plugins))


def _write(folder: Path, images: Sequence[np.ndarray]) -> Path:
    """The images as files whose names are in their order."""
    if not len(images):
        raise ConfigError("images: there are none. Give a folder, or a list of arrays (H, W, C).")
    folder.mkdir()
    digits = len(str(len(images)))
    for number, image in enumerate(images):
        np.save(folder / f"{number:0{digits}}.npy", image, allow_pickle=False)
    return folder
