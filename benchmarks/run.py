"""Measure the numerical core against its peers on this machine and write docs/benchmarks.md.

    python benchmarks/run.py                 every topic; about twenty minutes on two cores
    python benchmarks/run.py --topic rle     this topic alone, printed and not written
    python benchmarks/run.py --topic rle --write     and written, in the place of its section of the page
    python benchmarks/run.py --quick         tiny sizes in a minute, printed and not written: does it run at all?

What is written is kept in benchmarks/results/speed/, too, a file a topic. Real rows are used where $SKYFOLD_DATA names
the folder that has `clouds_labels`. Peers: benchmarks/requirements.txt.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import importlib.metadata
import math
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from timing import Line

from skyfold.files import write_json, write_text

HERE = Path(__file__).parent
KEPT = HERE / "results" / "speed"
PAGE = HERE.parent / "docs" / "benchmarks.md"
TRIED = HERE / "tried.md"  # written by hand: why a figure is missed
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16")  # that decide which kernels run
PACKAGES = (
    "numpy",
    "numba",
    "opencv-python-headless",
    "pandas",
    "pycocotools",
    "rlemasklib",
    "scikit-learn",
    "keras",
    "tensorflow",
)
TOPICS = {
    "rle": "Run-length text",
    "scoring": "Scoring a submission",
    "postprocessing": "Search of thresholds and areas",
    "bagging": "Bagging",
    "weights": "Weights of a blend",
    "image_cache": "Image cache",
    "chips": "Chips of 16 bits into the cache",
    "batches": "Batches of 16 bits",
    "tiles": "Tiles of big scenes",
    "training": "Training beside PyTorch",
    "prediction": "Predicting on a CPU",
    "prediction_torch": "Predicting beside PyTorch",
    "rain": "Rain ten minutes ahead",
    "rain_networks": "Training of the networks of rain",
    "ice": "Sea ice a year ahead",
    "ice_files": "Opening the sea-ice record",
}


def measure(topics: Sequence[str] = tuple(TOPICS), *, quick: bool = False) -> dict[str, list[Line]]:
    """The lines of each topic, in order, as measured now; each topic is printed when it is done."""
    found = {}
    for topic in topics:
        print(f"measuring: {topic}", file=sys.stderr)
        found[topic] = importlib.import_module(f"speed.{topic}").lines(quick=quick)
        print(f"\n{TOPICS[topic]}\n\n{as_markdown(found[topic])}", flush=True)
    return found


def as_markdown(lines: Sequence[Line]) -> str:
    head = ["path", "against", "measured", "least to greatest", "wanted", "", "median times"]
    rows = [head, *(_cells(line) for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    text = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows]
    text.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(text)


def machine() -> str:
    """Processor with its instructions for matrices, cores, memory, system and versions, as one paragraph."""
    about = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if line)
    told = {key.strip(): value.strip() for key, value in about.items()}
    processor = told.get("model name", platform.processor())
    flags = [flag for flag in FLAGS if flag in told.get("flags", "").split()]
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = [f"{name} {_version(name)}" for name in PACKAGES]
    return (
        f"{processor} ({', '.join(flags) or 'no known flags'}), {os.cpu_count()} cores, {gigabytes:.0f} GiB, "
        f"{platform.system()}, Python {platform.python_version()}, {', '.join(versions)}."
    )


def page(found: dict[str, list[Line]]) -> str:
    wanted = [line for lines in found.values() for line in lines if line.wanted is not None]
    met = sum(line.met for line in wanted)
    parts = [
        "# Benchmarks of the numerical core",
        f"`python benchmarks/run.py`, {datetime.date.today().isoformat()}. {machine()}",
        "Candidates are timed in turns in one process; a ratio is formed in every round, and its median, least and\n"
        "greatest are shown. Before it is timed, each pair is checked to give the same result. The first call, which\n"
        "compiles or loads compiled code, is not counted. "
        f"Of {len(wanted)} wanted figures {met} are met.",
    ]
    for topic, lines in found.items():
        parts += [_section(topic, lines)]
    parts.append(TRIED.read_text(encoding="utf-8").strip())
    return "\n\n".join(parts) + "\n"


def with_section(written: str, topic: str, lines: Sequence[Line]) -> str:
    """The page `written` before, with the section of one topic as it is measured now, which says when and where."""
    own = _section(topic, lines, f"Measured by itself, {datetime.date.today().isoformat()}. {machine()}")
    head, *sections = written.split("\n## ")
    places = {section.partition("\n")[0]: place for place, section in enumerate(sections)}
    if TOPICS[topic] in places:
        sections[places[TOPICS[topic]]] = f"{own.removeprefix('## ')}\n"
    else:
        before = [places[title] for title in list(TOPICS.values())[: list(TOPICS).index(topic)] if title in places]
        sections.insert(max(before, default=-1) + 1, f"{own.removeprefix('## ')}\n")
    return "\n## ".join([head, *sections])


def _section(topic: str, lines: Sequence[Line], note: str = "") -> str:
    return "\n\n".join(filter(None, [f"## {TOPICS[topic]}", note, as_markdown(lines)]))


def _keep(found: dict[str, list[Line]]) -> None:
    for topic, lines in found.items():
        write_json(
            KEPT / f"{topic}.json",
            {
                "machine": machine(),
                "date": datetime.date.today().isoformat(),
                "lines": [{**asdict(line), "met": line.met} for line in lines if not math.isnan(line.measured)],
            },
        )


def _cells(line: Line) -> list[str]:
    wanted = "" if line.wanted is None else f"{'>=' if line.unit == 'x' else '<='} {line.wanted:g} {line.unit}"
    verdict = "" if line.wanted is None else "met" if line.met else "missed"
    span = f"{_short(line.low)} to {_short(line.high)}"
    return [line.path, line.against, f"{_short(line.measured)} {line.unit}", span, wanted, verdict, line.note]


def _short(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def main(argv: Sequence[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--topic", action="append", choices=list(TOPICS), help="this one alone; may be repeated")
    arguments.add_argument("--write", action="store_true", help="with --topic: put its section into the page")
    arguments.add_argument("--quick", action="store_true", help="tiny sizes: does it run at all?")
    given = arguments.parse_args(argv)
    found = measure(given.topic or tuple(TOPICS), quick=given.quick)
    if given.quick or (given.topic and not given.write):
        return 0
    _keep(found)
    text = page(found) if given.topic is None else PAGE.read_text(encoding="utf-8")
    for topic in given.topic or ():
        text = with_section(text, topic, found[topic])
    write_text(PAGE, text)
    print(f"written: {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
