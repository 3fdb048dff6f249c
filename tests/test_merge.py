"""Probabilities of single classes become one class for each pixel, by rules worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skyfold.blending.merge import Merge, Rule, class_sources
from skyfold.blending.recipe import BlendedRows, Combination
from skyfold.errors import ConfigError

CLASSES = ("background", "thick", "thin")
ALONE = (("thick", ("thick",)), ("thin", ("thin",)))


def pixels(*values: list[int]) -> np.ndarray:
    """One row of one image: uint8 (1, 1, W, classes)."""
    return np.array(values, dtype=np.uint8)[np.newaxis, np.newaxis]


def merged(merge: Merge, *members: np.ndarray) -> np.ndarray:
    """uint8 (W, K)."""
    ((rows, values),) = merge.rows(members, np.array([0]))
    assert rows.tolist() == [0]
    return values[0, 0]


def one_a_class(rule: Rule, thresholds: tuple[int, ...] | None = None, order: tuple[int, ...] | None = None) -> Merge:
    sources, rest = class_sources(ALONE, CLASSES)
    return Merge(rule, sources, rest, thresholds=thresholds, order=order)


def test_each_class_is_taken_from_the_runs_that_learned_it() -> None:
    members = [("both", ("thin", "thick")), ("thick", ("thick",))]
    assert class_sources(members, CLASSES) == (((), ((0, 1), (1, 0)), ((0, 0),)), 0)
    assert class_sources([("all", CLASSES)], CLASSES) == ((((0, 0),), ((0, 1),), ((0, 2),)), None)
    with pytest.raises(ConfigError, match="no run learned background, thin"):
        class_sources([("thick", ("thick",))], CLASSES)


def test_the_largest_wins_and_the_rest_where_none_is_above_one_half() -> None:
    """thick 200, thin 100: thick by 100, and 50 more than 128 is 178; thin lies 127 - 50; background claims nothing.

    thick 127: background claims 255 - 127 = 128. thick 128: it is above one half, and background claims nothing.
    """
    thick, thin = pixels([200], [127], [128]), pixels([100], [20], [20])
    values = merged(one_a_class("largest"), thick, thin)
    assert values.tolist() == [[27, 178, 77], [128, 127, 73], [63, 182, 73]]
    assert (values > 127).tolist() == [[False, True, False], [True, False, False], [False, True, False]]


def test_one_network_of_all_classes_needs_no_threshold() -> None:
    sources, rest = class_sources([("all", CLASSES)], CLASSES)
    values = merged(Merge("largest", sources, rest), pixels([100, 90, 65], [80, 80, 95]))
    assert (values > 127).tolist() == [[True, False, False], [False, False, True]]


def test_normalised_classes_are_compared_from_their_own_thresholds() -> None:
    """thick is there above 200, thin above 50. (180, 60): thick is below its own, thin above it. (220, 180): thick is
    127.5 + 19.5 / 54.5 x 127.5 = 173.1, thin 127.5 + 129.5 / 204.5 x 127.5 = 208.2, though less probable. (200, 50): no
    class is there."""
    merge = one_a_class("normalised", thresholds=(127, 200, 50))
    values = merged(merge, pixels([180], [220], [200]), pixels([60], [180], [50]))
    assert (values > 127).argmax(axis=-1).tolist() == [2, 2, 0]
    assert values[1].tolist() == [127 - 104, 127 - 17, 128 + 17]


def test_by_priority_the_first_class_above_its_threshold_wins_however_probable_the_next() -> None:
    merge = one_a_class("priority", thresholds=(127, 50, 50), order=(2, 1))
    values = merged(merge, pixels([250], [60], [50]), pixels([51], [50], [50]))
    assert values.tolist() == [[0, 0, 255], [0, 255, 0], [255, 0, 0]]


def test_several_runs_of_a_class_are_averaged_by_weight() -> None:
    """(3 x 200 + 1 x 80) / 4 = 170."""
    sources, rest = class_sources([("a", ("thick", "thin")), ("b", ("thick",))], CLASSES)
    merge = Merge("mean", sources, rest, weights=(3.0, 1.0))
    ((_, probabilities),) = merge.rows([pixels([200, 10]), pixels([80])], np.array([0]))
    assert probabilities[0, 0].tolist() == [[0, 170, 10]]


@given(
    values=arrays(np.uint8, (1, 3, 4, 3)),
    rule=st.sampled_from(["largest", "normalised", "priority"]),
    thresholds=st.tuples(*[st.integers(0, 254)] * 3),
    known=st.booleans(),
)
def test_every_pixel_gets_exactly_one_class(
    values: np.ndarray, rule: Rule, thresholds: tuple[int, ...], known: bool
) -> None:
    members, classes = (([values], CLASSES), ([values[..., 1:]], CLASSES[1:]))[not known]
    sources, rest = class_sources([("run", classes)], CLASSES)
    merge = Merge(rule, sources, 0 if rule == "priority" else rest, thresholds=thresholds, order=(2, 1))
    ((_, merged_values),) = merge.rows(members, np.array([0]))
    above = merged_values > 127
    assert (above.sum(axis=-1) == 1).all()
    assert (merged_values.argmax(axis=-1) == above.argmax(axis=-1)).all()


def test_rows_of_a_merge_are_made_when_they_are_asked_for() -> None:
    rng = np.random.default_rng(0)
    thick, thin = (rng.integers(0, 256, (5, 4, 6, 1), dtype=np.uint8) for _ in range(2))
    lazily = BlendedRows(Combination("mean", merge=one_a_class("largest")), [thick, thin])
    assert lazily.shape == (5, 4, 6, 3)
    ((_, everything),) = one_a_class("largest").rows([thick, thin], np.arange(5))
    np.testing.assert_array_equal(lazily[np.array([3, 1])], everything[[3, 1]])
