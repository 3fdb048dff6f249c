"""Arguments that several subcommands take, and what they stand for."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skyfold.config.data import DataConfig
    from skyfold.workspace import Workspace


def add_config(parser: argparse.ArgumentParser, what: str) -> None:
    help_text = f"{what}: FILE.yaml, or FILE.yaml#NAME for one that is written inline in a file"
    parser.add_argument("config", type=Path, metavar="CONFIG", help=help_text)


def add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder of the competition's files (default: $SKYFOLD_DATA/<name>, else data/<name>)",
    )


def add_root(parser: argparse.ArgumentParser) -> None:
    """Accept `--root` before and after the subcommand; without it `given` has no such attribute."""
    parser.add_argument(
        "--root",
        type=Path,
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="project folder, which holds data/, oof/ and submissions/ "
        "(default: the nearest parent of the current folder that holds configs/)",
    )


def add_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="override a config value, for instance training.epochs=5; may be repeated",
    )


def workspace(given: argparse.Namespace) -> Workspace:
    """The project that a command works in: `--root`, or the folder found from the current one."""
    from skyfold.errors import ConfigError
    from skyfold.workspace import Workspace, find_root

    if "root" not in given:
        root = find_root(Path.cwd())
        if root is None:
            raise ConfigError(
                f"{Path.cwd()} and its parents hold no folder configs/, so this is no skyfold project. "
                "Change to the project's folder, or name it: --root DIR."
            )
        return Workspace(root, given.data)
    if not given.root.is_dir():
        raise ConfigError(f"--root {given.root}: no such folder.")
    return Workspace(given.root.resolve(), given.data)


def location_options(given: argparse.Namespace) -> list[str]:
    """`--root` and `--data` as they were given, to pass to another command."""
    options = {"--root": getattr(given, "root", None), "--data": given.data}
    return [part for name, value in options.items() if value is not None for part in (name, str(value))]


def competition_or_config(text: str) -> DataConfig:
    """The data set that a command names: a config file's `data`, or a competition with its defaults."""
    from skyfold import plugins
    from skyfold.config.data import DataConfig
    from skyfold.config.files import load_config
    from skyfold.errors import ConfigError

    if Path(text.partition("#")[0]).suffix in {".yaml", ".yml"} or Path(text).is_file():
        return load_config(Path(text)).data
    known = plugins.names("competitions")
    if text not in known:
        raise ConfigError(
            f"no competition '{text}'{plugins.nearest(text, known)}. There are: {', '.join(known)}; "
            "or give a config file with a `data` block."
        )
    return DataConfig(competition=text)
