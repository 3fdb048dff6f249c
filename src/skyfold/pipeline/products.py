"""Products of the test scenes of a blend: maps, class fractions and grades."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from skyfold.competition import Competition, build
from skyfold.config.blend import BlendConfig
from skyfold.errors import ConfigError
from skyfold.reports.scene_maps import colours_of, scene_maps, write_products
from skyfold.store.folds import read_folds
from skyfold.store.locks import held
from skyfold.store.runs import read_run
from skyfold.tasks import task_class
from skyfold.types import ArraySequence, Samples
from skyfold.workspace import Workspace


def write_blend_products(config: BlendConfig, workspace: Workspace, *, polygons: bool = False) -> Path:
    """Products of the test scenes of a blend, at each scene's own size; see `write_products`.

    Where classes exclude each other, a pixel is of the class with the largest probability; of a single class, where the
    submitted mask is. Returns their folder, `submissions/<data>/<blend>_products`. ConfigError where the classes of the
    competition may overlap, it has no test part, or a scene is georeferenced and the extra geo is missing.
    """
    name = config.data.folder
    target = workspace.submissions(name) / f"{config.name}_products"
    with held(writes=[target], reads=[workspace.run(name, config.name)]):
        competition = build(config.data.competition, config.data.options, workspace.data(name))
        colours = colours_of(competition)
        samples = _test_samples(competition, workspace.data(name), name)
        ids, values = _submitted(config, competition, workspace)
        maps = scene_maps(competition, samples, ids, values)
        write_products(target, maps, colours, count=len(samples), polygons=polygons)
    return target


def _test_samples(competition: Competition, folder: Path, name: str) -> Samples:
    if "test" not in competition.parts:
        raise ConfigError(f"data set '{name}' has no test part; there is nothing to make products of.")
    return competition.load(folder, "test")


def _submitted(config: BlendConfig, competition: Competition, workspace: Workspace) -> tuple[np.ndarray, ArraySequence]:
    """Ids of the test scenes, and of each what `scene_maps` makes its map of."""
    if competition.colours is None:
        return task_class(config.task).submitted(config, "final", workspace)
    name = config.data.folder
    run = read_run(workspace.run(name, config.name), read_folds(workspace.folds(name)))
    assert run.test is not None
    return run.test.ids, run.test.values
