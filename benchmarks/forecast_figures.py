"""What was wanted of the forecasts, from the sums that `keep.py` kept of each: lines of two acceptance tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from figures import RESULTS, Figure

from skyfold.files import read_json
from skyfold.metrics.bootstrap import Interval, bootstrap_interval
from skyfold.metrics.forecast import mean_error_of, skill_of
from skyfold.metrics.forecast_sums import FILE, ForecastSums, better_in, paired_by_case, read_sums

ICE, ICE_AGAINST = "seaice", "mean_of_5_years"
ICE_PINNED = {"last_year": 5.297, "mean_of_5_years": 4.302}  # by the contest's conventions, on the same data
ICE_GIVEN = {"trend_30_years": 4.33, "nearest_neighbours": 4.61}  # of other programs, on the same data
ICE_FORECASTS = (
    "last_year",
    "persistence",
    "climatology",
    "mean_of_5_years",
    "mean_of_10_years",
    "trend_30_years",
    "damped_anomaly",
    "nearest_neighbours",
    "anomaly_unet",
)
ICE_BLENDS = ("edge_blend", "boosted_edge_blend", "boosted_all_years", "blend")
ICE_ONCE = "seaice_to_2004"  # networks that were trained once, on the data to 2004
ICE_ONCE_NETWORKS = ("lstm_512", "attention_8_skips", "convlstm", "full")
ICE_WANTED, ICE_YEARS = 3.90, 9

RAIN, RAIN_AGAINST = "radar", "pysteps"
# pysteps as others measured it on the same events, with borders padded in their own way.
RAIN_GIVEN = {
    "bom2_20180616": 0.894,
    "fmi_20160928": 0.206,
    "knmi_20100826": 0.227,
    "mch_20150515": 0.442,
    "mch_20170131": 0.276,
    "mrms_20190610": 0.352,
}
RAIN_FORECASTS = (
    "persistence",
    "phase_correlation",
    "dis",
    "dis_fast",
    "dis_fine",
    "farneback",
    "mean",
    "mean_smoothed",
    "median_smoothed",
    "median_smoothed_edge",
    "rain_unet",
    "rainnet",
    "convlstm",
    "trajgru",
    "simvp",
)
RAIN_BLEND, RAIN_WANTED = "blend", 0.82
BESIDE: tuple[tuple[str, str, Callable[[np.ndarray], float]], ...] = (
    ("MAE wet", "mae_where_wet", mean_error_of),
    ("CSI 1", "csi_at_1", lambda stats: skill_of(stats, "csi")),
    ("CSI 5", "csi_at_5", lambda stats: skill_of(stats, "csi")),
)


def kept_sums(data: str, name: str) -> ForecastSums | None:
    """None where the forecast was not kept."""
    folder = RESULTS / data / name
    return read_sums(folder) if (folder / FILE).is_file() else None


def arctic_sea_ice() -> list[Figure]:
    """Every forecast of the years 2005 to 2014, its distance to the mean of five years, and the blends as wanted."""
    figures = [
        _off(f"{name}: MAE / F1, off {known:g}", _score(kept_sums(ICE, name)), known)
        for name, known in ICE_PINNED.items()
    ]
    for name in _with_others(ICE, ICE_FORECASTS, ICE_BLENDS):
        figures += of_years(name)
    for name in ICE_BLENDS:
        figures += of_years(name)
    for name in _with_others(ICE_ONCE, ICE_ONCE_NETWORKS, ICE_FORECASTS):
        figures += of_years(name, ICE_ONCE)
    kept = {name: sums for name in ICE_BLENDS if (sums := kept_sums(ICE, name))}
    best = min(kept, key=lambda name: _score(kept[name]) or np.inf, default="")
    against = kept_sums(ICE, ICE_AGAINST)
    years = better_in(kept[best], against) if best and against else None
    note = f"best of {len(kept)}: {best}" if best else ""
    found = _interval(kept[best]) if best else None
    figures.append(Figure("the best blend: MAE / F1", _value(found), ICE_WANTED, _range(found), note, at_most=True))
    what = "the best blend: years of 10 below the mean of 5 years"
    return [*figures, Figure(what, None if years is None else float(years), float(ICE_YEARS), note=note)]


def hydro_rain() -> list[Figure]:
    """pysteps event by event, every forecast of it, and the blend as wanted; MAE wet, CSI at 1 and 5 mm/h beside."""
    peer = kept_sums(RAIN, RAIN_AGAINST)
    per_event = {} if peer is None else _per_case(peer)
    figures = [
        Figure(f"pysteps, {event}: MAE / CSI", per_event.get(event), note=f"given: {known:g}")
        for event, known in RAIN_GIVEN.items()
    ]
    pooled = None if peer is None else _interval(peer)
    note = "" if peer is None else "; ".join(filter(None, [_beside(peer), _seconds(RAIN, RAIN_AGAINST)]))
    figures.append(Figure("pysteps: MAE / CSI, all pooled", _value(pooled), interval=_range(pooled), note=note))
    for name in _with_others(RAIN, RAIN_FORECASTS, (RAIN_BLEND,), (RAIN_AGAINST,)):
        figures += of_pysteps(name, peer)
    figures += of_pysteps(RAIN_BLEND, peer, wanted=RAIN_WANTED)
    own = kept_sums(RAIN, RAIN_BLEND)
    better = better_in(own, peer) if own and peer else None
    what = "blend: events of 6 below pysteps"
    figures.append(Figure(what, None if better is None else float(better), float(len(RAIN_GIVEN))))
    for event in RAIN_GIVEN:
        measured = _per_case(own)[event] / per_event[event] if own and peer else None
        figures.append(Figure(f"blend, {event}: of pysteps", measured, 1.0, at_most=True))
    return figures


def _off(what: str, measured: float | None, known: float) -> Figure:
    """Half a unit of the last digit that was given may be rounding."""
    digits = len(f"{known:g}".partition(".")[2])
    note = "" if measured is None else f"{measured:.4f}"
    return Figure(what, None if measured is None else abs(measured - known), 0.5 * 10**-digits, note=note, at_most=True)


def of_years(name: str, data: str = ICE) -> list[Figure]:
    sums, other = kept_sums(data, name), kept_sums(ICE, ICE_AGAINST)
    what = name if data == ICE else f"{name} (once, to 2004)"
    if sums is None or other is None:
        return [Figure(f"{what}: MAE / F1", None)]
    found = _interval(sums)
    notes = [_seconds(data, name), *([f"given: {ICE_GIVEN[name]:g}"] if name in ICE_GIVEN else [])]
    figures = [Figure(f"{what}: MAE / F1", found.value, interval=_range(found), note="; ".join(filter(None, notes)))]
    if name != ICE_AGAINST:
        less = paired_by_case(sums, other)
        note = f"paired by year; below in {better_in(sums, other)} of {len(sums.cases)} years"
        figures.append(Figure(f"{what} - {ICE_AGAINST}", less.value, interval=_range(less), note=note))
    return figures


def of_pysteps(name: str, peer: ForecastSums | None, wanted: float | None = None) -> list[Figure]:
    """The mean over events of the share, and its interval over events."""
    sums = kept_sums(RAIN, name)
    if sums is None or peer is None:
        return [Figure(f"{name}: of pysteps, mean of events", None, wanted, at_most=True)]
    own, others = _per_case(sums), _per_case(peer)
    shares = np.array([own[event] / others[event] for event in others])
    drawn = np.random.default_rng(0).integers(0, len(shares), (10_000, len(shares)))
    low, high = np.quantile(shares[drawn].mean(axis=1), [0.025, 0.975])
    given = float(np.mean([own[event] / RAIN_GIVEN[event] for event in others]))
    note = ", ".join(f"{event[:-4]} {figure:.3f}" for event, figure in own.items())
    note += f"; of the figures given of pysteps {given:.3f}"
    mean = Figure(f"{name}: of pysteps, mean of events", float(shares.mean()), wanted, (low, high), note, at_most=True)
    less = paired_by_case(sums, peer)
    notes = [f"paired by event; below in {better_in(sums, peer)} of {len(shares)}", _beside(sums), _seconds(RAIN, name)]
    what = f"{name} - pysteps: MAE / CSI, all pooled"
    return [mean, Figure(what, less.value, interval=_range(less), note="; ".join(filter(None, notes)))]


def _beside(sums: ForecastSums) -> str:
    """So that nobody wins by blurring."""
    return ", ".join(f"{what} {figure(sums.figures[key]):.3f}" for what, key, figure in BESIDE)


def _with_others(data: str, names: Sequence[str], *elsewhere: Sequence[str]) -> list[str]:
    """`names`, and what else was kept of the data set."""
    kept = {path.parent.name for path in (RESULTS / data).glob(f"*/{FILE}")}
    return [*names, *sorted(kept - {*names, *(name for group in elsewhere for name in group)})]


def _per_case(sums: ForecastSums) -> dict[str, float]:
    return dict(zip(sums.cases.tolist(), sums.metric.per_row(sums.contest).tolist(), strict=True))


def _score(sums: ForecastSums | None) -> float | None:
    return None if sums is None else float(sums.metric.score(sums.contest))


def _interval(sums: ForecastSums) -> Interval:
    return bootstrap_interval(sums.metric, sums.contest)


def _value(found: Interval | None) -> float | None:
    return None if found is None else found.value


def _range(found: Interval | None) -> tuple[float, float] | None:
    return None if found is None else (found.low, found.high)


def _seconds(data: str, name: str) -> str:
    path: Path = RESULTS / data / name / "run.json"
    scores = read_json(path)["scores"] if path.is_file() else {}
    if "val_loss" in scores:
        return f"validation loss {scores['val_loss']:.5f}, {scores['minutes']:.1f} minutes"
    return f"{scores['seconds_a_date']:.3g} s a date" if "seconds_a_date" in scores else ""
