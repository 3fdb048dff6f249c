"""Loggers follow the fits of a run: what they write is read back with the trackers' own readers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import MagicMock

import cv2
import numpy as np
import pytest

import skyfold.loggers
from conftest import competition_of
from skyfold import plugins
from skyfold.config.files import load_run
from skyfold.config.run import RunConfig
from skyfold.data.cache import TrainingArrays
from skyfold.errors import ConfigError
from skyfold.files import file_digest
from skyfold.loggers import Fit, Loggers
from skyfold.loggers.csv import Csv
from skyfold.loggers.mlflow import MLflow
from skyfold.loggers.tensorboard import TensorBoard
from skyfold.store.folds import Folds
from skyfold.store.runs import read_info
from skyfold.tasks import build_task
from skyfold.training.checkpoint import CheckpointFile
from skyfold.training.objective import Objective
from skyfold.training.run_folds import run_folds

ROOT = Path(__file__).parent.parent
SIZE, EPOCHS, ONE = (16, 24), 4, [0]
FOLDS = Folds(ids=np.arange(12).astype(str), fold=np.arange(12) % 2, groups=np.arange(12))
TRACKERS = [
    "csv",
    *(
        pytest.param(name, marks=pytest.mark.skipif(find_spec(name) is None, reason="needs pip install -e .[trackers]"))
        for name in ("tensorboard", "mlflow")
    ),
]
pytestmark = pytest.mark.usefixtures("tiny_families")


def config_of(*loggers, **changes) -> RunConfig:
    values = {
        "name": "tiny",
        "data": {"competition": "any", "name": "shapes"},
        "image": {"size": SIZE},
        "model": {"family": "tiny_net", "options": {"filters": 3}},
        "training": {"epochs": EPOCHS, "batch_size": 4, "validation_freq": 2},
        "loggers": loggers,
    }
    return RunConfig.model_validate({**values, **changes})


def train(root: Path, config: RunConfig, only_folds: list[int] | None = ONE) -> Path:
    """Fit the first of FOLDS; the folder of the run."""
    inputs = np.random.default_rng(0).integers(0, 256, (12, *SIZE, 3), dtype=np.uint8)
    targets = np.stack([inputs[..., 0] > 128, inputs[..., 0] >= 0], axis=-1).astype(np.uint8)
    arrays = TrainingArrays(FOLDS.ids, inputs, targets, checksum="images")
    task, folder = build_task(config, competition_of(("bright",), SIZE)), root / "oof/shapes/tiny"
    run_folds(task, arrays, None, FOLDS, folder, only_folds=only_folds)
    return folder


def train_and_die(root: Path, *loggers: str) -> None:
    """As `train`, killed after epoch 3, of which no checkpoint was written; runs in a process of its own."""
    skyfold.models.__path__.append(str(ROOT / "tests" / "families"))
    epochs = iter(range(1, EPOCHS))
    CheckpointFile.is_due = lambda _: next(epochs) == 2
    log_epoch = Loggers.log_epoch

    def die(self, row):
        log_epoch(self, row)
        if row["epoch"] == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    Loggers.log_epoch = die
    train(root, config_of(*loggers))


@pytest.fixture(scope="module")
def followed(tmp_path_factory, tiny_families):
    """A run that all installed loggers followed; it was killed once."""
    root = tmp_path_factory.mktemp("followed")
    loggers = [name for name in ("csv", "tensorboard", "mlflow") if name == "csv" or find_spec(name)]
    code = f"from pathlib import Path; from test_loggers import *; train_and_die(Path({str(root)!r}), *{loggers})"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), *sys.path])}
    died = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    train(root, config_of(*loggers))
    return root / "oof/shapes/tiny"


def logged_by_csv(run: Path) -> tuple[dict[str, list], dict, list[str]]:
    folder = run / "logs/csv/fold0_seed0"
    header, *rows = (line.split(",") for line in (folder / "history.csv").read_text().splitlines())
    values = {name: [(int(row[0]), float(row[at])) for row in rows if row[at]] for at, name in enumerate(header)}
    about = json.loads((folder / "fit.json").read_text())
    return values, {**about["result"], "config": about["config"]}, [path.stem for path in folder.glob("samples/*")]


def logged_by_tensorboard(run: Path) -> tuple[dict[str, list], dict, list[str]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "logs/tensorboard/fold0_seed0"))
    events.Reload()
    values = {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    times = [one.wall_time for one in events.Scalars("loss")]
    assert times == sorted(times)
    text = {tag: json.loads(events.Tensors(f"{tag}/text_summary")[0].tensor_proto.string_val[0]) for tag in TEXTS}
    images = [tag.removeprefix("samples/") for tag in events.Tags()["images"]]
    assert all(one.encoded_image_string.startswith(b"\x89PNG") for one in events.Images(f"samples/{images[0]}"))
    return values, {**text["result"], "config": text["config"]["config"]}, images


TEXTS = ("config", "result")


def logged_by_mlflow(run: Path) -> tuple[dict[str, list], dict, list[str]]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{run.parent / 'mlflow/mlflow.db'}")
    experiment = client.get_experiment_by_name("shapes")
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.status, found.data.params["model.family"]) == ("FINISHED", "tiny_net")
    own = found.info.run_id
    values = {key: [(one.step, one.value) for one in client.get_metric_history(own, key)] for key in found.data.metrics}
    result = {key.removeprefix("result."): value for key, value in found.data.metrics.items()} | found.data.tags
    listed = {one.path for one in client.list_artifacts(own)}
    assert {"config.json", "environment.json", "fold0_seed0.csv", "samples"} <= listed
    config = json.loads(Path(client.download_artifacts(own, "config.json")).read_text())
    images = [Path(one.path).stem for one in client.list_artifacts(own, "samples")]
    return values, {**result, "config": config}, images


@pytest.mark.parametrize("name", TRACKERS)
def test_a_killed_and_resumed_fit_is_one_curve_with_its_config_result_and_samples(followed, name):
    values, result, samples = globals()[f"logged_by_{name}"](followed)
    history, *_ = logged_by_csv(followed)
    for key, steps in (("loss", [1, 2, 3, 4]), ("val_loss", [2, 4]), ("val_score", [2, 4]), ("lr", [1, 2, 3, 4])):
        assert [step for step, _ in values[key]] == steps
        assert dict(values[key]) == pytest.approx(dict(history[key]), rel=1e-5)
    assert len(values["seconds"]) == EPOCHS
    weights = followed / "models/fold0_seed0.weights.h5"
    assert (result["weights"], result["weights_sha256"]) == (str(weights), file_digest(weights))
    assert result["score"] == pytest.approx(read_info(followed).scores["fold0"])
    assert result["config"]["model"]["options"] == {"filters": 3}
    assert sorted(samples) == ["0", "10", "2", "6"]


def test_nothing_is_imported_and_nothing_written_where_no_logger_is_named(tmp_path, monkeypatch):
    code = "import sys, skyfold.pipeline.train; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "skyfold.loggers" in loaded
    assert not {"tensorboard", "mlflow", "skyfold.loggers.csv"} & set(loaded)
    for name in ("tensorboard", "mlflow"):
        monkeypatch.setitem(sys.modules, name, None)  # whose import would fail
    monkeypatch.setattr(Objective, "picture", lambda *_: pytest.fail("drawn for nobody"))
    assert not (train(tmp_path, config_of()) / "logs").exists()


def test_other_loggers_train_nothing_again(tmp_path, monkeypatch):
    one = config_of()
    assert one.fit_hash() == config_of("csv").fit_hash()
    assert one.hash() == config_of("csv").hash()
    folder = train(tmp_path, one)
    monkeypatch.setattr("skyfold.training.fold_trainer.fit_fold", lambda *_, **__: pytest.fail("trained again"))
    train(tmp_path, config_of("csv", {"name": "mlflow", "options": {"tracking_uri": "postgresql://me:secret@host/db"}}))
    assert "secret" not in (folder / "run.json").read_text()


def test_a_logger_that_fails_is_named_once_and_training_goes_on(tmp_path, monkeypatch, capsys):
    def full(self, epoch, scalars):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Csv, "log_epoch", full)
    folder = train(tmp_path, config_of("csv"))
    assert read_info(folder).scores["fold0"] >= 0
    assert capsys.readouterr().err.count("note: logger csv failed (OSError: [Errno 28] No space left on device)") == 1


@pytest.mark.skipif(find_spec("mlflow") is None, reason="needs pip install -e .[trackers]")
def test_a_server_that_is_gone_does_not_hold_training_up(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    gone = {"name": "mlflow", "options": {"tracking_uri": "http://127.0.0.1:9"}}
    train(tmp_path, config_of(gone, training={"epochs": 1, "batch_size": 4}))
    assert "note: logger mlflow failed" in capsys.readouterr().err


def test_an_interrupted_fit_is_told_to_its_loggers(tmp_path, monkeypatch):
    def stop(self, epoch, scalars):
        raise KeyboardInterrupt

    told = []
    monkeypatch.setattr(Csv, "log_epoch", stop)
    monkeypatch.setattr(Csv, "interrupt_fit", lambda self: told.append(self))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, config_of("csv"))
    assert len(told) == 1


def test_unknown_loggers_and_options_are_refused_when_the_config_is_read(tmp_path):
    path = tmp_path / "run.yaml"
    text = "name: a\ndata: {competition: understanding_clouds}\nimage: {size: [32, 32]}\nmodel: {family: tiny_net}\n"
    for loggers, message in (
        ("[tensorbord]", r"there is no 'tensorbord' \(did you mean 'tensorboard'"),
        ("[{name: mlflow, options: {uri: x}}]", r"loggers.0.options.uri|unknown key 'uri'"),
    ):
        path.write_text(f"{text}loggers: {loggers}\n")
        with pytest.raises(ConfigError, match=message):
            load_run(path)


def test_the_logger_of_the_how_to_page_follows_a_fit(tmp_path, monkeypatch):
    """By a stand-in for its package, which records what it is told."""
    page = (ROOT / "docs/monitoring.md").read_text()
    code = re.search(r'```python title="plugins/loggers/wandb.py"\n(.*?)```', page, re.DOTALL)[1]
    (tmp_path / "plugins/loggers").mkdir(parents=True)
    (tmp_path / "plugins/loggers/wandb.py").write_text(code)
    run = MagicMock()
    stand_in = MagicMock(init=MagicMock(return_value=run))
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    monkeypatch.delitem(sys.modules, "skyfold.loggers.wandb", raising=False)
    monkeypatch.setattr(skyfold.loggers, "__path__", [*skyfold.loggers.__path__])
    plugins.add_folder(tmp_path / "plugins")
    train(tmp_path, config_of({"name": "wandb", "options": {"project": "clouds"}}))
    given = stand_in.init.call_args.kwargs
    assert (given["project"], given["group"], given["resume"]) == ("clouds", "tiny", "allow")
    epochs = [call.kwargs["step"] for call in run.log.call_args_list if "step" in call.kwargs]
    assert epochs == [1, 2, 3, 4]
    assert len(run.log.call_args.args[0]["samples"]) == 4
    assert run.summary.update.call_args.args[0]["best_epoch"] in (2, 4)
    run.finish.assert_called_once_with()


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="needs pip install -e .[trackers]")
def test_a_tensorboard_that_runs_drops_what_a_resumed_fit_logs_again(tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit = Fit("a", "b", "fold0_seed0", tmp_path, {}, {}, "dice", "2026-01-01T00:00:00+00:00", resumed=False)
    seen = EventAccumulator(str(fit.files("tensorboard")))
    for last in (3, 4):
        monkeypatch.setattr("time.time", lambda last=last: 1e9 + last)
        logger = TensorBoard()
        logger.start_fit(fit)
        for epoch in range(1, last + 1):
            logger.log_epoch(epoch, {"loss": 10.0 * last + epoch, "seconds": 1.0})
        seen.Reload()
        assert [(one.step, one.value) for one in seen.Scalars("loss")] == [
            (n, 10 * last + n) for n in range(1, last + 1)
        ]


@pytest.mark.skipif(find_spec("mlflow") is None, reason="needs pip install -e .[trackers]")
def test_mlflow_keeps_no_run_of_a_fit_that_was_killed_before_its_first_checkpoint(followed):
    from mlflow import MlflowClient

    about = {"run": "a", "data": "other", "name": "fold0_seed0", "folder": followed, "config": {}, "environment": {}}
    for started in ("2026-01-01T00:00:00+00:00", "2026-01-01T00:10:00+00:00"):
        logger = MLflow()
        logger.start_fit(Fit(**about, metric="dice", started=started, resumed=False))
        logger.log_epoch(1, {"loss": 1.0, "seconds": 60.0})
    client = MlflowClient(f"sqlite:///{followed.parent / 'mlflow/mlflow.db'}")
    (left,) = client.search_runs([client.get_experiment_by_name("other").experiment_id])
    (point,) = client.get_metric_history(left.info.run_id, "loss")
    assert (point.step, point.timestamp) == (1, 1_767_226_260_000)
    logger.interrupt_fit()
    assert client.get_run(left.info.run_id).info.status == "KILLED"


CLASSIFIER = {"task": "classification", "loss": {"name": "bce"}}
FORECAST = {"task": "forecasting", "image": None, "frame_adapter": {"name": "anomalies"}, "loss": {"name": "mae"}}
FORECAST |= {"training": {"checkpoint": "last"}, "model": {"family": "unet"}}


@pytest.mark.parametrize("task", ["segmentation", "classification", "forecasting"])
def test_each_task_draws_its_samples(task):
    changes = {"segmentation": {}, "classification": CLASSIFIER, "forecasting": FORECAST}[task]
    config, rng = config_of(**changes), np.random.default_rng(0)
    target, output = {
        "segmentation": (rng.integers(0, 2, (*SIZE, 3)), rng.normal(size=(*SIZE, 2))),
        "classification": (np.array([1, 0]), np.array([2.0, -1.0])),
        "forecasting": (rng.normal(size=(*SIZE, 4)), rng.normal(size=(*SIZE, 2))),
    }[task]
    image = rng.normal(size=(*SIZE, 5)).astype(np.float32)
    picture = build_task(config, competition_of(("a", "b"), SIZE)).picture(image, target, output, "one")
    assert cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR).std() > 10
