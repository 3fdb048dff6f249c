"""Rain ten minutes ahead, per patch of 120 x 120: motions, their blend, and the blend with networks, against pysteps.

The peer is used as its own examples do: dense Lucas-Kanade on rain in dB, widened over the edge, then semi-Lagrangian
extrapolation of the last frame. Patches are the procedural sample's, since speed hardly depends on the rain. The
networks are those that configs/radar/networks.yaml blends, views and flips included, untrained, since it does not
depend on their weights at all.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from timing import Line, Work, ratios, under

from skyfold.competitions.hydro_rain.sample import FRAMES, STRIDE, rain_event
from skyfold.config.files import load_forecasts
from skyfold.config.run import RunConfig
from skyfold.forecasting.baselines import rain_extrapolation
from skyfold.forecasting.baselines.rain_blend import FittedBlend
from skyfold.forecasting.frame_adapters import adapter_of
from skyfold.forecasting.motion import PADDING, in_decibels
from skyfold.forecasting.past_frames import PastFrames
from skyfold.models import family_of
from skyfold.postprocess.forecasts import DecisionThreshold, Smoothing
from skyfold.training import tta

CONFIG = Path(__file__).parents[2] / "configs" / "radar" / "networks.yaml"
MEMBERS = ("dis", "dis_fast", "dis_fine", "farneback")
LONGEST = 600.0 / 100  # seconds: a hundredth of the ten minutes that are forecast


def lines(*, quick: bool) -> list[Line]:
    count, rounds = (2, 1) if quick else (8, 7)
    frames = rain_event(np.random.default_rng(0), STRIDE * (count - 1) + FRAMES).astype(np.float32)
    frames = np.moveaxis(frames, -1, 0)
    histories = [PastFrames(frames[STRIDE * i : STRIDE * i + FRAMES - 1], np.array([1])) for i in range(count)]
    fitted = FittedBlend("median", Smoothing(1.0, 0.88), DecisionThreshold(0.09, 0.1))

    def blend(history: PastFrames) -> np.ndarray:
        said = [rain_extrapolation.RainExtrapolation(motions=[name]).forecast(history) for name in MEMBERS]
        return fitted.forecast(history, np.stack(said))

    networks = _networks(histories)

    def blend_with_networks() -> np.ndarray:
        said = np.stack([np.stack([blend(history) for history in histories]), *(log() for log in networks)])
        return Smoothing(0.5, 0.97).apply(said.mean(axis=0))

    with_networks = Work(blend_with_networks, items=len(histories))
    found = [
        under("rain: the blend of four, a patch", _each(blend, histories), wanted=LONGEST, rounds=rounds),
        under("rain: the blend with networks, a patch", with_networks, wanted=LONGEST, rounds=rounds),
    ]
    peer = _pysteps()
    if peer is None:
        return found
    theirs = _each(peer, histories)
    for name in MEMBERS:
        own = _each(
            lambda history, name=name: rain_extrapolation.RainExtrapolation(motions=[name]).forecast(history), histories
        )
        found += ratios(f"rain: {name}, a patch", own, {"pysteps": (theirs, None)}, rounds=rounds)
    return [
        *found,
        *ratios("rain: the blend of four, a patch", _each(blend, histories), {"pysteps": (theirs, 1.0)}, rounds=rounds),
        *ratios("rain: the blend with networks, a patch", with_networks, {"pysteps": (theirs, 1.0)}, rounds=rounds),
    ]


def _networks(histories: Sequence[PastFrames]) -> list[Callable[[], np.ndarray]]:
    """Forecasts (n, H, W, 1) of each network that the config blends, all patches in one batch."""
    from skyfold.training import backend

    config = load_forecasts(CONFIG)
    blended = {name for model in config.forecasts for name in model.members}
    runs = [run for name, run in config.networks.items() if name in blended]
    assert len({run.training.mixed_precision for run in runs}) == 1, "one process has one precision"
    backend.start(deterministic=False)
    backend.prepare(precision=runs[0].training.mixed_precision)
    return [_network(run, histories) for run in runs]


def _network(run: RunConfig, histories: Sequence[PastFrames]) -> Callable[[], np.ndarray]:
    assert run.frame_adapter is not None
    view, turns = adapter_of(run.frame_adapter), tta.views(run.tta)
    shape = view.inputs(histories[0]).shape
    model = family_of(run.model).build(input_shape=shape, classes=1)

    def log() -> np.ndarray:
        inputs = np.stack([view.inputs(history) for history in histories])
        outputs = [
            tta.undo(np.asarray(model.predict_on_batch(np.ascontiguousarray(tta.apply(inputs, turn)))), turn)
            for turn in turns
        ]
        mean = np.mean(outputs, axis=0, dtype=np.float32)
        return np.stack([view.forecast(out, history) for out, history in zip(mean, histories, strict=True)])

    return log


def _each(forecast: Callable[[PastFrames], np.ndarray], histories: Sequence[PastFrames]) -> Work:
    return Work(lambda: [forecast(history) for history in histories], items=len(histories))


def _pysteps() -> Callable[[PastFrames], np.ndarray] | None:
    """None where it is not installed."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            from pysteps.extrapolation.semilagrangian import extrapolate
            from pysteps.motion.lucaskanade import dense_lucaskanade
    except ImportError:
        return None

    def forecast(history: PastFrames) -> np.ndarray:
        border = ((0, 0), (PADDING, PADDING), (PADDING, PADDING))
        wide = np.pad(history.frames.astype(np.float64), border, mode="edge")
        lead_times: np.ndarray = extrapolate(wide[-1], dense_lucaskanade(in_decibels(wide)), 1)
        return lead_times[0, PADDING:-PADDING, PADDING:-PADDING]

    return forecast
