"""Keep what a run came to under benchmarks/results/, small enough for git: config, scores, and scores per image.

Of a forecast: sums per date, or per event.

python benchmarks/keep.py wsiseg            # every run, blend and forecast of oof/wsiseg
python benchmarks/keep.py wsiseg blend ...  # these alone
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from skyfold.workspace import Workspace

RESULTS = Path(__file__).parent / "results"
KEPT = ("run.json", "blend.json", "rows.csv", "sums.csv")
MOST_BYTES = 1_000_000


def main(argv: Sequence[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("data", help="name of the data set")
    arguments.add_argument("runs", nargs="*", help="runs to keep (default: all)")
    given = arguments.parse_args(argv)
    folder = Workspace(Path(__file__).parent.parent).oof(given.data)
    names = given.runs or sorted(path.parent.name for path in folder.glob("*/run.json"))
    for name in names:
        for file in KEPT:
            source = folder / name / file
            if not source.is_file():
                continue
            if source.stat().st_size > MOST_BYTES:
                print(f"{source}: {source.stat().st_size} bytes, too large to keep", file=sys.stderr)
                continue
            target = RESULTS / given.data / name / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
