"""TrajGRU (Shi et al. 2017): a recurrent network of maps whose state is read where learned motion says it came from.

A ConvLSTM reads the state around each pixel in the same places everywhere. Here a small network looks at the frame and
the state and says, for each pixel and link, where to read; so the links can follow rain that moves or turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skyfold.errors import ConfigError
from skyfold.models import _blocks, _frames

_OPTIONS = ["filters", "links", "motion_filters", "bands", "residual"]
_FILTERS, _LINKS = (16, 32, 48), (9, 9, 5)


def check(options: Mapping[str, Any]) -> None:
    """ConfigError on an unknown option, or filters and links that are not as many whole numbers from 1."""
    _blocks.check_known(options, _OPTIONS, family="trajgru")
    _blocks.check_some_counts(options, "filters")
    _blocks.check_some_counts(options, "links")
    filters, links = options.get("filters", _FILTERS), options.get("links", _LINKS)
    if len(filters) != len(links):
        raise ConfigError(f"model.options.links: {len(links)} of them for {len(filters)} levels.")
    _blocks.check_counts(options, "motion_filters")
    _frames.check_frame_options(options)


def build(
    *,
    input_shape: tuple[int, int, int],
    classes: int = 1,
    filters: Sequence[int] = _FILTERS,
    links: Sequence[int] = _LINKS,
    motion_filters: int = 32,
    bands: int = 1,
    residual: bool = True,
) -> Any:
    """A keras.Model from frames side by side (H, W, T x bands), oldest first, to (H, W, L) for L = `classes` lead
    times, float32, any size.

    filters, links: of the recurrent layers at half the size, a quarter, and so on; motion_filters: of the network that
    says the motion. residual: the output corrects the first band of the last frame, so that untrained it is
    persistence.
    """
    from skyfold.models._encoder_forecaster import encoder_forecaster
    from skyfold.models._trajgru import TrajGRU

    check(
        {
            "filters": filters,
            "links": links,
            "motion_filters": motion_filters,
            "bands": bands,
            "residual": residual,
        }
    )

    def recurrent(level: int, name: str, steps: int | None) -> Any:
        return TrajGRU(filters[level], links[level], steps=steps, motion_filters=motion_filters, name=name)

    return encoder_forecaster(
        input_shape=input_shape,
        leads=classes,
        filters=filters,
        recurrent=recurrent,
        bands=bands,
        residual=residual,
        name="trajgru",
    )
