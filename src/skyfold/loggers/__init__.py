"""Experiment trackers, one file each, found by the file name. A file declares one `Logger` as `PLUGIN`.

The packages that a logger writes with are imported when a fit begins, never before.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from skyfold.config.options import Options, configured
from skyfold.config.training import LoggerConfig
from skyfold.errors import ConfigError
from skyfold.files import digest
from skyfold.progress import note
from skyfold.store.fits import HistoryRow, reason_of
from skyfold.types import JsonDict

FOLDER = "logs"  # in the folder of a run
EXTRA = "trackers"


@dataclass(frozen=True)
class Fit:
    """The fit that a logger follows.

    run, data    names of the run and of its data set
    name         of the files of the fit, such as "fold0_seed0"
    folder       of the run, `oof/<data>/<run>`
    config       of the run
    environment  versions, backend, device, see `store.records.Environment`
    metric       name of the validation score
    started      when the fit was begun, in UTC, ISO 8601
    resumed      whether epochs were trained before
    """

    run: str
    data: str
    name: str
    folder: Path
    config: JsonDict
    environment: JsonDict
    metric: str
    started: str
    resumed: bool

    @property
    def id(self) -> str:
        """Name that no other fit has, the same when it is resumed, another one when it starts over."""
        return digest(str(self.folder.resolve()), self.name, self.started)

    def files(self, logger: str) -> Path:
        """Folder for the files of a logger."""
        return self.folder / FOLDER / logger / self.name


class Logger(Options):
    """Base of every logger; its fields are the keys of `options` beside its name in `loggers`.

    It follows one fit after the other. A resumed fit is begun again and its epochs are logged again from the first, so
    that a logger replaces or skips those that it has. An exception ends the logger, not the fit.
    """

    def require(self) -> None:
        """ConfigError where a package is missing; called before training begins."""

    @abstractmethod
    def start_fit(self, fit: Fit) -> None:
        """Begin, or begin again, to follow a fit."""

    @abstractmethod
    def log_epoch(self, epoch: int, scalars: Mapping[str, float]) -> None:
        """Log an epoch, from 1. scalars: loss, val_loss, val_score, lr, seconds, images_per_second; without those that
        were not measured."""

    @abstractmethod
    def end_fit(self, result: JsonDict, samples: Mapping[str, bytes]) -> None:
        """End a finished fit.

        result: score, best_epoch, epochs, seconds, peak_memory_mb; weights, history and curves, paths of files;
        weights_sha256. samples: pictures of validation samples as PNG, with truth and prediction, by name.
        """

    def interrupt_fit(self) -> None:
        """End a fit that did not finish: it was interrupted, or failed. It may be resumed."""


class Loggers:
    """The loggers of a run. One that fails is named once and left out from then on; training continues."""

    def __init__(self, configs: Sequence[LoggerConfig] = ()) -> None:
        self._loggers = {
            one.name: configured("loggers", one.name, one.options, where="loggers.options") for one in configs
        }
        self._following = False

    def __bool__(self) -> bool:
        return bool(self._loggers)

    def require(self) -> None:
        """ConfigError where a package is missing that a logger writes with."""
        for logger in self._loggers.values():
            logger.require()

    def start_fit(self, fit: Fit, history: Sequence[HistoryRow]) -> None:
        """history: epochs that were trained before."""
        self._following = True
        self._tell(lambda logger: logger.start_fit(fit))
        for row in history:
            self.log_epoch(row)

    def log_epoch(self, row: HistoryRow) -> None:
        scalars = {name: value for name, value in row.items() if name != "epoch" and math.isfinite(value)}
        self._tell(lambda logger: logger.log_epoch(int(row["epoch"]), scalars))

    def end_fit(self, result: JsonDict, draw: Callable[[], Mapping[str, bytes]]) -> None:
        """draw: makes the pictures of samples, where a logger needs them."""
        self._following = False
        if not self._loggers:
            return
        try:
            samples = draw()
        except Exception as error:  # pictures are no reason to lose a fit
            note(f"loggers: no sample predictions ({reason_of(error)}).")
            samples = {}
        self._tell(lambda logger: logger.end_fit(result, samples))

    def interrupt_fit(self) -> None:
        """Tell the loggers that the fit they follow, if any, ends before its last epoch."""
        if self._following:
            self._following = False
            self._tell(lambda logger: logger.interrupt_fit())

    def _tell(self, what: Callable[[Any], None]) -> None:
        for name, logger in list(self._loggers.items()):
            try:
                what(logger)
            except Exception as error:  # a full disk, a server that is gone, a bug in a plug-in
                del self._loggers[name]
                note(
                    f"logger {name} failed ({type(error).__name__}: {reason_of(error)}). Training continues without "
                    "it; where a fit is resumed, it gets the epochs that it lacks."
                )


def require_package(package: str, *, logger: str) -> None:
    """ConfigError where `package` is not installed."""
    if find_spec(package) is None:
        raise ConfigError(
            f"loggers: {logger} needs the package {package}, which is not installed. Install it with pip install -e "
            f".[{EXTRA}], or remove the logger."
        )
