"""Out-of-fold masks of a stored run or blend, as pictures of it show them."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np

from skyfold.postprocess.selection import HALF, chosen_masks
from skyfold.store.rows import RowStore
from skyfold.types import ArraySequence, JsonDict, LazyArrays


def stored_masks(folder: Path, store: RowStore, blend: JsonDict | None, valid: ArraySequence | None) -> ArraySequence:
    """The mask of each row of `store`, the out-of-fold rows of the run or blend in `folder`: bool (H, W, K), computed
    when it is indexed.

    blend: its `blend.json`, whose masks are those that are submitted; None: masks of probability above 0.5; valid: of
    the samples of the rows, other pixels are in no mask. A row that is damaged raises OofMismatch when it is read.
    """
    masks = _whole_masks(folder, store, blend, valid)
    if valid is None:
        return masks
    return LazyArrays(len(store), lambda row: masks[row] & valid[row][..., np.newaxis])


def _whole_masks(folder: Path, store: RowStore, blend: JsonDict | None, valid: ArraySequence | None) -> ArraySequence:
    if blend is None:
        return LazyArrays(len(store), lambda row: np.asarray(store[row] > HALF))
    gate, gate_prob = blend["gate"], None
    if gate:
        gate_prob = cast(np.ndarray, RowStore.open(folder.with_name(gate["name"]) / "oof").checked)
    return chosen_masks(blend, "final", cast(np.ndarray, store.checked), gate_prob, valid)
