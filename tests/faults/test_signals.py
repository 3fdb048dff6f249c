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
        assert (done.returncode, len(left)) == (-kind, 2)
    else:
        message = f"{STOPPED[kind]}. Run the same command again to resume.\n"
        assert (done.returncode, left) == (128 + kind, [])
        assert done.stderr.endswith(message)
        assert "Traceback" not in done.stderr
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


def run_killed_at(tiny, monkeypatch, command, name, moment):
    """Run the command on the blend; it dies before (-1), or after (+1), the file `name` is moved into place."""
    replace = os.replace

    def move(source, target):
        if str(target).endswith(name) and moment < 0:
            raise Killed
        replace(source, target)
        if str(target).endswith(name) and moment > 0:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", move)
        with pytest.raises(Killed):
            tiny.run(command, "blend")


class Killed(BaseException):
    """Ends a command like a kill: no `except` of a command catches it."""


@pytest.mark.parametrize(("file", "moment"), [("blend.csv", -1), ("blend.csv", 1), ("submissions/tiny/blend.json", -1)])
def test_a_new_submission_never_stands_beside_the_record_of_an_old_one(tiny, monkeypatch, file, moment):
    text = tiny.config("blend").read_text()
    tiny.write_config("blend", text.replace("[0, 20]", "[0, 400]"))
    assert tiny.run("blend", "blend")[0] == 0
    run_killed_at(tiny, monkeypatch, "submit", file, moment)
    assert (tiny.root / "submissions" / "tiny" / "blend.csv").is_file()
    assert not (tiny.root / "submissions" / "tiny" / "blend.json").exists()
    assert "tiny/blend.csv, not as skyfold wrote it: submit again" in tiny.run("leaderboard", "tiny")[1]
    assert tiny.run("submit", "blend")[0] == 0
    assert "not as skyfold wrote it" not in tiny.run("leaderboard", "tiny")[1]


def test_a_score_on_the_test_truth_goes_with_the_submission_that_was_scored(tiny):
    truth = tiny.images / "test_truth.csv"
    table = tiny.root / "submissions" / "tiny" / "blend.csv"
    truth.write_bytes(table.read_bytes())
    assert tiny.run("run", "blend")[0] == 0
    assert "  1.0000  tiny/blend.csv\n" in tiny.run("leaderboard", "tiny")[1]
    tiny.write_config("blend", tiny.config("blend").read_text().replace("[0, 20]", "[0, 400]"))
    for command in ("blend", "submit"):
        assert tiny.run(command, "blend")[0] == 0
    assert table.read_bytes() != truth.read_bytes()
    line = next(line for line in tiny.run("leaderboard", "tiny")[1].splitlines() if line.startswith("blend "))
    assert "1.0000" not in line
    assert line.endswith(" tiny/blend.csv")


def test_a_blend_that_was_stopped_between_rows_and_scores_is_unfinished(tiny, monkeypatch):
    run_killed_at(tiny, monkeypatch, "blend", "blend.json", -1)
    assert "blend, unfinished: run skyfold blend again" in tiny.run("leaderboard", "tiny")[1]
    code, _, err = tiny.run("submit", "blend")
    assert code == 2
    assert "Run `skyfold blend` on the config first" in err
    assert tiny.run("blend", "blend")[0] == 0
    assert tiny.run("submit", "blend")[0] == 0


def test_what_a_restart_cannot_remove_is_named_and_no_fit_of_before_counts(tiny, monkeypatch):
    fit = tiny.oof / "network" / "models" / "fold0_seed0.weights.h5"
    unlink = os.unlink

    def refuse(path, *arguments, **options):
        if str(path).endswith(fit.name):
            raise PermissionError(13, "Permission denied", str(fit))
        return unlink(path, *arguments, **options)

    monkeypatch.setattr(os, "unlink", refuse)
    code, _, err = tiny.run("train", "network", "--restart")
    assert code == 2
    assert f"{fit}: cannot be removed (Permission denied)" in err
    assert "Change its permissions, or give the run another name." in err


def test_scores_of_other_folds_are_marked_in_the_leaderboard(tiny):
    folds = tiny.oof / "folds.csv"
    assert "of other folds" not in tiny.run("leaderboard", "tiny")[1]
    lines = folds.read_text().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    folds.write_text("\n".join([lines[0], *(",".join([i, str(1 - int(f)), g]) for i, f, g in rows)]) + "\n")
    out = tiny.run("leaderboard", "tiny")[1]
    for kind in ("run", "blend"):
        assert f"{kind}, of other folds than folds.csv" in out
