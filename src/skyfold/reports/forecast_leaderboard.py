"""The local leaderboard of a data set of forecasts: the contest's figure of each, the least error / skill first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from skyfold.files import read_json
from skyfold.metrics.bootstrap import bootstrap_interval
from skyfold.metrics.forecast import mean_error_of, skill_of
from skyfold.metrics.forecast_sums import FILE, read_sums
from skyfold.store.runs import RunInfo


@dataclass(frozen=True)
class ForecastEntry:
    """One row. Figures are None where the forecast was not scored yet; they are of the cases (dates, or events) that
    its config names, and the interval is over these."""

    COLUMNS: ClassVar[list[str]] = [
        "name", "kind", "metric", "less is better", "95 % interval", "MAE", "skill", "cases", "s a date", "submission",
    ]  # fmt: skip
    NOTE: ClassVar[str] = (
        "Less is better. Score: error / skill of forecasts that were fitted without what they are scored on; skill: F1 "
        "or CSI. The interval is over dates, or over events."
    )

    name: str
    kind: str
    metric: str = ""
    score: float | None = None
    interval: tuple[float, float] | None = None
    error: float | None = None
    skill: float | None = None
    cases: int = 0
    seconds: float | None = None
    submission: str = ""

    @property
    def rank(self) -> tuple[bool, float]:
        """What was not scored stands last."""
        return self.score is None, self.score or 0.0

    def cells(self) -> list[str]:
        interval = "" if self.interval is None else f"{self.interval[0]:.4f} to {self.interval[1]:.4f}"
        figures = ["" if value is None else f"{value:.4f}" for value in (self.score, self.error, self.skill)]
        seconds = "" if self.seconds is None else f"{self.seconds:.3g}"
        cases = str(self.cases) if self.cases else ""
        return [
            self.name, self.kind, self.metric, figures[0], interval, *figures[1:], cases, seconds, self.submission,
        ]  # fmt: skip


def forecast_entry(folder: Path, info: RunInfo, submissions: Path) -> ForecastEntry:
    """The forecast in `folder`; submissions: folder of the data set's submissions, of which the latest is named."""
    kind = str(info.config.get("family") or info.config.get("model", {}).get("family", "forecast"))
    submission, seconds = _submitted(submissions).get(info.name, ""), info.scores.get("seconds_a_date")
    if not (folder / FILE).is_file():
        return ForecastEntry(info.name, f"{kind}, not scored", seconds=seconds, submission=submission)
    sums = read_sums(folder)
    found = bootstrap_interval(sums.metric, sums.contest)
    return ForecastEntry(
        name=info.name,
        kind=kind,
        metric=sums.metric.name,
        score=found.value,
        interval=(found.low, found.high),
        error=mean_error_of(sums.contest),
        skill=skill_of(sums.contest, sums.metric.skill),
        cases=len(sums.cases),
        seconds=seconds,
        submission=submission,
    )


def _submitted(folder: Path) -> dict[str, str]:
    """Forecast -> submission file made of it, the latest of several."""
    found = {}
    for path in sorted(folder.glob("*.csv"), key=lambda path: path.stat().st_mtime):
        sidecar = path.with_suffix(".json")
        if sidecar.is_file() and isinstance(made := read_json(sidecar).get("forecast"), dict):
            found[str(made.get("name"))] = f"{folder.name}/{path.name}"
    return found
