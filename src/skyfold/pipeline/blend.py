"""Blend runs: combine them, choose what the task chooses on out-of-fold rows, and report what it gains."""

from __future__ import annotations

from skyfold.config.blend import BlendConfig
from skyfold.tasks import task_class
from skyfold.types import JsonDict
from skyfold.workspace import Workspace


def blend(config: BlendConfig, workspace: Workspace) -> JsonDict:
    """Blend the runs of `config`. Returns what `blend.json` holds; see `Task.blend`."""
    return task_class(config.task).blend(config, workspace)


def blend_lines(config: BlendConfig, result: JsonDict) -> list[str]:
    """The scores of a blend, for people."""
    return task_class(config.task).blend_lines(result)
