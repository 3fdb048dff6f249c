"""Write docs/results.md: the text of results_page.md with its figures filled in from benchmarks/results.

    python benchmarks/results_page.py

A figure stands in the text as {{kind name ...}}, for instance {{cross_fitted wsiseg/blend}}; the kinds are those of
FIGURES. Edit the text, not the page: a test says when the page is stale.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from figures import RESULTS
from forecast_figures import BESIDE, ICE, ICE_AGAINST, RAIN, RAIN_AGAINST, kept_sums, of_pysteps, of_years

from skyfold.files import read_json, write_text
from skyfold.metrics.bootstrap import Interval, paired_difference
from skyfold.metrics.forecast_sums import ForecastSums, better_in
from skyfold.metrics.segmentation import MeanOfMaps, named_metric
from skyfold.postprocess.evaluate import difference, read_sample_scores

TEXT = Path(__file__).with_suffix(".md")
PAGE = Path(__file__).parent.parent / "docs" / "results.md"
NOTE = "<!-- Written by benchmarks/results_page.py from benchmarks/results_page.md: edit that file. -->\n"


def page() -> str:
    """The whole page; KeyError on a figure of an unknown kind, FileNotFoundError where its run was not kept."""
    return NOTE + re.sub(r"\{\{(.+?)\}\}", _filled, TEXT.read_text(encoding="utf-8"))


def at_half(run: str) -> str:
    """Score of out-of-fold predictions cut at 0.5."""
    return f"{_scores(run)['cv_at_0.5']:.4f}"


def in_sample(run: str) -> str:
    return f"{_scores(run)['cv_in_sample']:.4f}"


def cross_fitted(run: str) -> str:
    """Score with every choice nested, and its interval."""
    scores = _scores(run)
    return f"{scores['cv_cross_fitted']:.4f} ({scores['low']:.4f} to {scores['high']:.4f})"


def score_of(run: str) -> str:
    """Score with every choice nested, without its interval."""
    return f"{_scores(run)['cv_cross_fitted']:.4f}"


def gain(run: str, baseline: str) -> str:
    """Paired difference of cross-fitted scores to another run of the same data set, and its interval."""
    rows, others = (RESULTS / run / "rows.csv", RESULTS / Path(run).parent / baseline / "rows.csv")
    return _signed(difference(rows, others, metric=named_metric(_scores(run).get("metric", "mean_dice"))), digits=4)


def gain_between(run: str, baseline: str) -> str:
    """The same, as it stands between parentheses."""
    return gain(run, baseline).replace(" (", ", ").removesuffix(")")


def gain_of_repeats(runs: str, baselines: str) -> str:
    """As `gain`, of scores per sample that are means over repeats of the same samples: runs by comma, on each side."""
    metric = named_metric(_scores(runs.split(",")[0]).get("metric", "mean_dice"))
    sides = [
        [read_sample_scores(RESULTS / run / "rows.csv", metric) for run in side.split(",")]
        for side in (runs, baselines)
    ]
    first, others = sides[0][0], (one for side in sides for one in side)
    assert all(one.rows["id"].equals(first.rows["id"]) for one in others)
    ours, theirs = (np.mean([one.stats for one in side], axis=0) for side in sides)
    return _signed(paired_difference(first.metric, ours, theirs, groups=first.groups), digits=4)


def mean_score(runs: str) -> str:
    """Mean of the cross-fitted scores of several runs, named by comma."""
    return f"{np.mean([_scores(run)['cv_cross_fitted'] for run in runs.split(',')]):.4f}"


def both(run: str) -> str:
    """Two cells: at 0.5, cross-fitted."""
    return f"{at_half(run)} | {cross_fitted(run)}"


def by_cover(run: str, *limits: str) -> str:
    """A cell for each range of `limits`: mean cross-fitted score of the images whose masks cover so much of them, of
    data with one class."""
    scores = pd.read_csv(RESULTS / run / "rows.csv").set_index("id").filter(like="cv_cross_fitted").squeeze(axis=1)
    share = pd.read_csv((RESULTS / run).with_name("cover.csv")).set_index("id")["share"][scores.index]
    edges = [float(limit) for limit in limits]
    return " | ".join(f"{scores[(share > low) & (share <= high)].mean():.4f}" for low, high in pairwise(edges))


def seed(number: str) -> str:
    """Six cells of the demo with a seed of its sample: four scores, the gain of the gate on the test part and out of
    fold."""
    kept = read_json(RESULTS / "clouds_demo" / f"seed{number}.json")
    scores = [f"{kept['scores'][name]:.4f}" for name in ("all_empty", "best_single_at_0.5", "before_gate", "final")]
    gains = (kept["differences"]["final - before_gate"], kept["out_of_fold"]["gains"]["gate"])
    return " | ".join([*scores, *(_signed(Interval(**one, confidence=0.95), digits=4) for one in gains)])


def final_picks(*way: str) -> str:
    """Better private score of the final picks less that of two picked in another way."""
    found = read_json(RESULTS / "clouds_demo" / "final_picks.json")["differences"][" ".join(["best", *way])]
    return _signed(Interval(found["value"], found["low"], found["high"], confidence=0.95), digits=5)


def tried(file: str) -> str:
    """A row for each setting that was tried on one fold alone: seconds of the processor, score at 0.5."""
    kept = read_json(RESULTS / f"{file}.json")["rows"]
    return "\n".join(f"| {row['setting']} | {row['cpu_seconds'] / 60:.1f} | {row['at_0.5']:.4f} |" for row in kept)


def one_change(table: str, baseline: str) -> str:
    """A row for each run of which only some folds are trained: minutes of the processor a fold, score at 0.5, and its
    paired difference to a run that is kept as a whole, on the same images."""
    kept, seconds = pd.read_csv(RESULTS / f"{table}.csv").set_index("id"), read_json(RESULTS / f"{table}.json")
    whole = pd.read_csv(RESULTS / baseline / "rows.csv").set_index("id").filter(like="cv_at_0.5").squeeze(axis=1)
    metric, base = MeanOfMaps(), whole[kept.index].to_numpy()[:, None]
    lines = [
        f"| {seconds['baseline']['setting']} | {seconds['baseline']['cpu_seconds'] / 60:.1f} | {base.mean():.4f} | |"
    ]
    for row in seconds["rows"]:
        own = kept[row["run"]].to_numpy()[:, None]
        gain = paired_difference(metric, own, base, groups=kept["group"].to_numpy(dtype=str))
        cells = f"{row['cpu_seconds'] / 60:.1f} | {own.mean():.4f} | {_signed(gain, digits=4)}"
        lines.append(f"| {row['setting']} | {cells} |")
    return "\n".join(lines)


def ice(name: str) -> str:
    """MAE / F1 of the years, and its interval."""
    data, forecast = name.split("/")
    figure = of_years(forecast, data)[0]
    assert figure.measured is not None
    assert figure.interval is not None
    return f"{figure.measured:.3f} ({figure.interval[0]:.3f} to {figure.interval[1]:.3f})"


def ice_against(name: str) -> str:
    """Two cells: less the mean of five years, paired by year; years in which it is better."""
    data, forecast = name.split("/")
    figure = of_years(forecast, data)[1]
    assert figure.measured is not None
    assert figure.interval is not None
    less = Interval(figure.measured, *figure.interval, confidence=0.95)
    return f"{_signed(less, digits=3)} | {_better(_sums(data, forecast), _sums(ICE, ICE_AGAINST))}"


def rain(name: str) -> str:
    """Two cells: MAE / CSI over that of pysteps, mean over events; events in which it is better."""
    figure = of_pysteps(name, kept_sums(RAIN, RAIN_AGAINST))[0]
    assert figure.interval is not None
    ratio = f"{figure.measured:.3f} ({figure.interval[0]:.3f} to {figure.interval[1]:.3f})"
    return f"{ratio} | {_better(_sums(RAIN, name), _sums(RAIN, RAIN_AGAINST))}"


def rain_beside(name: str) -> str:
    """Three cells: mean absolute error where it rained, CSI at 1 and 5 mm/h."""
    sums = _sums(RAIN, name)
    return " | ".join(f"{figure(sums.figures[key]):.3f}" for _, key, figure in BESIDE)


FIGURES: dict[str, Callable[..., str]] = {
    figure.__name__: figure
    for figure in (
        at_half,
        in_sample,
        cross_fitted,
        score_of,
        gain,
        gain_between,
        gain_of_repeats,
        mean_score,
        both,
        by_cover,
        seed,
        final_picks,
        tried,
        one_change,
        ice,
        ice_against,
        rain,
        rain_beside,
    )
}


def _filled(placeholder: re.Match[str]) -> str:
    kind, *names = placeholder[1].split()
    return FIGURES[kind](*names)


def _scores(run: str) -> dict[str, Any]:
    scores: dict[str, Any] = read_json(RESULTS / run / "run.json")["scores"]
    return scores


def _sums(data: str, name: str) -> ForecastSums:
    sums = kept_sums(data, name)
    if sums is None:
        raise FileNotFoundError(f"{RESULTS / data / name}: not kept")
    return sums


def _better(own: ForecastSums, other: ForecastSums) -> str:
    return f"{better_in(own, other)} of {len(own.cases)}"


def _signed(found: Interval, *, digits: int) -> str:
    value, low, high = (f"{figure:+.{digits}f}" for figure in (found.value, found.low, found.high))
    return f"{value} ({low} to {high})"


if __name__ == "__main__":
    write_text(PAGE, page())
    print(PAGE)
