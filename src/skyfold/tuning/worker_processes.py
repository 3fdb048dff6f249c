"""Start the worker processes of a study on this machine, and log their trials until all have ended."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from skyfold.tuning.study import OpenStudy
from skyfold.tuning.worker import POLL_SECONDS, TrialLog

STOP_SECONDS = 60.0  # for an interrupted worker to requeue its trial


def run_worker_processes(opened: OpenStudy, command: Sequence[str], workers: int, *, n_trials: int) -> None:
    """Run `command` in `workers` processes that share the CPU cores. A worker that dies leaves its trial to the others;
    an exception, KeyboardInterrupt for instance, ends them all."""
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "TF_NUM_INTRAOP_THREADS": threads,
        "OMP_NUM_THREADS": threads,
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # else the first worker takes all GPU memory
    }
    folder = opened.folder / "workers"
    folder.mkdir(parents=True, exist_ok=True)
    trial_log = TrialLog(opened, n_trials, print)
    running: dict[Path, subprocess.Popen[bytes]] = {}
    try:
        for number in range(1, workers + 1):
            log = folder / f"{number}.txt"
            with open(log, "wb") as file:
                # In a session of its own, so that Ctrl-C reaches this process only, which then ends the worker once.
                running[log] = subprocess.Popen(
                    list(command), stdout=file, stderr=file, env=environment, start_new_session=True
                )
        print(f"{workers} workers; logs: {', '.join(str(log) for log in running)}")
        while running:
            time.sleep(POLL_SECONDS)
            trial_log.update()
            for log, process in list(running.items()):
                if process.poll() is not None:
                    del running[log]
                    if process.returncode:
                        last_line = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
                        print(f"worker {log.stem} exited with code {process.returncode}: {last_line or 'no output'}")
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
