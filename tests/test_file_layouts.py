"""Images and masks in folders of any layout: by pattern, by band, in one tree."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from skyfold import competition
from skyfold.data.contents import FileChecksums, contents_of
from skyfold.data.file_patterns import FilePattern, find_files
from skyfold.data.images import SUFFIXES
from skyfold.errors import ConfigError, DataLayoutError, Problems
from skyfold.pipeline.predict_bundle import left_out

SIZE = (8, 12)
BANDS = ("B02", "B03", "B8A")


def image(seed: int, *shape: int, dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, *shape)).astype(dtype)


def mask(columns: int) -> np.ndarray:
    """The first columns are of the class."""
    return np.where(np.arange(SIZE[1]) < columns, 255, 0).astype(np.uint8) * np.ones((SIZE[0], 1), np.uint8)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        how = {"photometric": "minisblack", "planarconfig": "contig"} if array.ndim == 3 else {}
        tifffile.imwrite(path, array, **how)
    else:
        assert cv2.imwrite(str(path), array)


def built(folder: Path, **options):
    return competition.build("mask_folder", {"classes": {"cloud": 255}, **options}, folder)


@pytest.mark.parametrize(
    ("pattern", "bands", "path", "found"),
    [
        ("{id}", (), "a b.PNG", ("a b", "")),
        ("{id}", (), "a.v2.tiff", ("a.v2", "")),
        ("{id}", (), "a/b.png", None),
        ("{id}_mask.png", (), "a_b_mask.PNG", ("a_b", "")),
        ("{id}_mask.png", (), "a_mask.tif", None),
        ("*/{id}.tif", (), "north/7.tif", ("7", "")),
        ("{id}/images/{id}.png", (), "7/images/7.png", ("7", "")),
        ("{id}/images/{id}.png", (), "7/images/8.png", None),
        ("{id}/{band}.tif", BANDS, "x/B8A.tif", ("x", "B8A")),
        ("{id}/{band}.tif", BANDS, "x/B04.tif", None),
        ("{id}_{band}.tif", BANDS, "x_B02_B03.tif", ("x_B02", "B03")),
        ("{id}", (), "cafe\u0301.png", ("caf\u00e9", "")),
    ],
)
def test_a_pattern_tells_id_and_band(pattern, bands, path, found):
    assert FilePattern(pattern, SUFFIXES, bands).match(path) == found


def test_one_file_a_band(tmp_path):
    pixels = {name: image(seed, 3, dtype="uint16") for seed, name in enumerate("ab")}
    for name, bands in pixels.items():
        for k, band in enumerate(BANDS):
            save(tmp_path / "features" / name / f"{band}.tif", bands[..., k])
            save(tmp_path / "more" / f"{name}_{band}.tif", bands[..., k])
        save(tmp_path / "labels" / f"{name}.tif", mask(3))
    for images in (
        {"folder": "features", "files": "{id}/{band}.tif", "bands": BANDS},
        {"folder": "more", "files": "{id}_{band}", "bands": BANDS},
    ):
        contest = built(tmp_path, images=images, masks={"folder": "labels"}, test_images=images["folder"])
        samples = contest.load(tmp_path, "train")
        assert (samples.ids.tolist(), contest.grid) == (["a", "b"], SIZE)
        np.testing.assert_array_equal(samples.inputs[1], pixels["b"])
        assert samples.targets[0][0, :, 0].tolist() == [1] * 3 + [0] * 9
        assert contest.load(tmp_path, "test").inputs[0].shape == (*SIZE, 3)
        assert contest.check(tmp_path).startswith("2 images with masks, grid 8x12; cloud 25.0%")
    (tmp_path / "more" / "b_B03.tif").unlink()
    with pytest.raises(DataLayoutError, match=r"b_B03\.png: no file of band 'B03' for image 'b'"):
        contest.load(tmp_path, "train")


def test_images_to_predict_that_no_pattern_finds_are_named(tmp_path):
    for name in "ab":
        for band in (*BANDS, "B99"):
            save(tmp_path / name / f"{band}.tif", image(0, dtype="uint16"))
    contest = competition.build(
        "mask_folder",
        {"classes": {"cloud": 255}, "grid": SIZE, "images": {"files": "{id}/{band}.tif", "bands": BANDS}},
    )
    assert left_out(tmp_path, contest.read_images(tmp_path), tmp_path / "out") == ["a/B99.tif", "b/B99.tif"]


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
def test_bands_of_bytes_may_be_grey_pictures(tmp_path, suffix):
    for k, band in enumerate(BANDS):
        save(tmp_path / "images" / f"a_{band}.{suffix}", image(k))
    save(tmp_path / "masks" / "a.png", mask(3))
    contest = built(tmp_path, images={"files": "{id}_{band}", "bands": BANDS})
    read = contest.load(tmp_path, "train").inputs[0]
    assert (read.shape, read.dtype) == ((*SIZE, 3), np.uint8)
    if suffix != "jpg":
        np.testing.assert_array_equal(read, np.dstack([image(k) for k in range(3)]))
    contest.check(tmp_path)
    save(tmp_path / "images" / f"a_B8A.{suffix}", image(9, 3))
    with pytest.raises(DataLayoutError, match=r"a_B8A\.\w+: 3 bands of uint8, .*a_B02\.\w+ has 1 band of uint8"):
        contest.check(tmp_path)


def test_images_and_masks_in_one_tree(tmp_path, capsys):
    for seed, name in enumerate(("north/1", "north/2", "south/3")):
        save(tmp_path / "set" / f"{name}.png", image(seed, 3))
        save(tmp_path / "set" / f"{name}_mask.png", mask(6))
    (tmp_path / "set" / "readme.txt").touch()
    (tmp_path / "set" / "north" / "deep").mkdir()
    (tmp_path / "set" / "north" / "._1.png").touch()
    save(tmp_path / "set" / "loose.png", image(9, 3))
    images, masks = {"folder": "set", "files": "*/{id}.png"}, {"folder": "set", "files": "*/{id}_mask.png"}
    contest = built(tmp_path, images=images, masks=masks)
    assert contest.load(tmp_path, "train").ids.tolist() == ["1", "2", "3"]
    assert contest.check(tmp_path).startswith("3 images with masks, grid 8x12; cloud 50.0%")
    said = capsys.readouterr().err
    assert (
        "set: left aside 1 .png (loose.png), 1 .txt (readme.txt), 1 folder (north/deep), 1 hidden file (north/._1.png);"
        in said
    )
    save(tmp_path / "set" / "south" / "1.png", image(7, 3))
    with pytest.raises(DataLayoutError, match=r"south/1\.png: 1\.png beside north/1\.png, two files of one id"):
        contest.load(tmp_path, "train")
    with pytest.raises(ConfigError, match="the same files as those of images"):
        built(tmp_path, images=images, masks=images)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ({"files": "x.png"}, r"expected a path below the folder with \{id\} in it"),
        ({"files": "../{id}.png"}, "expected a path below the folder"),
        ({"files": "{id}/{band}.tif"}, r"give bands and a path with \{band\} in it, or none of both"),
        ({"bands": ["B02"]}, r"give bands and a path with \{band\} in it, or none of both"),
        ({"files": "{id}_{band}", "bands": ["B02", "B02"]}, "give each once"),
        ({"orientation": "turn"}, "Input should be 'apply' or 'ignore'"),
        ({"nodata": "white"}, "images.nodata"),
    ],
)
def test_wrong_options_are_named(tmp_path, images, message):
    with pytest.raises(ConfigError, match=message):
        built(tmp_path, grid=[8, 12], images=images)


def test_images_of_one_data_set_are_of_one_kind(tmp_path):
    for seed, name in enumerate("abc"):
        save(tmp_path / "images" / f"{name}.tif", image(seed, 4, dtype="uint16"))
        save(tmp_path / "masks" / f"{name}.png", mask(seed + 1))
    contest = built(tmp_path)
    inputs = contest.load(tmp_path, "train").inputs
    assert (inputs[2].shape, inputs[2].dtype) == ((*SIZE, 4), np.uint16)
    contest.check(tmp_path)
    save(tmp_path / "images" / "b.tif", image(1, 2, dtype="uint16"))
    save(tmp_path / "images" / "c.tif", image(2, 4, dtype="uint8"))
    for use in (lambda: contest.load(tmp_path, "train"), lambda: contest.check(tmp_path)):
        with pytest.raises(DataLayoutError) as error:
            use()
        assert f"b.tif: 2 bands of uint16, {tmp_path / 'images' / 'a.tif'} has 4 bands of uint16" in str(error.value)
        assert "c.tif: 4 bands of uint8, " in str(error.value)


def test_ids_that_differ_in_capitals_are_named_and_twins_in_unicode_refused(tmp_path, capsys):
    for name in ("a", "A"):
        save(tmp_path / "images" / f"{name}.png", image(ord(name), 3))
        save(tmp_path / "masks" / f"{name}.png", mask(4))
    built(tmp_path).check(tmp_path)
    assert "ids that differ only in capitals: 'a' and 'A'" in capsys.readouterr().err
    for twin in ("caf\u00e9", "cafe\u0301"):
        save(tmp_path / "images" / f"{twin}.png", image(5, 3))
    problems = Problems()
    find_files(tmp_path / "images", FilePattern("{id}", SUFFIXES), problems)
    assert list(problems.by_kind) == ["files of one id"]


def test_partly_transparent_images_are_read_where_the_config_says_so(tmp_path):
    rgba = np.dstack([image(0, 3), np.where(mask(3), 0, 255).astype(np.uint8)])
    save(tmp_path / "images" / "a.png", rgba)
    save(tmp_path / "masks" / "a.png", mask(6))
    with pytest.raises(DataLayoutError, match=r"25\.0% of the pixels are transparent"):
        built(tmp_path).check(tmp_path)
    contest = built(tmp_path, images={"nodata": "alpha"})
    contest.check(tmp_path)
    inputs = contest.load(tmp_path, "train").inputs
    assert inputs.defined(0)[0].tolist() == [False] * 3 + [True] * 9
    assert not inputs[0][:, :3].any()


def test_a_band_or_an_annotation_that_changes_is_found_in_its_sample_only(tmp_path):
    """What a run compares with the data at hand before it is resumed, blended or submitted."""
    images = [{"id": i, "file_name": f"{name}.png", "height": 8, "width": 12} for i, name in enumerate("ab")]
    shapes = [{"image_id": i, "category_id": 1, "segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]]} for i in range(2)]
    coco = {"images": images, "annotations": shapes, "categories": [{"id": 1, "name": "ship"}]}
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    for seed, name in enumerate("ab"):
        for k, band in enumerate(BANDS):
            save(tmp_path / "images" / name / f"{band}.tif", image(3 * seed + k))
    options = {"images": {"files": "{id}/{band}.tif", "bands": BANDS}, "truth": {"coco": "coco.json"}}

    def contents():
        samples = built(tmp_path, classes={"ship": "ship"}, **options).load(tmp_path, "train")
        return contents_of({"train": samples}, FileChecksums(tmp_path / "checksums.json"))

    before = contents()
    assert not before.changes(contents())
    save(tmp_path / "images" / "b" / "B8A.tif", image(9))
    assert before.changes(contents()) == ["image of 'b' changed"]
    before = contents()
    shapes[0]["segmentation"] = [[0, 0, 5, 0, 5, 4, 0, 4]]
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    assert before.changes(contents()) == ["mask of 'a' changed"]
