"""Runs and blends as a notebook shows them: out-of-fold and test predictions, scores, blend weights."""

from __future__ import annotations

from dataclasses import dataclass

from skyfold.notebook.display import html_table
from skyfold.store.runs import StoredRun
from skyfold.tasks import stored_blend
from skyfold.types import JsonDict, Predictions

SCORES = ("cv_at_0.5", "cv_in_sample", "cv_cross_fitted", "low", "high")


@dataclass(frozen=True, repr=False)
class Run:
    """A run, or a stored blend, or arrays of another framework; rows that are stored are memory-mapped."""

    stored: StoredRun

    @property
    def name(self) -> str:
        """Its name, that of its folder."""
        return self.stored.info.name

    @property
    def kind(self) -> str:
        """ "run", "blend", "forecast" or "imported"."""
        return self.stored.info.kind

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that it predicts, in the order of the last axis."""
        return self.stored.info.classes

    @property
    def scores(self) -> JsonDict:
        """Scores that are stored with it, as in `run.json`; empty of arrays."""
        return self.stored.info.scores

    @property
    def oof(self) -> Predictions:
        """Out-of-fold predictions: ids, values (n, H, W, K) in their order, has_prediction."""
        return self.stored.oof

    @property
    def test(self) -> Predictions | None:
        """Predictions of the test part, None where there are none."""
        return self.stored.test

    def __repr__(self) -> str:
        return f"{self.kind} '{self.name}': oof {self.oof}, test {self.test}"

    def _repr_html_(self) -> str:
        scores = {key: [self.scores[key]] for key in SCORES if key in self.scores}
        return html_table({"name": [self.name], "kind": [self.kind], "oof": [self.oof], "test": [self.test], **scores})


@dataclass(frozen=True, repr=False)
class Blend(Run):
    """A blend that is not stored; its rows are computed from those of its members when they are read."""

    made: stored_blend.Blend

    @property
    def weights(self) -> dict[str, float] | None:
        """Blend weight of each member, 1 in all; None of a stack, which has coefficients per class instead."""
        combination, names = self.made.fitted.whole, [run.info.name for run in self.made.runs]
        if combination.stack is not None:
            return None
        weights = combination.weights or (1.0,) * len(names)
        return {name: weight / sum(weights) for name, weight in zip(names, weights, strict=True)}

    @property
    def fitted(self) -> bool:
        """Whether its weights or coefficients were fitted on the out-of-fold rows."""
        return bool(self.made.fitted.by_fold)

    def _repr_html_(self) -> str:
        names = [run.info.name for run in self.made.runs]
        weights = [*self.weights.values()] if self.weights else ["stack"] * len(names)
        return html_table({"member": names, "weight": weights})
