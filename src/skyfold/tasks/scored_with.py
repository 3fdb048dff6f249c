"""Which metric a run or blend was scored with: its name and, where it lies outside skyfold, its code."""

from __future__ import annotations

from skyfold.competition import Competition
from skyfold.store.runs import RunInfo
from skyfold.types import JsonDict


def scored_with(competition: Competition) -> JsonDict:
    """What the scores of `run.json` hold of the metric."""
    source = {"metric_source": competition.metric_source} if competition.metric_source else {}
    return {"metric": competition.metric.name, **source}


def scored_by(info: RunInfo, competition: Competition) -> bool:
    """Whether what is stored was scored with the metric of `competition`, as it is now."""
    before = info.scores.get("metric"), info.scores.get("metric_source", "")
    return before == (competition.metric.name, competition.metric_source)
