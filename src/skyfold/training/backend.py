"""What has to be set before a network computes: threads, determinism, precision, seeds.

Besides the adapters in `models`, the only place that may import TensorFlow; on other backends it does what Keras
offers (JAX computes reproducibly on the CPU without being told to).
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from skyfold.errors import ConfigError

_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def start(*, deterministic: bool) -> None:
    """Once a process, before anything is computed; calling it again with the same value does nothing.

    deterministic: the same job gives the same bits on the same machine. TensorFlow then runs operations of a network
    one after the other (each still on all cores): where two run at once, the order of their sums is a race. ConfigError
    where TensorFlow has computed before with other settings, which cannot be changed any more.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _start_up_lines_hidden():
        import keras

    if keras.backend.backend() != "tensorflow" or not deterministic:
        return
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    if tf.config.threading.get_inter_op_parallelism_threads() == 1:
        return
    try:
        tf.config.threading.set_inter_op_parallelism_threads(1)
        with _start_up_lines_hidden():
            tf.zeros(())
    except RuntimeError:
        raise ConfigError(
            "TensorFlow has been used in this process before its threads were set, so that training would not be "
            "reproducible. Call skyfold.training.backend.start(deterministic=True) first (in a notebook: restart the "
            "kernel), or set training.deterministic: false."
        ) from None


@contextmanager
def _start_up_lines_hidden() -> Iterator[None]:
    """Keep off the terminal what TensorFlow says while it loads, whatever its log level; an error shows it."""
    try:
        terminal = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # a notebook's stream has no file behind it
        yield
        return
    sys.stderr.flush()
    kept = os.dup(terminal)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), terminal)
        try:
            yield
        except BaseException:
            said.seek(0)
            os.write(kept, said.read())
            raise
        finally:
            os.dup2(kept, terminal)
            os.close(kept)


def prepare(*, precision: str) -> None:
    """Forget the networks of before, and set the precision of those to come (weights stay float32)."""
    import keras

    keras.utils.clear_session()
    keras.config.set_dtype_policy(_POLICIES[precision])  # clear_session has set it back


def seed(value: int) -> None:
    """Of the initial weights and dropout of networks built from now on.

    Keras draws the seeds of its initialisers from Python's generator. `keras.utils.set_random_seed` would set
    TensorFlow's global seed too, which nothing here draws from, and which empties its cache of optimised graphs (2 s).
    """
    random.seed(value)
