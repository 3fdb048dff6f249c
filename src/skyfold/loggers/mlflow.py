"""MLflow: an experiment a data set, a run a fit; in an SQLite database with a folder of artefacts, or on a server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from skyfold.config.merging import dotted
from skyfold.files import digest
from skyfold.loggers import Fit, Logger, require_package
from skyfold.types import JsonDict

TAG = "skyfold.fit"
LONGEST = 500  # of a param, which older servers refuse beyond
MOST_PARAMS = 100  # that MLflow takes at a time


class MLflow(Logger):
    """Logs scalars, config, environment, history, curves and samples, and where the weights lie with their SHA-256.

    tracking_uri: of the store; None: $MLFLOW_TRACKING_URI, else `oof/<data>/mlflow/mlflow.db`. What was logged cannot
    be taken back: a resumed fit goes on in its run, and an epoch that is there already is not logged again.
    """

    tracking_uri: str | None = None
    _client: Any = None
    _run: str
    _time: float
    _logged: int  # the last epoch in the run

    def require(self) -> None:
        require_package("mlflow", logger="mlflow")

    def start_fit(self, fit: Fit) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # a server that is gone holds training up
        from mlflow import MlflowClient

        self._time, self._logged = datetime.fromisoformat(fit.started).timestamp(), 0
        uri = self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        folder = fit.folder.absolute().parent / "mlflow"
        if uri is None:
            folder.mkdir(exist_ok=True)
        self._client = client = MlflowClient(uri or f"sqlite:///{folder / 'mlflow.db'}")
        experiment = client.get_experiment_by_name(fit.data)
        place = None if uri else (folder / "artifacts").as_uri()
        of_data = experiment.experiment_id if experiment else client.create_experiment(fit.data, place)
        own = digest(str(fit.files("mlflow").resolve()))
        begun = client.search_runs([of_data], f"tags.`{TAG}` = '{own}' and attributes.status != 'FINISHED'")
        if fit.resumed and begun:
            self._run = begun[0].info.run_id
            client.update_run(self._run, status="RUNNING")
            self._logged = max((one.step for one in client.get_metric_history(self._run, "loss")), default=0)
            return
        for run in begun:  # killed before its first checkpoint
            client.delete_run(run.info.run_id)
        tags = {TAG: own, "run": fit.run, "fit": fit.name, "metric": fit.metric}
        started = int(self._time * 1000)
        self._run = client.create_run(of_data, started, tags, f"{fit.run} {fit.name}").info.run_id
        self._log_params(dotted(fit.config))
        client.log_dict(self._run, fit.config, "config.json")
        client.log_dict(self._run, fit.environment, "environment.json")

    def log_epoch(self, epoch: int, scalars: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        self._time += scalars["seconds"]
        if epoch > self._logged:
            metrics = [Metric(name, value, int(self._time * 1000), epoch) for name, value in scalars.items()]
            self._client.log_batch(self._run, metrics=metrics)

    def end_fit(self, result: JsonDict, samples: Mapping[str, bytes]) -> None:
        for name, value in result.items():
            if isinstance(value, int | float):
                self._client.log_metric(self._run, f"result.{name}", value, step=result["best_epoch"])
            else:
                self._client.set_tag(self._run, name, value)
        for path in (result["history"], result["curves"]):
            if Path(path).is_file():
                self._client.log_artifact(self._run, path)
        with TemporaryDirectory() as folder:
            for name, picture in samples.items():
                Path(folder, f"{name}.png").write_bytes(picture)
            self._client.log_artifacts(self._run, folder, "samples")
        self._client.set_terminated(self._run)

    def interrupt_fit(self) -> None:
        self._client.set_terminated(self._run, "KILLED")

    def _log_params(self, values: JsonDict) -> None:
        from mlflow.entities import Param

        params = [Param(name, str(value)[:LONGEST]) for name, value in values.items()]
        for start in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(self._run, params=params[start : start + MOST_PARAMS])


PLUGIN = MLflow
