"""Options of the plug-ins that a config names, checked when it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from skyfold import plugins
from skyfold.config.blend import BlendConfig
from skyfold.config.data import DatasetConfig
from skyfold.config.experiment import TableConfig
from skyfold.config.forecasts import ForecastConfig
from skyfold.config.options import configured
from skyfold.config.run import RunConfig
from skyfold.errors import ConfigError

AnyConfig = RunConfig | BlendConfig | TableConfig | ForecastConfig | DatasetConfig


def option_problems(config: AnyConfig) -> list[str]:
    """Competitions, families, frame adapters, losses and baselines that are unknown, and their wrong options; a line
    each."""
    problems = []
    for check in _checks(config):
        try:
            check()
        except ConfigError as error:
            problems += str(error).splitlines()
    return problems


def _checks(config: AnyConfig) -> Iterator[Callable[[], object]]:
    yield partial(configured, "competitions", config.data.competition, config.data.options, where="data.options")
    if isinstance(config, RunConfig):
        yield partial(configured, "models", config.model.family, config.model.options, where="model.options")
        yield partial(plugins.load("tasks", config.task).TASK.make_loss, config)
        if config.frame_adapter is not None:
            adapter, where = config.frame_adapter, "frame_adapter.options"
            yield partial(configured, "forecasting.frame_adapters", adapter.name, adapter.options, where=where)
    if isinstance(config, ForecastConfig):
        for place, model in enumerate(config.forecasts):
            if model.family is not None:
                where = f"forecasts.{place}.options"
                yield partial(configured, "forecasting.baselines", model.family, model.options, where=where)
