"""2.5D: neighbours of one group in order, repeated at its ends, put together in the batch and not in the cache."""

from __future__ import annotations

import numpy as np
import pytest

from skyfold.config.data import RescaleConfig
from skyfold.data.batches import prediction_batches
from skyfold.data.cache import TrainingArrays
from skyfold.data.neighbours import NeighbourBands, neighbour_rows
from skyfold.data.rescale import fit_rescale
from skyfold.errors import ConfigError
from skyfold.types import Samples


def samples(**order: np.ndarray) -> Samples:
    return Samples(np.arange(5).astype(str), np.zeros((5, 1, 1, 1), np.uint8), **order)


def test_neighbours_stay_in_their_group_and_its_ends_are_repeated() -> None:
    groups = np.array(["a", "b", "a", "a", "b"])
    assert neighbour_rows(samples(groups=groups), 1).tolist() == [[0, 0, 2], [1, 1, 4], [0, 2, 3], [2, 3, 3], [1, 4, 4]]
    assert neighbour_rows(samples(groups=groups), 2)[3].tolist() == [0, 2, 3, 3, 3]
    backwards = np.array("2020-01-05", "datetime64[D]") - np.arange(5)
    assert neighbour_rows(samples(groups=groups, times=backwards), 1)[2].tolist() == [3, 2, 0]
    assert neighbour_rows(samples(times=backwards), 1)[[0, 1, 4]].tolist() == [[1, 0, 0], [2, 1, 0], [4, 4, 3]]
    with pytest.raises(ConfigError, match=r"image\.neighbours: the samples have neither groups nor times"):
        neighbour_rows(samples(), 1)


def test_a_batch_holds_the_neighbours_as_bands_and_limits_are_of_the_rows_themselves() -> None:
    stored = np.arange(5, dtype=np.uint16).reshape(5, 1, 1, 1) * 100 + np.array([0, 1], np.uint16)
    rows = neighbour_rows(samples(groups=np.zeros(5, int)), 1)
    arrays = TrainingArrays(np.arange(5).astype(str), NeighbourBands(stored, rows), None)
    assert arrays.input_shape == (1, 1, 6)
    assert len(arrays.inputs) == 5
    rescale = fit_rescale(RescaleConfig(kind="minmax"), arrays, np.array([1, 2]))
    assert (rescale.low, rescale.high) == ((100, 101), (200, 201))  # of rows 1 and 2, not of their neighbours 0 and 3
    (batch,) = prediction_batches(arrays, np.array([2, 4]), batch_size=2, normalization=None, rescale=rescale)
    assert batch.inputs[:, 0, 0].tolist() == [[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]]
    (plain,) = prediction_batches(arrays, np.array([0]), batch_size=1, normalization=None)
    assert plain.inputs.ravel().tolist() == [0, 1, 0, 1, 100, 101]
