"""What came at the cells whose last years were most alike: exact k nearest neighbours, per calendar month.

A cell is the list of its values in the same season of `lags` earlier years. The distance of two is the sum of absolute
differences. Cells of the year before are the examples: what they were in the years up to then, and what they became.
The forecast is the mean of what became of the `k` nearest, weighted by 1 / distance; where some are exactly alike, the
mean of those alone. Where several are equally far at the edge of the k, they share the places that are left.

Fast and exact: equal lists are counted once; examples lie in the order of the sum of their list, and since sums differ
by no more than the distance, only those with a sum near the cell's own are looked at, and of these only those whose
sums of both halves are near; distances are whole numbers, so that the k nearest are read off a histogram.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from skyfold.config.fields import Positive
from skyfold.forecasting.baselines import DirectBaseline
from skyfold.forecasting.past_frames import PastFrames, per_lead

GREATEST = 255  # of a stored value


class NearestNeighbours(DirectBaseline):
    """k: cells most alike; lags: earlier years that a cell is described by."""

    needs_seasons: ClassVar[bool] = True
    k: Positive = 601
    lags: Positive = 12

    def forecast(self, history: PastFrames) -> np.ndarray:
        """float32 (H, W, L) of uint8 frames. DataLayoutError where there are not lags + 1 earlier years."""
        forecast = per_lead(history)
        for lead in range(history.leads):
            seasons = history.same_season(lead, self.lags + 1).reshape(self.lags + 1, -1)
            means = neighbour_means(seasons[:-1].T, seasons[-1], seasons[1:].T, self.k)
            forecast[..., lead] = means.reshape(history.shape)
        return forecast


PLUGIN = NearestNeighbours


def neighbour_means(examples: np.ndarray, became: np.ndarray, asked: np.ndarray, k: int) -> np.ndarray:
    """examples: uint8 (n, F), became: uint8 (n,), asked: uint8 (q, F). Returns float64 (q,).

    With fewer than k examples all of them count.
    """
    from skyfold.compiled import in_threads
    from skyfold.forecasting.baselines._neighbour_kernel import mean_of_nearest

    known, example_of = np.unique(_as_one(examples), return_inverse=True)
    lists = known.view(np.uint8).reshape(len(known), -1)
    sums = lists.sum(axis=1, dtype=np.int64)
    order = np.argsort(sums, kind="stable")
    lists, sums = np.ascontiguousarray(lists[order]), sums[order]
    halves = lists[:, : lists.shape[1] // 2].sum(axis=1, dtype=np.int64)
    count = np.bincount(example_of.ravel(), minlength=len(known))[order]
    total = np.bincount(example_of.ravel(), became, minlength=len(known))[order]
    questions, question_of = np.unique(_as_one(asked), return_inverse=True)
    queries = questions.view(np.uint8).reshape(len(questions), -1)
    answers = np.empty(len(queries))
    starts = np.searchsorted(sums, queries.sum(axis=1, dtype=np.int64))

    def answer(rows: range) -> None:
        part = slice(rows.start, rows.stop)
        mean_of_nearest(lists, halves, sums, count, total, queries[part], starts[part], k, answers[part])

    in_threads(answer, len(queries))
    return answers[question_of.ravel()]


def _as_one(lists: np.ndarray) -> np.ndarray:
    """Rows as single values that can be compared: void (n,), padded with zeros to whole words."""
    width = -(-lists.shape[1] // 4) * 4
    padded = np.zeros((len(lists), width), dtype=np.uint8)
    padded[:, : lists.shape[1]] = lists
    return padded.view(f"V{width}").ravel()
