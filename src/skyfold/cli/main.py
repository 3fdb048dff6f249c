"""Parse the arguments of `skyfold`, run one subcommand, report errors in one line and an exit code."""

from __future__ import annotations

import argparse
import errno
import json
import math
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, requires
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import skyfold
from skyfold import plugins
from skyfold.cli import commands
from skyfold.errors import ConfigError, SkyfoldError, printable
from skyfold.memory import share_one_heap


def _whole(text: str) -> int:
    """A whole number in plain digits: `int` also takes blanks, underscores and the digits of every script."""
    if not re.fullmatch("-?[0-9]+", text):
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number")
    return int(text)


def _number(text: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"'{text}' is no number")
    return value


def _names(text: str) -> list[str]:
    """Names or numbers parted by commas."""
    found = [part.strip() for part in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(f"'{text}' names nothing between two commas")
    return found


CONFIG = "config file: FILE.yaml, or FILE.yaml#NAME for a run or blend that is written inline in a file"
MANY: dict[str, Any] = {"action": "append", "default": []}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "config": {"type": Path, "metavar": "CONFIG", "help": CONFIG},
    "competition": {"metavar": "COMPETITION", "help": "name of a competition or data set, or a config file"},
    "data_set": {"nargs": "?", "metavar": "NAME", "help": "name of a data set, or a config file (default: all)"},
    "submission": {"type": Path, "metavar": "SUBMISSION", "help": "a CSV, or a folder of mask images"},
    "what": {"choices": ["competition"], "help": "what it is"},
    "name": {"metavar": "NAME", "help": "what to call it"},
    "--data CONFIG": {"type": Path, "required": True, "metavar": "CONFIG", "dest": "config", "help": CONFIG},
    "--oof": {"type": Path, "required": True, "metavar": "FILE", "help": "out-of-fold predictions, a file or folder"},
    "--test": {
        "type": Path,
        "nargs": "+",
        "action": "extend",
        "default": [],
        "metavar": "FILE",
        "help": "predictions of the test part, a file or folder; or one of each fold, in the order of the folds",
    },
    "--task": {"metavar": "TASK", "help": "classification, of image labels (default: the task of the competition)"},
    "--ids": {"type": Path, "metavar": "FILE", "help": "CSV whose column id names the rows of arrays, of both parts"},
    "--folds": {"type": Path, "metavar": "FILE", "help": "CSV with the columns id and fold that they were made with"},
    "--truth": {"type": Path, "required": True, "metavar": "FILE", "help": "ground truth, in the same format"},
    "--sizes": {"type": Path, "metavar": "FILE", "help": "CSV of the masks' sizes, where a competition's masks differ"},
    "--sample": {"action": "store_true", "help": "write a small procedural sample of the same layout"},
    "bundle": {"type": Path, "metavar": "BUNDLE", "help": "a folder or zip file that skyfold pack wrote"},
    "--out DIR": {"type": Path, "required": True, "metavar": "DIR", "help": "folder of all that is written"},
    "--out": {"type": Path, "required": True, "metavar": "DIR|FILE.zip", "help": "folder or zip file to write"},
    "--labels": {
        "type": _names,
        "metavar": "A,B",
        "help": "rank images by how likely their masks are wrong, by out-of-fold predictions of these runs or blends",
    },
    "--plan": {"type": Path, "metavar": "FILE.yaml", "help": "write the suggested config of a first run"},
    "--time-budget": {
        "metavar": "TIME",
        "help": "with --plan: time for all its folds on this machine, for instance 9h",
    },
    "--licence": {"metavar": "TEXT", "help": "licence of the weights, for the model card"},
    "--members": {"type": _names, "metavar": "A,B", "help": "members that are packed, by name (default: all)"},
    "--folds K": {
        "type": lambda text: [_whole(part) for part in _names(text)],
        "metavar": "K,K",
        "dest": "folds",
        "help": "folds whose fits are packed (default: all that predict the test part)",
    },
    "--full fits": {
        "action": "store_true",
        "dest": "full",
        "help": "pack the fits on all samples (skyfold train --full), not those of the folds",
    },
    "--time-limit": {"metavar": "TIME", "help": "pack what predicts --images N in this time, for instance 9h"},
    "--images N": {"type": _whole, "metavar": "N", "dest": "images", "help": "how many images, for --time-limit"},
    "--kernel": {"action": "store_true", "help": "add a Kaggle kernel that predicts with it, without internet"},
    "--images": {"type": Path, "metavar": "DIR", "help": "folder of images to predict"},
    "--frames": {
        "type": Path,
        "nargs": "+",
        "action": "extend",
        "default": [],
        "metavar": "FILE",
        "help": "files of frames: those that follow the newest one are forecast",
    },
    "--sample FILE": {
        "type": Path,
        "metavar": "FILE",
        "dest": "sample_table",
        "help": "sample submission: its ids are submitted, in its order",
    },
    "--write": {
        **MANY,
        "choices": ["csv", "masks", "products", "probabilities", "preview", "npz", "netcdf", "maps"],
        "dest": "outputs",
        "help": "what to write (default: csv); may be repeated; npz, netcdf, maps: of forecasts, the others of masks",
    },
    "--on-error": {
        "choices": ["stop", "skip"],
        "default": "stop",
        "help": "skip: images that cannot be read get empty masks and are listed (default: stop)",
    },
    "--plugins": {"type": Path, "metavar": "DIR", "help": "folder of plug-ins that the bundle needs"},
    "--precision": {
        "choices": ["float32", "bfloat16"],
        "help": "precision that networks compute in (default: that of training)",
    },
    "--fold": {"type": _whole, "action": "append", "metavar": "K", "help": "train fold K only; may be repeated"},
    "--full": {"action": "store_true", "help": "then fit one more network per seed on all samples"},
    "--restart": {"action": "store_true", "help": "discard existing results and start over"},
    "--trials": {"type": _whole, "required": True, "metavar": "N", "help": "end at N complete or pruned trials in all"},
    "--storage": {"metavar": "URL", "help": "database of the study (default: study.db in its folder)"},
    "--workers": {"type": _whole, "default": 1, "metavar": "W", "help": "processes to start (default: 1)"},
    "--jobs": {"type": _whole, "default": 1, "metavar": "N", "help": "runs to train at the same time (default: 1)"},
    "--products": {"action": "store_true", "help": "also write maps and grades of test scenes, or forecasts as NetCDF"},
    "--polygons": {"action": "store_true", "help": "with --products: also write the classes as GeoJSON"},
    "--html": {"type": Path, "metavar": "FOLDER", "help": "also write pages, to be opened from the folder"},
    "--no-images": {"action": "store_true", "help": "with --html: without images of the contest, to be shared"},
    "--csv": {"type": Path, "metavar": "FILE", "help": "also write the table as CSV"},
    "--diff": {"nargs": 2, "metavar": ("A", "B"), "help": "names of two entries, or folders that hold them"},
    "action": {"choices": ["add", "list", "import"], "help": "add a score, list what was submitted, import a table"},
    "of": {"metavar": "NAME", "help": "add: a submission, NAME or DATA/NAME; list, import: a data set, or a config"},
    "table": {"type": Path, "nargs": "?", "metavar": "FILE", "help": "import: CSV of kaggle competitions submissions"},
    "--public": {"type": _number, "metavar": "SCORE", "help": "score on the public leaderboard"},
    "--private": {"type": _number, "metavar": "SCORE", "help": "score on the private leaderboard"},
    "--date": {"metavar": "DATE", "help": "when it was submitted, UTC, for instance 2026-11-30T17:05 (default: now)"},
    "--message": {"metavar": "TEXT", "help": "a note on what was submitted"},
    "--message TEXT": {
        "metavar": "TEXT",
        "dest": "message",
        "help": "keep the file as submitted, with this note",
    },
    "--kaggle": {"action": "store_true", "help": "with --message: submit it by the Kaggle CLI"},
    "--public-fraction": {
        "type": _number,
        "default": 0.3,
        "metavar": "F",
        "help": "share of the test samples that the public leaderboard scores (default: 0.3)",
    },
    "--test-samples": {"type": _whole, "metavar": "N", "help": "samples of the contest's test part (default: stored)"},
    "--simulations": {"type": _whole, "default": 2000, "metavar": "N", "help": "test parts to draw (default: 2000)"},
    "--final": {"type": _whole, "metavar": "N", "help": "also choose N final submissions"},
    "--forecast": {"metavar": "NAME", "help": "a forecast of the config (default: the last one)"},
    "--worst": {"type": _whole, "metavar": "N", "help": "draw the N worst (of masks by default: 12)"},
    "--class": {"metavar": "NAME", "dest": "label", "help": "draw one class only, the worst by its score"},
    "--id": {**MANY, "metavar": "ID", "dest": "ids", "help": "a sample to draw, for instance 2011-12; may be repeated"},
    "--set": {**MANY, "metavar": "KEY=VALUE", "dest": "overrides", "help": "override a config value; may be repeated"},
    "--json": {"action": "store_true", "help": "print one JSON document, everything else to standard error"},
    "--data": {"type": Path, "metavar": "DIR", "help": "folder of the files (default: below $SKYFOLD_DATA, or data/)"},
    "--verify": {
        "action": "store_true",
        "help": "read every byte of the data again, also of files that look unchanged",
    },
    # Accepted before and after the subcommand; without it the namespace has no such attribute.
    "--root": {"type": Path, "metavar": "DIR", "default": argparse.SUPPRESS, "help": "project folder, with configs/"},
}
REMEDIES = {  # of errors of the system that may meet any file
    errno.ENOSPC: ". Free disk space, then run the same command again.",
    errno.EDQUOT: ". Free disk space of yours, then run the same command again.",
    errno.EFBIG: ". Raise the limit on the size of files (ulimit -f), then run the same command again.",
    errno.EIO: ". Check the disk, then run the same command again.",
}
COMMANDS = {
    commands.prepare: ("competition", "--sample", "--json"),
    commands.audit: ("competition", "--labels", "--plan", "--time-budget", "--json"),
    commands.train: ("config", "--fold", "--full", "--restart", "--set", "--verify", "--json"),
    commands.import_: ("name", "--data CONFIG", "--task", "--oof", "--test", "--ids", "--folds", "--json"),
    commands.tune: ("config", "--trials", "--storage", "--workers", "--set", "--verify"),
    commands.blend: ("config", "--verify", "--json"),
    commands.submit: ("config", "--products", "--polygons", "--message TEXT", "--kaggle", "--verify", "--json"),
    commands.pack: (
        "config",
        "--out",
        "--members",
        "--folds K",
        "--full fits",
        "--time-limit",
        "--images N",
        "--licence",
        "--kernel",
        "--verify",
        "--json",
    ),
    commands.predict: (
        "bundle",
        "--images",
        "--frames",
        "--out DIR",
        "--sample FILE",
        "--write",
        "--on-error",
        "--plugins",
        "--precision",
        "--json",
    ),
    commands.score: ("competition", "submission", "--truth", "--sizes", "--verify", "--json"),
    commands.new: ("what", "name"),
    commands.check: ("what", "name", "--verify"),
    commands.leaderboard: (
        "competition",
        "--html",
        "--no-images",
        "--csv",
        "--diff",
        "--final",
        "--public-fraction",
        "--verify",
        "--json",
    ),
    commands.status: ("data_set", "--json"),
    commands.lb: ("action", "of", "table", "--public", "--private", "--date", "--message", "--json"),
    commands.shakeup: ("competition", "--public-fraction", "--test-samples", "--simulations", "--json"),
    commands.plot: ("config", "--forecast", "--id", "--worst", "--class"),
    commands.run: ("config", "--jobs", "--set", "--verify"),
}


