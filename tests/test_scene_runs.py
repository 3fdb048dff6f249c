"""A run on big scenes learns from crops, predicts by tiles, and is the same whether it is killed or not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import skyfold.models
from skyfold.config import RunConfig
from skyfold.data import scene_arrays as scenes_of_run
from skyfold.folds import read_folds
from skyfold.oof_store import read_run
from skyfold.pipeline.prepare import prepare
from skyfold.row_store import RowStore
from skyfold.training import run_folds
from skyfold.training.network import Network
from skyfold.workspace import Workspace

GRID = (20, 24)
DATA = {
    "competition": "cloud_cover",
    "options": {"grid": GRID},
    "folds": {"k": 2, "near_duplicate_bits": -1},
    "sample": {"train": 5, "validation": 1, "test": 2, "side": 80},
}


@pytest.fixture(autouse=True)
def _tiny_family(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(__file__).parent / "families"
    monkeypatch.setattr(skyfold.models, "__path__", [*skyfold.models.__path__, str(folder)])


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the files; folds.csv lies in the workspace around it."""
    root = tmp_path_factory.mktemp("scenes")
    prepare(config().data, Workspace(root=root, data_from=root / "files"), sample=True)
    return root


def config(**changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "name": "tiny",
        "data": DATA,
        "image": {"size": [32, 32], "crop": {"per_scene": 3, "scales": [0.7, 1.4]}},
        "model": {"family": "tiny_net"},
        "training": {"epochs": 3, "batch_size": 4, "ema": 0.5},
        "augment": [{"name": "HorizontalFlip", "p": 0.5}],
        "tta": ["hflip"],
    }
    return RunConfig.model_validate({**values, **changes})


def workspace(sample: Path, root: Path) -> Workspace:
    """One of its own, with the folds of the sample."""
    (root / "oof/cloud_cover").mkdir(parents=True)
    (root / "oof/cloud_cover/folds.csv").write_bytes((sample / "oof/cloud_cover/folds.csv").read_bytes())
    return Workspace(root=root, data_from=sample / "files")


def stored(place: Workspace) -> dict[str, np.ndarray]:
    run = read_run(place.run("cloud_cover", "tiny"), read_folds(place.folds("cloud_cover")))
    assert run.test is not None
    return {"oof": np.array(run.oof.values), "test": np.array(run.test.values)}


class Killed(BaseException):
    """What no handler of ours catches."""


def after(calls: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which the process does not survive once it was called so many times."""
    left = [calls]

    def call(*arguments: Any, **options: Any) -> Any:
        if not left[0]:
            raise Killed
        left[0] -= 1
        return function(*arguments, **options)

    return call


def test_a_run_on_crops_killed_and_gone_on_with_ends_with_the_same_bytes(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet, disturbed = workspace(sample, tmp_path / "quiet"), workspace(sample, tmp_path / "disturbed")
    result = run_folds.train(config(), quiet)
    assert result.complete
    expected = stored(quiet)
    assert expected["oof"].shape == (6, *GRID, 4)
    assert expected["test"].shape == (2, *GRID, 4)
    assert expected["oof"].std() > 1  # it says more than one thing

    every_epoch = {"checkpoint_seconds": 0}
    whole = run_folds.run_folds
    monkeypatch.setattr(run_folds, "run_folds", lambda *given, **options: whole(*given, **options, **every_epoch))
    # While scenes are decoded; in the second epoch of the first fold; between the second and third of its scenes.
    moments = [(scenes_of_run, "open_windows", 1), (Network, "train", 5), (RowStore, "write", 2)]
    for owner, name, calls in moments:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, after(calls, getattr(owner, name)))
            with pytest.raises(Killed):
                run_folds.train(config(), disturbed)
    run_folds.train(config(), disturbed)
    for part, values in stored(disturbed).items():
        np.testing.assert_array_equal(values, expected[part])
