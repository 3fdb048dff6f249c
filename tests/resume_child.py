"""Trains the run of test_resume.py in processes of their own, which kill themselves where they are told to.

    python resume_child.py ROOT SETTING MOMENT ... [-- ROOT SETTING MOMENT ...]

Each MOMENT is a process, begun when the one before has ended; their exit codes are printed, a line each. They are
forked after the imports, Keras' and TensorFlow's too, of which each would otherwise take seconds. MOMENT:
KIND,NUMBER,SHARE, or "end".

SETTING: float32, bfloat16, or gathered: float32 with gradients of two batches gathered, mixed images and a mean of
weights. KIND: cache (a write of decoded rows), step (training), checkpoint or kept (its file, or the weights of a
finished fit, moved into place), oof or test (a write of predictions). The process dies at the NUMBER-th of its kind:
SHARE of the way through the rows of a write, before a file is moved (SHARE below 0.5) or after it, SHARE x 60 ms into a
step.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np

import skyfold.models
from forking import forked, import_keras
from skyfold.config.run import RunConfig
from skyfold.pipeline import train
from skyfold.store.rows import RowStore
from skyfold.training import checkpoint
from skyfold.training.network import Network
from skyfold.workspace import Workspace


def main(root: str, setting: str, *moments: str) -> None:
    for moment in moments:
        print(forked(run, Path(root), setting, moment), flush=True)


def run(root: Path, setting: str, moment: str) -> None:
    if moment != "end":
        kind, number, share = moment.split(",")
        arm(kind, int(number), float(share))
    checkpoint.SECONDS = 0  # one after every epoch
    train.train(RunConfig.model_validate(config(setting)), Workspace(root=root, data_from=root / "images"))


def config(setting: str) -> dict:
    if setting == "gathered":
        plain = config("float32")
        gathered = {"batch_size": 2, "gradient_accumulation_steps": 2, "checkpoint": "swa", "swa_epochs": 2}
        return {**plain, "training": {**plain["training"], **gathered}, "mix": MIX}
    return {
        "name": "killed",
        "data": {"competition": "mask_folder", "name": "blobs", "options": DATA_OPTIONS, "folds": {"k": 2}},
        "image": {"size": [32, 40]},
        "model": {"family": "tiny_net"},  # with BatchNorm and dropout; it is traced by each process
        "training": {"epochs": 3, "batch_size": 4, "mixed_precision": setting, "ema": 0.8},
        "augment": [
            {"name": "HorizontalFlip", "p": 0.5},
            {"name": "Affine", "rotate": [-20, 20], "p": 0.8},
        ],
        "tta": ["hflip"],
    }


MIX = [{"name": "cutmix", "p": 0.7}]
DATA_OPTIONS = {"classes": {"blob": 255}, "test_images": "test_images"}


def arm(kind: str, number: int, share: float) -> None:
    """Replace what the kind passes through by something that counts, and dies at the `number`-th."""
    counted = 0

    def is_it() -> bool:
        nonlocal counted
        counted += 1
        return counted == number

    if kind == "step":
        of_step = Network.train

        def step(self, *arguments, **options):
            if is_it():
                threading.Timer(share * 0.06, die).start()
            return of_step(self, *arguments, **options)

        Network.train = step
    elif kind in ("checkpoint", "kept"):
        replace = os.replace
        ending = ".checkpoint.npz" if kind == "checkpoint" else ".weights.h5"

        def move(source, target):
            fatal = str(target).endswith(ending) and is_it()
            if fatal and share < 0.5:
                die()
            replace(source, target)
            if fatal:
                die()

        os.replace = move
    else:
        write = RowStore.write

        def write_part(self, rows: np.ndarray, values: np.ndarray) -> None:
            values = np.asarray(values)
            of_kind = self.folder.name == kind or (kind == "cache" and ".cache" in self.folder.parts)
            if of_kind and is_it():
                some = int(share * len(rows))
                write(self, rows[:some], values[:some])
                self.values[rows[some : some + 1]] = values[some : some + 1] // 2  # a row half-way, not yet done
                die()
            write(self, rows, values)

        RowStore.write = write_part


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    import_keras()
    skyfold.models.__path__.append(str(Path(__file__).parent / "families"))
    for last, arguments in itertools.groupby(sys.argv[1:], "--".__eq__):
        if not last:
            main(*arguments)
