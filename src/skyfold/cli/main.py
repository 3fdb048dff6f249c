"""Parse the arguments of `skyfold`, run one subcommand, report errors in one line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import skyfold
from skyfold.cli import commands
from skyfold.errors import SkyfoldError

CONFIG = "config file: FILE.yaml, or FILE.yaml#NAME for a run or blend that is written inline in a file"
MANY: dict[str, Any] = {"action": "append", "default": []}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "config": {"type": Path, "metavar": "CONFIG", "help": CONFIG},
    "competition": {"metavar": "COMPETITION", "help": "name of a competition or data set, or a config file"},
    "submission": {"type": Path, "metavar": "SUBMISSION", "help": "a CSV, or a folder of mask images"},
    "--truth": {"type": Path, "required": True, "metavar": "FILE", "help": "ground truth, in the same format"},
    "--sample": {"action": "store_true", "help": "write a small procedural sample of the same layout"},
    "--fold": {"type": int, "action": "append", "metavar": "K", "help": "train fold K only; may be repeated"},
    "--restart": {"action": "store_true", "help": "discard existing results and start over"},
    "--trials": {"type": int, "required": True, "metavar": "N", "help": "end at N complete or pruned trials in all"},
    "--storage": {"metavar": "URL", "help": "database of the study (default: study.db in its folder)"},
    "--workers": {"type": int, "default": 1, "metavar": "W", "help": "processes to start (default: 1)"},
    "--products": {"action": "store_true", "help": "also write a map of each test scene, class fractions and a grade"},
    "--html": {"type": Path, "metavar": "FILE", "help": "also write the table as a page"},
    "--diff": {"nargs": 2, "metavar": ("A", "B"), "help": "names of two entries, or folders that hold them"},
    "--forecast": {"metavar": "NAME", "help": "a forecast of the config (default: the last one)"},
    "--id": {**MANY, "metavar": "ID", "dest": "ids", "help": "a sample to draw, for instance 2011-12; may be repeated"},
    "--set": {**MANY, "metavar": "KEY=VALUE", "dest": "overrides", "help": "override a config value; may be repeated"},
    "--data": {"type": Path, "metavar": "DIR", "help": "folder of the files (default: below $SKYFOLD_DATA, or data/)"},
    # Accepted before and after the subcommand; without it the namespace has no such attribute.
    "--root": {"type": Path, "metavar": "DIR", "default": argparse.SUPPRESS, "help": "project folder, with configs/"},
}
COMMANDS = {
    commands.prepare: ("competition", "--sample"),
    commands.train: ("config", "--fold", "--restart", "--set"),
    commands.tune: ("config", "--trials", "--storage", "--workers", "--set"),
    commands.blend: ("config",),
    commands.submit: ("config", "--products"),
    commands.score: ("competition", "submission", "--truth"),
    commands.leaderboard: ("competition", "--html", "--diff"),
    commands.plot: ("config", "--forecast", "--id"),
    commands.run: ("config", "--set"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand. Returns 0 on success, 2 on an error the user can fix, 130 when interrupted.

    argv: arguments without the program's name; None: those of the process.
    """
    given = _parser().parse_args(argv)
    try:
        given.command(given)
    except SkyfoldError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of the output has closed it, for instance `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # a file that cannot be read or written; anything else is a bug
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted. Run the same command again to resume.", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="skyfold", description=skyfold.__doc__)
    parser.add_argument("--version", action="version", version=f"skyfold {skyfold.__version__}")
    parser.add_argument("--root", **ARGUMENTS["--root"])
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command, names in COMMANDS.items():
        text = command.__doc__ or ""
        added = subparsers.add_parser(command.__name__, help=text.partition("\n")[0], description=text)
        for name in (*names, "--data", "--root"):
            added.add_argument(name, **ARGUMENTS[name])
        added.set_defaults(command=command)
    return parser
