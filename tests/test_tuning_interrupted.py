"""Killed by SIGKILL anywhere, a study goes on: no trial lost, none twice, the same as one that was left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from optuna.storages import JournalStorage
from optuna.trial import TrialState

from skyfold.errors import ConfigError, DamagedFile
from skyfold.tuning import liveness, tune
from skyfold.tuning.journal import MendedJournal
from skyfold.tuning.liveness import Worker
from skyfold.tuning.trial_queue import FINISHED, count, put_back, take
from skyfold.tuning.work import MOST_FAILURES, TrialJob, best_trial, tidy, trial_folder, work

sys.path.insert(0, str(Path(__file__).parent))
from tuning_child import STEPS, open_cheap, score

CHILD = Path(__file__).parent / "tuning_child.py"
WANTED = 10


def start(folder: Path, storage: str, *moment: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, str(CHILD), str(folder), str(WANTED), storage, *moment]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(child: subprocess.Popen[str]) -> int:
    _, said = child.communicate(timeout=60)
    assert child.returncode in (0, -signal.SIGKILL), said
    return child.returncode


def story(opened):
    """What a study found, trial by trial."""
    return [
        (trial.number, trial.state.name, trial.params, trial.values, trial.intermediate_values)
        for trial in opened.study.get_trials()
    ]


def cheap_objective(job: TrialJob) -> float:
    for step in range(1, STEPS + 1):
        job.report(step, score(job, step))
    return score(job, STEPS)


def run_here(folder: Path, wanted: int, objective=cheap_objective):
    opened = open_cheap(folder)
    said: list[str] = []
    work(opened, objective, wanted=wanted, keep_best=lambda trial: None, say=said.append)
    return opened, said


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    opened, _ = run_here(tmp_path_factory.mktemp("undisturbed"), WANTED)
    return story(opened)


def test_the_undisturbed_study_has_something_to_lose(undisturbed):
    states = {state for _, state, *_ in undisturbed}
    assert len(undisturbed) == WANTED
    assert states == {"COMPLETE", "PRUNED"}
    assert len({str(params) for _, _, params, *_ in undisturbed}) == WANTED


def test_killed_again_and_again_it_ends_as_if_left_alone(tmp_path, undisturbed):
    rng = np.random.default_rng(0)
    kinds = ["report", "append", "append", "report", "append", "append"]
    for kind in kinds:
        number, share = rng.integers(2, 12), rng.uniform()
        assert end(start(tmp_path, "journal", kind, str(number), f"{share:.3f}")) == -signal.SIGKILL
    assert end(start(tmp_path, "journal")) == 0
    assert story(open_cheap(tmp_path)) == undisturbed
    done = (tmp_path / "done.txt").read_text().splitlines()
    assert len(done) == len(set(done)), "a step was done twice"


@pytest.mark.parametrize("storage", ["journal", "sqlite"])
def test_a_worker_takes_over_the_trial_of_one_that_is_killed_beside_it(tmp_path, storage):
    storage = f"sqlite:///{tmp_path}/study.db" if storage == "sqlite" else storage
    hanging = start(tmp_path, storage, "hang", "6")
    deadline = time.monotonic() + 30
    while not (tmp_path / "hangs").is_file():
        assert time.monotonic() < deadline
        assert hanging.poll() is None, hanging.communicate()
        time.sleep(0.05)
    other = start(tmp_path, storage)
    opened = open_cheap(tmp_path, storage)
    while count(opened.study.get_trials(deepcopy=False)).finished < WANTED - 1:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert other.poll() is None  # it waits for the last trial, which the first worker has
    assert [trial.number for trial in opened.study.get_trials(states=(TrialState.RUNNING,))] == [1]
    os.kill(hanging.pid, signal.SIGKILL)
    said, _ = other.communicate(timeout=30)
    hanging.communicate()
    assert other.returncode == 0
    assert said.count("trial 1: its worker died; back in the queue after epoch 1") == 1
    trials = opened.study.get_trials()
    assert [trial.number for trial in trials] == list(range(WANTED))
    assert all(trial.state in FINISHED for trial in trials)
    assert said.count("trial 1: its") == said.count("10/10 finished") == 1
    assert [trial.number for trial in trials if "deaths" in trial.user_attrs] == [1]


def test_a_stale_trial_goes_back_once_with_its_params(tmp_path):
    opened = open_cheap(tmp_path)
    with Worker(tmp_path) as dead:
        trial = take(opened, dead, wanted=3, say=pytest.fail)
        trial.report(0.5, 1)
    said: list[str] = []
    with Worker(tmp_path) as first, Worker(tmp_path) as second:
        again = take(opened, first, wanted=3, say=said.append)
        other = take(opened, second, wanted=3, say=said.append)
    assert said == ["trial 0: its worker died; back in the queue after epoch 1"]
    assert (again.number, again.params) == (trial.number, trial.params)
    assert opened.study.trials[0].intermediate_values == {1: 0.5}
    assert other.number == 1


def test_a_trial_that_kills_its_workers_fails_the_third_time(tmp_path):
    opened = open_cheap(tmp_path)
    said: list[str] = []
    for _ in range(4):
        with Worker(tmp_path) as worker:
            taken = take(opened, worker, wanted=5, say=said.append)
    assert taken.number == 1
    assert opened.study.trials[0].state == TrialState.FAIL
    assert said[-1] == "trial 0: failed, its worker died 3 times after epoch 0 (out of memory?)"


def test_deaths_at_different_epochs_are_no_fault_of_the_trial(tmp_path):
    opened = open_cheap(tmp_path)
    for step in range(1, 6):
        with Worker(tmp_path) as worker:
            taken = take(opened, worker, wanted=5, say=lambda line: None)
            assert taken.number == 0
            taken.report(0.1, step)


def test_no_more_trials_are_taken_than_wanted(tmp_path):
    opened = open_cheap(tmp_path)
    with Worker(tmp_path) as one, Worker(tmp_path) as two, Worker(tmp_path) as three:
        trial = take(opened, one, wanted=2, say=pytest.fail)
        assert take(opened, two, wanted=2, say=pytest.fail) is not None
        assert take(opened, three, wanted=2, say=pytest.fail) is None
        put_back(opened, trial)
        assert take(opened, three, wanted=2, say=pytest.fail).number == trial.number


def test_a_worker_of_another_host_lives_while_its_file_is_touched(tmp_path, monkeypatch):
    with Worker(tmp_path) as here:
        now = liveness.file_time(tmp_path)
        assert liveness.alive(tmp_path, here.name, now=now + 1e6)  # its lock is held, whatever the clock says
        elsewhere = tmp_path / "workers" / "elsewhere-1-abc.json"
        elsewhere.write_text("{}")
        assert liveness.alive(tmp_path, "elsewhere-1-abc", now=now)
        assert not liveness.alive(tmp_path, "elsewhere-1-abc", now=now + liveness.GRACE_SECONDS + 60)
    assert not liveness.alive(tmp_path, here.name, now=now)


def test_a_living_worker_touches_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(liveness, "BEAT_SECONDS", 0.02)
    with Worker(tmp_path) as worker:
        path = tmp_path / "workers" / f"{worker.name}.json"
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 5
        while path.stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_interrupted_a_trial_goes_back_at_once(tmp_path):
    def interrupted(job):
        job.report(1, 0.5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_here(tmp_path, 3, interrupted)
    assert [trial.state for trial in open_cheap(tmp_path).study.trials] == [TrialState.WAITING]
    opened, said = run_here(tmp_path, 3)
    assert not any("died" in line for line in said)
    assert [trial.number for trial in opened.study.trials] == [0, 1, 2]


def test_workers_end_with_the_command_even_where_they_ignore_ctrl_c(tmp_path, monkeypatch):
    """A shell's background job ignores SIGINT, and so do the processes that it starts."""
    started = f"{sys.executable} {CHILD} {tmp_path} {WANTED} journal hang 2"

    def show(lines):
        if (tmp_path / "hangs").is_file():
            raise KeyboardInterrupt

    monkeypatch.setattr(tune.TrialLines, "show", show)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        tune._run_workers(open_cheap(tmp_path), ["sh", "-c", f"trap '' INT; exec {started}"], 1, wanted=WANTED)
    assert time.monotonic() - began < tune.STOP_SECONDS
    [worker] = tmp_path.glob("workers/*.json")
    assert not liveness.alive(tmp_path, worker.stem, now=liveness.file_time(tmp_path))


