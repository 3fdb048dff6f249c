"""Runs that are trained at the same time, each by `skyfold train` in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from skyfold import plugins
from skyfold.config.run import RunConfig
from skyfold.training.backend import beside_others, usable_cores
from skyfold.workspace import Workspace


def train_at_once(runs: Sequence[RunConfig], workspace: Workspace, jobs: int) -> None:
    """Train `runs`, at most `jobs` of them at a time, each in its share of the cores.

    A run that its process could not finish is left as it is: the caller, who trains it once more, resumes it or meets
    the same error. An exception, KeyboardInterrupt for instance, ends all processes.
    """
    threads = max(1, usable_cores() // jobs)
    environment = {**os.environ, **beside_others(threads), "TF_NUM_INTRAOP_THREADS": str(threads)}
    options = ["--root", str(workspace.root), *(["--verify"] if workspace.verify else [])]
    if workspace.data_from is not None:
        options += ["--data", str(workspace.data_from)]
    running: list[subprocess.Popen[str]] = []

    def train(run: RunConfig) -> None:
        config = Path(folder, f"{run.name}.yaml")
        found = [str(one) for one in plugins.folders()]  # of which some are named beside the file that names the run
        config.write_text(json.dumps({**run.model_dump(mode="json"), "plugins": found}), encoding="utf-8")
        command = [sys.executable, "-m", "skyfold", "train", str(config), *options]
        # In a session of its own, so that Ctrl-C reaches this process only. A pipe is no terminal: bars of several
        # processes would overwrite each other, plain lines do not.
        with subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            running.append(process)
            assert process.stderr is not None
            for line in process.stderr:
                print(line, end="", file=sys.stderr, flush=True)

    with TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        try:
            list(pool.map(train, runs))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in running:
                process.terminate()
            raise
