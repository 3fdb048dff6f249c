"""Exact k nearest neighbours per calendar month: the outcome of the cells whose last years were most similar.

A cell is the vector of its values in the same season of `lags` earlier years; the distance is the sum of absolute
differences. The examples are the cells of the year before and their outcome. The forecast is the mean outcome of the
`k` nearest, weighted by 1 / distance, or the mean of those at distance 0 if there are any. Where several are equally
far at the edge of the k, they share the places that are left.

Fast and exact: equal vectors are counted once. Examples are sorted by the sum of their vector; since sums differ by no
more than the distance, only those with a sum near the cell's own are compared, and of these only those whose sums of
both halves are near. Distances are integers, so that the k nearest are read off a histogram.
"""

from __future__ import annotations

import numpy as np

from skyfold.config.fields import Positive
from skyfold.forecasting.baselines import SeasonalBaseline
from skyfold.forecasting.past_frames import PastFrames


class NearestNeighbours(SeasonalBaseline):
    """k: number of most similar cells; lags: number of earlier years that describe a cell; frames must be uint8."""

    k: Positive = 601
    lags: Positive = 12

    def forecast_lead(self, history: PastFrames, lead: int) -> np.ndarray:
        years = history.same_season(lead, self.lags + 1).reshape(self.lags + 1, -1)
        return neighbour_means(years[:-1].T, years[-1], years[1:].T, self.k).reshape(history.shape)


PLUGIN = NearestNeighbours


def neighbour_means(examples: np.ndarray, became: np.ndarray, asked: np.ndarray, k: int) -> np.ndarray:
    """Mean outcome of the nearest examples of each query, float64 (q,).

    examples: uint8 (n, F), became: their outcome, uint8 (n,), asked: queries, uint8 (q, F). With fewer than k examples
    all of them count.
    """
    from skyfold.compiled import in_threads
    from skyfold.forecasting.baselines._neighbour_kernel import mean_of_nearest

    known, example_of = np.unique(_as_one(examples), return_inverse=True)
    lists = known.view(np.uint8).reshape(len(known), -1)
    order = np.argsort(lists.sum(axis=1, dtype=np.int64), kind="stable")
    lists = np.ascontiguousarray(lists[order])
    count = np.bincount(example_of.ravel(), minlength=len(known))[order]
    total = np.bincount(example_of.ravel(), became, minlength=len(known))[order]
    questions, question_of = np.unique(_as_one(asked), return_inverse=True)
    queries = questions.view(np.uint8).reshape(len(questions), -1)
    answers = np.empty(len(queries))

    def sums(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of the first half of each vector, and of all of it."""
        half = vectors[:, : vectors.shape[1] // 2]
        return half.sum(axis=1, dtype=np.int64), vectors.sum(axis=1, dtype=np.int64)

    own = sums(lists)

    def answer(rows: range) -> None:
        part = queries[rows.start : rows.stop]
        mean_of_nearest(lists, *own, count, total, part, *sums(part), k, answers[rows.start : rows.stop])

    in_threads(answer, len(queries))
    return answers[question_of.ravel()]


def _as_one(lists: np.ndarray) -> np.ndarray:
    """Rows as single values that can be compared: void (n,), padded with zeros to whole words."""
    width = -(-lists.shape[1] // 4) * 4
    padded = np.zeros((len(lists), width), dtype=np.uint8)
    padded[:, : lists.shape[1]] = lists
    return padded.view(f"V{width}").ravel()
