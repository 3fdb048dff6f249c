"""The fast reader of tables accepts what the CSV reader and the check of each row accept, and reads it as they do."""

import gzip
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skyfold.errors import InvalidSubmission
from skyfold.rle.codec import DIALECTS
from skyfold.submission import formats
from skyfold.submission.formats import RleTable
from skyfold.submission.plain_table import read_plain

settings.register_profile("compiles", deadline=None)  # the first call of a kernel compiles it
settings.load_profile("compiles")

FORMAT = RleTable(("Fish", "Flower"), (3, 4))
HEADER = b"Image_Label,EncodedPixels\n"


def read(path, format=FORMAT):
    return read_plain(path, format.columns, format.shape, format.dialect)


def outcome(path, format, ids=None):
    """What `read_masks` gives, or how it refuses."""
    try:
        found, masks = format.read_masks(path, ids)
    except InvalidSubmission as error:
        return str(error)
    return found.tolist(), [masks[i].tolist() for i in range(len(masks))]


# Fragments of which tables are made, right ones and broken ones.
KEYS = st.sampled_from(["a_Fish", "a_Flower", "b_Fish", "b_Flower", "NA_Fish", "NA_Flower", "é_Fish", "", '"a_Fish"'])
TEXTS = st.sampled_from(
    ["", "1 1", "1 1 ", "2 3 7 2", "12 1", "12 2", "1", "-1", "-", "1 0", "x", "1 1,1", '"1 1"', "1\r1"]
)
LINES = st.tuples(KEYS, TEXTS).map(",".join) | st.sampled_from(["", " ", "a_Fish", "\x00,", ","])
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


@given(
    lines=st.lists(LINES, max_size=6),
    whole=st.booleans(),
    end=ENDS,
    last=st.booleans(),
    mark=st.booleans(),
    dialect=st.sampled_from([DIALECTS[name] for name in ("kaggle", "kaggle_dash", "siim")]),
)
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_fast_and_slow_reader_give_the_same_or_refuse_alike(
    tmp_path, monkeypatch, lines, whole, end, last, mark, dialect
):
    whole_image = ["c_Fish,1 1", "c_Flower,"] if whole else []
    text = end.join(["Image_Label,EncodedPixels", *whole_image, *lines]) + (end if last else "")
    path = tmp_path / "table.csv"
    path.write_bytes(("\ufeff" if mark else "").encode() + text.encode())
    format = replace(FORMAT, dialect=dialect)
    fast = outcome(path, format)
    with monkeypatch.context() as without:
        without.setattr(formats, "read_plain", lambda *_: None)
        assert fast == outcome(path, format)


@pytest.mark.parametrize(
    "content",
    [
        HEADER + b"a_Fish,1 1\na_Flower,\n",
        HEADER + b"a_Fish,1 1\na_Flower,",  # no newline at the end
        HEADER + b"a_Fish,1 1\n\n\na_Flower,\n\n",
        (HEADER + b"a_Fish,1 1\na_Flower,\n").replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + HEADER + b"a_Fish, 1  1 \na_Flower, \n",
    ],
)
def test_plain_tables_are_read_fast(tmp_path, content):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    table = read(path)
    assert table.keys == ["a_Fish", "a_Flower"]
    assert table.segments.areas().tolist() == [1, 0]


@pytest.mark.parametrize(
    "content",
    [
        HEADER,
        HEADER + b'a_Fish,"1 1"\n',
        HEADER + b"a_Fish,1 1,\n",
        HEADER + b"a_Fish,1 1\ra_Flower,\n",
        HEADER + b"a_Fish\n",
        HEADER + b"a_Fish,1 99\n",
        HEADER + b"\xff_Fish,1 1\n",
        HEADER + b"a_Fish,\xff\n",
        b"EncodedPixels,Image_Label\n1 1,a_Fish\n",
        b"Image_Label,EncodedPixels",
        b"",
    ],
)
def test_all_else_is_left_to_the_close_look(tmp_path, content):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    assert read(path) is None
    assert read(tmp_path / "missing.csv") is None


def test_columns_in_the_other_order_and_quotes_are_read_as_ever(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text('EncodedPixels,Image_Label\n"1 1","a_Fish"\n,a_Flower\n')
    ids, masks = FORMAT.read_masks(path)
    assert ids.tolist() == ["a"]
    assert masks[0].sum(axis=(0, 1)).tolist() == [1, 0]


def test_packed_table_is_read_and_a_torn_one_refused(tmp_path):
    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress(HEADER + b"a_Fish,1 1\na_Flower,\n"))
    assert read(path).keys == ["a_Fish", "a_Flower"]
    path.write_bytes(path.read_bytes()[:-6])
    assert read(path) is None
    with pytest.raises(InvalidSubmission, match="not a readable CSV file"):
        FORMAT.read_masks(path)


def test_rows_of_any_order_are_put_to_their_images(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(HEADER + b"b_Flower,1 4\na_Fish,1 1\nb_Fish,1 3\na_Flower,1 2\n")
    ids, masks = FORMAT.read_masks(path)
    assert ids.tolist() == ["b", "a"]
    assert [masks[i].sum(axis=(0, 1)).tolist() for i in range(2)] == [[3, 4], [1, 2]]
    assert FORMAT.read_masks(path, np.array(["a"]))[1][0].sum() == 3


def test_key_that_may_be_read_in_two_ways_is_read_as_ever(tmp_path):
    format = RleTable(("ice", "sea_ice"), (3, 4))
    path = tmp_path / "table.csv"
    path.write_bytes(HEADER + b"x_ice,1 1\nx_sea_ice,1 2\n")
    ids, masks = format.read_masks(path)
    assert ids.tolist() == ["x"]
    assert masks[0].sum(axis=(0, 1)).tolist() == [1, 2]


def test_masks_can_be_asked_for_from_the_end_and_not_beyond(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(HEADER + b"a_Fish,1 1\na_Flower,\nb_Fish,\nb_Flower,1 12\n")
    masks = FORMAT.read_masks(path)[1]
    np.testing.assert_array_equal(masks[-1], masks[1])
    with pytest.raises(IndexError):
        masks[2]
