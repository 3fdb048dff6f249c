"""What a fit keeps from epoch to epoch, and what it ends with."""

from __future__ import annotations

import numpy as np
import pytest

from skyfold.config.training import TrainingConfig
from skyfold.training.weight_averaging import keep, mean_weights


def ended_with(scores, **training):
    """The weights after epochs 1, 2, 3, .. with these scores, where epoch i ends with weights of value i."""
    config = TrainingConfig.model_validate(training)
    kept = []
    for epoch, score in enumerate(scores, start=1):
        weights = [np.full(2, epoch, np.float32), np.full((1, 1), 10 * epoch, np.float32)]
        kept = keep(kept, weights, config, is_best=score > max(scores[: epoch - 1], default=-1))
    return [float(value.mean()) for value in mean_weights(kept)]


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({"checkpoint": "best"}, 2),
        ({"checkpoint": "last"}, 5),
        ({"checkpoint": "swa", "swa_epochs": 3}, 4),
        ({"checkpoint": "swa", "swa_epochs": 1}, 5),
        ({"checkpoint": "swa", "swa_epochs": 9}, 3),
    ],
)
def test_weights_of_the_epochs_that_were_asked_for(training, expected):
    assert ended_with([0.3, 0.9, 0.5, 0.9, 0.1], **training) == [expected, 10 * expected]


def test_a_mean_keeps_the_kind_of_number_and_what_was_kept():
    kept = [[np.array([1, 2], np.float32)], [np.array([2, 4], np.float32)]]
    (mean,) = mean_weights(kept)
    assert mean.dtype == np.float32
    np.testing.assert_array_equal(mean, [1.5, 3])
    np.testing.assert_array_equal(kept[0][0], [1, 2])
