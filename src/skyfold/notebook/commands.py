"""Open the results of a data set; commands as functions: prepare, run, pack."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from skyfold import plugins
from skyfold.config.data import DataConfig
from skyfold.config.files import load_blend, load_data
from skyfold.notebook.bundle import Bundle, load_bundle
from skyfold.notebook.results import Results
from skyfold.pipeline import pack as packing
from skyfold.pipeline import prepare as preparing
from skyfold.pipeline.run import run_job
from skyfold.workspace import Workspace, project_root


def open(data: str | Path, *, root: str | Path | None = None) -> Results:
    """The results of a data set.

    data: its name, or a config file with a `data` block; root: the project folder, which holds `oof/`, None: the
    nearest parent of the working folder with a folder `configs/`. ConfigError where there is no such data set or
    project; DataLayoutError where it has no folds yet (see `prepare`).
    """
    return Results(*_named(data, root))


def prepare(config: str | Path, *, root: str | Path | None = None, sample: bool = False) -> Results:
    """Check the files of a data set and write folds.csv, as `skyfold prepare`; sample: write a procedural sample first.

    DataLayoutError lists everything that is wrong with the files.
    """
    data, workspace = _named(config, root)
    print("\n".join(preparing.prepare(data, workspace, sample=sample)))
    return Results(data, workspace)


def run(config: str | Path, *, root: str | Path | None = None, overrides: Sequence[str] = ()) -> Results:
    """Every stage of a config, as `skyfold run`: prepare, train, blend, submit, score; finished ones are skipped.

    overrides: config values, for instance `["training.epochs=2"]`.
    """
    data, workspace = _named(config, root)
    run_job(Path(config), workspace, overrides=tuple(overrides))
    return Results(data, workspace)


def pack(config: str | Path, out: str | Path, *, root: str | Path | None = None) -> Bundle:
    """Pack the blend or run of a config into the folder or zip file `out`, as `skyfold pack`, and open it."""
    _, workspace = _named(config, root)
    return load_bundle(packing.pack(load_blend(Path(config)), workspace, Path(out)))


def _named(data: str | Path, root: str | Path | None) -> tuple[DataConfig, Workspace]:
    workspace = Workspace(project_root(None if root is None else Path(root)))
    plugins.add_project(workspace.root)
    return load_data(str(data), workspace.root), workspace
