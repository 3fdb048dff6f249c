"""A made-up task in one file (tests/tasks/mean_cover.py) goes through every stage like those of the package."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from skyfold.errors import ConfigError
from skyfold.pipeline.leaderboard import leaderboard
from skyfold.pipeline.run import run_job
from skyfold.store.folds import read_folds
from skyfold.store.runs import read_run
from skyfold.workspace import Workspace

RUN = """
task: mean_cover
image: {size: [16, 16]}
model: {family: tiny_net, options: {pooled: true, dropout: 0}}
loss: {name: mse}
optimizer: {learning_rate: 0.02}
training: {epochs: 12, batch_size: 8}
"""
DATA = "data: {competition: cover, folds: {k: 2, phash_max_distance: -1}}\n"


@pytest.fixture
def work(tmp_path, own_data, made_up_plugins):
    for name, seed in (("one", 0), ("two", 1)):
        text = RUN.replace("batch_size: 8", f"batch_size: 8, seeds: [{seed}]")
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\n{DATA}{text}")
    (tmp_path / "both.yaml").write_text(f"name: both\n{DATA}runs: [one.yaml, two.yaml]\nweights: [1, 3]\n")
    (tmp_path / "data" / "cover").mkdir(parents=True)
    return tmp_path


def test_it_prepares_trains_blends_submits_and_is_listed(work):
    workspace, lines = Workspace(work), []
    run_job(work / "both.yaml", workspace, log=lines.append)
    folds = read_folds(workspace.folds("cover"))
    one, two, both = (read_run(workspace.run("cover", name), folds) for name in ("one", "two", "both"))
    np.testing.assert_allclose(both.oof.values, (one.oof.values[:] + 3 * two.oof.values[:]) / 4, rtol=1e-6)
    scores = both.info.scores
    assert scores["low"] <= scores["cv_cross_fitted"] <= scores["high"]
    assert scores["cv_cross_fitted"] < 0.2, "the fraction was not learned"
    table = pd.read_csv(work / "submissions" / "cover" / "both.csv")
    np.testing.assert_allclose(table["cover"], both.test.values[:, 0], atol=1e-6)
    assert {entry.name for entry in leaderboard("cover", workspace)} == {"one", "two", "both"}
    assert any(line.startswith("both: mae") for line in lines)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("both", "weights: [1, 3]", "combine: stack", "combine: not supported by a blend of task: mean_cover"),
        (
            "one",
            "tiny_net, options: {pooled: true, dropout: 0}",
            "colour_threshold",
            "predicts masks, task: mean_cover",
        ),
    ],
)
def test_what_is_for_masks_only_is_refused_before_anything_is_trained(work, name, old, new, message):
    path = work / f"{name}.yaml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=message):
        run_job(work / "both.yaml", Workspace(work))
    assert not (work / "oof" / "cover" / "one").exists()
