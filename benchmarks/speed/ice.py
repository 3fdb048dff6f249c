"""Sea ice a year ahead: all statistical baselines together, and the nearest neighbours against scikit-learn.

12 months of 448 x 304 cells from 36 years of history: the real ones where $SKYFOLD_DATA has `seaice`, else procedural
ones of the same size. scikit-learn is given a share of the cells, drawn at random, and is compared by the cell, since
all of them would take it hours. Both see all cells as examples.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from timing import Line, Work, data_folder, interleaved, memory, ratios

from skyfold import plugins
from skyfold.competition import build
from skyfold.competitions.arctic_sea_ice.ice_frames import without_flags
from skyfold.competitions.arctic_sea_ice.sample import procedural_codes
from skyfold.forecasting.baselines.nearest_neighbours import neighbour_means
from skyfold.forecasting.past_frames import PastFrames

BASELINES = (
    ("mean_of_years", {"years": 1}),
    ("persistence", {}),
    ("mean_of_years", {}),
    ("mean_of_years", {"years": 5}),
    ("mean_of_years", {"years": 10}),
    ("linear_trend", {"years": 30}),
    ("damped_anomaly", {"years": 10}),
    ("nearest_neighbours", {"k": 601, "lags": 12}),
)
GRID, YEARS = (448, 304), 36
K, LAGS = 601, 12
SHARE = 400  # cells that scikit-learn is asked for
CHECKED = 400  # cells whose forecasts are compared, where no two examples are equally far at the edge of the k
SECONDS, MEGABYTES = 60.0, 2000.0
ONE_PROCESS = """
import json
from collections.abc import Callable
import sys
from speed.ice import baselines, history_of
history = history_of(quick=json.loads(sys.argv[1]))
for name, forecast in baselines(history):
    forecast()
"""


def lines(*, quick: bool) -> list[Line]:
    history = history_of(quick=quick)
    frames, (height, width) = len(history.frames), history.shape
    what = f"{history.leads} x {height * width:,} cells, {frames} frames"
    rounds = 1 if quick else 3
    script = f"import sys\nsys.path.insert(0, {str(Path(__file__).parents[1])!r})\n{ONE_PROCESS}"
    found = [memory(f"sea ice: all baselines of a year, {what}", script, [json.dumps(quick)], wanted=MEGABYTES)]
    began = time.process_time()
    timed = interleaved({name: Work(forecast) for name, forecast in baselines(history)}, rounds=rounds)
    together = [sum(each) for each in zip(*timed.values(), strict=True)]
    processor = (time.process_time() - began) / (rounds + 1)  # the first call is not timed, but takes its part
    note = f"{len(timed)} forecasts, {processor:.1f} s of CPU time; {_source()}"
    found.append(_seconds(f"sea ice: all baselines of a year, {what}", together, SECONDS, note))
    found += [_seconds(f"sea ice: {name}", seconds) for name, seconds in timed.items()]
    return [*found, *_neighbours(history, quick=quick)]


def _seconds(path: str, each: list[float], wanted: float | None = None, note: str = "") -> Line:
    return Line(path, "", median(each), min(each), max(each), "s", wanted, note)


def history_of(*, quick: bool) -> PastFrames:
    """All that is known at the end of the data."""
    folder = data_folder()
    if folder is not None and (folder / "seaice").is_dir() and not quick:
        competition = build("arctic_sea_ice", {}, folder / "seaice")
        history: PastFrames = competition.load(folder / "seaice", "test").inputs.history(0)  # type: ignore[attr-defined]
        return history
    grid, years = ((56, 38), 16) if quick else (GRID, YEARS)
    times = np.datetime64("1979-01") + np.arange(12 * years)
    return PastFrames(without_flags(procedural_codes(times, grid, 0)), np.arange(1, 13), 12)


def baselines(history: PastFrames) -> list[tuple[str, Callable[[], object]]]:
    """Name and a call that makes the forecast, of each."""
    found: list[tuple[str, Callable[[], object]]] = []
    for family, options in BASELINES:
        baseline = plugins.load("forecasting.baselines", family).PLUGIN(**options)
        name = f"{family} {' '.join(f'{key} {value}' for key, value in options.items())}".strip()
        found.append((name, lambda baseline=baseline: baseline.forecast(history)))
    return found


def _neighbours(history: PastFrames, *, quick: bool) -> list[Line]:
    from sklearn.neighbors import KNeighborsRegressor

    seasons = history.same_season(0, LAGS + 1).reshape(LAGS + 1, -1)
    examples, became, asked = seasons[:-1].T, seasons[-1], seasons[1:].T
    k = 61 if quick else K
    chosen = np.random.default_rng(0).choice(len(asked), min(SHARE, len(asked)), replace=False)
    peers = {
        algorithm: KNeighborsRegressor(k, weights="distance", algorithm=algorithm, metric="manhattan", n_jobs=2)
        for algorithm in ("brute", "kd_tree")
    }
    works = {}
    for algorithm, peer in peers.items():
        peer.fit(examples.astype(np.float64), became)
        questions = asked[chosen].astype(np.float64)
        works[f"scikit-learn, {algorithm}"] = (Work(lambda p=peer, q=questions: p.predict(q), len(chosen)), None)
    changing = np.flatnonzero(np.ptp(asked, axis=1) > 0)
    checked = np.random.default_rng(1).choice(changing, min(CHECKED, len(changing)), replace=False)
    untied = checked[_without_ties(peers["kd_tree"], asked[checked].astype(np.float64), k)]
    assert len(untied)
    theirs = peers["kd_tree"].predict(asked[untied].astype(np.float64))
    np.testing.assert_allclose(neighbour_means(examples, became, asked, k)[untied], theirs, rtol=1e-6, atol=1e-6)
    own = Work(lambda: neighbour_means(examples, became, asked, k), len(asked))
    path = f"sea ice: nearest neighbours, k = {k}, a cell and month; the same on {len(untied)} cells without ties"
    return ratios(path, own, works, rounds=1 if quick else 3)


def _without_ties(peer: object, questions: np.ndarray, k: int) -> np.ndarray:
    """bool (n,): the k nearest are the same whatever the order of equally far ones, and none is exactly alike."""
    distance, _ = peer.kneighbors(questions, n_neighbors=k + 1)  # type: ignore[attr-defined]
    return (distance[:, 0] > 0) & (distance[:, k - 1] < distance[:, k])


def _source() -> str:
    folder = data_folder()
    return "NSIDC-0051" if folder is not None and (folder / "seaice").is_dir() else "procedural frames"
