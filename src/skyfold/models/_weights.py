"""Pretrained weights: where they come from, and what is said where they cannot be had."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from skyfold.errors import ConfigError
from skyfold.models._bands import adapted


def check_source(source: object, *, key: str) -> None:
    """`source` is "imagenet", "none" or an existing `.h5` file; else ConfigError."""
    if source in ("imagenet", "none"):
        return
    path = Path(str(source))
    if path.suffix != ".h5":
        raise ConfigError(f"{key}: '{source}' is none of imagenet, none, or a path to a Keras weights file (.h5).")
    if not path.is_file():
        raise ConfigError(f"{key}: there is no file {path}.")


def with_weights(build: Callable[[int, str | None], Any], *, bands: int, source: str, what: str, key: str) -> Any:
    """The network of `build(bands, weights)`, with the weights of `source` fitted to its bands.

    ConfigError where ImageNet weights cannot be downloaded, or a file does not fit.
    """
    if source == "none":
        return build(bands, None)
    try:
        pretrained = build(3, source)
    except Exception as error:  # downloads fail in as many ways as networks do; Keras raises a bare Exception
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        if source == "imagenet":
            raise ConfigError(
                f"{key}: the ImageNet weights of {what} could not be downloaded ({first_line}). Run this once where "
                f"there is internet (Keras keeps them in ~/.keras/models), give the path of the file there as {key}, "
                "or set it to none."
            ) from error
        raise ConfigError(
            f"{key}: the weights in {source} do not fit {what} ({first_line}). They must be those of this very "
            "encoder without its top layers ('notop', 'no_top')."
        ) from error
    if bands == 3:
        return pretrained
    network = build(bands, None)
    shapes = [tuple(weight.shape) for weight in network.weights]
    network.set_weights(
        [adapted(weight, shape) for weight, shape in zip(pretrained.get_weights(), shapes, strict=True)]
    )
    return network
