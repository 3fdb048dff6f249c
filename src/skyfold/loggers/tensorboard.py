"""TensorBoard event files, written with the package `tensorboard` only, whatever the backend."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from skyfold.files import host
from skyfold.loggers import Fit, Logger, require_package
from skyfold.types import JsonDict


class TensorBoard(Logger):
    """Writes `logs/tensorboard/fold<f>_seed<s>/events.out.tfevents.*`: scalars, samples, config and result as text.

    A resumed fit gets a new file with all its epochs, at the times at which they would have ended without the stop.
    """

    _records: Any = None
    _time: float

    def require(self) -> None:
        require_package("tensorboard", logger="tensorboard")

    def start_fit(self, fit: Fit) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder = fit.files("tensorboard")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._time = datetime.fromisoformat(fit.started).timestamp()
        path = folder / f"events.out.tfevents.{time.time():.0f}.{host()}.{os.getpid()}"
        self._records = RecordWriter(path.open("wb"))
        self._write(file_version="brain.Event:2")
        self._write(session_log=SessionLog(status=SessionLog.START))  # drops what a TensorBoard that runs has read
        self._write_text("config", {"run": fit.run, "metric": fit.metric, **fit.environment, "config": fit.config}, 0)

    def log_epoch(self, epoch: int, scalars: Mapping[str, float]) -> None:
        self._time += scalars["seconds"]
        self._write_summary(epoch, *({"tag": tag, "simple_value": value} for tag, value in scalars.items()))

    def end_fit(self, result: JsonDict, samples: Mapping[str, bytes]) -> None:
        epoch = result["best_epoch"]
        for name, picture in samples.items():
            self._write_summary(epoch, {"tag": f"samples/{name}", "image": {"encoded_image_string": picture}})
        self._write_text("result", result, epoch)
        self._records.close()

    def interrupt_fit(self) -> None:
        self._records.close()

    def _write_text(self, tag: str, values: JsonDict, step: int) -> None:
        """JSON as the text plug-in shows it: Markdown, in which indented lines are code."""
        text = json.dumps(values, indent=2, sort_keys=True).replace("\n", "\n    ")
        metadata = {"plugin_data": {"plugin_name": "text"}}
        tensor = {"dtype": "DT_STRING", "string_val": [f"    {text}".encode()]}
        self._write_summary(step, {"tag": f"{tag}/text_summary", "metadata": metadata, "tensor": tensor})

    def _write_summary(self, step: int, *values: JsonDict) -> None:
        self._write(step=step, summary={"value": values})

    def _write(self, **event: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._records.write(Event(wall_time=self._time, **event).SerializeToString())
        self._records.flush()


PLUGIN = TensorBoard
