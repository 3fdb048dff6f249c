"""Adversarial validation: can a small model tell two sets of samples apart by features of their images?

Where it can (AUC well above 0.5), scores on one set say less of the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skyfold.metrics.bootstrap import numbered

FOLDS, TREES, DRAWS = 5, 100, 500


@dataclass(frozen=True)
class Apart:
    """How well two sets are told apart. auc: area under the ROC curve of samples that the model was not fitted on, 0.5
    by chance; low, high: of 95 % of the bootstrap draws; by: names of features and the AUC of each by itself."""

    auc: float
    low: float
    high: float
    by: tuple[tuple[str, float], ...]


def told_apart(
    features: np.ndarray, labels: np.ndarray, names: tuple[str, ...], *, groups: np.ndarray | None = None, seed: int = 0
) -> Apart | None:
    """Fit a forest of trees to tell samples with True from those with False, cross-validated by group.

    features: float64 (n, F); labels: bool (n,); groups: (n,) labels of samples that stay together. None where either
    set has fewer groups than folds.
    """
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.model_selection import StratifiedGroupKFold

    group = np.arange(len(labels)) if groups is None else numbered(groups)
    if min(len(np.unique(group[labels])), len(np.unique(group[~labels]))) < FOLDS:
        return None
    scores = np.empty(len(labels))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for fitted, held_out in folds.split(features, labels, group):
        forest = ExtraTreesClassifier(
            TREES, min_samples_leaf=3, class_weight="balanced", random_state=seed, n_jobs=1
        ).fit(features[fitted], labels[fitted])
        # Ranks within a fold: forests of two folds differ in their level.
        probability = forest.predict_proba(features[held_out])[:, 1]
        scores[held_out] = probability.argsort().argsort() / len(held_out)
    rng = np.random.default_rng(seed)
    members = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
    draws = []
    for _ in range(DRAWS):
        rows = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        if 0 < labels[rows].sum() < len(rows):
            draws.append(auc(scores[rows], labels[rows]))
    low, high = np.quantile(draws, [0.025, 0.975])
    alone = [(name, auc(column, labels)) for name, column in zip(names, features.T, strict=True)]
    alone.sort(key=lambda each: -abs(each[1] - 0.5))
    return Apart(auc(scores, labels), float(low), float(high), tuple(alone[:3]))


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Probability that a sample with True has the higher score than one with False, ties counted half."""
    from scipy.stats import rankdata

    ranks, true = rankdata(scores), int(labels.sum())
    return float((ranks[labels].sum() - true * (true + 1) / 2) / (true * (len(labels) - true)))
