"""What all scripts share: how arguments are declared and how an error is shown."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skyfold.config.data import DataConfig


def parser(description: str | None) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(description=description)


def config_argument(arguments: argparse.ArgumentParser, what: str) -> None:
    arguments.add_argument("config", type=Path, metavar="CONFIG", help=what)


def data_argument(arguments: argparse.ArgumentParser) -> None:
    arguments.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder of the contest's files (default: $SKYFOLD_DATA/<name>, else data/<name>)",
    )


def set_argument(arguments: argparse.ArgumentParser) -> None:
    arguments.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="key=value",
        dest="overrides",
        help="change a value of the config, for instance training.epochs=5; may be given more than once",
    )


def run(work: Callable[[], None]) -> int:
    """Do `work`; 0 when it went well, 2 with one message on a mistake the user can mend (a file that cannot be read or
    written is one), 130 when interrupted."""
    from skyfold.errors import SkyfoldError

    try:
        work()
    except SkyfoldError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of the output has gone, `| head` say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it was", file=sys.stderr)
        return 130
    return 0


def competition_or_config(text: str) -> DataConfig:
    """The data set that a command names: a config file's `data`, or a competition with its defaults."""
    from skyfold import plugins
    from skyfold.config.data import DataConfig
    from skyfold.config.files import load_config
    from skyfold.errors import ConfigError

    if Path(text).suffix in {".yaml", ".yml"} or Path(text).is_file():
        return load_config(Path(text)).data
    known = plugins.names("competitions")
    if text not in known:
        raise ConfigError(
            f"no competition '{text}'{plugins.nearest(text, known)}. There are: {', '.join(known)}; "
            "or give a config file with a `data` block."
        )
    return DataConfig(competition=text)
