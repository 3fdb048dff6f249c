"""Killed ten times, at writes, at moves and in the middle of steps, a run ends with the bytes of one left alone."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from skyfold.store.folds import Folds, write_folds
from skyfold.store.rows import RowStore

CHILD = Path(__file__).parent / "resume_child.py"
TRAIN, TEST = 16, 5
STEPS = 2  # of an epoch: 8 images in batches of 4; with gathered gradients twice as many

# Kinds in an order in which each can still happen; when within them is drawn.
MOMENTS = ("cache", "cache", "step", "checkpoint", "step", "checkpoint", "kept", "oof", "step", "test")
TRAINING_MOMENTS = ("step", "checkpoint", "step")  # in which precision and gathered gradients make a difference


def make_images(root: Path) -> None:
    """Bright blobs on noise, their masks, and folds."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:80, :72]
    for part, count in [("images", TRAIN), ("test", TEST)]:
        for i in range(count):
            centre, radius = rng.uniform(20, 50, 2), rng.uniform(10, 20)
            blob = np.hypot(rows - centre[0], columns - centre[1]) < radius
            image = rng.integers(0, 120, (80, 72, 3), dtype=np.uint8) + 100 * blob[..., None].astype(np.uint8)
            save(root / part / f"{i:02d}.png", image)
            if part == "images":
                save(root / "masks" / f"{i:02d}.png", 255 * blob.astype(np.uint8))


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def start(root: Path, setting: str, *moments: str) -> list[int]:
    """Run the child at each moment to its end or its death. Two run side by side, with one core each."""
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(CHILD), str(root), setting, *moments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [int(line) for line in done.stdout.splitlines() if re.fullmatch(r"-?\d+", line)]


def workspace(root: Path, images: Path) -> Path:
    root.mkdir()
    (root / "images").symlink_to(images)
    ids = np.array([f"{i:02d}" for i in range(TRAIN)])
    write_folds(root / "oof/blobs/folds.csv", Folds(ids=ids, fold=np.arange(TRAIN) % 2, groups=np.arange(TRAIN)))
    return root


def killed_run(root: Path, setting: str, moments: tuple[str, ...]) -> None:
    rng = np.random.default_rng(len(setting))
    numbers = [int(rng.integers(1, 1 + STEPS)) if kind in ("step", "cache") else 1 for kind in moments]
    given = [f"{kind},{number},{rng.uniform():.3f}" for kind, number in zip(moments, numbers, strict=True)]
    codes = start(root, setting, *given, "end")
    assert codes == [*[-signal.SIGKILL] * len(moments), 0], f"{setting}: not each of {given} was reached: {codes}"


def results(root: Path) -> dict[str, np.ndarray]:
    run = root / "oof/blobs/killed"
    stores = {part: RowStore.open(run / part) for part in ("oof", "test")}
    for store in stores.values():
        store.checked[:]
        assert store.complete.all()
    return {part: np.array(store.values) for part, store in stores.items()}


@pytest.mark.slow
def test_ten_kills_change_no_byte(tmp_path):
    make_images(tmp_path / "images")

    def one(setting: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        quiet = workspace(tmp_path / f"{setting}_quiet", tmp_path / "images")
        assert start(quiet, setting, "end") == [0]
        killed = workspace(tmp_path / f"{setting}_killed", tmp_path / "images")
        killed_run(killed, setting, MOMENTS if setting == "float32" else TRAINING_MOMENTS)
        return results(quiet), results(killed)

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(one, ["float32", "bfloat16", "gathered"]))
    for undisturbed, killed in outcomes:
        for part, values in undisturbed.items():
            assert values.std() > 1  # it has learned to say more than one thing
            np.testing.assert_array_equal(killed[part], values)
    float32, bfloat16, gathered = (undisturbed["oof"] for undisturbed, _ in outcomes)
    assert not np.array_equal(float32, bfloat16)  # the precision was not forgotten
    assert not np.array_equal(float32, gathered)
