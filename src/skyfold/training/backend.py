"""Settings of the backend that a network computes with: threads, determinism, mixed precision, devices, seeds.

Besides the adapters in `models`, the only place that imports TensorFlow; with other backends it sets what Keras offers
(JAX and PyTorch compute reproducibly on the CPU without being told to).
"""

from __future__ import annotations

import gc
import os
import platform
import random
import re
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from skyfold.errors import ConfigError
from skyfold.progress import note

BACKENDS = ("tensorflow", "jax", "torch")
# What Keras and TensorFlow import where it is installed, for estimators, pictures and converters that are of no use
# here: a third of the time and of the memory of importing them.
NOT_NEEDED = {"sklearn", "matplotlib", "jax"}
NVIDIA = Path("/proc/driver/nvidia")  # of Linux, where the driver of a GPU is loaded


def name() -> str:
    """The backend that the environment names, or the usual one; nothing is loaded."""
    return os.environ.get("KERAS_BACKEND") or BACKENDS[0]


def require() -> None:
    """ConfigError where the backend that the environment names is unknown or not installed; nothing is loaded."""
    if name() not in BACKENDS:
        raise ConfigError(f"KERAS_BACKEND={name()}: networks are trained with {', '.join(BACKENDS)}. Set one of them.")
    if find_spec(name()) is None:
        raise ConfigError(f"KERAS_BACKEND={name()}: {name()} is not installed. Install it, or set another one.")


def usable_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_threads() -> int:
    """Number of threads of a run that begins now: $TF_NUM_INTRAOP_THREADS, else one for each usable core."""
    given = os.environ.get("TF_NUM_INTRAOP_THREADS", "")
    return int(given) if given.isdecimal() and int(given) else usable_cores()


def beside_others(threads: int) -> dict[str, str]:
    """Variables of the environment of a process that computes in `threads` threads beside others."""
    # Without the second the first process takes all memory of a GPU.
    return {"OMP_NUM_THREADS": str(threads), "TF_FORCE_GPU_ALLOW_GROWTH": "true"}


def start(*, deterministic: bool | None, threads: int | None = None) -> None:
    """Set up the backend, once per process and before anything is computed; a second call with the same values does
    nothing.

    deterministic: one run gives the same bits on the same machine; None: on a CPU, see `is_deterministic`. TensorFlow
    then runs the operations of a network one after the other, each in `threads` threads (None: `default_threads`), on
    however many cores: the order of concurrent sums would vary, and so does that of sums that are divided among another
    number of threads. On accelerators JAX and PyTorch are told to use deterministic kernels. ConfigError where Keras
    cannot load its backend, or TensorFlow has computed before with other settings, which cannot be changed any more.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # TensorFlow takes oneDNN's convolutions by itself only on CPUs with instructions for neural networks; without them
    # training is 1.5 times as fast all the same.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if deterministic:  # read when JAX, or CUDA of PyTorch, starts
        flags, flag = os.environ.get("XLA_FLAGS", ""), "--xla_gpu_deterministic_ops=true"
        if name() == "jax" and flag not in flags:
            os.environ["XLA_FLAGS"] = f"{flags} {flag}".strip()
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    try:
        with _start_up_lines_hidden(), _not_found(NOT_NEEDED - {name()}), _imported_for_good():
            import keras

            cpu = on_cpu()  # TensorFlow looks for devices now, once
            deterministic = cpu if deterministic is None else deterministic
    except (ImportError, ValueError) as error:  # for instance of what ~/.keras/keras.json names
        raise ConfigError(
            f"Keras cannot load its backend ({error}). Set the environment variable KERAS_BACKEND={BACKENDS[0]}."
        ) from None
    if keras.backend.backend() == "torch":
        sys.modules["torch"].use_deterministic_algorithms(deterministic)
    if keras.backend.backend() != "tensorflow" or not deterministic:
        return
    import tensorflow as tf

    threads = threads or default_threads()
    tf.config.experimental.enable_op_determinism()
    one_at_a_time = tf.config.threading.get_inter_op_parallelism_threads() == 1
    now = tf.config.threading.get_intra_op_parallelism_threads()
    if one_at_a_time and now == threads:
        return
    try:
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        with _start_up_lines_hidden():
            tf.zeros(())
    except RuntimeError:
        if one_at_a_time:
            raise ConfigError(
                f"this process computes in {now} threads, and the run was begun with {threads}: other numbers of "
                "threads train other weights. Continue it in a process of its own, with skyfold train CONFIG, or start "
                "over in this one, with skyfold train CONFIG --restart."
            ) from None
        raise ConfigError(
            "TensorFlow has been used in this process before its threads were set, so that training would not be "
            "reproducible. Call skyfold.training.backend.start(deterministic=True) first (in a notebook: restart the "
            "kernel), or set training.deterministic: false."
        ) from None


@contextmanager
def _start_up_lines_hidden() -> Iterator[None]:
    """Hide what TensorFlow writes to the terminal while it loads, whatever its log level, unless it fails, or finds no
    GPU on a machine that has one."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        told = True
        try:
            yield
            told = _gpu_is_there() and on_cpu()
        finally:
            if told:
                hidden.seek(0)
                os.write(terminal, hidden.read())
            os.dup2(terminal, 2)
            os.close(terminal)


def _gpu_is_there() -> bool:
    """Whether the driver of an NVIDIA GPU is loaded, and none of CUDA_VISIBLE_DEVICES hides it."""
    return NVIDIA.exists() and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1")


