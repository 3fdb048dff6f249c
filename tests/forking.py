"""Processes that begin with what this one has imported, Keras for instance."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable

from skyfold.training import backend


def import_keras() -> None:
    """Import what `backend.start` imports; nothing is computed, and so no thread is started before a fork."""
    with backend._not_found(backend.NOT_NEEDED):
        import keras  # noqa: F401


def forked(run: Callable[..., object], *arguments: object) -> int:
    """Call `run` in a process of its own; returns its exit code, negative where a signal ended it."""
    gc.freeze()  # what is imported stays: no process looks through it again
    child = os.fork()
    if not child:
        run(*arguments)
        sys.stdout.flush()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
