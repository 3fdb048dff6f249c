"""COCO run lengths, plain and compressed, say what the mask says; pycocotools, where it is installed, agrees."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skyfold.errors import InvalidSubmission
from skyfold.rle.coco import decode_coco, encode_coco


@st.composite
def masks(draw):
    shape = draw(st.tuples(st.integers(1, 90), st.integers(1, 90)))
    density = draw(st.sampled_from([0.0, 0.01, 0.5, 0.99, 1.0]))
    return np.random.default_rng(draw(st.integers(0, 99))).random(shape) < density


@given(mask=masks(), compressed=st.booleans())
def test_decode_undoes_encode(mask, compressed):
    coded = encode_coco(mask, compressed=compressed)
    np.testing.assert_array_equal(decode_coco(coded), mask)


def test_counts_worked_by_hand():
    # Down the columns the mask is 0 1 | 1 1 | 0 1: one background, three mask, one background, one mask.
    mask = np.array([[0, 1, 0], [1, 1, 1]], dtype=bool)
    assert encode_coco(mask, compressed=False) == {"size": [2, 3], "counts": [1, 3, 1, 1]}
    # The fourth count, 1, is written as its difference to the second, 3: -2 is the group 11110, character 48 + 30.
    assert encode_coco(mask) == {"size": [2, 3], "counts": "131N"}
    assert encode_coco(np.ones((2, 3), dtype=bool), compressed=False)["counts"] == [0, 6]
    assert encode_coco(np.zeros((2, 3), dtype=bool), compressed=False)["counts"] == [6]
    joined, apart = {"size": [2, 3], "counts": [1, 4, 1]}, {"size": [2, 3], "counts": [1, 2, 0, 2, 1]}
    np.testing.assert_array_equal(decode_coco(apart), decode_coco(joined))


@given(mask=masks())
def test_pycocotools_writes_and_reads_the_same(mask):
    theirs = pytest.importorskip("pycocotools.mask")
    coded = theirs.encode(np.asfortranarray(mask.view(np.uint8)))
    assert coded["counts"].decode() == encode_coco(mask)["counts"]
    np.testing.assert_array_equal(theirs.decode(encode_coco(mask)).astype(bool), mask)
    np.testing.assert_array_equal(decode_coco(coded), mask)


@pytest.mark.parametrize(
    ("coded", "message"),
    [
        ({"counts": [6]}, 'expected "size"'),
        ({"size": [2], "counts": [6]}, 'expected "size"'),
        ({"size": [2, 3], "counts": [5]}, "add up to 5 pixels, a mask of 2x3 has 6"),
        ({"size": [2, 3], "counts": [2**61, 2**61]}, "add up to 4611686018427387904 pixels"),
        ({"size": [2, 3], "counts": [4, -1, 3]}, "count 2 is -1, below 0"),
        ({"size": [2, 3], "counts": [4, 2.0]}, "expected counts as text or whole numbers"),
        ({"size": [2, 3], "counts": None}, "expected counts as text or whole numbers, got None"),
        ({"size": [2, 3], "counts": "1R"}, "end within a number"),
        ({"size": [2, 3], "counts": "1 5"}, "character 2 is ' '"),
        ({"size": [2, 3], "counts": "é"}, "character 1"),
        ({"size": [2, 3], "counts": "1" + "o" * 13}, "number at character 2 is too large"),
    ],
)
def test_counts_that_are_no_mask_are_refused(coded, message):
    with pytest.raises(InvalidSubmission) as refusal:
        decode_coco(coded, row="7")
    assert "row '7'" in str(refusal.value)
    assert message in str(refusal.value)


@given(counts=st.text(st.characters(min_codepoint=45, max_codepoint=113), max_size=8))
def test_any_text_is_a_mask_or_refused(counts):
    try:
        mask = decode_coco({"size": [3, 4], "counts": counts})
    except InvalidSubmission:
        return
    np.testing.assert_array_equal(decode_coco(encode_coco(mask)), mask)


@given(counts=hnp.arrays(np.int64, st.integers(0, 4), elements=st.integers(-1, 9)))
def test_any_counts_are_a_mask_or_refused(counts):
    try:
        mask = decode_coco({"size": [3, 3], "counts": counts})
    except InvalidSubmission:
        assert (counts < 0).any() or counts.sum() != 9
        return
    assert mask.sum() == counts[1::2].sum()


def test_what_is_no_mask_cannot_be_encoded():
    with pytest.raises(TypeError, match="expected a bool mask"):
        encode_coco(np.zeros((2, 2), np.uint8))
