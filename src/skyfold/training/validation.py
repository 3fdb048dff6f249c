"""The score that early stopping, the choice of the best epoch and the plateau schedule go by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from skyfold.types import Metric


class Collected(Protocol):
    def add(self, targets: np.ndarray, logits: np.ndarray) -> None: ...

    def score(self) -> float: ...


class ValidationScore(Protocol):
    """How well logits answer targets; `begin` starts a pass over the validation rows, batch by batch."""

    @property
    def name(self) -> str: ...

    @property
    def greater_is_better(self) -> bool: ...

    def begin(self) -> Collected: ...


@dataclass(frozen=True)
class MaskScore:
    """The competition's metric of masks cut at probability 0.5, at the size the network sees.

    one_class: each pixel is given to its most probable class instead.
    """

    metric: Metric
    one_class: bool = False

    @property
    def name(self) -> str:
        return self.metric.name

    @property
    def greater_is_better(self) -> bool:
        return self.metric.greater_is_better

    def begin(self) -> Collected:
        return _CollectedMasks(self.metric, self.one_class)


@dataclass(frozen=True)
class ErrorScore:
    """Mean absolute error of forecasts over the cells that count, by their weights, in what the view says of them."""

    name: str = "mean absolute error"
    greater_is_better: bool = False

    def begin(self) -> Collected:
        return _CollectedErrors()


@dataclass(frozen=True)
class PresenceScore:
    """Mean over classes of the average precision; a class that no row, or every row, shows has none and is left out."""

    name: str = "mean average precision"
    greater_is_better: bool = True

    def begin(self) -> Collected:
        return _CollectedPresence()


class _CollectedMasks:
    def __init__(self, metric: Metric, one_class: bool) -> None:
        self._metric, self._one_class = metric, one_class
        self._stats: list[np.ndarray] = []

    def add(self, targets: np.ndarray, logits: np.ndarray) -> None:
        valid = targets[..., -1].astype(bool)
        masks = targets[..., :-1].astype(bool)
        classes = np.arange(logits.shape[-1])
        pred = logits.argmax(axis=-1)[..., np.newaxis] == classes if self._one_class else logits > 0
        self._stats.append(self._metric.stats(target=masks, pred=pred, valid=valid))

    def score(self) -> float:
        return float(self._metric.score(np.concatenate(self._stats)))


class _CollectedErrors:
    def __init__(self) -> None:
        self._error = self._weight = 0.0

    def add(self, targets: np.ndarray, logits: np.ndarray) -> None:
        leads = logits.shape[-1]
        weights = targets[..., leads:].astype(np.float64)
        counted = weights > 0
        self._error += float((np.abs(targets[..., :leads] - logits)[counted] * weights[counted]).sum())
        self._weight += float(weights.sum())

    def score(self) -> float:
        return self._error / self._weight if self._weight else 0.0


class _CollectedPresence:
    def __init__(self) -> None:
        self._labels: list[np.ndarray] = []
        self._logits: list[np.ndarray] = []

    def add(self, targets: np.ndarray, logits: np.ndarray) -> None:
        self._labels.append(targets)
        self._logits.append(logits)

    def score(self) -> float:
        from skyfold.metrics.pr_curve import average_precision

        labels = np.concatenate(self._labels).astype(bool)
        logits = np.concatenate(self._logits)
        scored = [
            average_precision(logits[:, k], labels[:, k])
            for k in range(labels.shape[1])
            if 0 < labels[:, k].sum() < len(labels)
        ]
        return float(np.mean(scored)) if scored else 0.0
