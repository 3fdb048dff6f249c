"""Ground truth that is no mask image: run-length tables, COCO annotations, polygons."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from skyfold import competition
from skyfold.competitions.mask_folder.rle_table import RleTruth
from skyfold.data.labels import LabelTable
from skyfold.errors import ConfigError, DataLayoutError
from skyfold.rle.codec import DIALECTS, decode, encode

SIZE = (6, 8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, name in enumerate("ab"):
        picture = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
        (tmp_path / "images").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), picture)
    return tmp_path


def built(folder: Path, classes, truth, **options):
    return competition.build("mask_folder", {"classes": classes, "truth": truth, **options}, folder)


def box(top: int, left: int, bottom: int, right: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


def write(folder: Path, *rows: str) -> Path:
    path = folder / "train.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


# --- Run-length tables -----------------------------------------------------------------------------------------------


def test_a_table_of_one_class_names_images_or_files(folder):
    mask = box(1, 2, 4, 5)
    write(folder, "img,mask,z", f"a.png,{encode(mask)},4", "b,,5")
    contest = built(folder, {"salt": 1}, {"csv": "train.csv", "id": "img", "rle": "mask"})
    samples = contest.load(folder, "train")
    assert (samples.ids.tolist(), samples.valid) == (["a", "b"], None)
    np.testing.assert_array_equal(samples.targets[0][..., 0], mask)
    assert not samples.targets[1].any()
    # 9 of 2 x 48 pixels
    assert contest.check(folder) == "2 images with masks, grid 6x8; salt 9.4% of the pixels, empty 50%"


def test_classes_stand_in_a_column_or_behind_the_id(folder):
    one, other, third = box(0, 0, 2, 2), box(1, 1, 3, 3), box(4, 4, 6, 8)
    rows = [("a.png", "ship", one), ("a.png", "ship", other), ("a.png", "7", third), ("b.png", "ship", third)]
    write(folder, "ImageId,ClassId,EncodedPixels", *(f"{name},{label},{encode(mask)}" for name, label, mask in rows))
    truth = {"csv": "train.csv", "id": "ImageId", "rle": "EncodedPixels", "category": "ClassId"}
    targets = built(folder, {"ships": "ship", "cars": 7}, truth).load(folder, "train").targets
    np.testing.assert_array_equal(targets[0], np.stack([one | other, third], -1))
    np.testing.assert_array_equal(targets[1], np.stack([third, third & False], -1))
    with pytest.raises(DataLayoutError, match=r"train\.csv, line 4: '7' is no label of classes: ship"):
        built(folder, {"ships": "ship"}, truth).load(folder, "train")
    built(folder, {"ships": "ship"}, truth, background=7).load(folder, "train")
    write(folder, "id,rle", *(f"{name}_{label},{encode(mask)}" for name, label, mask in rows[1:]))
    targets = built(folder, {"ships": "ship", "cars": 7}, {"csv": "train.csv"}).load(folder, "train").targets
    np.testing.assert_array_equal(targets[0], np.stack([other, third], -1))


@pytest.mark.parametrize("dialect", ["kaggle", "row_major", "siim"])
def test_rows_of_one_image_are_joined_where_they_touch_or_overlap_too(dialect):
    masks, own = [box(0, 0, 3, 3), box(2, 2, 5, 4), box(5, 7, 6, 8)], DIALECTS[dialect]
    truth = RleTruth("t.csv", ("id", "rle"), None, LabelTable.parse({"a": 1}, 0), own)
    joined = truth._joined([encode(mask, own) for mask in masks])
    np.testing.assert_array_equal(decode(joined, SIZE, own), masks[0] | masks[1] | masks[2])
    assert truth._joined(["3 1 4", "1 5"]) == "3 1 4"


def test_images_of_several_sizes_have_masks_of_their_own(folder):
    large = np.random.default_rng(9).integers(0, 256, (12, 16, 3)).astype(np.uint8)
    cv2.imwrite(str(folder / "images" / "c.png"), large)
    write(folder, "id,rle", "a,1 6", "b,", f"c,{encode(box(0, 0, 12, 4, (12, 16)))}")
    contest = built(folder, {"x": 1}, {"csv": "train.csv"}, grid=[6, 8])
    targets = contest.load(folder, "train").targets
    assert targets[0][0, :, 0].tolist() == [1] + [0] * 7
    assert targets[2][0, :, 0].tolist() == [1, 1] + [0] * 6
    assert targets.sources(0) != targets.sources(1)
    contest.check(folder)


def test_what_is_wrong_with_a_table_is_named_by_row(folder, capsys):
    truth = {"csv": "train.csv"}
    write(folder, "id,rle", "a,1 99", "z,1 2")
    with pytest.raises(DataLayoutError) as error:
        built(folder, {"x": 1}, truth).check(folder)
    for part in (
        "no row for image 'b'. An image without a mask needs one too",
        "no image 'z' in the folder",
        "row 'a'",
    ):
        assert part in str(error.value)
    write(folder, "id,text", "a,1 2")
    with pytest.raises(DataLayoutError, match=r"train\.csv: column 'rle' is missing"):
        built(folder, {"x": 1}, truth).load(folder, "train")
    write(folder, "id,rle", "a,0 3 47 1", "b,0 6")
    with pytest.raises(DataLayoutError, match="row 'a'"):
        built(folder, {"x": 1}, truth).check(folder)
    assert "2 masks are right only if the first pixel has the number 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        ({}, "expected one of csv, coco and polygons"),
        ({"csv": "a.csv", "coco": "b.json"}, "expected one of csv, coco and polygons"),
        ({"csv": "a.csv", "dialect": "kagle"}, r"unknown \(did you mean 'kaggle'\?\)"),
        ({"polygons": "labels/a.json"}, r"expected a path below the folder with \{id\} in it"),
    ],
)
def test_options_that_contradict_are_refused(folder, truth, message):
    with pytest.raises(ConfigError, match=message):
        built(folder, {"x": 1}, truth)


def test_labels_that_contradict_are_refused(folder):
    for classes, more, message in (
        ({"x": 1, "y": [2, 1]}, {}, "label '1' belongs to both 'y' and class 'x'"),
        ({"x": 0}, {}, "label '0' belongs to both 'x' and background"),
        ({"x": []}, {}, "'x': expected a label"),
        (["x"], {}, "expected names and their labels"),
        ({"x": 1}, {"ignore_value": 7}, "ignore_value: only mask images have one"),
    ):
        with pytest.raises(ConfigError, match=message):
            built(folder, classes, {"csv": "train.csv"}, **more)
    with pytest.raises(ConfigError, match=r"mask images have no class table here. Give a table"):
        built(folder, {"x": 1}, {"csv": "train.csv"}).read_truth(folder / "images")
