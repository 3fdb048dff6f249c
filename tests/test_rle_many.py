"""Masks of any size and layout give the same runs as counting pixel by pixel, one or many, on one thread or several."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold.errors import InvalidSubmission
from skyfold.rle import mask_runs
from skyfold.rle.mask_runs import masks_of, runs_of
from skyfold.rle.rle import (
    DIALECTS,
    KAGGLE,
    ROW_MAJOR,
    Dialect,
    decode,
    decode_many,
    encode,
    encode_many,
    parse_all,
    parse_many,
)
from skyfold.rle.run_text import read_closely

settings.register_profile("compiles", deadline=None)  # the first call of a kernel compiles it
settings.load_profile("compiles")

# 64 columns are compared at once: sizes around its multiples, and below, where no whole word fits
SIDES = st.sampled_from([1, 2, 3, 31, 63, 64, 65, 100, 127, 128, 129, 150])


def slowly(mask, dialect=KAGGLE):
    """Runs the obvious way."""
    flat = np.concatenate([[False], mask.ravel(order="F" if dialect.order == "column" else "C"), [False]])
    borders = np.flatnonzero(flat[1:] != flat[:-1])
    runs = [(start, end) for start, end in zip(borders[::2].tolist(), borders[1::2].tolist(), strict=True)]
    tokens, reach = [], 0
    for start, end in runs:
        tokens += [start - (reach if dialect.starts == "relative" else 0) + dialect.first_index, end - start]
        reach = end
    return " ".join(map(str, tokens)) or dialect.empty


@st.composite
def several(draw):
    """bool (n, H, W): noise of some density, boxes, and degenerate masks."""
    n, height, width = draw(st.integers(1, 4)), draw(SIDES), draw(SIDES)
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    masks = rng.random((n, height, width)) < draw(st.sampled_from([0.0, 0.01, 0.5, 0.99, 1.0]))
    for mask in masks:
        if draw(st.booleans()):
            top, left = rng.integers(0, height), rng.integers(0, width)
            mask[top : top + rng.integers(1, height + 1), left : left + rng.integers(1, width + 1)] ^= True
    return masks


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
@given(masks=several())
@settings(max_examples=40)
def test_encode_and_decode_equal_the_slow_way(dialect, masks):
    texts = [slowly(mask, dialect) for mask in masks]
    assert encode_many(masks, dialect) == texts
    np.testing.assert_array_equal(decode_many(texts, masks.shape[1:], dialect), masks)


LAYOUTS = {
    "as they come": lambda masks: masks,
    "planes": lambda masks: np.moveaxis(np.ascontiguousarray(np.moveaxis(masks, 0, -1)), -1, 0),
    "columns first": lambda masks: np.ascontiguousarray(masks.swapaxes(1, 2)).swapaxes(1, 2),
    "upside down": lambda masks: np.ascontiguousarray(masks[:, ::-1, :])[:, ::-1, :],
    "mirrored": lambda masks: np.ascontiguousarray(masks[:, :, ::-1])[:, :, ::-1],
    "cut out": lambda masks: np.pad(masks, ((0, 0), (2, 3), (5, 1)), constant_values=True)[:, 2:-3, 5:-1],
    "every second": lambda masks: np.repeat(np.repeat(masks, 2, axis=0), 2, axis=2)[::2, :, ::2],
    "read-only": lambda masks: np.frombuffer(masks.tobytes(), dtype=bool).reshape(masks.shape),
}


@pytest.mark.parametrize("dialect", [KAGGLE, ROW_MAJOR], ids=["column", "row"])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@given(masks=several())
@settings(max_examples=25)
def test_layout_in_memory_makes_no_difference(layout, dialect, masks):
    lying = layout(masks)
    assert encode_many(lying, dialect) == [slowly(mask, dialect) for mask in masks]
    assert encode(lying[-1], dialect) == slowly(masks[-1], dialect)


@given(masks=several(), level=st.integers(0, 254))
@settings(max_examples=40)
def test_level_inside_the_encoder_equals_comparing_first(masks, level):
    maps = np.random.default_rng(level).integers(0, 256, masks.shape, dtype=np.uint8)
    assert encode_many(maps, above=level) == encode_many(maps > level)
    assert encode(maps[0], above=level) == encode(maps[0] > level)


def test_a_bool_array_with_bytes_other_than_one_is_still_a_mask():
    odd_bytes = np.array([[0, 255, 7], [0, 1, 0]], dtype=np.uint8).view(np.bool_)
    assert encode(odd_bytes) == "3 3"


@given(masks=several(), order=st.sampled_from(["column", "row"]))
@settings(max_examples=40)
def test_masks_of_any_rows_in_any_order_come_as_planes(masks, order):
    rows = np.random.default_rng(0).integers(0, len(masks), 6)
    drawn = masks_of(runs_of(masks, order), rows, planes=3)
    np.testing.assert_array_equal(drawn, np.moveaxis(masks[rows].reshape(2, 3, *masks.shape[1:]), 1, -1))


def test_threads_give_the_same_as_one(monkeypatch):
    masks = np.random.default_rng(0).random((9, 40, 70)) < 0.3
    alone = encode_many(masks)
    monkeypatch.setattr(mask_runs, "PIXELS_PER_THREAD", 3000)
    monkeypatch.setattr(mask_runs, "THREADS", 4)
    assert encode_many(masks) == alone
    np.testing.assert_array_equal(decode_many(alone, (40, 70)), masks)


def test_memory_that_is_given_is_filled_and_overwritten():
    masks = np.random.default_rng(0).random((3, 20, 70)) < 0.5
    out = np.ones((3, 20, 70), dtype=bool)
    given_back = decode_many(encode_many(masks), (20, 70), out=out)
    assert np.shares_memory(given_back, out)
    np.testing.assert_array_equal(out, masks)
    with pytest.raises(ValueError, match="expected C-ordered bool"):
        decode_many(["", ""], (20, 70), out=out)
    with pytest.raises(ValueError, match="expected C-ordered bool"):
        decode_many([""] * 3, (20, 70), out=out.view(np.uint8))


def test_no_masks_and_masks_of_no_pixels():
    assert encode_many(np.empty((0, 4, 5), dtype=bool)) == []
    assert decode_many([], (4, 5)).shape == (0, 4, 5)
    assert encode_many(np.empty((2, 0, 5), dtype=bool)) == ["", ""]
    assert decode("", (0, 5)).shape == (0, 5)


def test_areas_and_chosen_masks():
    runs = parse_many(["2 3 7 1", "", "1 12"], (3, 4))
    assert runs.areas().tolist() == [4, 0, 12]
    chosen = runs.take(np.array([2, 0, 0]))
    assert chosen.areas().tolist() == [12, 4, 4]
    assert [part.tolist() for part in chosen.runs(1)] == [[1, 6], [4, 7]]


UNUSUAL = ["1\n2", "1\r\n2", " 1\t2 ", "001 2", "0000000000000000000000001 2", "1\u00a02", "1\x0b2", "1  2\r\n"]


@pytest.mark.parametrize("text", UNUSUAL)
def test_unusual_spelling_says_the_same_among_others(text):
    masks = decode_many(["3 1", text, "", "4 2"], (2, 3))
    np.testing.assert_array_equal(masks, decode_many(["3 1", "1 2", "", "4 2"], (2, 3)))


def test_all_that_is_wrong_is_told_and_the_rest_is_read():
    runs, refused = parse_all(["1 2", "x", "5 1 5 1", "2 1", None, "-1"], (2, 3), rows=list("abcdef"))
    assert list(refused) == [1, 2, 5]
    assert "row 'c'" in refused[2]
    assert runs.areas().tolist() == [2, 0, 0, 1, 0, 0]


# Tokens around all borders, so that the compiled reader and the close one meet every way of being wrong.
NUMBERS = "0 1 2 3 11 12 13 007 -1 999999 9999999 99999999 999999999999999999 99999999999999999999 x"


TEXTS = st.lists(st.lists(st.sampled_from(NUMBERS.split()), max_size=6).map(" ".join), max_size=5)


@given(texts=TEXTS, siim=st.booleans())
@settings(max_examples=300)
def test_compiled_reader_takes_what_the_close_one_takes(texts, siim):
    dialect = Dialect(first_index=0, starts="relative", empty="-") if siim else KAGGLE
    runs, refused = parse_all(texts, (3, 4), dialect)
    for place, text in enumerate(texts):
        read = closely(text, dialect, str(place))
        if isinstance(read, str):
            assert refused[place] == read
        else:
            assert place not in refused
            assert [part.tolist() for part in runs.runs(place)] == read


def closely(text, dialect, row):
    """Starts and ends, or what is wrong."""
    try:
        read = read_closely(text, 12, first_index=dialect.first_index, relative=dialect.starts == "relative", row=row)
    except InvalidSubmission as error:
        return str(error)
    return [part.tolist() for part in read]


def test_maps_and_levels_are_not_confused_with_masks():
    with pytest.raises(TypeError, match="expected a uint8 map"):
        encode(np.zeros((2, 2), bool), above=3)
    with pytest.raises(TypeError, match=r"expected a bool mask \(n, H, W\)"):
        encode_many(np.zeros((2, 2), bool))


def test_text_of_an_empty_mask_may_not_be_a_run():
    with pytest.raises(ValueError, match="'1 1' is to mean an empty mask, but is a run too"):
        Dialect(empty="1 1")
