"""Pretrained weights: where they come from, and what is said where they cannot be had."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any

from skyfold.errors import ConfigError
from skyfold.models import _csmask
from skyfold.models._bands import adapted
from skyfold.models._weight_mismatch import misfit

_AFTER_NAME = ("", "weights", "notop", "imagenet", "noisystudent")  # how names of published files go on


def check_source(source: object, *, key: str, what: str) -> None:
    """`source` is "imagenet", "none", an existing `.h5` file, or a folder with one of the encoder `what`; else
    ConfigError."""
    if source == _csmask.SOURCE:
        raise ConfigError(
            f"{key}: {source} is taken by the families deeplabv3plus, fpn and unet, with encoder: {_csmask.ENCODER}."
        )
    if source not in ("imagenet", "none"):
        weights_file(source, key=key, what=what)


def weights_file(source: object, *, key: str, what: str) -> Path:
    """The file that `source` names: itself, or in a folder the one `.h5` whose name begins with the encoder's, `what`,
    as published files do (`resnet50_weights_..._notop.h5`); case and punctuation do not count.

    ConfigError where there is none, or more than one.
    """
    path = Path(str(source))
    if path.is_dir():
        files = sorted(path.glob("*.h5"))
        matching = [file for file in files if _is_of(file, what)]
        if len(matching) != 1:
            there = ", ".join(file.name for file in (matching or files)) or "no .h5 file"
            fault = "several files" if matching else "no file"
            raise ConfigError(
                f"{key}: {path} has {fault} of {what} ({there}). Name the file itself, or call it {what}.weights.h5."
            )
        return matching[0]
    if path.suffix != ".h5":
        raise ConfigError(
            f"{key}: '{source}' is none of imagenet, none, a path to a Keras weights file (.h5), or a folder of them."
        )
    if not path.is_file():
        raise ConfigError(f"{key}: there is no file {path}.")
    return path


def weights_digest(family: ModuleType, options: Mapping[str, Any]) -> str:
    """sha256 of the file that `encoder_weights` names; '' where there is none, or Keras fetches the weights itself.

    ConfigError as `weights_file`.
    """
    source, key = options.get("encoder_weights", "imagenet"), "model.options.encoder_weights"
    arguments = signature(family.build).parameters if hasattr(family, "build") else {}
    if "encoder" not in arguments or source in ("imagenet", "none"):
        return ""
    what = str(options.get("encoder", arguments["encoder"].default))
    path = _csmask.weights_file(key=key) if source == _csmask.SOURCE else weights_file(source, key=key, what=what)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def with_weights(
    build: Callable[[int, str | None], Any],
    *,
    bands: int,
    source: str,
    what: str,
    key: str,
    encoder: Callable[[int], Any] | None = None,
) -> Any:
    """The network of `build(bands, weights)`, with the weights of `source`: those learned on as many bands as they are,
    those learned on three adapted to them.

    encoder: of so many bands, at random, where `build` makes more than the layers that the file is of.
    ConfigError where ImageNet weights cannot be downloaded, or a file does not fit.
    """
    if source == "none":
        return build(bands, None)
    given = source if source == "imagenet" else str(weights_file(source, key=key, what=what))
    if bands != 3 and given != "imagenet":
        with contextlib.suppress(Exception):  # Keras raises whatever it meets; the file may be of three bands
            return build(bands, given)
    try:
        pretrained = build(3, given)
    except Exception as error:  # downloads fail in as many ways as networks do; Keras raises a bare Exception
        if source == "imagenet":
            raise ConfigError(
                f"{key}: the ImageNet weights of {what} could not be downloaded ({_reason(error)}). Run this once "
                f"where there is internet (Keras keeps them in ~/.keras/models), give the path of the file there as "
                f"{key}, or set it to none."
            ) from error
        found = _misfit(Path(given), encoder or (lambda count: build(count, None)))
        raise ConfigError(
            f"{key}: the weights in {given} do not fit {what} ({found or _reason(error)}). They must be those of this "
            f"very encoder without its top layers ('notop', 'no_top'), learned on 3 bands{_or(bands)}."
        ) from error
    if bands == 3:
        return pretrained
    network = build(bands, None)
    shapes = [tuple(weight.shape) for weight in network.weights]
    network.set_weights(
        [adapted(weight, shape) for weight, shape in zip(pretrained.get_weights(), shapes, strict=True)]
    )
    return network


def _misfit(file: Path, encoder: Callable[[int], Any]) -> str:
    """'' where the file cannot even be read."""
    try:
        return misfit(file, encoder(3))
    except OSError:
        return ""


def _reason(error: Exception) -> str:
    """The first line of what Keras says, and the next where the first only announces it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


def _or(bands: int) -> str:
    return f" or {bands}" if bands != 3 else ""


def _is_of(file: Path, what: str) -> bool:
    """Whether a file's name is the encoder's, alone or followed by what the names of published weights go on with.

    >>> [_is_of(Path(name), "resnet50") for name in ("ResNet50_weights_tf_notop.h5", "resnet50v2_weights_tf.h5")]
    [True, False]
    """
    stem = re.sub(r"[^a-z0-9]", "", file.name.lower().removesuffix(".h5").removesuffix(".weights"))
    own = re.sub(r"[^a-z0-9]", "", what.lower())
    rest = stem.removeprefix(own)
    return stem.startswith(own) and (not rest or any(part and rest.startswith(part) for part in _AFTER_NAME))
