"""Public scores beside cross-validation: how they agree, where they part, and what that may mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skyfold.files import digest
from skyfold.metrics.shakeup import simulate
from skyfold.pipeline.public_scores import Compared, agreement
from skyfold.pipeline.site.stored import once
from skyfold.postprocess.evaluate import SampleScores
from skyfold.reports.site.charts import Line, interval_bar, line_chart, scale_of
from skyfold.reports.site.pages import Link, Section, Sections, Table
from skyfold.types import JsonDict

ADDRESS = "public.html"
SIMULATIONS = 1000
FEWEST = 3  # entries whose common offset can be told from that of one of them
HEADS = [
    ("", "number"),
    ("submission", "text"),
    ("submitted", "date"),
    ("CV", "score"),
    ("public", "score"),
    ("public - CV", "difference"),
    ("95 % of splits", "text"),
    ("", "drawn"),
    ("", "text"),
]


@dataclass(frozen=True)
class ExpectedParting:
    """What public minus cross-validated scores are in simulated splits: 95 % intervals, (low, high).

    offset: of the median over the entries; by_entry: of each; beyond_offset: of each, less the median of its split;
    None where the metric is infinite for some draws.
    """

    offset: tuple[float, float]
    by_entry: Mapping[str, tuple[float, float]]
    beyond_offset: Mapping[str, tuple[float, float]]


def public_page(
    submitted: Sequence[Compared],
    entry_of: Mapping[str, str],
    pages: Mapping[str, str],
    scores: Mapping[str, SampleScores],
    *,
    public_fraction: float,
    test_rows: int,
    cache: Path,
) -> Sections | None:
    """None where no submission has a public score beside cross-validation.

    submitted: the oldest first; entry_of: folder of the entry by submission; pages: address by folder; scores: of the
    entries that are scored on the same samples, by folder; public_fraction: of the test part, which has `test_rows`
    samples, 0: not known, as many as there are scored ones.
    """
    scored = [one for one in submitted if one.cv is not None and one.submitted.public is not None]
    if not scored:
        return None
    first = next(iter(scores.values()), None)
    test_rows = test_rows or (len(first.rows) if first else 0)
    latest = {one.submitted.submission: one for one in scored}
    simulated = {key: scores[key] for name in latest if (key := entry_of.get(name, "")) in scores}
    expected = None
    if simulated:
        expected = _expected(simulated, public_fraction, test_rows, cache)
    points = [(float(one.cv or 0), float(one.submitted.public or 0)) for one in scored]
    partings = [public - cv for cv, public in points]
    offset = float(np.median(partings))
    greater = first is None or first.metric.greater_is_better
    scale = scale_of([*partings, *(limit for own in (expected.by_entry.values() if expected else ()) for limit in own)])
    rows: list[list[object]] = []
    for number, (one, (cv, public)) in enumerate(zip(scored, points, strict=True), start=1):
        name, key = one.submitted.submission, entry_of.get(one.submitted.submission, "")
        row = [number, Link(name, pages.get(key, "")), one.submitted.date, cv, public, public - cv]
        if expected is not None and key in expected.by_entry:
            low, high = expected.by_entry[key]
            meaning = _meaning(public - cv, offset, key, expected, greater=greater)
            row += [f"{low:+.4f} to {high:+.4f}", interval_bar(public - cv, low, high, scale), meaning]
        rows.append([*row, *[None] * (len(HEADS) - len(row))])
    xs, ys = zip(*points, strict=True)
    dots = Line("", xs, ys, joined=False, names=[str(row[0]) for row in rows])
    chart = line_chart([dots], x="cross-validation", y="public score", diagonal=True)
    facts = agreement([cv for cv, _ in points], [public for _, public in points])
    if expected is not None:
        low, high = expected.offset
        where = "within" if low <= offset <= high else "outside"
        facts.append(
            f"The median difference, {offset:+.4f}, lies {where} the {low:+.4f} to {high:+.4f} of 95 % of simulated "
            f"splits with {round(public_fraction * test_rows):,} public samples"
        )
    note = (
        "The bar holds the difference in 95 % of simulated splits, the dot is the difference itself. Test parts of "
        f"{test_rows:,} samples, {100 * public_fraction:.0f} % of them public (--public-fraction), are drawn from the "
        "out-of-fold rows as by skyfold shakeup."
    )
    table = Table(HEADS, rows)
    return Sections(
        "Public scores",
        facts,
        [
            Section(
                "Cross-validation and public score",
                "A number is a submission; on the line both scores are equal.",
                charts=[chart],
            ),
            Section("Where they part", f"{note} {MEANINGS}" if expected else "", table=table),
        ],
    )


MEANINGS = (
    "Within its interval a public score tells nothing that cross-validation did not: choose by cross-validation. Where "
    "all submissions part alike, the test part is harder or easier than the training samples, or the file is read "
    "otherwise than it is scored here; their order is still to be trusted. Where one falls behind the others, its "
    "cross-validation is too good: a leak across folds, an import whose folds are not known, or choices that were made "
    "on the rows that score them. Where one is ahead of the others, it was lucky, or tuned to the public part, and may "
    "lose on the private one what it won."
)


def _expected(
    scores: Mapping[str, SampleScores], public_fraction: float, test_rows: int, cache: Path
) -> ExpectedParting | None:
    first = next(iter(scores.values()))
    tables, sign = np.stack([one.stats for one in scores.values()]), 1 if first.metric.greater_is_better else -1
    made_of = digest(
        *("parting 1", first.metric.name, f"{public_fraction} {test_rows}", repr(list(scores)), tables.tobytes()),
        "\n".join(first.groups.tolist()),
    )

    def limits(values: np.ndarray) -> list[float]:
        return np.quantile(values, [0.025, 0.975]).tolist()

    def compute() -> JsonDict:
        try:
            found = simulate(
                first.metric,
                tables,
                public_fraction=public_fraction,
                test_rows=test_rows,
                groups=first.groups,
                simulations=SIMULATIONS,
            )
        except ValueError:  # too few samples, or groups, for both parts
            return {}
        partings = sign * (found.public - found.cv)
        if not np.isfinite(partings).all():
            return {}
        median = np.median(partings, axis=0)
        own = {key: limits(one) for key, one in zip(scores, partings, strict=True)}
        beyond = {key: limits(one - median) for key, one in zip(scores, partings, strict=True)}
        return {"offset": limits(median), "by_entry": own, "beyond_offset": beyond if len(own) >= FEWEST else {}}

    kept = once(cache / f"{made_of}.json", compute)
    return ExpectedParting(**kept) if kept else None


def _meaning(parting: float, offset: float, key: str, expected: ExpectedParting, *, greater: bool) -> str:
    """Where a submission parts from its cross-validation, in words."""
    low, high = expected.by_entry[key]
    if key in expected.beyond_offset:
        least, most = expected.beyond_offset[key]
        if not least <= parting - offset <= most:
            return "ahead of the others" if (parting > offset) == greater else "behind the others"
    if low <= parting <= high:
        return "as expected"
    side = "better" if (parting > 0) == greater else "worse"
    return f"{side} than expected{', as the others' if key in expected.beyond_offset else ''}"