class Stopped(KeyboardInterrupt):
    """A signal ends the command as Ctrl-C does: `finally` blocks run, locks and temporary files are removed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return its exit code.

    0    done
    1    a bug in skyfold, with its traceback
    2    arguments, a config or input files are wrong
    3    a file that skyfold wrote is damaged, or no longer fits what it was made from
    4    another process writes what the command needs
    129  stopped by SIGHUP; 130 by Ctrl-C, SIGINT; 143 by SIGTERM: the same command resumes

    argv: arguments without the program's name; None: those of the process.
    """
    given = _parser().parse_args(argv)
    share_one_heap()  # before libraries start their threads
    if isinstance(sys.stdout, TextIOWrapper):  # the name of a folder may be no UTF-8, the terminal no Unicode
        sys.stdout.reconfigure(errors="backslashreplace")
    as_json = getattr(given, "json", False)
    try:
        with _signals_stop():
            _require_working_folder()
            with redirect_stdout(sys.stderr) if as_json else nullcontext():
                root = commands.named_root(given)
                if root is not None and given.command is not commands.predict:  # a bundle is of no project
                    plugins.add_project(root)
                document = given.command(given)
            if as_json:
                print(_json({"command": given.command.__name__.rstrip("_"), **document}))
            sys.stdout.flush()
    except SkyfoldError as error:
        return _ended(error.exit_code, f"error: {error}")
    except BrokenPipeError:  # the reader of the output has closed it, for instance `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # a file that cannot be read or written; anything else is a bug
        if error.filename is None and error.errno not in REMEDIES:
            return _bug()
        place = error.filename or _unwritable_output() or getattr(given, "config", "a file")
        return _ended(2, printable(f"error: {place}: {error.strerror}{REMEDIES.get(error.errno or 0, '')}"))
    except KeyboardInterrupt as stop:
        number = stop.args[0] if isinstance(stop, Stopped) else signal.SIGINT
        what = "Interrupted" if number == signal.SIGINT else f"Stopped by {number.name}"
        return _ended(128 + number, f"{what}. Run the same command again to resume.")
    except ImportError as error:
        wanted = _required(error.name or "")
        return _ended(2, printable(f"error: {error}. Install what skyfold needs: {wanted}")) if wanted else _bug()
    except Exception as error:
        if not _out_of_memory(error):
            return _bug()
        what = f"{str(error).splitlines()[0][:200]}. " if str(error) else ""
        place = getattr(given, "config", None) or given.command.__name__
        remedy = "Free some, or make image.size, batch_size or the model smaller."
        return _ended(2, printable(f"error: {place}: out of memory. {what}{remedy}"))
    return 0