def test_the_time_ends_a_trial_at_an_epoch_and_the_next_call_goes_on_with_it(tmp_path):
    opened = open_cheap(tmp_path)
    deadline = time.monotonic() + 0.3

    def slow(job):
        if job.number == 1:
            time.sleep(0.4)
        return cheap_objective(job)

    work(opened, slow, wanted=5, deadline=deadline, keep_best=lambda trial: None, say=lambda line: None)
    assert [trial.state for trial in opened.study.trials] == [TrialState.COMPLETE, TrialState.WAITING]
    assert count(run_here(tmp_path, 5)[0].study.trials).finished == 5


def test_a_failed_trial_says_why_and_is_replaced(tmp_path):
    def sometimes(job):
        if job.number in (1, 3):
            raise RuntimeError("the network does not fit\nand more")
        return cheap_objective(job)

    opened, said = run_here(tmp_path, 4, sometimes)
    assert [trial.state == TrialState.FAIL for trial in opened.study.trials] == [False, True, False, True, False, False]
    assert "trial 1: failed, RuntimeError: the network does not fit" in said[1]
    assert "Traceback" in (trial_folder(tmp_path, 1) / "error.txt").read_text()


def test_nothing_but_failures_ends_the_work(tmp_path):
    def never(job):
        raise ConfigError("no weights")

    with pytest.raises(ConfigError, match="3 trials in a row failed, the last one with: no weights"):
        run_here(tmp_path, 4, never)
    assert len(open_cheap(tmp_path).study.trials) == MOST_FAILURES


