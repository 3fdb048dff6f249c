"""Two commands at once: what one of them writes no other reads or writes, and a process that died holds nothing."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from filelock import FileLock

from skyfold.data.cache import filled_store
from skyfold.errors import Locked
from skyfold.files import host
from skyfold.store import locks
from skyfold.store.locks import held, is_held, own_file, waited_for

HOLD = """
import sys, time
from pathlib import Path
from skyfold.store.locks import held
with held(writes=[Path(sys.argv[1])]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("command", "config", "written"),
    [
        ("prepare", "bright", "oof/tiny/folds.csv"),
        ("train", "bright", "oof/tiny/bright"),
        ("blend", "blend", "oof/tiny/blend"),
        ("blend", "blend", "oof/tiny/bright"),
        ("submit", "blend", "submissions/tiny/blend.csv"),
        ("submit", "blend", "oof/tiny/blend"),
        ("submit", "blend", "oof/tiny/dark"),
        ("run", "blend", "oof/tiny/bright"),
    ],
)
def test_what_another_process_writes_is_neither_read_nor_written_and_the_message_says_who_it_is(
    tiny, command, config, written
):
    before = tiny.files()
    with held(writes=[tiny.root / written]):
        code, out, err = tiny.run(command, config)
    message = err.splitlines()[-1]
    assert code == 4
    assert message.startswith(f"error: {tiny.root / written}: locked since 2")
    assert f"process {os.getpid()} on host {host()} (" in message
    assert message.endswith("which writes it. Wait until it has ended, then run the same command again.")
    assert "locked" not in out
    assert tiny.files() == before


def test_a_command_that_reads_refuses_those_that_write_and_none_that_read(tiny):
    with held(reads=[tiny.oof / "bright", tiny.oof / "dark"]):
        assert tiny.run("blend", "blend")[0] == 0
        code, _, err = tiny.run("train", "bright", "--restart")
    assert code == 4
    assert "which reads it" in err


def test_runs_of_different_names_are_trained_at_once(tiny):
    with held(writes=[tiny.oof / "bright"]):
        assert tiny.run("train", "dark", "--restart")[0] == 0


def test_the_lock_of_a_killed_process_is_taken_over_and_nothing_of_it_is_left(tiny):
    before = tiny.files()
    child = subprocess.Popen([sys.executable, "-c", HOLD, tiny.oof / "bright"], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "held\n"
        code, _, err = tiny.run("train", "bright")
        assert code == 4
        assert f"process {child.pid} on host {host()} (-c " in err
    finally:
        child.kill()
        child.wait()
    assert len(tiny.files()) == len(before) + 2  # the lock and who held it
    assert tiny.run("train", "bright")[0] == 0
    assert tiny.files() == before


def test_a_password_of_the_command_is_not_written_down(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x/skyfold/__main__.py", "tune", "--storage", "postgresql://me:secret@host/db"])
    with held(writes=[tmp_path / "a"]), pytest.raises(Locked) as refused, held(reads=[tmp_path / "a"]):
        pass
    assert "(skyfold tune --storage postgresql://host/db)" in str(refused.value)


def test_two_processes_that_want_the_same_decoded_images_decode_them_once(tmp_path):
    made = []

    def make(row: int) -> np.ndarray:
        made.append(row)
        time.sleep(0.01)
        return np.full(4, row, np.uint8)

    def fill() -> None:
        store = filled_store(tmp_path / "inputs", np.array(list("abcdefgh")), make, fingerprint="f", label="decoding")
        found.append(np.array(store.values)[:, 0].tolist())

    found: list[list[int]] = []
    threads = [threading.Thread(target=fill) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [list(range(8))] * 3
    assert sorted(row for row in made if row) == list(range(1, 8)), "row 0 is made once more to learn the shape"
    assert [path.name for path in tmp_path.iterdir()] == ["inputs"]


class NoKernelLock(FileLock):
    def acquire(self, *_, **__):
        raise OSError(errno.ENOLCK, "No locks available")


def test_where_the_file_system_carries_no_locks_a_file_is_the_lock(tiny, monkeypatch):
    monkeypatch.setattr(locks, "FileLock", NoKernelLock)
    before = tiny.files()
    with held(writes=[tiny.oof / "bright"]):
        assert tiny.run("train", "bright")[0] == 4
    assert tiny.run("train", "bright")[0] == 0
    assert tiny.files() == before


@pytest.mark.parametrize(
    ("where", "age", "stale"), [("here", 0, True), ("elsewhere", 100, False), ("elsewhere", 130, True)]
)
def test_such_a_file_is_stale_when_its_process_is_gone_or_without_a_heartbeat_for_two_minutes(
    tmp_path, monkeypatch, where, age, stale
):
    monkeypatch.setattr(locks, "FileLock", NoKernelLock)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    path, record = tmp_path / "a.lock", tmp_path / "a.lock.json"
    path.write_text("")
    name = host() if where == "here" else "elsewhere"
    record.write_text(
        f'{{"host": "{name}", "pid": {ended.pid}, "since": "", "command": "", "writes": true, "soft": true}}'
    )
    os.utime(record, (time.time() - age,) * 2)
    assert is_held(path) == (not stale)
    assert path.exists() == (not stale)


def test_a_heartbeat_shows_other_hosts_that_a_process_lives(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "FileLock", NoKernelLock)
    monkeypatch.setattr(locks, "HEARTBEAT_SECONDS", 0.02)
    record = tmp_path / "a.lock.json"
    with own_file(tmp_path / "a.lock"):
        os.utime(record, (0, 0))
        deadline = time.monotonic() + 10
        while record.stat().st_mtime < 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert record.stat().st_mtime > 1


def test_who_waits_long_is_told_for_whom(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(locks, "TOLD_SECONDS", 0.1)
    release = threading.Timer(0.5, lambda: holder.__exit__(None, None, None))
    holder = waited_for(tmp_path / "inputs.lock")
    holder.__enter__()
    release.start()
    with waited_for(tmp_path / "inputs.lock"):
        pass
    assert re.fullmatch(
        rf"waiting for process {os.getpid()} on host \S+ \(.*\) to end with \S+inputs\n", capsys.readouterr().err
    )


def test_nothing_needs_fcntl_which_windows_lacks(tiny):
    code = (
        "import sys; sys.modules['fcntl'] = None\n"
        "from skyfold.cli.main import main\n"
        "import skyfold.tuning.study\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["train", tiny.config("bright"), "--root", tiny.root]
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
