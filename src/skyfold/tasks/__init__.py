"""Tasks, one file each: what a run of `task: <name>` reads, is trained for, stores and reports.

A module `tasks.<name>` declares `TASK`, a subclass of `tasks.task.Task`. Only `build_task` decides by a task's name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skyfold import plugins

if TYPE_CHECKING:
    from skyfold.competition import Competition
    from skyfold.config.run import RunConfig
    from skyfold.tasks.task import Task


def task_class(name: str) -> type[Task]:
    """The class of task `name`; ConfigError with the nearest name where there is none."""
    found: type[Task] = plugins.load("tasks", name).TASK
    return found


def build_task(config: RunConfig, competition: Competition) -> Task:
    """The task of a run. ConfigError where `config.classes` names a class that the competition lacks."""
    return task_class(config.task)(config, competition)
