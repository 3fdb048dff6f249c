"""Run the demo on samples of several generator seeds and keep what each submission scores on the truth kept aside.

    python benchmarks/sample_order.py --work DIR [--seeds 0 1 2 3 4]

Each is scored on 400 test images, twice the demo's: the gains to be told apart are small. A seed takes a little longer
than the demo and has a folder of its own in DIR; stopped, the same command goes on.
Then: python benchmarks/acceptance.py --table understanding_clouds
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from skyfold.files import read_json, write_json

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "configs" / "understanding_clouds" / "demo.yaml"
RESULTS = Path(__file__).parent / "results" / "clouds_demo"
TEST_IMAGES = 400


def seed_folder(work: Path, seed: int) -> Path:
    """Project folder of a seed."""
    return work / f"seed{seed}"


def settings(seed: int) -> dict[str, int]:
    """What its sample has other than the demo's."""
    return {"seed": seed, "test": TEST_IMAGES}


def environment() -> dict[str, str]:
    """Without a folder of data: samples are written below the project folder."""
    return {name: value for name, value in os.environ.items() if name != "SKYFOLD_DATA"}


def main(argv: Sequence[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--work", type=Path, required=True, help="folder to work in")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    given = arguments.parse_args(argv)
    for seed in given.seeds:
        folder = seed_folder(given.work, seed)
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "skyfold", "run", str(CONFIG), "--jobs", "3", "--root", str(folder)]
        for name, value in settings(seed).items():
            command += ["--set", f"data.sample.{name}={value}"]
        done = subprocess.run(command, cwd=folder, env=environment(), check=False)
        if done.returncode:
            return done.returncode
        scores = read_json(folder / "submissions" / "clouds_demo" / "demo.test_scores.json")
        blend = read_json(folder / "oof" / "clouds_demo" / "demo" / "blend.json")
        write_json(RESULTS / f"seed{seed}.json", {**scores, "seed": seed, "out_of_fold": blend["scores"]})
    return 0


if __name__ == "__main__":
    sys.exit(main())
