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

FORMAT = RleTable(("Fish", "Flower"), (3, 4))
HEADER = b"Image_Label,EncodedPixels\n"


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


@st.composite
def tables(draw):
    """Bytes of a table: a mark or none, one whole image or none, other lines, an end of the last line or none."""
    mark, whole = draw(st.sampled_from(["", "\ufeff"])), draw(st.sampled_from([[], ["c_Fish,1 1", "c_Flower,"]]))
    lines, end = draw(st.lists(LINES, max_size=6)), draw(st.sampled_from(["\n", "\r\n", "\r"]))
    text = end.join(["Image_Label,EncodedPixels", *whole, *lines])
    return (mark + text + draw(st.sampled_from(["", end]))).encode()


@given(table=tables(), dialect=st.sampled_from(["kaggle", "kaggle_dash", "siim"]))
@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_fast_and_slow_reader_give_the_same_or_refuse_alike(tmp_path, monkeypatch, table, dialect):
    path, format = tmp_path / "table.csv", replace(FORMAT, dialect=DIALECTS[dialect])
    path.write_bytes(table)
    fast = outcome(path, format)
    with monkeypatch.context() as without:
        without.setattr(formats, "read_plain", lambda *_: None)
        assert fast == outcome(path, format)


PLAIN = [
    HEADER + b"a_Fish,1 1\na_Flower,\n",
    HEADER + b"a_Fish,1 1\na_Flower,",  # no newline at the end
    HEADER + b"a_Fish,1 1\n\n\na_Flower,\n\n",
    (HEADER + b"a_Fish,1 1\na_Flower,\n").replace(b"\n", b"\r\n"),
    b"\xef\xbb\xbf" + HEADER + b"a_Fish, 1  1 \na_Flower, \n",
    gzip.compress(HEADER + b"a_Fish,1 1\na_Flower,\n", mtime=0),
]
LINES_OF_OTHERS = [b"", b'a_Fish,"1 1"\n', b"a_Fish,1 1,\n", b"a_Fish,1 1\ra_Flower,\n", b"a_Fish\n", b"a_Fish,1 99\n"]
LINES_OF_OTHERS += [b"\xff_Fish,1 1\n", b"a_Fish,\xff\n"]
OTHERS = [b"EncodedPixels,Image_Label\n1 1,a_Fish\n", b"Image_Label,EncodedPixels", b"", PLAIN[-1][:-6], None]


@pytest.mark.parametrize("content", [*PLAIN, *(HEADER + lines for lines in LINES_OF_OTHERS), *OTHERS])
def test_plain_tables_are_read_fast_and_all_others_left_to_the_csv_reader(tmp_path, content):
    path = tmp_path / ("table.csv.gz" if (content or b"").startswith(b"\x1f\x8b") else "table.csv")
    if content is not None:
        path.write_bytes(content)
    table = read_plain(path, FORMAT.columns, FORMAT.shape, FORMAT.dialect)
    found = table and (table.keys, table.segments.areas().tolist())
    assert found == ((["a_Fish", "a_Flower"], [1, 0]) if content in PLAIN else None)


@pytest.mark.parametrize(
    ("classes", "content", "ids", "areas"),
    [
        ("Fish Flower", b'EncodedPixels,Image_Label\n"1 1","a_Fish"\n,a_Flower\n', ["a"], [[1, 0]]),
        ("Fish Flower", HEADER + b"b_Flower,1 4\na_Fish,1 1\nb_Fish,1 3\na_Flower,1 2\n", ["b", "a"], [[3, 4], [1, 2]]),
        # A key that may be read in two ways: as x with sea_ice, or x_sea with ice.
        ("ice sea_ice", HEADER + b"x_ice,1 1\nx_sea_ice,1 2\n", ["x"], [[1, 2]]),
    ],
)
def test_columns_quotes_and_rows_may_be_in_any_order(tmp_path, classes, content, ids, areas):
    path, format = tmp_path / "table.csv", RleTable(tuple(classes.split()), (3, 4))
    path.write_bytes(content)
    found, masks = format.read_masks(path)
    assert found.tolist() == ids
    assert [masks[i].sum(axis=(0, 1)).tolist() for i in range(len(ids))] == areas
    np.testing.assert_array_equal(masks[-1], masks[len(ids) - 1])
    with pytest.raises(IndexError):
        masks[len(ids)]
    assert format.read_masks(path, np.array(ids[-1:]))[1][0].sum() == sum(areas[-1])
