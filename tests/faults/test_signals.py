"""What is left when a command is stopped: a message, no half file, and a lock that nobody holds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from skyfold.cli import commands
from skyfold.files import host, write_text

STOPPED = {signal.SIGTERM: "Stopped by SIGTERM", signal.SIGHUP: "Stopped by SIGHUP", signal.SIGINT: "Interrupted"}
STOP_WHILE_ROWS_ARE_WRITTEN = """
import os, signal, sys
from skyfold.cli.main import main
from skyfold.store.rows import RowStore
def stop(self, rows, values):
    os.kill(os.getpid(), signal.{0})
    signal.pause()
RowStore.write = stop
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("kind", STOPPED)
def test_a_signal_ends_a_command_with_its_code_and_how_to_resume(tiny, monkeypatch, kind):
    before, handler = tiny.files(), signal.getsignal(kind)

    def stop(given):
        os.kill(os.getpid(), kind)
        time.sleep(10)

    monkeypatch.setattr(commands, "workspace", stop)
    code, out, err = tiny.run("train", "bright")
    assert (code, out) == (128 + kind, "")
    assert err == f"{STOPPED[kind]}. Run the same command again to resume.\n"
    assert tiny.files() == before
    assert signal.getsignal(kind) == handler


def test_under_nohup_a_closed_terminal_stops_nothing(tiny, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        workspace = commands.workspace

        def hung_up(given):
            os.kill(os.getpid(), signal.SIGHUP)
            return workspace(given)

        monkeypatch.setattr(commands, "workspace", hung_up)
        assert tiny.run("train", "bright")[0] == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_process_that_is_stopped_while_it_writes_resumes_to_the_same_bytes(tiny, kind):
    before = tiny.files()
    arguments = ["train", str(tiny.config("bright")), "--root", str(tiny.root)]
    code = STOP_WHILE_ROWS_ARE_WRITTEN.format(kind.name)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--restart"], capture_output=True, text=True, timeout=100, check=False
    )
    left = [name for name in tiny.files() if ".lock" in name or ".writing-" in name]
    if kind == signal.SIGKILL:
        assert (done.returncode, done.stderr, len(left)) == (-kind, "", 2)
    else:
        message = f"{STOPPED[kind]}. Run the same command again to resume.\n"
        assert (done.returncode, done.stderr, left) == (128 + kind, message, [])
    assert tiny.run("train", "bright")[0] == 0
    assert tiny.files() == before


def test_what_killed_processes_began_to_write_is_removed_at_the_next_start(tiny, monkeypatch):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    before = tiny.files()
    dead = [f".writing-{host()}-{child.pid}-rows.json", f".writing-{child.pid}-run.json"]
    living = [f".writing-{host()}-{os.getpid()}-a.json", f".writing-elsewhere-{child.pid}-b.json"]
    folders = [tiny.oof / "bright" / "oof", tiny.oof, tiny.oof / "blend", tiny.root / "submissions" / "tiny"]
    for folder in folders:
        for name in dead + living:
            (folder / name).write_text("half")
    for command, config in [("train", "bright"), ("blend", "blend"), ("submit", "blend")]:
        assert tiny.run(command, config)[0] == 0
    left = {str((folder / name).relative_to(tiny.root)) for folder in folders for name in living}
    assert set(tiny.files()) == set(before) | left


def test_a_file_that_is_being_written_is_named_after_host_and_process(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(os, "replace", lambda source, target: seen.append(source.name))
    write_text(tmp_path / "run.json", "{}")
    assert seen == [f".writing-{host()}-{os.getpid()}-run.json"]
