"""Studies killed by SIGKILL at any moment, on SQLite and PostgreSQL: no trial is lost, repeated or changed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages._rdb.models import TrialHeartbeatModel
from optuna.trial import TrialState
from sqlalchemy import update

from skyfold.errors import ConfigError
from skyfold.tuning import worker
from skyfold.tuning.study import FINISHED, requeue, reserve_trial, worker_lock
from skyfold.tuning.worker import MAX_FAILURES, TrialJob, keep_best_only, run_worker

sys.path.insert(0, str(Path(__file__).parent))
from tuning_child import STEPS, open_cheap, score

CHILD = Path(__file__).parent / "tuning_child.py"
N_TRIALS = 6
INITDB = shutil.which("initdb", path=os.pathsep.join(map(str, Path("/usr/lib/postgresql").glob("*/bin"))))
POSTGRES = pytest.mark.skipif(not (INITDB and find_spec("psycopg")), reason="needs Debian's postgresql and psycopg")
STORAGES = ["sqlite", pytest.param("postgres", marks=POSTGRES)]


@pytest.fixture(scope="module")
def server():
    """Connection to a PostgreSQL server on a free port of 127.0.0.1, in a folder of its own."""
    import psycopg

    as_postgres = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def command(name, *arguments):
        program = [*as_postgres, Path(INITDB).with_name(name), "-D", folder, *arguments]
        subprocess.run(program, check=True, cwd="/", stdout=subprocess.DEVNULL)

    # Folders of pytest are closed to `postgres`.
    with tempfile.TemporaryDirectory(prefix="skyfold-postgres-", dir="/tmp") as folder:
        if as_postgres:
            shutil.chown(folder, "postgres")
        command("initdb", "--username=postgres", "--auth=trust", "--no-sync")
        command("pg_ctl", "-w", "-o", f"-F -h 127.0.0.1 -p {port} -k ''", "-l", f"{folder}/log.txt", "start")
        try:
            yield psycopg.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres", autocommit=True)
        finally:
            command("pg_ctl", "-m", "immediate", "stop")


@pytest.fixture
def storage(request, tmp_path):
    """`--storage` of an empty database; of SQLite the default."""
    if request.param == "sqlite":
        return None
    connection = request.getfixturevalue("server")
    name = f"skyfold_{tmp_path.name.lower()}"
    connection.execute(f'CREATE DATABASE "{name}"')
    return f"postgresql://postgres@127.0.0.1:{connection.info.port}/{name}"


def start(folder, storage, *moment):
    command = [sys.executable, CHILD, folder, storage or "", N_TRIALS, *moment]
    return subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(child, code=0):
    output, errors = child.communicate(timeout=200)
    assert child.returncode == code, errors
    return output


def wait_until(condition, seconds=150):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def story(opened):
    return [(t.number, t.state.name, t.params, t.values, t.intermediate_values) for t in opened.trials()]


def cheap_objective(job: TrialJob) -> float:
    for step in range(1, STEPS + 1):
        job.report(step, score(job, step))
    return score(job, STEPS)


def run_here(folder, n_trials, objective=cheap_objective, **options):
    opened = open_cheap(folder)
    run_worker(opened, objective, n_trials=n_trials, save_best=lambda trial: None, **options)
    return opened


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    told = story(run_here(tmp_path_factory.mktemp("undisturbed"), N_TRIALS))
    assert {state for _, state, *_ in told} == {state.name for state in FINISHED}
    assert len({str(params) for _, _, params, *_ in told}) == N_TRIALS
    return told


@pytest.mark.parametrize("storage", STORAGES, indirect=True)
def test_killed_again_and_again_the_study_is_the_same(tmp_path, storage, undisturbed):
    """While tables are created, during an epoch, and while a trial is being reserved."""
    log = end(start(tmp_path, storage, "write", 2, "--", "report", 6, "--", "write", 12, "--"))
    assert re.findall(r"^-?\d+$", log, re.MULTILINE) == [*[str(-signal.SIGKILL)] * 3, "0"]
    assert story(open_cheap(tmp_path, storage)) == undisturbed
    steps = (tmp_path / "steps.txt").read_text().splitlines()
    assert len(steps) == len(set(steps)), "a step was done twice"


@pytest.mark.parametrize("storage", STORAGES, indirect=True)
def test_three_workers_on_an_empty_database_one_of_them_killed(tmp_path, storage):
    children = [start(tmp_path, storage, *moment) for moment in [("hang", 2), (), ()]]
    wait_until((tmp_path / "hangs").is_file)
    opened = open_cheap(tmp_path, storage)
    wait_until(lambda: len(opened.trials(*FINISHED)) == N_TRIALS - 1)
    assert [child.poll() for child in children] == [None] * 3
    [held] = opened.trials(TrialState.RUNNING)
    children[0].kill()
    log = "".join(end(child, code) for child, code in zip(children, (-signal.SIGKILL, 0, 0), strict=True))
    assert log.count(f"trial {held.number}: its worker died; requeued after epoch 1") == 1
    trials = opened.trials()
    assert [trial.number for trial in trials] == list(range(N_TRIALS))
    assert {trial.state for trial in trials} <= set(FINISHED)
    died = [(trial.number, trial.params) for trial in trials if "deaths" in trial.user_attrs]
    assert died == [(held.number, held.params)]


@pytest.mark.parametrize("storage", STORAGES, indirect=True)
def test_a_worker_on_another_host_lives_by_its_heartbeats(tmp_path, storage, monkeypatch, capsys):
    def forget_heartbeats():
        with opened.storage.engine.begin() as connection:
            connection.execute(update(TrialHeartbeatModel).values(heartbeat=datetime(2000, 1, 1)))

    monkeypatch.setattr(worker, "HEARTBEAT_SECONDS", 0.05)
    opened = open_cheap(tmp_path, storage)
    trial = reserve_trial(opened, "elsewhere-1-abc", n_trials=1)
    forget_heartbeats()
    with worker._heartbeats(opened, trial):
        wait_until(lambda: not opened.storage._get_stale_trial_ids(opened.study._study_id), seconds=10)
    assert reserve_trial(opened, "here-2-def", n_trials=1) is None
    forget_heartbeats()
    assert capsys.readouterr().out == ""
    assert reserve_trial(opened, "here-2-def", n_trials=1).number == trial.number
    assert capsys.readouterr().out == "trial 0: its worker died; requeued after epoch 0\n"


def test_the_trial_of_a_dead_worker_is_requeued_once_and_no_more_are_reserved_than_requested(tmp_path, capsys):
    opened = open_cheap(tmp_path)
    with worker_lock(tmp_path) as dead:
        trial = reserve_trial(opened, dead, n_trials=2)
        trial.report(0.5, 1)
    with worker_lock(tmp_path) as one, worker_lock(tmp_path) as two, worker_lock(tmp_path) as three:
        again, other, none = (reserve_trial(opened, name, n_trials=2) for name in (one, two, three))
        assert (again.number, again.params, other.number, none) == (trial.number, trial.params, 1, None)
        assert capsys.readouterr().out == "trial 0: its worker died; requeued after epoch 1\n"
        assert opened.trials()[0].intermediate_values == {1: 0.5}
        requeue(opened, again)
        assert reserve_trial(opened, three, n_trials=2).number == trial.number


def test_a_trial_that_kills_three_workers_at_one_epoch_fails(tmp_path, capsys):
    opened = open_cheap(tmp_path)
    for epoch in (1, 2, 3, None, None):  # deaths at different epochs are not the trial's fault
        with worker_lock(tmp_path) as name:
            trial = reserve_trial(opened, name, n_trials=5)
            assert trial.number == 0
            if epoch:
                trial.report(0.1, epoch)
    assert reserve_trial(opened, "next", n_trials=5).number == 1
    assert opened.trials()[0].state == TrialState.FAIL
    assert "trial 0: failed, its worker died 3 times after epoch 3 (out of memory?)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "state"), [(KeyboardInterrupt, TrialState.WAITING), (StorageInternalError, TrialState.RUNNING)]
)
def test_an_interruption_or_a_failing_database_is_not_the_fault_of_the_trial(tmp_path, capsys, error, state):
    """An interrupted trial is requeued at once; without a database its worker counts as dead."""

    def interrupted(job):
        job.report(1, 0.5)
        raise error("connection refused")

    with pytest.raises(error):
        run_here(tmp_path, 3, interrupted)
    assert [trial.state for trial in open_cheap(tmp_path).trials()] == [state]
    assert [trial.number for trial in run_here(tmp_path, 3).trials()] == [0, 1, 2]
    assert ("died" in capsys.readouterr().out) == (state == TrialState.RUNNING)


def test_worker_processes_end_with_the_command_even_where_they_ignore_ctrl_c(tmp_path, monkeypatch):
    """A shell's background job ignores SIGINT, and so do the processes that it starts."""

    def update(trial_log):
        if (tmp_path / "hangs").is_file():
            raise KeyboardInterrupt

    monkeypatch.setattr(worker._TrialLog, "update", update)
    opened, start_time = open_cheap(tmp_path), time.monotonic()
    command = ["sh", "-c", f"trap '' INT; exec {sys.executable} {CHILD} {tmp_path} '' {N_TRIALS} hang 2"]
    with pytest.raises(KeyboardInterrupt):
        worker.run_worker_processes(opened, command, 1, n_trials=N_TRIALS)
    assert time.monotonic() - start_time < worker.STOP_SECONDS
    assert reserve_trial(opened, "next", n_trials=N_TRIALS).number == 0


