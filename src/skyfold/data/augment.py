"""Random changes of training images: albumentations transforms from the config, reproducible image by image.

An image is changed in the same way whatever was changed before it and in whichever thread: the draw depends on the
seed, the epoch and the row alone. Masks and the plane of counting pixels move with the image; what comes in from
outside the image does not count.
"""

from __future__ import annotations

import inspect
import os
import threading
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skyfold.config.augmentation import AugmentConfig
from skyfold.data.seeding import derived_seed
from skyfold.errors import ConfigError
from skyfold.plugins import nearest
from skyfold.types import IntPair

# albumentations asks a server for a newer version when it is imported, and is silent about it.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")


class Augmenter:
    """The transforms of a config, in order, as strong and as likely as an epoch has them.

    ConfigError where a name or argument is unknown, a value is refused, or a transform does not take images of
    `bands` bands or does not keep their `size`. An empty config changes nothing.
    """

    def __init__(self, config: Sequence[AugmentConfig], *, size: IntPair, bands: int, planes: int) -> None:
        self._config = tuple(config)
        self._changes = any(entry.ramp for entry in self._config)
        self._local = threading.local()  # a pipeline keeps its random state, so each thread has one of its own
        if self._config:
            self._try(size, bands, planes)

    def __call__(
        self, image: np.ndarray, target: np.ndarray, *, seed: int, epoch: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """image uint8 (h, w, C); target uint8 (h, w, K + 1). Returns both changed alike, as new arrays.

        epoch: counted from 0, for transforms with a ramp.
        """
        if not self._config:
            return image, target
        pipeline = self._pipeline(epoch if self._changes else 0)
        pipeline.set_random_seed(seed)
        changed = pipeline(image=np.ascontiguousarray(image), mask=np.ascontiguousarray(target))
        return changed["image"], changed["mask"]

    def _pipeline(self, epoch: int) -> Any:
        if getattr(self._local, "epoch", None) != epoch:
            import albumentations

            self._local.pipeline = albumentations.Compose(
                [_transform(entry.name, entry.arguments_in(epoch)) for entry in self._config]
            )
            self._local.epoch = epoch
        return self._local.pipeline

    def _try(self, size: IntPair, bands: int, planes: int) -> None:
        import cv2

        image = np.random.default_rng(0).integers(0, 256, (*size, bands), dtype=np.uint8)
        target = np.ones((*size, planes), dtype=np.uint8)
        ends = [
            (index, entry, arguments)
            for index, entry in enumerate(self._config)
            for arguments in ([entry.arguments_in(0)] if entry.ramp else []) + [entry.arguments]
        ]
        for index, entry, arguments in ends:
            _transform(entry.name, arguments, place=f"augment.{index}")
            # A transform that may stay idle would not be tried.
            transform = _transform(entry.name, {**arguments, "p": 1.0}, place=f"augment.{index}")
            try:
                transform.set_random_seed(0)
                changed = transform(image=image, mask=target)
            except (ValueError, TypeError, IndexError, KeyError, cv2.error) as error:
                raise ConfigError(f"augment.{index}: {entry.name} fails on images of {bands} bands: {error}") from None
            if changed["image"].shape != image.shape or changed["mask"].shape != target.shape:
                became = "x".join(str(side) for side in changed["image"].shape[:2])
                raise ConfigError(
                    f"augment.{index}: {entry.name} turns images of {size[0]}x{size[1]} pixels into {became}. Use a "
                    "transform that keeps the size (RandomResizedCrop with this size, say)."
                )


def sample_seed(*, seed: int, epoch: int, row: int) -> int:
    return derived_seed("augment", seed, epoch, row)


def _transform(name: str, arguments: Mapping[str, Any], place: str = "augment") -> Any:
    """The transform of this name; every way in which albumentations finds fault with it is a ConfigError."""
    import albumentations

    known = [
        known_name
        for known_name, value in vars(albumentations).items()
        if isinstance(value, type) and issubclass(value, albumentations.BasicTransform)
    ]
    if name not in known:
        raise ConfigError(f"{place}: albumentations has no transform '{name}'{nearest(name, known)}.")
    kind = getattr(albumentations, name)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # unknown arguments are only warned of
        try:
            return kind(**{key: _as_tuples(value) for key, value in arguments.items()})
        except (UserWarning, ValueError, TypeError) as error:
            accepted = sorted(_arguments(kind))
            unknown = [key for key in arguments if key not in accepted]
            hint = "".join(f" '{key}'{nearest(key, accepted)}." for key in unknown)
            first = str(error).splitlines()
            raise ConfigError(
                f"{place}: {name}: {' '.join(line.strip() for line in first[:3])}.{hint} "
                f"Arguments: {', '.join(accepted)}."
            ) from None


def _arguments(kind: type) -> list[str]:
    return [name for name in inspect.signature(kind.__init__).parameters if name != "self"]  # type: ignore[misc]


def _as_tuples(value: Any) -> Any:
    """YAML has lists only; albumentations wants its ranges as tuples."""
    return tuple(_as_tuples(part) for part in value) if isinstance(value, list) else value
