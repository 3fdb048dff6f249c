"""A submission scored on its segments has the score of its pixels, to the last bit."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold.competition import Truth, build
from skyfold.errors import InvalidSubmission
from skyfold.metrics.score_submission import overlap_counts, prediction_stats, score_submission
from skyfold.metrics.segmentation import METRICS, MeanDice
from skyfold.rle.codec import parse
from skyfold.rle.segments import SegmentMasks, Segments
from skyfold.types import CountMetric

ON_SEGMENTS = [metric() for metric in METRICS.values() if isinstance(metric, CountMetric)]


@st.composite
def pairs(draw):
    """Truth and prediction bool (n, H, W, K), and where pixels count (n, H, W); often empty or full."""
    n, height, width, classes = (draw(st.integers(1, most)) for most in (3, 20, 70, 3))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    densities = st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0])
    target, pred = (rng.random((n, height, width, classes)) < draw(densities) for _ in range(2))
    return target, pred, rng.random((n, height, width)) < draw(densities)


@pytest.mark.parametrize("metric", ON_SEGMENTS, ids=lambda metric: metric.name)
@pytest.mark.parametrize("order", ["column", "row"])
@given(masks=pairs(), some_undefined=st.booleans())
@settings(max_examples=40)
def test_statistics_of_segments_are_those_of_pixels(metric, order, masks, some_undefined):
    target, pred, valid = masks
    by_pixels = metric.stats(target=target, pred=pred, valid=valid if some_undefined else None)
    by_segments = overlap_counts(
        Segments.from_masks(target, order),
        Segments.from_masks(pred, order),
        Segments.from_masks(valid, order) if some_undefined else None,
        target.shape[-1],
    )
    assert by_segments.dtype == by_pixels.dtype
    np.testing.assert_array_equal(by_segments, by_pixels)
    assert metric.score(by_segments) == metric.score(by_pixels)


def test_counts_worked_by_hand():
    # Truth has the pixels 0 1 2 and 6 7, the prediction 2 3 and 5 to 8: they share 2, 6 and 7.
    target, pred = parse(["1 3 7 2"], (3, 3)), parse(["3 2 6 4"], (3, 3))
    assert overlap_counts(target, pred, None, 1).tolist() == [[3.0, 6.0, 5.0]]
    # Without the pixels 5 and 6 they share 2 and 7; 4 are left of the prediction and 4 of the truth.
    defined = parse(["1 5 8 2"], (3, 3))
    assert overlap_counts(target, pred, defined, 1).tolist() == [[2.0, 4.0, 4.0]]
    joined, apart = parse(["2 6"], (3, 3)), parse(["2 2 4 3 7 1"], (3, 3))
    assert overlap_counts(joined, apart, None, 1).tolist() == [[6.0, 6.0, 6.0]]


@pytest.mark.parametrize(
    ("pred", "valid", "message"),
    [
        (parse(["", ""], (3, 4)), None, "expected 2 masks of (3, 3) by column, got 2 masks of (3, 4)"),
        (parse([""], (3, 3)), None, "got 1 masks of (3, 3)"),
        (Segments.from_masks(np.zeros((2, 3, 3), bool), "row"), None, "by row"),
        (parse(["", ""], (3, 3)), parse(["", ""], (3, 3)), "got 4 masks"),
    ],
)
def test_segments_that_do_not_fit_together_are_refused(pred, valid, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        overlap_counts(parse(["1 1", ""], (3, 3)), pred, valid, 2)


@pytest.fixture
def competition():
    return build("understanding_clouds", {"grid": [20, 30]})


@pytest.fixture
def files(tmp_path, competition):
    """Truth and a submission of five images, whose rows come in another order."""
    rng = np.random.default_rng(0)
    ids = np.array([f"{i}.jpg" for i in range(5)])
    target, pred = (rng.random((5, 20, 30, 4)) < density for density in (0.4, 0.3))
    target[0] = pred[0] = pred[1, ..., 2] = False
    competition.submission.encode(ids, target).to_csv(tmp_path / "truth.csv", index=False)
    competition.submission.encode(ids, pred).sample(frac=1, random_state=0).to_csv(tmp_path / "pred.csv", index=False)
    return tmp_path / "truth.csv", tmp_path / "pred.csv", target, pred


def test_score_of_files_is_that_of_their_masks(competition, files):
    truth, submission, target, pred = files
    expected = MeanDice().score(MeanDice().stats(target=target, pred=pred))
    for known in (truth, competition.read_truth(truth)):
        assert score_submission(competition, submission, known, draws=10).score == expected


def test_decoded_prediction_and_undefined_pixels_count_the_same(competition, files):
    truth, submission, target, pred = files
    known = competition.read_truth(truth)
    read = competition.read_pred(submission, known.ids)
    assert isinstance(known.targets, SegmentMasks)
    assert isinstance(read, SegmentMasks)
    np.testing.assert_array_equal(
        prediction_stats(competition, known, read), prediction_stats(competition, known, list(read))
    )
    valid = np.random.default_rng(1).random((5, 20, 30)) < 0.7
    stats = prediction_stats(competition, Truth(known.ids, known.targets, valid), read)
    np.testing.assert_array_equal(stats, MeanDice().stats(target=target, pred=pred, valid=valid))
    with pytest.raises(InvalidSubmission, match="the truth holds 5 images, the prediction 4"):
        prediction_stats(competition, known, list(pred[:4]))
