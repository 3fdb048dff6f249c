"""Procedural sample of the files of the hydro-dam rain contest: showers that move, turn, grow and decay.

Not realistic weather. Each event has its own wind and a slow rotation; showers are born, live and die on the way, and
one event in three has a corner without data. The windows of an event overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from skyfold.competitions.hydro_rain.reflectivity_table import ReflectivityTable
from skyfold.data.sample_folder import sample_settings, write_whole
from skyfold.forecasting.rain_units import NO_DATA, raw_of_rain
from skyfold.progress import Progress

SIDE = 120
FRAMES = 5
STRIDE = 2  # frames from one window of an event to the next
SHOWERS = 40  # born in an event, each 20 frames

# Default and least value of each setting
SETTINGS = {"train": (72, 1), "test": (16, 1), "train_events": (6, 1), "test_events": (2, 1), "seed": (0, 0)}


def write_sample(folder: Path, *, table: ReflectivityTable, **settings: int) -> None:
    """Write train, test, sample_submission.csv (no rain anywhere), and test_truth.csv, the fifth frames of test.

    table: format of those two; settings: those that differ from `SETTINGS`. train, test: numbers of windows, cut from
    train_events, test_events rain events; seed: of the random rain. A folder that holds the same sample is left as it
    is; DataLayoutError where it holds anything else.
    """
    chosen = sample_settings(settings, SETTINGS)
    write_whole(folder, chosen, lambda beside: _write_files(beside, table, **chosen))


def _write_files(
    folder: Path, table: ReflectivityTable, train: int, test: int, train_events: int, test_events: int, seed: int
) -> None:
    events = train_events + test_events
    windows: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    with Progress("writing the sample", events, "events") as progress:
        for event in range(events):
            of_train = event < train_events
            part, of_part, total = ("train", train_events, train) if of_train else ("test", test_events, test)
            count = total // of_part + (event % of_part < total % of_part)
            if count:
                frames = rain_event(np.random.default_rng([seed, event]), STRIDE * (count - 1) + FRAMES)
                raw = _as_raw(frames, cut_corner=event % 3 == 2)
                windows[part] += [raw[..., STRIDE * i : STRIDE * i + FRAMES] for i in range(count)]
            progress.advance()
    order = np.random.default_rng([seed, events]).permutation(len(windows["train"]))
    _write_part(folder / "train", [windows["train"][i] for i in order])  # file names do not tell events apart
    names = _write_part(folder / "test", [window[..., :-1] for window in windows["test"]])
    last = [window[..., -1:].astype(np.float64) for window in windows["test"]]
    for name, values in (("test_truth", last), ("sample_submission", [np.zeros_like(frame) for frame in last])):
        table.write(folder / f"{name}.csv", table.encode_raw(np.array(names), values))


def _write_part(folder: Path, windows: Sequence[np.ndarray]) -> list[str]:
    folder.mkdir()
    names = [f"{folder.name}_{i:05d}.npy" for i in range(len(windows))]
    for name, window in zip(names, windows, strict=True):
        np.save(folder / name, window, allow_pickle=False)
    return names


def rain_event(rng: np.random.Generator, count: int) -> np.ndarray:
    """Frames of one rain event, `count` of them, in mm/h: float64 (H, W, count)."""
    wind = rng.uniform(1.0, 4.0) * _direction(rng.uniform(0, 2 * np.pi))
    turn = rng.uniform(-0.02, 0.02)  # radians a frame, about the middle
    births = rng.uniform(-20, count, size=SHOWERS * max(1, count // 20))
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] - (SIDE - 1) / 2.0
    rain = np.zeros((SIDE, SIDE, count))
    for birth in births:
        begin = rng.uniform(-0.9, 0.9, size=2) * SIDE - 8 * wind  # column, row at birth: the wind brings it in
        peak, width = rng.lognormal(1.0, 0.9), rng.uniform(3, 11)
        stretch, lie, life = rng.uniform(0.4, 1.0), rng.uniform(0, np.pi), rng.uniform(8, 30)
        for frame in range(max(0, int(np.ceil(birth))), min(count, int(birth + life) + 1)):
            age = frame - birth
            x, y = _rotation(turn * age) @ begin + wind * age
            along, across = _rotation(lie + turn * age) @ np.stack([columns - x, rows - y]).reshape(2, -1)
            shape = np.exp(-0.5 * ((along / width) ** 2 + (across / (width * stretch)) ** 2))
            rain[..., frame] += peak * np.sin(np.pi * age / life) * shape.reshape(SIDE, SIDE)
    grain = np.kron(rng.lognormal(0, 0.25, size=(SIDE // 4, SIDE // 4)), np.ones((4, 4)))  # of the ground, it stays
    rain *= grain[..., None]
    return np.where(rain < 0.05, 0.0, rain)


def _as_raw(rain: np.ndarray, *, cut_corner: bool) -> np.ndarray:
    raw = np.rint(raw_of_rain(rain)).astype(np.int16)
    if cut_corner:
        rows, columns = np.mgrid[0:SIDE, 0:SIDE]
        raw[rows + columns < SIDE // 3] = NO_DATA
    return raw


def _direction(angle: float) -> np.ndarray:
    return np.array([np.cos(angle), np.sin(angle)])


def _rotation(angle: float) -> np.ndarray:
    cosine, sine = _direction(angle)
    return np.array([[cosine, -sine], [sine, cosine]])
