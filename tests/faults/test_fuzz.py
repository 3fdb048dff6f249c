"""Damaged files of every kind that is read: only a SkyfoldError leaves a reader, in time and in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from faults.fuzz_child import MOST_BYTES, SECONDS, regressions

TESTS = Path(__file__).parents[1]
STARTS = 40  # of a child that dies, at most


def read_damaged(project: Path, work: Path, first: int, count: int, *names: str) -> list[dict]:
    """What left the readers, file by file; a child that a file kills is started again behind that file."""
    failures = []
    place: list = []
    for start in range(STARTS):
        folder = work / str(start)
        folder.mkdir(parents=True)
        given = [project, folder, str(first), str(count), json.dumps(place), *names]
        command, own = [sys.executable, "-m", "faults.fuzz_child", *given], {**os.environ, "MALLOC_ARENA_MAX": "2"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TESTS, env=own)
        failures += [json.loads(line) for line in done.stdout.splitlines()]
        place = json.loads((folder / "at").read_text()) if (folder / "at").is_file() else []
        if done.returncode == 0:
            return failures
        assert place, f"the child did not begin:\n{done.stderr[-2000:]}"
        how = f"ended by {done.returncode}, or no answer in {SECONDS} s:\n{done.stderr[-1500:]}"
        failures.append({"reader": place[0], "number": place[1], "failure": how})
    raise AssertionError(f"the child died {STARTS} times: {failures}")


def told(failures: list[dict]) -> str:
    return "\n".join(f"{each['reader']}, {each['number']}: {each['failure']}" for each in failures)


def test_only_a_skyfold_error_leaves_a_reader_of_damaged_files(made_once, tmp_path):
    failures = read_damaged(made_once, tmp_path, 0, 60)
    assert not failures, told(failures)


def test_files_that_once_broke_a_reader_are_small():
    """They are read first by the tests beside."""
    found = [path for paths in regressions().values() for path in paths]
    assert found
    assert not [path.name for path in found if path.stat().st_size > MOST_BYTES]


@pytest.mark.by_hand
def test_ten_thousand_files_each_are_refused_or_read(made_once, tmp_path):
    failures = read_damaged(made_once, tmp_path, 60, 10_000)
    assert not failures, told(failures)
