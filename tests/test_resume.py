"""Killed again and again, at writes, moves and in the middle of steps, a run ends with the bytes of one left alone."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from faults.conftest import write_images
from skyfold.store.folds import Folds, write_folds
from skyfold.store.rows import RowStore

CHILD = Path(__file__).parent / "resume_child.py"
TRAIN = 16
STEPS = 2  # of an epoch: 8 images in batches of 4; with gathered gradients twice as many

# Kinds in an order in which each can still happen, the last step that of the second fold; when within them is drawn.
MOMENTS = {
    "float32": ("cache", "step", "checkpoint", "step", "kept", "oof", "step", "test"),
    "bfloat16": ("step", "checkpoint"),  # training, in which precision and gathered gradients make a difference
    "gathered": ("checkpoint", "step"),
}


def start(*jobs: list[str]) -> list[int]:
    """Run the child, for each job [root, setting, *moments] at each moment to its end or its death."""
    arguments = [argument for job in jobs for argument in ("--", *job)]
    done = subprocess.run(
        [sys.executable, str(CHILD), *arguments],
        env={**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [int(line) for line in done.stdout.splitlines() if re.fullmatch(r"-?\d+", line)]


def workspace(root: Path, images: Path) -> Path:
    root.mkdir()
    (root / "images").symlink_to(images)
    ids = np.array([f"i{i:02d}" for i in range(TRAIN)])
    write_folds(root / "oof/blobs/folds.csv", Folds(ids=ids, fold=np.arange(TRAIN) % 2, groups=np.arange(TRAIN)))
    return root


def drawn(setting: str) -> list[str]:
    """The moments of a setting, as the child takes them."""
    rng = np.random.default_rng(len(setting))
    numbers = [int(rng.integers(1, 1 + STEPS)) if kind in ("step", "cache") else 1 for kind in MOMENTS[setting]]
    return [f"{kind},{number},{rng.uniform():.3f}" for kind, number in zip(MOMENTS[setting], numbers, strict=True)]


def results(root: Path) -> dict[str, np.ndarray]:
    run = root / "oof/blobs/killed"
    stores = {part: RowStore.open(run / part) for part in ("oof", "test")}
    for store in stores.values():
        store.checked[:]
        assert store.complete.all()
    return {part: np.array(store.values) for part, store in stores.items()}


@pytest.mark.slow
def test_kills_change_no_byte(tmp_path):
    write_images(tmp_path / "images", TRAIN, 5)
    jobs, codes = [], []
    for setting in MOMENTS:
        for name, moments in (("quiet", []), ("killed", drawn(setting))):
            root = workspace(tmp_path / f"{setting}_{name}", tmp_path / "images")
            jobs.append([str(root), setting, *moments, "end"])
            codes += [*[-signal.SIGKILL] * len(moments), 0]
    found = start(*jobs)
    assert found == codes, f"not each moment of {jobs} was reached: {found}"
    outcomes = {setting: results(tmp_path / f"{setting}_quiet") for setting in MOMENTS}
    for setting, undisturbed in outcomes.items():
        killed = results(tmp_path / f"{setting}_killed")
        for part, values in undisturbed.items():
            assert values.std() > 1  # it has learned to say more than one thing
            np.testing.assert_array_equal(killed[part], values)
    assert not np.array_equal(outcomes["float32"]["oof"], outcomes["bfloat16"]["oof"])  # precision was not forgotten
    assert not np.array_equal(outcomes["float32"]["oof"], outcomes["gathered"]["oof"])
