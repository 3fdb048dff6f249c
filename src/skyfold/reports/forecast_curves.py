"""Curves of forecasts: reliability diagram of the event, error and skill by lead time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from skyfold.files import write_atomic
from skyfold.metrics.forecast import SUMS, ErrorBySkill, mean_error_of, skill_of
from skyfold.metrics.forecast_sums import ForecastSums

OWN, OTHER = "#00798c", "#b9b9b4"


def draw_reliability(
    path: Path, counts: np.ndarray, edges: np.ndarray, metric: ErrorBySkill, title: str, *, logarithmic: bool
) -> None:
    """Write a PNG: above, the observed frequency of the event in each bin of the forecast; below, the number of cells.

    counts: int64 (2, B + 1) of `event_counts` for the B edges. The first bin, of forecasts of almost
    nothing, is given in the title. logarithmic: axis of the forecast.
    """
    from matplotlib.figure import Figure  # here: the leaderboard needs `by_lead` only
    from matplotlib.ticker import NullFormatter

    figure = Figure(figsize=(6.4, 5.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    cells, observed = counts[:, 1:]  # the last bin has no upper edge
    step = edges[-1] / edges[-2] if logarithmic else edges[-1] - edges[-2]
    upper = np.append(edges[1:], edges[-1] * step if logarithmic else edges[-1] + step)
    centre = np.sqrt(edges * upper) if logarithmic else (edges + upper) / 2
    with np.errstate(invalid="ignore"):
        frequency = observed / cells
    above.axvline(metric.threshold, color="black", lw=1, ls=":")
    above.axhline(0.5, color="black", lw=0.6, ls=":")
    above.plot(centre, frequency, "o-", color=OWN, ms=4)
    above.set(ylim=(-0.03, 1.03), ylabel=f"observed frequency of {metric.threshold:g} or more")
    below.bar(edges, cells, width=upper - edges, align="edge", color=OTHER, edgecolor="white", linewidth=0.5)
    label = f"forecast, {metric.unit.name} (dotted: the event, {metric.threshold:g})"
    below.set(xlabel=label, ylabel="cells", xscale="log" if logarithmic else "linear", yscale="log")
    below.yaxis.set_minor_formatter(NullFormatter())
    nothing = counts[1, 0] / max(counts[0, 0], 1)
    above.set_title(f"{title}\nobserved in {nothing:.2%} of the cells with a forecast below {edges[0]:g}", fontsize=9)
    write_atomic(path, lambda beside: figure.savefig(beside, dpi=100))


def draw_by_lead(path: Path, forecasts: Mapping[str, ForecastSums], title: str) -> None:
    """Write a PNG: error, skill and score by lead time; where there is one lead time only, by event or date.

    forecasts: by name, of the same cases; the first is drawn in front.
    """
    first = next(iter(forecasts.values()))
    metric, several = first.metric, len(first.leads) > 1
    labels = [name.removesuffix(" months").removesuffix(" weeks") for name in first.leads if several]
    labels = labels or first.cases.tolist()
    turned = {"rotation": 20, "ha": "right"} if max(map(len, labels)) >= 6 else {}
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 3.6), layout="constrained")
    panels = figure.subplots(1, 3)
    for name, sums in reversed(list(forecasts.items())):
        own = sums is first
        for panel, values in zip(panels, by_lead(sums), strict=True):
            style = {"color": OWN if own else "#d1495b", "ms": 4, "lw": 1.8 if own else 1.2, "label": name}
            panel.plot(values, "o-" if several else "o", **style)
    names = (f"mean absolute error, {metric.unit.name}", metric.skill.upper(), f"MAE / {metric.skill.upper()}")
    for panel, label in zip(panels, names, strict=True):
        panel.set_title(label, fontsize=9)
        panel.set_xticks(range(len(labels)), labels, fontsize=8, **turned)
        panel.grid(axis="y", color="#e6e6e3", lw=0.7)
        panel.set_axisbelow(True)
        if several:
            panel.set_xlabel(f"lead time, {first.leads[0].rpartition(' ')[2]}", fontsize=8)
    panels[0].set_ylim(bottom=0)
    panels[2].set_ylim(bottom=0)
    panels[0].legend(frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    write_atomic(path, lambda beside: figure.savefig(beside, dpi=100))


def by_lead(sums: ForecastSums) -> tuple[list[float], list[float], list[float]]:
    """Error, skill and score: of each lead time, or where there is one only, of each case."""
    stats, metric = sums.contest, sums.metric
    several = len(sums.leads) > 1
    rows = stats.reshape(len(stats), SUMS, -1).sum(axis=0).T if several else stats
    scores = metric.per_lead(stats) if several else metric.per_row(stats)
    return [mean_error_of(row[None]) for row in rows], [skill_of(row[None], metric.skill) for row in rows], list(scores)
