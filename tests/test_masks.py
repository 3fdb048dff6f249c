"""Truth on the grid says what the files say, and values that nobody explained are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skyfold.data.masks import NONE, UNDEFINED, ClassTable, DefinedPixels, MaskFiles, RleMasks
from skyfold.errors import ConfigError, DataLayoutError

GREY = ClassTable.parse({"cloud": 255, "haze": [200, 201]}, background=100, ignore_value=0)
TABLE = Path("train.csv")


def saved(path: Path, values: list[list[object]]) -> Path:
    Image.fromarray(np.array(values, np.uint8)).save(path)
    return path


def test_grey_values_become_classes_background_and_undefined(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", [[255, 100, 0], [200, 201, 100]])
    assert GREY.read(path).tolist() == [[0, NONE, UNDEFINED], [1, 1, NONE]]
    masks = MaskFiles([path], GREY, grid=(2, 3))
    assert masks[0][..., 0].tolist() == [[1, 0, 0], [0, 0, 0]]
    assert masks[0][..., 1].tolist() == [[0, 0, 0], [1, 1, 0]]
    assert DefinedPixels(masks)[0].tolist() == [[True, True, False], [True, True, True]]


def test_colours_become_classes(tmp_path: Path) -> None:
    table = ClassTable.parse({"ice": "#ff0000", "water": "#0000FF"}, background=0, ignore_value="#ffffff")
    path = saved(tmp_path / "a.png", [[[255, 0, 0], [0, 0, 255]], [[0, 0, 0], [255, 255, 255]]])
    assert table.read(path).tolist() == [[0, 1], [NONE, UNDEFINED]]


def test_unknown_values_are_named_with_their_number(tmp_path: Path) -> None:
    path = saved(tmp_path / "odd.png", [[255, 7, 7], [9, 7, 100]])
    with pytest.raises(DataLayoutError, match=r"odd\.png: 4 pixels have values that no class has: 7, 9\."):
        GREY.read(path)


@pytest.mark.parametrize(
    ("classes", "background", "undefined", "message"),
    [
        ({}, 0, None, "at least one class"),
        ({"a": 1, "b": 1}, 0, None, "mask value 1 belongs to both class 'a' and class 'b'"),
        ({"a": 1, "b": []}, 0, None, "give 'b' a mask value"),
        ({"a": None}, 0, None, "give 'a' a mask value"),
        ({"a": 0}, 0, None, "belongs to both class 'a' and background"),
        ({"a": 65536}, 0, None, "mask value 65536 of class 'a'"),
        ({"a": True}, 0, None, "mask value True"),
        ({"a": "red"}, 0, None, "mask value 'red'"),
        ({"a": "#ff0000", "b": 3}, 0, None, "all of them as colours"),
        ({"a": "#ff0000"}, 5, None, "mask value 5 of background: expected a colour"),
        ({"a": 1}, "#000000", None, "mask value '#000000' of background: expected a grey value"),
    ],
)
def test_a_class_table_that_contradicts_itself_is_refused(classes, background, undefined, message):
    with pytest.raises(ConfigError, match=message):
        ClassTable.parse(classes, background=background, ignore_value=undefined)


def test_runs_are_counted_at_the_size_of_the_image_and_sampled_on_the_grid() -> None:
    # An image of 4 x 8; "5 4 9 4" sets its columns 1 and 2. The grid of 2 x 4 samples columns 0, 2, 4, 6.
    texts = np.array([["5 4 9 4", ""]], dtype=object)
    masks = RleMasks(texts, TABLE, rows=np.array([["a_x", "a_y"]]), drawn_at=(4, 8), grid=(2, 4))
    assert masks[0].shape == (2, 4, 2)
    assert masks[0][..., 0].tolist() == [[0, 1, 0, 0]] * 2
    assert not masks[0][..., 1].any()
    other = RleMasks(texts[:, ::-1], TABLE, rows=masks.rows, drawn_at=(4, 8), grid=(2, 4))
    assert masks.fingerprint() != other.fingerprint()


def test_wrong_segments_name_their_table_and_row() -> None:
    masks = RleMasks(
        np.array([["30 9"]], dtype=object), TABLE, rows=np.array([["a.jpg_x"]]), drawn_at=(4, 8), grid=(2, 4)
    )
    with pytest.raises(DataLayoutError, match=r"train\.csv: row 'a\.jpg_x'"):
        masks[0]


def test_sizes_are_one_for_all_or_one_each() -> None:
    texts, rows = np.array([["1 2"], ["1 2"], [""]], dtype=object), np.array([["a"], ["b"], ["c"]])
    of_one = RleMasks(texts, TABLE, rows, drawn_at=(2, 4), grid=(2, 4))
    assert [of_one[i].sum() for i in range(3)] == [2, 2, 0]
    of_each = RleMasks(texts, TABLE, rows, drawn_at=((2, 4), (4, 8), (2, 4)), grid=(2, 4))
    assert [of_each[i].sum() for i in range(3)] == [2, 1, 0]
