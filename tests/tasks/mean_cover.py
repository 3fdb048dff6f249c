"""A made-up task: one number per image, the covered fraction, learned by regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skyfold.data.batches import WholeRows
from skyfold.data.cache import images_of_size
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

    @property
    def target_planes(self):
        return 1

    @property
    def validation(self):
        return MeanError()

    def row_shape(self, samples):
        return (1,)

    def output_shape(self, input_shape):
        return (1,)

    def labels(self, targets):
        return targets[:, 0, 0, :]

    def arrays(self, samples, part, cache):
        size = tuple(self.config.image.size)
        return NumberArrays(
            samples.ids,
            images_of_size(samples, size=size, folder=cache / part, fingerprint=part),
            None if samples.targets is None else [_plane(number, size) for number in samples.targets],
        )


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

    def stats(self, targets, outputs):
        return np.abs(targets - outputs)

    def score(self, stats):
        return float(stats.mean())


TASK = MeanCover
