"""A worker of a study with a cheap objective, in a process of its own, which dies or waits where it is told to.

    python tuning_child.py FOLDER WANTED STORAGE [KIND NUMBER SHARE]

STORAGE: a URL, or "journal". KIND: report (SIGKILL at the NUMBER-th report), append (SIGKILL when SHARE of the
NUMBER-th record of the journal is written), hang (wait for ever at the NUMBER-th report). Each step of a trial is kept
in a file of its folder, and one that is there is not done again.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from skyfold.tuning import journal
from skyfold.tuning.search_space import StudyConfig
from skyfold.tuning.study import OpenStudy, open_study
from skyfold.tuning.work import TrialJob, work

STEPS = 4
STUDY = StudyConfig.model_validate(
    {
        "name": "cheap",
        "base": "none.yaml",
        "search": {
            "optimizer.learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-1, "log": True},
            "loss.name": {"kind": "categorical", "choices": ["bce", "bce_dice"]},
            "loss.options.dice_weight": {"kind": "float", "low": 0, "high": 1, "when": {"loss.name": "bce_dice"}},
            "training.batch_size": {"kind": "int", "low": 4, "high": 16, "step": 4},
        },
        "sampler": {"startup_trials": 3},
        "pruner": {"startup_trials": 2, "warmup_epochs": 1},
    }
)


def main(folder: Path, wanted: int, storage: str, kind: str = "", number: str = "0", share: str = "0") -> None:
    if kind == "append":
        arm_append(int(number), float(share))
    reports = 0

    def objective(job: TrialJob) -> float:
        nonlocal reports
        for step in range(1, STEPS + 1):
            done = job.folder / f"step{step}.json"
            reports += 1
            if kind == "report" and reports == int(number):
                die()
            if kind == "hang" and reports == int(number):
                (folder / "hangs").touch()
                time.sleep(600)
            if not done.is_file():
                with open(folder / "done.txt", "a") as lines:
                    lines.write(f"{job.number} {step}\n")
                done.write_text(json.dumps(score(job, step)))
            job.report(step, json.loads(done.read_text()))
        return score(job, STEPS)

    work(open_cheap(folder, storage), objective, wanted=wanted, keep_best=lambda trial: None)


def open_cheap(folder: Path, storage: str = "journal") -> OpenStudy:
    return open_study(
        STUDY,
        folder,
        storage=None if storage == "journal" else storage,
        greater_is_better=True,
        most_epochs=STEPS,
        setting={"folds": [0]},
        first={"optimizer.learning_rate": 0.01, "loss.name": "bce", "training.batch_size": 8},
    )


def score(job: TrialJob, step: int) -> float:
    """Best at a rate of 0.01 and with little Dice; grows with the steps."""
    rate = job.params["optimizer.learning_rate"]
    return step / STEPS - abs(rate - 0.01) - 0.3 * job.params.get("loss.options.dice_weight", 0.5)


def arm_append(number: int, share: float) -> None:
    append = journal.JournalFileBackend.append_logs
    counted = 0

    def append_part(self, logs):
        nonlocal counted
        counted += 1
        if counted < number:
            append(self, logs)
            return
        line = json.dumps(logs[0], separators=(",", ":")) + "\n"
        with open(self._file_path, "ab") as file:
            file.write(line[: int(share * len(line))].encode())
            file.flush()
            die()

    journal.JournalFileBackend.append_logs = append_part


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
