"""The command `skyfold`: parse arguments, run one subcommand, report errors in one line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

import skyfold
from skyfold.cli import blend, leaderboard, plot, prepare, run, score, submit, train, tune
from skyfold.cli.arguments import add_data, add_root

COMMANDS = (prepare, train, tune, blend, submit, score, leaderboard, plot, run)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand. Returns 0 on success, 2 on an error the user can fix, 130 when interrupted."""
    given = _parser().parse_args(argv)
    return _exit_code(lambda: given.run(given))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="skyfold", description=skyfold.__doc__)
    parser.add_argument("--version", action="version", version=f"skyfold {skyfold.__version__}")
    add_root(parser)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in COMMANDS:
        summary = module.__doc__ or ""
        command = commands.add_parser(module.__name__.rpartition(".")[2], help=summary, description=summary)
        module.add_arguments(command)
        add_data(command)
        add_root(command)
        command.set_defaults(run=module.run)
    return parser


def _exit_code(work: Callable[[], None]) -> int:
    from skyfold.errors import SkyfoldError

    try:
        work()
    except SkyfoldError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of the output has closed it, for instance `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a file that cannot be read or written; anything else is a bug
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted. Run the same command again to resume.", file=sys.stderr)
        return 130
    return 0
