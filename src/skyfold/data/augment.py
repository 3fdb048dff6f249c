"""Augmentation of training images by albumentations transforms, reproducible image by image.

The random draw depends on seed, epoch and row only, whatever the order of images and threads. Masks and the plane of
valid pixels are transformed with the image; pixels filled in from outside the image are not valid.
"""

from __future__ import annotations

import inspect
import os
import threading
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skyfold.config.fields import kinds_of_fields, refuse_flags
from skyfold.config.training import AugmentConfig
from skyfold.data.seeding import derived_seed
from skyfold.errors import ConfigError
from skyfold.plugins import nearest
from skyfold.types import IntPair

# albumentations asks a server for a newer version when it is imported, and is silent about it.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")


FLIPS_AND_TURNS = ("HorizontalFlip", "VerticalFlip", "RandomRotate90", "Transpose", "D4")  # move pixels, change none


class Augmenter:
    """The transforms of a config, in order. An empty config changes nothing.

    Images are uint8 or, where they are `rescaled`, float32 in 0..1. ConfigError where a name or argument is unknown, a
    value is refused, or a transform does not take images of `bands` bands, does not keep their `size` (h, w) and type,
    or reduces rescaled ones to 8 bits. planes: K + 1 of the targets.
    """

    def __init__(
        self, config: Sequence[AugmentConfig], *, size: IntPair, bands: int, planes: int, rescaled: bool = False
    ) -> None:
        self._config = tuple(config)
        self._local = threading.local()  # a pipeline keeps its random state, so each thread has one of its own
        rng, shape = np.random.default_rng(0), (*size, bands)
        image = rng.random(shape, np.float32) if rescaled else rng.integers(0, 256, shape, dtype=np.uint8)
        target = np.ones((*size, planes), dtype=np.uint8)
        for index, entry in enumerate(self._config):
            _try(f"augment.{index}", entry, image, target)

    @property
    def only_moves(self) -> bool:
        """Whether no transform changes the value of a pixel, so that rescaling may follow as well."""
        return all(entry.name in FLIPS_AND_TURNS for entry in self._config)

    def __call__(self, image: np.ndarray, target: np.ndarray, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """image uint8 or float32 (h, w, C), of any type where it `only_moves`; target uint8 (h, w, K + 1). Returns both
        transformed alike, as new arrays."""
        if not self._config:
            return image, target
        if not hasattr(self._local, "pipeline"):
            import albumentations

            self._local.pipeline = albumentations.Compose(
                [_transform(entry.name, entry.arguments) for entry in self._config]
            )
        self._local.pipeline.set_random_seed(seed)
        changed = self._local.pipeline(image=np.ascontiguousarray(image), mask=np.ascontiguousarray(target))
        return changed["image"], changed["mask"]


def _try(place: str, entry: AugmentConfig, image: np.ndarray, target: np.ndarray) -> None:
    """Apply one transform to random pixels; ConfigError as `Augmenter`."""
    import cv2

    _transform(entry.name, entry.arguments, place)
    transform = _transform(
        entry.name, {**entry.arguments, "p": 1.0}, place
    )  # one that may stay idle would not be tried
    transform.set_random_seed(0)
    try:
        changed = transform(image=image, mask=target)
    except (ValueError, TypeError, IndexError, KeyError, cv2.error) as error:
        kind = "" if image.dtype == np.uint8 else " rescaled to 0..1 (image.rescale)"
        raise ConfigError(f"{place}: {entry.name} fails on images of {image.shape[-1]} bands{kind}: {error}") from None
    if changed["image"].shape != image.shape or changed["mask"].shape != target.shape:
        given, became = ("x".join(map(str, shape[:2])) for shape in (image.shape, changed["image"].shape))
        raise ConfigError(
            f"{place}: {entry.name} turns images of {given} pixels into {became}. Use a transform that keeps the size "
            "(for example RandomResizedCrop with this size)."
        )
    if changed["image"].dtype != image.dtype:
        raise ConfigError(
            f"{place}: {entry.name} turns {image.dtype} into {changed['image'].dtype}, in training only. Remove it; "
            "image.rescale and image.normalization are for all images."
        )
    levels = changed["image"] * np.float32(255)
    if image.dtype == np.float32 and np.allclose(levels, np.rint(levels), atol=1e-3) and len(np.unique(levels)) > 2:
        raise ConfigError(
            f"{place}: {entry.name} reduces images to 8 bits, and image.rescale is to keep their depth. Remove it, or "
            "use a transform that computes with floats (RandomBrightnessContrast, RandomGamma, GaussNoise)."
        )


def sample_seed(*, seed: int, epoch: int, row: int) -> int:
    """Seed of the augmentation of one training row in one epoch, in 0 .. 2**31 - 1."""
    return derived_seed("augment", seed, epoch, row)


def _transform(name: str, arguments: Mapping[str, Any], place: str = "augment") -> Any:
    """The transform of this name; ConfigError at `place` where albumentations refuses the name or an argument."""
    import albumentations

    known = [
        known_name
        for known_name, value in vars(albumentations).items()
        if isinstance(value, type) and issubclass(value, albumentations.BasicTransform)
    ]
    if name not in known:
        raise ConfigError(f"{place}: albumentations has no transform '{name}'{nearest(name, known)}.")
    kind = getattr(albumentations, name)
    schema = getattr(kind, "InitSchema", None)
    kinds = {} if schema is None else kinds_of_fields(schema)
    for key, value in arguments.items():
        if key in kinds:
            try:
                refuse_flags(value, kinds[key])
            except ValueError as error:
                raise ConfigError(f"{place}: {name}.{key}: {error}; got {value!r}.") from None
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # unknown arguments are only warned of
        try:
            return kind(**{key: _as_tuples(value) for key, value in arguments.items()})
        except (UserWarning, ValueError, TypeError) as error:
            accepted = sorted(inspect.signature(kind).parameters)
            unknown = [key for key in arguments if key not in accepted]
            hint = "".join(f" '{key}'{nearest(key, accepted)}." for key in unknown)
            reason = " ".join(line.strip() for line in str(error).splitlines()[:3])
            raise ConfigError(f"{place}: {name}: {reason}.{hint} Arguments: {', '.join(accepted)}.") from None


def _as_tuples(value: Any) -> Any:
    """YAML has lists only; albumentations wants its ranges as tuples."""
    return tuple(_as_tuples(part) for part in value) if isinstance(value, list) else value
