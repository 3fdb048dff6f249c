"""Boosted trees of scikit-learn as plain arrays, which predict the same bits without it.

scikit-learn stores what it fitted as pickled code only, which nothing here ever loads.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from skyfold.errors import DamagedFile
from skyfold.types import JsonDict

CELLS_AT_ONCE = 1 << 14  # so that what is gone through for every tree stays in the processor's cache


@dataclass(frozen=True)
class PackedTrees:
    """A fitted `HistGradientBoostingRegressor` or `-Classifier` of columns without NaN.

    roots: (T,) node that each tree begins with, those of one iteration after each other; feature, left, right: int32
    (N,) of each node, left -1 at a leaf; threshold, value: float64 (N,); baseline: float64 (K,), K trees an iteration;
    classes_: int64, none of a regressor.
    """

    ARRAYS: ClassVar = {
        **dict.fromkeys(("roots", "feature", "left", "right"), "<i4"),
        **dict.fromkeys(("threshold", "value", "baseline"), "<f8"),
        "classes_": "<i8",
    }

    roots: np.ndarray
    feature: np.ndarray
    left: np.ndarray
    right: np.ndarray
    threshold: np.ndarray
    value: np.ndarray
    baseline: np.ndarray
    classes_: np.ndarray

    @classmethod
    def of(cls, model: Any) -> PackedTrees:
        """What a scikit-learn `model` fitted."""
        trees = [tree.nodes for iteration in model._predictors for tree in iteration]
        roots = np.cumsum([0, *map(len, trees)])
        nodes = np.concatenate(trees)
        first = np.repeat(roots[:-1], [*map(len, trees)])  # children are numbered within their tree
        leaf = nodes["is_leaf"].astype(bool)
        arrays = {
            "roots": roots[:-1],
            "feature": nodes["feature_idx"],
            "left": np.where(leaf, -1, nodes["left"] + first),
            "right": np.where(leaf, -1, nodes["right"] + first),
            "threshold": nodes["num_threshold"],
            "value": nodes["value"],
            "baseline": model._baseline_prediction.ravel(),
            "classes_": getattr(model, "classes_", np.array([])),
        }
        return cls(**{name: array.astype(cls.ARRAYS[name]) for name, array in arrays.items()})

    def predict(self, columns: np.ndarray) -> np.ndarray:
        """Values of a regressor, float64 (n,); columns (n, F)."""
        return self._raw(columns)[:, 0]

    def predict_proba(self, columns: np.ndarray) -> np.ndarray:
        """Probabilities of a classifier, float64 (n, classes); columns (n, F)."""
        raw = self._raw(columns)
        if len(self.baseline) == 1:
            from scipy.special import expit

            above = expit(raw[:, 0])
            return np.stack([1 - above, above], axis=1)
        raw -= raw.max(axis=1).reshape(-1, 1)
        np.exp(raw, out=raw)
        raw /= raw.sum(axis=1).reshape(-1, 1)
        return raw

    def _raw(self, columns: np.ndarray) -> np.ndarray:
        """float64 (n, K): the baseline plus the value of each tree, added tree by tree, as scikit-learn does."""
        found = np.zeros((len(columns), len(self.baseline)), order="F")
        found += self.baseline
        for start in range(0, len(columns), CELLS_AT_ONCE):
            some = columns[start : start + CELLS_AT_ONCE].astype(np.float64)
            for number, root in enumerate(self.roots.tolist()):
                leaves = self._leaves(some, root)
                found[start : start + len(some), number % len(self.baseline)] += self.value[leaves]
        return found

    def _leaves(self, columns: np.ndarray, root: int) -> np.ndarray:
        """The leaf of the tree that begins with node `root` that each row of `columns` falls into."""
        node = np.full(len(columns), root)
        inner = np.flatnonzero(self.left[node] >= 0)
        while len(inner):
            here = node[inner]
            low = columns[inner, self.feature[here]] <= self.threshold[here]
            node[inner] = np.where(low, self.left[here], self.right[here])
            inner = inner[self.left[node[inner]] >= 0]
        return node

    def to_dict(self) -> JsonDict:
        """As JSON holds it: each array compressed, as text."""
        packed = {name: zlib.compress(getattr(self, name).tobytes(), 9) for name in self.ARRAYS}
        return {name: base64.b64encode(data).decode() for name, data in packed.items()}

    @classmethod
    def from_dict(cls, values: JsonDict) -> PackedTrees:
        """What `to_dict` gave; DamagedFile where a node leads to none behind it, so that no row would find a leaf."""
        packed = {name: zlib.decompress(base64.b64decode(values[name])) for name in cls.ARRAYS}
        trees = cls(**{name: np.frombuffer(packed[name], kind) for name, kind in cls.ARRAYS.items()})
        count, node = len(trees.value), np.flatnonzero(trees.left >= 0)
        children = np.stack([trees.left[node], trees.right[node]])
        if (children <= node).any() or (children >= count).any() or not len(trees.roots):
            raise DamagedFile("boosted trees of the bundle have nodes that lead nowhere. Copy the bundle again.")
        return trees
