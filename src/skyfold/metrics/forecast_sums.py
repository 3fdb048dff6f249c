"""The sums that the scores of a forecast are computed from, stored beside its rows: a line per case, figure, lead time.

A case is a date on which a forecast was issued, or an event. Scores, paired differences and bootstrap intervals need
these sums only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from skyfold.errors import DamagedFile, OofMismatch
from skyfold.files import read_csv, write_checked_csv
from skyfold.metrics.bootstrap import Interval, bootstrap_interval, paired_difference
from skyfold.metrics.forecast import MAE_BY_CSI, MAE_BY_F1, SUMS, ErrorBySkill

FILE = "sums.csv"
CONFIDENCE = 0.95
PARTS = ("error", "cells", "hits", "misses", "false_alarms")  # in the order of a forecast metric's `stats`
CONTESTS: Mapping[str, ErrorBySkill] = {metric.name: metric for metric in (MAE_BY_F1, MAE_BY_CSI)}


@dataclass(frozen=True)
class ForecastSums:
    """cases: (n,) str; leads: names of the L lead times; figures: name -> float64 (n, 5 L), as `metric.stats`.

    The contest's own metric comes first.
    """

    cases: np.ndarray
    leads: tuple[str, ...]
    figures: Mapping[str, np.ndarray]

    @property
    def metric(self) -> ErrorBySkill:
        """The contest's."""
        return CONTESTS[next(iter(self.figures))]

    def interval(self) -> Interval:
        """The score, with its interval over cases."""
        return bootstrap_interval(self.metric, self.contest)

    @property
    def contest(self) -> np.ndarray:
        return self.figures[self.metric.name]


def by_case(stats: np.ndarray, case_of: np.ndarray, cases: Sequence[str]) -> np.ndarray:
    """stats (n, S) of samples, case_of (n,). Returns (len(cases), S), summed over the samples of each case."""
    return np.stack([stats[case_of == case].sum(axis=0) for case in cases])


def write_sums(folder: Path, sums: ForecastSums) -> Path:
    """Write them into a run's folder."""
    tables = []
    for name, stats in sums.figures.items():
        parts = np.moveaxis(stats.reshape(len(stats), SUMS, -1), 1, 2)  # case, lead, part
        table = pd.DataFrame(parts.reshape(-1, SUMS), columns=list(PARTS))
        table.insert(0, "case", np.repeat(sums.cases.astype(str), len(sums.leads)))
        table.insert(1, "figure", name)
        table.insert(2, "lead", list(sums.leads) * len(stats))
        tables.append(table)
    write_checked_csv(folder / FILE, pd.concat(tables), float_format="%.12g")
    return folder / FILE


def read_sums(folder: Path) -> ForecastSums:
    """What `write_sums` wrote. OofMismatch where the run in `folder` was not scored yet, DamagedFile where cut off."""
    path = folder / FILE
    if not path.is_file():
        raise OofMismatch(f"{path}: not scored yet. Run `skyfold run` with a config whose `forecasts` name this one.")
    remedy = "Delete it and run `skyfold run` again."
    table = read_csv(path, text=("case", "figure", "lead"), remedy=remedy)
    names, leads, cases = (list(dict.fromkeys(table[name])) for name in ("figure", "lead", "case"))
    lines = pd.MultiIndex.from_product([names, cases, leads])
    whole = tuple(table.columns) == ("case", "figure", "lead", *PARTS) and names and names[0] in CONTESTS
    if not whole or not lines.equals(pd.MultiIndex.from_frame(table[["figure", "case", "lead"]])):
        raise DamagedFile(f"{path}: not what was written there. {remedy}")
    parts = table[list(PARTS)].to_numpy(dtype=np.float64).reshape(len(names), len(cases), len(leads), SUMS)
    stats = np.moveaxis(parts, 3, 2).reshape(len(names), len(cases), -1)
    return ForecastSums(np.array(cases), tuple(leads), dict(zip(names, stats, strict=True)))


def paired_by_case(ours: ForecastSums, theirs: ForecastSums) -> Interval:
    """Score of `ours` minus that of `theirs`, with its interval over the `comparable` cases; NaN without any.

    OofMismatch where the two are not of the same cases, or scored by different metrics.
    """
    if ours.metric != theirs.metric:
        raise OofMismatch(f"one is scored by {ours.metric.name}, the other by {theirs.metric.name}")
    if not np.array_equal(ours.cases, theirs.cases):
        alone = sorted(set(ours.cases.tolist()) ^ set(theirs.cases.tolist()))
        what = f", '{alone[0]}' is in one of them only" if alone else ", their order differs"
        raise OofMismatch(f"not the same dates or events{what}. Score both with one config of `skyfold run`")
    counts = comparable(ours, theirs)
    if not counts.any():
        return Interval(np.nan, np.nan, np.nan, confidence=CONFIDENCE)
    return paired_difference(ours.metric, ours.contest[counts], theirs.contest[counts], confidence=CONFIDENCE)


def comparable(ours: ForecastSums, theirs: ForecastSums) -> np.ndarray:
    """Cases in which one of the two hit something, so that their figures can be compared: bool (n,).

    Where cases are pooled, those without a hit count by their errors and misses; only such without a cell that counts
    are left out.
    """
    figures = np.array([sums.metric.per_row(sums.contest) for sums in (ours, theirs)])
    known = ~np.isnan(figures) if ours.metric.pooled == "samples" else np.isfinite(figures)
    return np.asarray(known.any(axis=0))


def better_in(ours: ForecastSums, theirs: ForecastSums) -> int:
    """The number of cases in which `ours` is below `theirs`, of the same cases."""
    return int((ours.metric.per_row(ours.contest) < theirs.metric.per_row(theirs.contest)).sum())
