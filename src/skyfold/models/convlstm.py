"""ConvLSTM encoder-forecaster (Shi et al. 2015): what was seen is kept in maps, from which the forecaster goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skyfold.errors import ConfigError
from skyfold.models import _blocks, _frames

_OPTIONS = ["filters", "kernel", "bands", "residual"]
_FILTERS = (16, 32, 48)


def check(options: Mapping[str, Any]) -> None:
    """ConfigError on an unknown option, filters that are no whole numbers from 1, or an even kernel."""
    _blocks.check_known(options, _OPTIONS, family="convlstm")
    _blocks.check_some_counts(options, "filters")
    _blocks.check_counts(options, "kernel")
    if options.get("kernel", 3) % 2 == 0:
        raise ConfigError(f"model.options.kernel: {options['kernel']} is even and has no middle.")
    _frames.check_frame_options(options)


def build(
    *,
    input_shape: tuple[int, int, int],
    classes: int = 1,
    filters: Sequence[int] = _FILTERS,
    kernel: int = 3,
    bands: int = 1,
    residual: bool = True,
) -> Any:
    """A keras.Model from frames side by side (H, W, T x bands), oldest first, to (H, W, L) for L = `classes` lead
    times, float32, any size.

    filters: of the recurrent layers at half the size, a quarter, and so on; kernel: their convolutions' side.
    residual: the output corrects the first band of the last frame, so that untrained it is persistence.
    """
    from skyfold.models._convlstm import ConvLSTM
    from skyfold.models._encoder_forecaster import encoder_forecaster

    check({"filters": filters, "kernel": kernel, "bands": bands, "residual": residual})

    def recurrent(level: int, name: str, steps: int | None) -> Any:
        return ConvLSTM(filters[level], kernel=kernel, steps=steps, name=name)

    return encoder_forecaster(
        input_shape=input_shape,
        leads=classes,
        filters=filters,
        recurrent=recurrent,
        bands=bands,
        residual=residual,
        name="convlstm",
    )
