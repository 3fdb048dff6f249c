"""Near-identical images: also recompressed, resized, mirrored, turned, brighter or darker.

Images are compared as small grey ones, in all eight ways to lay a square on itself. What all images of a data set share
(the frame of a camera, a coast) is subtracted first. Coarse structure finds candidates, fine structure decides: two
different skies may have the same light and dark halves, but not the same edges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from skyfold.data.thumbnails import SIDE
from skyfold.progress import Progress

COARSE = 16  # of those that find candidates
CANDIDATES = 4  # a view of an image is compared closely with at most this many others
COARSE_LEAST = 0.5  # correlation of coarse structure below which two images are no candidates
FINE_LEAST = 0.92  # correlation of fine structure from which on they are copies
FINE_SIGMA = 2.0  # pixels of SIDE: structure that is larger is light and shade
STRONGEST = 1.0  # of fine structure, in standard deviations: one strong edge, of missing data for instance, is not all
LEAST_GREY = 0.5  # standard deviation of fine structure below which an image is of one colour, in grey levels
BLOCK = 512
BYTES = "byte for byte"  # in the place of a view, of files that are equal

View = Callable[[np.ndarray], np.ndarray]
VIEWS: Mapping[str, View] = {  # of arrays (n, side, side)
    "as it is": lambda x: x,
    "mirrored": lambda x: x[:, :, ::-1],
    "upside down": lambda x: x[:, ::-1],
    "turned by 180": lambda x: x[:, ::-1, ::-1],
    "turned by 90": lambda x: np.rot90(x, 1, (1, 2)),
    "turned by 270": lambda x: np.rot90(x, 3, (1, 2)),
    "transposed": lambda x: x.swapaxes(1, 2),
    "transposed and turned by 180": lambda x: x.swapaxes(1, 2)[:, ::-1, ::-1],
}


@dataclass(frozen=True)
class Copy:
    """Images `first` < `second`; view: how `second` has to be laid to lie on `first`; similarity: -1..1."""

    first: int
    second: int
    view: str
    similarity: float

    @property
    def laid_alike(self) -> bool:
        """Whether a pixel of one shows what the same pixel of the other shows."""
        return self.view in (BYTES, "as it is")


def near_copies(grey: np.ndarray) -> list[Copy]:
    """Pairs of images that are near-identical, each pair once, in the view in which they are most alike.

    grey: float32 (n, SIDE, SIDE), see `thumbnails.look_at`. Images of one colour are no copies of each other.
    """
    fine = grey - np.stack([cv2.GaussianBlur(one, (0, 0), FINE_SIGMA) for one in grey])
    rows = np.flatnonzero(fine.std(axis=(1, 2)) >= LEAST_GREY)
    if len(rows) < 2:
        return []
    coarse = _coarse(grey[rows])
    fine = np.clip(_standardised(fine[rows]), -STRONGEST, STRONGEST)
    of_all = [(part.mean(axis=0), part.std(axis=0)) for part in (coarse, fine)]
    plain = _unit(coarse, *of_all[0])
    plain_fine = _unit(fine, *of_all[1])
    best: dict[tuple[int, int], Copy] = {}
    with Progress("looking for copies", len(VIEWS) * len(rows), "images") as progress:
        for name, view in VIEWS.items():
            laid = _unit(view(coarse), *of_all[0]).reshape(len(rows), -1)
            laid_fine = _unit(view(fine), *of_all[1])
            for start in range(0, len(rows), BLOCK):
                pairs = _candidates(plain[start : start + BLOCK].reshape(-1, COARSE * COARSE), laid, start)
                for i, j in pairs:
                    similarity = float((plain_fine[i] * laid_fine[j]).sum())
                    key = int(rows[i]), int(rows[j])
                    if similarity >= FINE_LEAST and (key not in best or best[key].similarity < similarity):
                        best[key] = Copy(*key, name, similarity)
                progress.advance(min(BLOCK, len(rows) - start))
    return [best[key] for key in sorted(best)]


def coarse_structure(grey: np.ndarray) -> np.ndarray:
    """Unit vectors float32 (n, D) of coarse structure, without what all images share: their products say how alike
    images are, 0 for those that have nothing in common. grey: as `near_copies`."""
    coarse = _coarse(grey)
    return _unit(coarse, coarse.mean(axis=0), coarse.std(axis=0)).reshape(len(grey), -1)


def _coarse(grey: np.ndarray) -> np.ndarray:
    cells = grey.reshape(len(grey), COARSE, SIDE // COARSE, COARSE, SIDE // COARSE)
    return _standardised(cells.mean(axis=(2, 4)))


def _standardised(images: np.ndarray) -> np.ndarray:
    """Images (n, side, side) of mean 0 and standard deviation 1."""
    centred = images - images.mean(axis=(1, 2), keepdims=True)
    return np.asarray(centred / np.maximum(centred.std(axis=(1, 2), keepdims=True), 1e-6))


def _unit(images: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Images (n, side, side) without what all share, of length 1: their products are correlations."""
    own = (images - mean) / (deviation + np.float32(0.1))
    return np.asarray(own / np.maximum(np.linalg.norm(own, axis=(1, 2), keepdims=True), 1e-6))


def _candidates(block: np.ndarray, laid: np.ndarray, start: int) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of the images `start`... of `block` and the most similar of all images `laid`."""
    correlation = block @ laid.T
    number, columns = np.arange(start, start + len(block)), np.arange(len(laid))
    correlation[columns[np.newaxis] <= number[:, np.newaxis]] = -1
    count = min(CANDIDATES, len(laid))
    nearest = np.argpartition(-correlation, count - 1, axis=1)[:, :count]
    near = np.take_along_axis(correlation, nearest, axis=1) >= COARSE_LEAST
    return [(int(number[row]), int(nearest[row, k])) for row, k in zip(*np.nonzero(near), strict=True)]
