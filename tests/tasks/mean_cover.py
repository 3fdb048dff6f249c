"""A made-up task: one number per image, the covered fraction, learned by regression."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from skyfold.data.batches import WholeRows
from skyfold.data.cache import images_of_size
from skyfold.errors import ConfigError
from skyfold.tasks.task import Task


def mse(target, output):
    from keras import ops

    return ops.mean(ops.square(target - output))


class MeanCover(Task):
    LOSSES: ClassVar = {"mse": mse}

    @classmethod
    def check(cls, config):
        if config.image is None:
            raise ValueError("task: mean_cover reads images; set image: {size: [height, width]}")

    @classmethod
    def check_loss(cls, config):
        if config.loss.name not in cls.LOSSES:
            raise ConfigError(f"loss.name: no loss '{config.loss.name}' for mean_cover. There are: mse.")

    @property
    def target_planes(self):
        return 1

    @property
    def validation(self):
        return MeanError()

    def loss(self):
        return mse

    def row_shape(self):
        return (1,)

    def output_shape(self, input_shape):
        return (1,)

    def labels(self, targets):
        return targets[:, 0, 0, :]

    def arrays(self, samples, cache):
        size = tuple(self.config.image.size)
        return {
            part: NumberArrays(
                loaded.ids,
                images_of_size(loaded, size=size, folder=cache / part, fingerprint=part),
                None if loaded.targets is None else [_plane(number, size) for number in loaded.targets],
            )
            for part, loaded in samples.items()
        }


@dataclass(frozen=True)
class NumberArrays(WholeRows):
    """Images, and numbers as planes (h, w, 1) that augmentation can move with them."""

    ids: np.ndarray
    inputs: np.ndarray
    targets: list | None
    checksum: str = ""

    @property
    def input_shape(self):
        return self.inputs.shape[1:]


def _plane(number, size):
    return np.full((*size, 1), number[0], dtype=np.float32)


@dataclass
class MeanError:
    name: str = "mean absolute error"
    greater_is_better: bool = False
    error: float = 0.0
    count: int = 0

    def begin(self):
        return replace(self)

    def add(self, targets, logits):
        self.error += float(np.abs(targets - logits).sum())
        self.count += len(targets)

    def score(self):
        return self.error / self.count


TASK = MeanCover