def test_a_score_that_is_no_number_fails_the_trial(tmp_path):
    opened, _ = run_here(tmp_path, 1, lambda job: float("nan") if job.number == 0 else cheap_objective(job))
    assert opened.study.trials[0].user_attrs["reason"] == "the validation score is nan"


def test_models_of_all_but_the_best_trial_are_removed(tmp_path):
    def with_files(job):
        for name in ("fold0_seed0.weights.h5", "fold0_seed0.checkpoint.npz", "fold0_seed0.csv"):
            (job.folder / name).write_text("x")
        return cheap_objective(job)

    opened, _ = run_here(tmp_path, 5, with_files)
    best = best_trial(opened).number
    left = {path.parent.name for path in tmp_path.glob("trials/*/*.h5")}
    assert left == {f"{best:04d}"}
    assert len(list(tmp_path.glob("trials/*/*.csv"))) == 5
    tidy(opened, lambda trial: None)
    assert {path.parent.name for path in tmp_path.glob("trials/*/*.h5")} == left


def journal_states(path: Path):
    storage = JournalStorage(MendedJournal(path, lambda line: None))
    [study] = storage.get_all_studies()
    return [(trial.state.name, trial.params, trial.values) for trial in storage.get_all_trials(study._study_id)]


def test_a_journal_torn_at_any_byte_of_its_last_line_loses_that_record_alone(tmp_path):
    run_here(tmp_path / "whole", 2)
    whole = (tmp_path / "whole" / "journal.log").read_bytes()
    begin = whole[:-1].rfind(b"\n") + 1
    path = tmp_path / "torn" / "journal.log"
    path.parent.mkdir()
    path.write_bytes(whole[:begin])
    before = journal_states(path)
    path.write_bytes(whole)
    after = journal_states(path)
    assert before != after
    for cut in range(begin, len(whole) + 1):
        path.write_bytes(whole[:cut])
        said: list[str] = []
        MendedJournal(path, said.append)
        lost = cut < len(whole) - 1  # without its line end the record is still whole
        assert path.read_bytes() == (whole[:begin] if lost else whole)
        assert len(said) == (begin < cut < len(whole) - 1)
        kept = list(path.parent.glob("*.torn-*"))
        assert [file.read_bytes() for file in kept] == ([whole[begin:cut]] if said else [])
        for file in kept:
            assert file.name in said[0]
            file.unlink()
        if cut % 25 == 0:
            assert journal_states(path) == (before if lost else after)


def test_zeros_that_a_power_cut_left_are_cut_off(tmp_path):
    run_here(tmp_path, 1)
    path = tmp_path / "journal.log"
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(5000))
    opened, _ = run_here(tmp_path, 2)
    assert path.read_bytes().startswith(whole)
    assert len(opened.study.trials) == 2


def test_another_worker_mends_the_line_that_one_left_half_written(tmp_path):
    """Both have the journal open; without mending, the next record would be glued to the torn one."""
    opened = open_cheap(tmp_path)
    with open(tmp_path / "journal.log", "ab") as file:
        file.write(b'{"op_code":5,"wor')
    opened.study.set_user_attr("a", 1)
    assert open_cheap(tmp_path).study.user_attrs["a"] == 1
    assert opened.study.user_attrs["a"] == 1


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    run_here(tmp_path, 1)
    path = tmp_path / "journal.log"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"half\n", *lines[1:]]))
    with pytest.raises(DamagedFile, match="line 2 is not a record"):
        open_cheap(tmp_path)
