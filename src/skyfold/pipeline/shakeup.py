"""Shake-up: what a public leaderboard tells of the private one, simulated from out-of-fold scores; and final picks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from skyfold.errors import ConfigError, DataLayoutError, OofMismatch, SkyfoldError, shortened
from skyfold.metrics.shakeup import (
    Choice,
    SimulatedScores,
    choices,
    expected_best,
    private_given_public,
    rank_intervals,
    simulate,
)
from skyfold.postprocess.evaluate import SampleScores
from skyfold.reports.text_table import aligned
from skyfold.store.rows import RowStore
from skyfold.store.runs import read_info
from skyfold.tasks import task_class
from skyfold.workspace import Workspace


@dataclass(frozen=True)
class Scored:
    """The entries of a leaderboard that are scored on the same samples.

    scores: by name, the best first; test_rows: samples of the test part, as stored; left_out: name -> why.
    """

    scores: Mapping[str, SampleScores]
    test_rows: int
    left_out: Mapping[str, str]

    @property
    def tables(self) -> np.ndarray:
        """Statistics, float64 (E, n, S)."""
        return np.stack([one.stats for one in self.scores.values()])

    @property
    def first(self) -> SampleScores:
        """Of the best entry; the samples are those of all."""
        return next(iter(self.scores.values()))

    def cv(self) -> list[float]:
        """The cross-fitted score of each."""
        return [one.metric.score(one.stats) for one in self.scores.values()]


@dataclass(frozen=True)
class Shakeup:
    """What `shakeup` found; ranks: by entry, lowest and highest public and private rank of 95 % of the simulations."""

    scored: Scored
    public_rows: int
    private_rows: int
    simulations: int
    ranks: Mapping[str, tuple[tuple[int, int], tuple[int, int]]]
    choices: Mapping[str, Choice]

    def lines(self) -> list[str]:
        """For people."""
        metric = self.scored.first.metric
        rows = [["name", "CV", "public rank", "private rank"]]
        for (name, (public, private)), cv in zip(self.ranks.items(), self.scored.cv(), strict=True):
            rows.append([name, f"{cv:.4f}", *(f"{low} to {high}" for low, high in (public, private))])
        ways = [["choose by", "best private entry", "mean loss"]]
        ways += [[name, f"{way.right:.0%}", f"{way.loss:.4f}"] for name, way in self.choices.items()]
        samples, groups = len(self.scored.first.rows), len(set(self.scored.first.groups.tolist()))
        grouped = f" in {groups} groups" if groups < samples else ""
        return [
            f"{len(rows) - 1} entries, {self.simulations:,} simulated test parts: {self.public_rows} public and "
            f"{self.private_rows} private samples, drawn from {samples} out-of-fold samples{grouped}",
            *aligned(rows).splitlines(),
            "",
            *aligned(ways).splitlines(),
            f"Ranks: of 95 % of the simulations. Loss: of {_named(metric.name)}, against the best private entry.",
            *_left_out(self.scored),
        ]


def shakeup(
    name: str,
    workspace: Workspace,
    *,
    public_fraction: float,
    test_rows: int | None = None,
    simulations: int = 2000,
    seed: int = 0,
) -> Shakeup:
    """Simulate how the entries of data set `name` rank on public and private parts of test sets.

    public_fraction: of the test samples; test_rows: of the contest, None: as many as are stored. ConfigError where the
    fraction leaves one part without a sample, or fewer than two entries can be compared.
    """
    if not 0 < public_fraction < 1:
        raise ConfigError(f"--public-fraction {public_fraction}: expected a number between 0 and 1, for instance 0.3.")
    scored = scored_alike(name, workspace)
    count = test_rows or scored.test_rows or len(scored.first.rows)
    try:
        simulated = simulate(
            scored.first.metric,
            scored.tables,
            public_fraction=public_fraction,
            test_rows=count,
            groups=scored.first.groups,
            simulations=simulations,
            seed=seed,
        )
    except ValueError as error:
        raise ConfigError(f"--public-fraction {public_fraction}: {error}. Take another fraction.") from None
    if not np.isfinite(simulated.private).all():
        raise ConfigError(f"'{name}': the metric is infinite for some draws of so few samples; nothing to simulate.")
    public, private = rank_intervals(simulated.public), rank_intervals(simulated.private)
    pairs = [((one[0], one[1]), (two[0], two[1])) for one, two in zip(public.tolist(), private.tolist(), strict=True)]
    public_rows = round(public_fraction * count)
    known = public_rows / (public_rows + len(scored.first.rows))
    return Shakeup(
        scored=scored,
        public_rows=public_rows,
        private_rows=count - public_rows,
        simulations=simulations,
        ranks=dict(zip(scored.scores, pairs, strict=True)),
        choices=choices(simulated, known),
    )


def final_picks(
    name: str, workspace: Workspace, count: int, public: Mapping[str, float], *, public_fraction: float
) -> list[str]:
    """Lines that name the `count` entries with the highest expected best private score, and why.

    public: public scores by entry, of those that have one. Errors as `shakeup`.
    """
    scored = scored_alike(name, workspace)
    if not 1 <= count <= len(scored.scores):
        raise ConfigError(f"--final {count}: expected 1 to {len(scored.scores)}, the entries that can be compared.")
    sign = 1.0 if scored.first.metric.greater_is_better else -1.0
    simulated = possible_scores(scored, public_fraction)
    names = list(scored.scores)
    seen = np.array([sign * public.get(one, np.nan) for one in names])
    mean, covariance = private_given_public(simulated, seen)
    picks, expected = expected_best(mean, covariance, count)
    alone = mean.max()
    deviation = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
    lines = []
    for place, i in enumerate(picks, start=1):
        known = f", public {public[names[i]]:.4f}" if names[i] in public else ""
        reason = f"CV {scored.cv()[i]:.4f}{known}, expected private {sign * mean[i]:.4f}"
        if place > 1:
            first = picks[0]
            correlation = covariance[i, first] / (deviation[i] * deviation[first])
            reason += f", correlation {correlation:.2f} with the first"
        lines.append(f"final pick {place}: {names[i]} ({reason})")
    by_cv = np.argsort([-sign * score for score in scored.cv()], kind="stable")[:count]
    if set(by_cv.tolist()) == set(picks):
        lines.append(f"These are the best {count} by cross-validation, too.")
    if count > 1:
        lines.append(
            f"Expected best private score of the {count}: {sign * expected:.4f}, of the best one alone "
            f"{sign * alone:.4f}."
        )
    return [*lines, *_left_out(scored)]


def possible_scores(scored: Scored, public_fraction: float) -> SimulatedScores:
    """Public and private scores of the entries, as far as out-of-fold rows tell: what final picks are chosen by."""
    return simulate(
        scored.first.metric,
        scored.tables,
        public_fraction=public_fraction,
        test_rows=scored.test_rows or None,
        groups=scored.first.groups,
        known_population=False,
    )


def scored_alike(name: str, workspace: Workspace) -> Scored:
    """The scored runs and blends of data set `name` that share samples, folds and metric with most others.

    ConfigError where fewer than two do.
    """
    folder = workspace.oof(name)
    found, left_out = read_scores(name, workspace)
    test_rows, most = stored_test_rows(found, name, workspace), most_alike(found)
    for one in sorted(set(found) - set(most)):
        left_out[one] = found[one].unlike(found[min(most)]) or "scored by another metric"
    if len(most) < 2:
        there = f" Left out: {shortened(sorted(left_out))}." if left_out else ""
        raise DataLayoutError(f"{folder}: fewer than two scored runs or blends of the same samples.{there}")
    return Scored({one: found[one] for one in most}, test_rows, left_out)


def stored_test_rows(entries: Iterable[str], name: str, workspace: Workspace) -> int:
    """Samples of the test part, as the `entries` of data set `name` have stored them; 0 where none has."""
    test_rows = 0
    for one in entries:
        with suppress(OofMismatch):
            test_rows = max(test_rows, len(RowStore.open(workspace.run(name, one) / "test").ids))
    return test_rows


def read_scores(name: str, workspace: Workspace) -> tuple[dict[str, SampleScores], dict[str, str]]:
    """Scores by sample of all entries of data set `name`, by the name of their folder; and why others have none."""
    found: dict[str, SampleScores] = {}
    left_out: dict[str, str] = {}
    for record in sorted(workspace.oof(name).glob("*/run.json")):
        run = record.parent
        try:
            found[run.name] = task_class(read_info(run).task).sample_scores(run)
        except SkyfoldError as error:
            left_out[run.name] = str(error)
    return found, left_out


def most_alike(found: Mapping[str, SampleScores]) -> list[str]:
    """Of `found` the largest set of the same samples, folds and metric, the best first; none without any."""
    if not found:
        return []
    parts: list[list[str]] = []  # to be comparable is to be equal in something, so that one of each part tells
    for one in found:
        part = next((own for own in parts if _comparable(found[own[0]], found[one])), None)
        if part is None:
            parts.append([one])
        else:
            part.append(one)
    most = max(parts, key=len)
    sign = -1 if found[min(most)].metric.greater_is_better else 1
    return sorted(most, key=lambda one: (sign * found[one].metric.score(found[one].stats), one))


def _comparable(one: SampleScores, other: SampleScores) -> bool:
    return one.metric.name == other.metric.name and not one.unlike(other)


def _left_out(scored: Scored) -> list[str]:
    return [f"left out: {name}: {why}" for name, why in scored.left_out.items()]


def _named(metric: str) -> str:
    return metric.replace("_", " ")
