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
        gzip.compress(HEADER + b"a_Fish,1 1\na_Flower,\n"),
    ],
)
def test_plain_tables_are_read_fast(tmp_path, content):
    path = tmp_path / ("table.csv.gz" if content.startswith(b"\x1f\x8b") else "table.csv")
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
        gzip.compress(HEADER + b"a_Fish,1 1\na_Flower,\n")[:-6],
        None,
    ],
)
def test_all_others_are_left_to_the_csv_reader(tmp_path, content):
    path = tmp_path / ("table.csv.gz" if (content or b"").startswith(b"\x1f\x8b") else "table.csv")
    if content is not None:
        path.write_bytes(content)
    assert read(path) is None


@pytest.mark.parametrize(
    ("classes", "content", "ids", "areas"),
    [
        (("Fish", "Flower"), b'EncodedPixels,Image_Label\n"1 1","a_Fish"\n,a_Flower\n', ["a"], [[1, 0]]),
        (
            ("Fish", "Flower"),
            HEADER + b"b_Flower,1 4\na_Fish,1 1\nb_Fish,1 3\na_Flower,1 2\n",
            ["b", "a"],
            [[3, 4], [1, 2]],
        ),
        # A key that may be read in two ways: as x with sea_ice, or x_sea with ice.
        (("ice", "sea_ice"), HEADER + b"x_ice,1 1\nx_sea_ice,1 2\n", ["x"], [[1, 2]]),
    ],
)
def test_columns_quotes_and_rows_may_be_in_any_order(tmp_path, classes, content, ids, areas):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    format = RleTable(classes, (3, 4))
    found, masks = format.read_masks(path)
    assert found.tolist() == ids
    assert [masks[i].sum(axis=(0, 1)).tolist() for i in range(len(ids))] == areas
    np.testing.assert_array_equal(masks[-1], masks[len(ids) - 1])
    with pytest.raises(IndexError):
        masks[len(ids)]
    assert format.read_masks(path, np.array(ids[-1:]))[1][0].sum() == sum(areas[-1])
