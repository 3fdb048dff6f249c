"""Procedural sample of the Arctic sea-ice files: an ice cap that breathes with the seasons and slowly shrinks.

Not realistic ice. The edge lies at a distance from the pole that depends on season, year and direction; anomalies of it
last some months, so that there is something to forecast.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from skyfold.competitions.arctic_sea_ice.cadence import Cadence
from skyfold.competitions.arctic_sea_ice.ice_frames import COAST, FLAGS, FULL_ICE, LAND, POLE_HOLE
from skyfold.data.sample_folder import sample_settings, write_whole
from skyfold.submission.pixel_table import PixelTable
from skyfold.types import IntPair

FIRST_YEAR = 1995
MEMORY = 0.8  # of a departure, from one month to the next
DIRECTIONS = 24

# Default and least value of each setting
SETTINGS = {"years": (18, 3), "seed": (0, 0)}


def write_sample(folder: Path, *, cadence: Cadence, grid: IntPair, **settings: int) -> None:
    """Write <cadence>_train.csv and its files, sample_submission.csv (no ice anywhere), and test_truth.csv.

    settings: those that differ from `SETTINGS`. years: with known frames, the first one 1995; seed: of the random
    weather. A folder that holds the same sample is left as it is; DataLayoutError where it holds anything else. If the
    process is killed, nothing is left at `folder`.
    """
    chosen = sample_settings(settings, SETTINGS)
    about = {"cadence": cadence.name, "grid": list(grid), **chosen}
    write_whole(folder, about, lambda beside: _write_files(beside, cadence, grid, **chosen))


def _write_files(folder: Path, cadence: Cadence, grid: IntPair, years: int, seed: int) -> None:
    first = cadence.time(f"{FIRST_YEAR}0102"[: 6 if cadence.unit == "M" else 8])
    known = years * round(cadence.period)
    times = first + np.arange(known + int(cadence.lead_times[-1])) * cadence.step
    codes = procedural_codes(times, grid, seed)
    files = folder / f"{cadence.name}_train"
    files.mkdir()
    index = [f"{cadence.file_column},{cadence.column}"]
    for time, frame in zip(times[:known], codes, strict=False):
        name = f"{str(time).replace('-', '')}.npy"
        np.save(files / name, _planes(frame))
        index.append(f"{name},{time}")
    (folder / f"{cadence.name}_train.csv").write_text("\n".join(index) + "\n", encoding="utf-8")
    wanted = known - 1 + cadence.lead_times
    labels = times[wanted].astype(str).tolist()
    table = PixelTable(cadence.column, lambda name: labels, grid, greatest=float(max(FLAGS.values())))
    answer = np.moveaxis(codes[wanted], 0, -1)
    ids = times[known - 1 : known].astype(str)
    table.write(folder / "test_truth.csv", table.encode(ids, answer[None]))
    table.write(folder / "sample_submission.csv", table.encode(ids, np.zeros_like(answer)[None]))


def procedural_codes(times: np.ndarray, grid: IntPair, seed: int) -> np.ndarray:
    """Codes of sea-ice frames, uint8 (T, H, W) with flags, for times (T,) datetime64 on a grid (H, W)."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(np.linspace(-1, 1, grid[0]), np.linspace(-1, 1, grid[1]), indexing="ij")
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    direction = ((angle + np.pi) / (2 * np.pi) * DIRECTIONS).astype(int) % DIRECTIONS
    shape = ndimage.gaussian_filter(rng.normal(size=grid), min(grid) / 12, mode="wrap")
    land = (radius > 0.45) & (shape > np.quantile(shape, 0.75))
    coast = land & ~ndimage.binary_erosion(land, border_value=1)
    hole = radius < 0.06
    months = times.astype("datetime64[D]").astype(float) / 30.44
    memory = MEMORY ** np.diff(months, prepend=months[0])
    departure = np.zeros(DIRECTIONS)
    codes = np.empty((len(times), *grid), dtype=np.uint8)
    for i, month in enumerate(months):
        noise = ndimage.gaussian_filter1d(rng.normal(size=DIRECTIONS), 1.5, mode="wrap")
        departure = memory[i] * departure + np.sqrt(1 - min(memory[i], MEMORY) ** 2) * 0.08 * noise
        season = 0.2 * np.cos(2 * np.pi * (month - 2.5) / 12)
        edge = 0.72 + season - 0.0004 * (month - months[0]) + departure[direction]
        share = 1 / (1 + np.exp((radius - edge) / 0.05))
        ice = FULL_ICE * np.where(share < 0.03, 0.0, share)
        codes[i] = np.clip(np.round(ice + rng.normal(scale=4, size=grid) * (ice > 0)), 0, FULL_ICE)
    codes[:, hole], codes[:, land], codes[:, coast] = POLE_HOLE, LAND, COAST
    return codes


def _planes(codes: np.ndarray) -> np.ndarray:
    """(H, W, 5) as the contest stores a frame."""
    ice = np.where(codes <= FULL_ICE, codes, 0)
    return np.stack([ice, *(codes == code for code in FLAGS.values())], axis=-1).astype(np.uint8)