def _required(module: str) -> str:
    """The command that installs the package of a module as skyfold requires it; '' of another package."""
    package = module.partition(".")[0]
    with suppress(PackageNotFoundError):
        for line in requires("skyfold") or ():
            if re.split(r"[^\w.-]", line, maxsplit=1)[0].replace("-", "_").lower() == package.lower():
                return f"pip install '{line.partition(';')[0].strip()}'"
    return ""


def _unwritable_output() -> str:
    """'standard output' where it takes nothing, on a full disk for instance; what was printed is then given up."""
    try:
        print(flush=True)  # an empty line: what could not be written before is not kept
    except OSError:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return "standard output"
    return ""


def _out_of_memory(error: Exception) -> bool:
    """Of Python, NumPy, OpenCV, or a backend of Keras, none of which need be loaded."""
    named = {"ResourceExhaustedError", "OutOfMemoryError"} & {kind.__name__ for kind in type(error).__mro__}
    said = ("RESOURCE_EXHAUSTED", "Insufficient memory", "Failed to allocate", "OOM when allocating")
    return isinstance(error, MemoryError) or bool(named) or any(text in str(error) for text in said)


def _require_working_folder() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise ConfigError("the working folder was deleted. Change to one that is there: cd DIR.") from None


def _json(values: Any) -> str:
    """One line of JSON with all digits; a number that is not finite, which JSON does not have, as null."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): plain(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [plain(one) for one in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(plain(values), allow_nan=False, default=str)


def _ended(code: int, message: str) -> int:
    """Say why a command has ended; returns its exit code."""
    with suppress(OSError):  # after SIGHUP the terminal is gone
        print(message, file=sys.stderr, flush=True)
    return code


def _bug() -> int:
    message = "This is a bug in skyfold. Please report it as CONTRIBUTING.md says, with the command and these lines."
    return _ended(1, f"{traceback.format_exc()}{message}")


@contextmanager
def _signals_stop() -> Iterator[None]:
    """Raise `Stopped` on SIGTERM, which batch systems send at the time limit, and on SIGHUP, when a terminal is closed.

    A signal that is ignored, as SIGHUP under nohup, stays ignored. Only the main thread can set this.
    """

    def stop(number: int, _: FrameType | None) -> NoReturn:
        raise Stopped(signal.Signals(number))

    before = {}
    if threading.current_thread() is threading.main_thread():
        kinds = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
        before = {kind: signal.signal(kind, stop) for kind in kinds if signal.getsignal(kind) == signal.SIG_DFL}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


@cache
def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="skyfold", description=skyfold.__doc__)
    parser.add_argument("--version", action="version", version=f"skyfold {skyfold.__version__}")
    parser.add_argument("--root", **ARGUMENTS["--root"])
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command, names in COMMANDS.items():
        text = command.__doc__ or ""
        added = subparsers.add_parser(command.__name__.rstrip("_"), help=text.partition("\n")[0], description=text)
        own_data = [] if "--data CONFIG" in names else ["--data"]
        for name in (*names, *own_data, "--root"):
            added.add_argument(name.partition(" ")[0], **ARGUMENTS[name])
        added.set_defaults(command=command)
    return parser
