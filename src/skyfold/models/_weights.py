"""Pretrained weights: files and downloads, their adaptation to the bands, and the refusal of those that do not fit."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import model_validator

from skyfold.config.fields import BelowOne
from skyfold.errors import ConfigError, MissingWeights
from skyfold.files import file_digest
from skyfold.models import WEIGHTS_KEY, NetworkFamily, _csmask
from skyfold.models._bands import adapted
from skyfold.models._tensor_files import SUFFIXES
from skyfold.models._weight_mismatch import misfit, oversized

_AFTER_NAME = ("weights", "notop", "imagenet", "noisystudent")  # how names of published files go on


class PretrainedFamily(NetworkFamily):
    """A network on an encoder that may be pretrained.

    encoder_weights     imagenet, none, a Keras weights file (.h5), or a folder that holds the one of the encoder; of
                        some encoders a file of PyTorch's (`_tensor_files.SUFFIXES`); they are adapted to the bands
    batchnorm_momentum  of the moving statistics of BatchNorm (Keras' own is 0.99, too slow for a training of a few
                        hundred steps); None: that of the layers
    """

    takes_csmask: ClassVar[bool] = False
    takes_pytorch: ClassVar[tuple[str, ...]] = ()  # encoders
    encoder: str
    encoder_weights: str = "imagenet"
    batchnorm_momentum: BelowOne | None = None

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        fits = self.takes_csmask and self.encoder == _csmask.ENCODER
        if self.encoder_weights == _csmask.SOURCE and not fits:
            raise ValueError(
                f"encoder_weights: {_csmask.SOURCE} needs encoder: {_csmask.ENCODER} in one of the families "
                "deeplabv3plus, fpn and unet"
            )
        if is_of_pytorch(self.encoder_weights) and self.encoder not in self.takes_pytorch:
            raise ValueError(
                f"encoder_weights: {Path(self.encoder_weights).name}: {', '.join(SUFFIXES)} are read in the families "
                "deeplabv3plus, encoder_classifier, fpn and unet, for the encoders resnet18 to 152, efficientnetb0 to "
                "b7, convnext and mobilenetv3. Give a Keras weights file (.h5)"
            )
        return self

    def require(self) -> None:
        self._weights_file()

    def without_pretrained_weights(self) -> Self:
        return self.model_copy(update={"encoder_weights": "none"})

    @property
    def published(self) -> str:
        """Published checksum of the encoder's ImageNet weights; its name where there is none."""
        return self.encoder

    def init_weights(self) -> str:
        if self.encoder_weights == "imagenet":
            return f"imagenet:{self.published}"
        path = self._weights_file()
        return "" if path is None else file_digest(path)

    def _weights_file(self) -> Path | None:
        if self.encoder_weights in ("imagenet", "none"):
            return None
        if self.encoder_weights == _csmask.SOURCE:
            return _csmask.weights_file()
        return weights_file(self.encoder_weights, what=self.encoder)


def is_of_pytorch(source: str) -> bool:
    """Whether `encoder_weights` names a file that is laid out as PyTorch does."""
    return Path(source).suffix in SUFFIXES


def weights_file(source: str, *, what: str) -> Path:
    """The file that `source` names: itself, or in a folder the one `.h5` whose name begins with the encoder's, `what`,
    as published files do (`resnet50_weights_..._notop.h5`); case and punctuation do not count.

    MissingWeights where there is none, or more than one.
    """
    path = Path(source)
    if path.is_dir():
        files = sorted(path.glob("*.h5"))
        matching = [file for file in files if _is_of(file, what)]
        if len(matching) != 1:
            there = ", ".join(file.name for file in (matching or files)) or "no .h5 file"
            fault = "several files" if matching else "no file"
            raise MissingWeights(
                f"{WEIGHTS_KEY}: {path} has {fault} of {what} ({there}). Name the file itself, or call it "
                f"{what}.weights.h5."
            )
        return matching[0]
    if path.suffix not in (".h5", *SUFFIXES):
        raise MissingWeights(
            f"{WEIGHTS_KEY}: '{source}' is none of imagenet, none, a path to a Keras weights file (.h5), a folder of "
            f"them, or a file of PyTorch's ({', '.join(SUFFIXES)})."
        )
    if not path.is_file():
        raise MissingWeights(f"{WEIGHTS_KEY}: there is no file {path}.")
    return path


def with_weights(
    build: Callable[[int, str | None], Any],
    *,
    bands: int,
    source: str,
    what: str,
    encoder: Callable[[int], Any] | None = None,
) -> Any:
    """The network of `build(bands, weights)`, with the weights of `source`: those learned on as many bands as they are,
    those learned on three adapted to them.

    encoder: of so many bands, at random, where `build` makes more than the layers that the file is of.
    ConfigError where ImageNet weights cannot be downloaded, or a file does not fit.
    """
    if source == "none":
        return build(bands, None)
    given = source if source == "imagenet" else str(weights_file(source, what=what))
    if given != "imagenet" and (fault := oversized(Path(given))):
        raise ConfigError(f"{WEIGHTS_KEY}: {given} is no file of weights ({fault}).")
    if bands != 3 and given != "imagenet":
        with contextlib.suppress(Exception):  # Keras raises whatever it meets; the file may be of three bands
            return build(bands, given)
    try:
        pretrained = build(3, given)
    except MissingWeights:
        raise
    except Exception as error:  # downloads fail in as many ways as networks do; Keras raises a bare Exception
        if source == "imagenet":
            raise ConfigError(
                f"{WEIGHTS_KEY}: the ImageNet weights of {what} could not be downloaded ({_reason(error)}). Run this "
                f"once where there is internet (Keras keeps them in ~/.keras/models), give the path of the file there "
                f"as {WEIGHTS_KEY}, or set it to none."
            ) from error
        found = misfit(Path(given), encoder(3) if encoder else build(3, None)) or _reason(error)
        trained = "3 bands" if bands == 3 else f"3 bands or {bands}"
        raise ConfigError(
            f"{WEIGHTS_KEY}: the weights in {given} do not fit {what} ({found}). They must be those of this very "
            f"encoder without its top layers ('notop', 'no_top'), learned on {trained}."
        ) from error
    if bands == 3:
        return pretrained
    network = build(bands, None)
    shapes = [tuple(weight.shape) for weight in network.weights]
    network.set_weights(
        [adapted(weight, shape) for weight, shape in zip(pretrained.get_weights(), shapes, strict=True)]
    )
    return network


def _reason(error: Exception) -> str:
    """The first line of what Keras says, and the next where the first only announces it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


def _is_of(file: Path, what: str) -> bool:
    """Whether a file's name is the encoder's, alone or followed by what the names of published weights go on with.

    >>> [_is_of(Path(name), "resnet50") for name in ("ResNet50_weights_tf_notop.h5", "resnet50v2_weights_tf.h5")]
    [True, False]
    """
    stem = re.sub(r"[^a-z0-9]", "", file.name.lower().removesuffix(".h5").removesuffix(".weights"))
    own = re.sub(r"[^a-z0-9]", "", what.lower())
    rest = stem.removeprefix(own)
    return stem.startswith(own) and (not rest or rest.startswith(_AFTER_NAME))