def test_the_deadline_stops_a_trial_the_next_call_resumes_it_and_only_the_best_keeps_its_weights(tmp_path):
    deadline = time.monotonic() + 4

    def slow(job):
        for name in ("fold0_seed0.weights.h5", "fold0_seed0.checkpoint.npz", "fold0_seed0.csv"):
            (job.folder / name).write_text("x")
        if job.number == 1:
            time.sleep(max(0, deadline - time.monotonic()))
        return cheap_objective(job)

    opened = run_here(tmp_path, 4, slow, deadline=deadline)
    assert [trial.state for trial in opened.trials()] == [TrialState.COMPLETE, TrialState.WAITING]
    assert len(run_here(tmp_path, 4, slow).trials(*FINISHED)) == 4
    keep_best_only(opened, lambda trial: None)
    assert {path.parent for path in tmp_path.glob("trials/*/*.h5")} == {opened.trial_folder(opened.best_trial().number)}
    assert len(list(tmp_path.glob("trials/*/*.csv"))) == 4


def test_a_failed_trial_has_a_reason_and_is_replaced_and_three_in_a_row_end_the_worker(tmp_path, capsys):
    def sometimes(job):
        if job.number == 1:
            raise RuntimeError("the network does not fit\nand more")
        return float("nan") if job.number == 3 else cheap_objective(job)

    opened = run_here(tmp_path, 4, sometimes)
    assert ([trial.number for trial in opened.trials(TrialState.FAIL)], len(opened.trials())) == ([1, 3], 6)
    lines = capsys.readouterr().out.splitlines()
    assert "trial 1: failed, RuntimeError: the network does not fit" in lines[1]
    assert "trial 3: failed, the validation score is nan" in lines[3]
    assert "Traceback" in (opened.trial_folder(1) / "error.txt").read_text()

    def never(job):
        raise ConfigError("no weights")

    with pytest.raises(ConfigError, match="3 trials in a row failed, the last one with: no weights"):
        run_here(tmp_path / "never", 4, never)
    assert len(open_cheap(tmp_path / "never").trials()) == MAX_FAILURES