@contextmanager
def _not_found(packages: Collection[str]) -> Iterator[None]:
    """Let `import` of those `packages` that are not loaded yet fail, as if they were not installed."""
    hidden = [package for package in packages if package not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: "cannot be imported"
    try:
        yield
    finally:
        for package in hidden:
            sys.modules.pop(package, None)


@contextmanager
def _imported_for_good() -> Iterator[None]:
    """Keep the garbage collector away from what is imported now, hundreds of thousands of objects that stay: it would
    look through them all several times meanwhile, and for every network that is built later."""
    if "keras" in sys.modules or not gc.isenabled():
        yield
        return
    gc.collect()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def prepare(*, precision: str, devices: int | Literal["all"] = 1, batch_size: int = 1) -> None:
    """Discard networks built before, and set the precision of those built next (weights stay float32).

    devices: number of devices that share each batch of `batch_size`. ConfigError where there are fewer, where the
    batch cannot be divided evenly, or where Keras cannot divide it with this backend.
    """
    import keras

    keras.utils.clear_session()  # sets the policy back to float32
    keras.config.set_dtype_policy(precision if precision == "float32" else f"mixed_{precision}")
    if precision == "bfloat16" and on_cpu():
        with _start_up_lines_hidden():  # TensorFlow tells once where a CPU has no instructions for it
            zero = keras.ops.zeros((1, 1), dtype=precision)
            keras.ops.matmul(zero, zero)
    if keras.backend.backend() == "jax":
        keras.distribution.set_distribution(_divided(keras.distribution.list_devices(), devices, batch_size))
    elif devices != 1:
        raise ConfigError(
            f"training.devices: {devices} needs the JAX backend, here it is {keras.backend.backend()}. Install jax and "
            "set the environment variable KERAS_BACKEND=jax, or leave devices at 1."
        )


def compiles_whole_steps() -> bool:
    """Whether Keras hands a whole step to XLA, as JAX needs it; TensorFlow's own kernels are faster on a CPU."""
    import keras

    return bool(keras.backend.backend() == "jax")


def is_deterministic(wanted: bool | None) -> bool:
    """Whether results are the same bits each time, as `training.deterministic` wants it; None: on a CPU, where it costs
    little."""
    return on_cpu() if wanted is None else wanted


def on_cpu() -> bool:
    """Whether networks are computed in the memory of this machine, not of an accelerator."""
    return _kind() == "cpu"


def device() -> str:
    """Kind and model of the device that networks are computed on: "cpu AMD EPYC 9354", "gpu NVIDIA H200"."""
    import keras

    name, kind = keras.backend.backend(), _kind()
    library: Any = sys.modules[name]
    if kind == "cpu":
        model = _processor()
    elif name == "torch":
        model = library.cuda.get_device_name() if kind == "gpu" else ""
    elif name == "jax":
        model = library.devices()[0].device_kind
    else:
        first = library.config.list_physical_devices(kind.upper())[0]
        model = library.config.experimental.get_device_details(first).get("device_name", "")
    return f"{kind} {model}".strip()


def _kind() -> str:
    """ "cpu", "gpu", "tpu" or another; TensorFlow is not asked for its devices by Keras, which would start it."""
    import keras

    name = keras.backend.backend()
    library: Any = sys.modules[name]
    if name == "torch":  # Keras does not tell its devices
        kind = str(keras.ops.zeros(()).device.type)
        return "gpu" if kind == "cuda" else kind
    if name == "tensorflow":
        kinds = [one.device_type.lower() for one in library.config.list_physical_devices()]
        return next((kind for kind in kinds if kind in ("gpu", "tpu")), "cpu")
    return str(keras.distribution.list_devices()[0]).partition(":")[0]


def threads_in_use() -> int | None:
    """Threads that an operation of a network is divided among; None where the backend does not tell."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    return int(tf.config.threading.get_intra_op_parallelism_threads()) or usable_cores()


def _processor() -> str:
    with suppress(OSError):  # not Linux
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def note_slow_precision(precision: str) -> None:
    """Note that this CPU only imitates `precision`, where that is so."""
    if precision == "bfloat16" and on_cpu() and not computes_bfloat16():
        note(
            f"this CPU ({_processor()}) has no instructions for bfloat16: a step takes several times as long as in "
            "float32. Train with --set training.mixed_precision=float32."
        )


def computes_bfloat16() -> bool:
    """Whether the CPU has instructions for bfloat16, or vectors wide enough to do without; True where Linux does not
    tell."""
    with suppress(OSError):
        flags = re.search(r"^(?:flags|Features)\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        return flags is None or not {"avx512f", "amx_bf16", "bf16"}.isdisjoint(flags[1].split())
    return True


def _divided(there: list[str], wanted: int | Literal["all"], batch_size: int) -> Any:
    """Data parallelism over `wanted` of the devices `there`; None for one device."""
    import keras

    count = len(there) if wanted == "all" else wanted
    if count > len(there):
        raise ConfigError(f"training.devices: {count} are wanted, there are {len(there)}: {', '.join(there)}.")
    if batch_size % count:
        raise ConfigError(f"training.batch_size: {batch_size} images cannot be divided evenly among {count} devices.")
    return keras.distribution.DataParallel(devices=there[:count]) if count > 1 else None


def seed(value: int) -> None:
    """Set the seed of the initial weights and dropout of networks built from now on.

    Keras draws the seeds of its initialisers from Python's generator. `keras.utils.set_random_seed` would set
    TensorFlow's global seed too, which nothing here draws from, and which empties its cache of optimised graphs (2 s).
    """
    random.seed(value)


def seed_dropout(value: int) -> None:
    """With PyTorch, seed its own generator, which Keras' dropout draws from there instead of the layer's."""
    import keras

    if keras.backend.backend() == "torch":
        sys.modules["torch"].manual_seed(value)
