"""Rain ten minutes ahead, per patch of 120 x 120: each motion and their blend, against pysteps' extrapolation.

The peer is used as its own examples do: dense Lucas-Kanade on rain in dB, widened over the edge, then semi-Lagrangian
extrapolation of the last frame. Patches are the procedural sample's, since speed hardly depends on the rain.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence

import numpy as np
from timing import Line, Work, ratios, under

from skyfold.data.history import History
from skyfold.data.rain_sample import FRAMES, STRIDE, rain_event
from skyfold.forecasts import rain_extrapolation
from skyfold.forecasts.rain_blend import FittedBlend
from skyfold.motion.pysteps_field import PADDING, in_decibels
from skyfold.postprocess.event_edge import EventEdge
from skyfold.postprocess.smoothing import Smoothing

MEMBERS = ("dis", "dis_fast", "dis_fine", "farneback")
LONGEST = 600.0 / 100  # seconds: a hundredth of the ten minutes that are forecast


def lines(*, quick: bool) -> list[Line]:
    count, rounds = (2, 1) if quick else (8, 7)
    frames = rain_event(np.random.default_rng(0), STRIDE * (count - 1) + FRAMES).astype(np.float32)
    frames = np.moveaxis(frames, -1, 0)
    histories = [History(frames[STRIDE * i : STRIDE * i + FRAMES - 1], np.array([1])) for i in range(count)]
    fitted = FittedBlend("median", Smoothing(1.0, 0.88), EventEdge(0.09, 0.1))

    def blend(history: History) -> np.ndarray:
        said = [rain_extrapolation.forecast(history, motions=[name]) for name in MEMBERS]
        return fitted.forecast(history, np.stack(said))

    found = [under("rain: the blend of four, a patch", _each(blend, histories), wanted=LONGEST, rounds=rounds)]
    peer = _pysteps()
    if peer is None:
        return found
    theirs = _each(peer, histories)
    for name in MEMBERS:
        own = _each(lambda history, name=name: rain_extrapolation.forecast(history, motions=[name]), histories)
        found += ratios(f"rain: {name}, a patch", own, {"pysteps": (theirs, None)}, rounds=rounds)
    return [
        *found,
        *ratios("rain: the blend of four, a patch", _each(blend, histories), {"pysteps": (theirs, 1.0)}, rounds=rounds),
    ]


def _each(forecast: Callable[[History], np.ndarray], histories: Sequence[History]) -> Work:
    return Work(lambda: [forecast(history) for history in histories], items=len(histories))


def _pysteps() -> Callable[[History], np.ndarray] | None:
    """None where it is not installed."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            from pysteps.extrapolation.semilagrangian import extrapolate
            from pysteps.motion.lucaskanade import dense_lucaskanade
    except ImportError:
        return None

    def forecast(history: History) -> np.ndarray:
        border = ((0, 0), (PADDING, PADDING), (PADDING, PADDING))
        wide = np.pad(history.frames.astype(np.float64), border, mode="edge")
        ahead: np.ndarray = extrapolate(wide[-1], dense_lucaskanade(in_decibels(wide)), 1)
        return ahead[0, PADDING:-PADDING, PADDING:-PADDING]

    return forecast
