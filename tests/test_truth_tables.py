"""Ground truth that is no mask image: run-length tables, COCO annotations, polygons."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from skyfold import competition
from skyfold.competitions.mask_folder.rle_table import RleTruth
from skyfold.data.labels import LabelTable
from skyfold.data.polygons import draw_polygon
from skyfold.errors import ConfigError, DataLayoutError
from skyfold.rle.coco import encode_coco
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


def test_rows_of_one_image_that_contradict_each_other_are_named(folder, capsys):
    """A table of objects, one a row: `ImageId,EncodedPixels` with several rows of an image."""
    write(folder, "ImageId,EncodedPixels", "a.png,1 3", "b.png,", "a.png,3 2", "a.png,9 1", "b.png,7 2")
    contest = built(folder, {"ship": 1}, {"csv": "train.csv", "id": "ImageId", "rle": "EncodedPixels"})
    contest.check(folder)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert said == [
        f"note: {folder / 'train.csv'}: objects overlap, what they share counts once: 'a'.",
        f"note: {folder / 'train.csv'}: an empty row beside other rows counts for nothing, remove one of them: 'b'.",
    ]
    targets = contest.load(folder, "train").targets
    assert [targets[i].sum() for i in range(2)] == [5, 2]


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
        "no row for image 'b'. Add one, of empty text where there is no mask, or set",
        "no image 'z' in the folder",
        "row 'a'",
    ):
        assert part in str(error.value)
    write(folder, "id,rle", "a,1 2")
    samples = built(folder, {"x": 1}, {**truth, "unlisted": "empty"}).load(folder, "train")
    assert [samples.targets[i].sum() for i in range(2)] == [2, 0]
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


# --- Polygons --------------------------------------------------------------------------------------------------------


def test_a_pixel_is_in_a_polygon_where_its_centre_is():
    """Centres of a triangle: worked by hand. Its left and upper borders count, its right and lower ones do not."""
    triangle = np.array([[0.5, 0.5], [3.5, 0.5], [0.5, 3.5]])
    found = draw_polygon([triangle], (4, 4)).astype(int).tolist()
    assert found == [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    found = draw_polygon([triangle], (4, 4), touched=True).astype(int).tolist()
    assert found == [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]]
    whole = np.array([[1.0, 1], [3, 1], [3, 2], [1, 2]])
    for touched in (False, True):  # borders between pixels touch neither
        np.testing.assert_array_equal(draw_polygon([whole], (4, 4), touched=touched), box(1, 1, 2, 3, (4, 4)))
    hole = np.array([[2.0, 1], [3, 1], [3, 2], [2, 2]])
    np.testing.assert_array_equal(draw_polygon([whole, hole], (4, 4)), box(1, 1, 2, 2, (4, 4)))
    far = np.array([[-1e7, -1e7], [1e7, -1e7], [1e7, 1e7], [-1e7, 1e7]])
    assert draw_polygon([far], (4, 4), touched=True).all()


@pytest.mark.parametrize("touched", [False, True])
def test_polygons_are_drawn_as_gdal_draws_them(touched):
    features = pytest.importorskip("rasterio.features", reason="rasterio is not installed")
    rng = np.random.default_rng(0)
    for _ in range(60):
        size = (int(rng.integers(5, 40)), int(rng.integers(5, 40)))
        ring = rng.random((int(rng.integers(3, 9)), 2)) * 50 - 5
        geometry = {"type": "Polygon", "coordinates": [[*ring.tolist(), ring[0].tolist()]]}
        theirs = features.rasterize([(geometry, 1)], out_shape=size, all_touched=touched)
        np.testing.assert_array_equal(draw_polygon([ring], size, touched=touched), theirs.astype(bool))


def corners(top: float, left: float, bottom: float, right: float) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def labelme(*shapes: tuple[str, list], size=SIZE, **more) -> dict:
    listed = [{"label": label, "points": points, "shape_type": "polygon", **more} for label, points in shapes]
    return {"shapes": listed, "imageHeight": size[0], "imageWidth": size[1], "imageData": None}


def geojson(*features: tuple[str, list], kind="Polygon") -> dict:
    listed = [
        {"type": "Feature", "properties": {"label": label}, "geometry": {"type": kind, "coordinates": coordinates}}
        for label, coordinates in features
    ]
    return {"type": "FeatureCollection", "features": listed}


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def test_labelme_files_are_drawn(folder, capsys):
    write_json(folder / "labels" / "a.json", labelme(("cu", corners(1, 2, 4, 5)), ("ci", corners(0, 0, 2, 2))))
    write_json(folder / "labels" / "b.json", labelme(("cu", [[3, 5], [1, 2]]), shape_type="rectangle"))
    contest = built(folder, {"low": "cu", "high": "ci"}, {"polygons": "labels/{id}.json"})
    targets = contest.load(folder, "train").targets
    np.testing.assert_array_equal(targets[0], np.stack([box(1, 2, 4, 5), box(0, 0, 2, 2)], -1))
    np.testing.assert_array_equal(targets[1][..., 0], box(2, 1, 5, 3))
    assert targets.sources(0)[0] == folder / "labels" / "a.json"
    assert contest.check(folder).startswith("2 images with masks, grid 6x8; low 15.6% of the pixels, empty 0%; high")
    (folder / "labels" / "notes.txt").touch()
    contest.check(folder)
    assert "labels: left aside 1 .txt (notes.txt)" in capsys.readouterr().err
    before = targets.fingerprint()
    write_json(folder / "labels" / "b.json", labelme())
    assert contest.load(folder, "train").targets.fingerprint() != before


def test_geojson_files_have_holes_and_several_parts(folder):
    with_hole, two = [corners(0, 0, 5, 5), corners(1, 1, 3, 3)], [[corners(0, 0, 1, 1)], [corners(4, 4, 6, 8)]]
    write_json(folder / "a.geojson", geojson(("x", with_hole)))
    write_json(folder / "b.geojson", geojson(("x", two), kind="MultiPolygon"))
    targets = built(folder, {"x": "x"}, {"polygons": "{id}.geojson"}).load(folder, "train").targets
    np.testing.assert_array_equal(targets[0][..., 0], box(0, 0, 5, 5) & ~box(1, 1, 3, 3))
    np.testing.assert_array_equal(targets[1][..., 0], box(0, 0, 1, 1) | box(4, 4, 6, 8))


def test_geojson_of_a_georeferenced_tiff_has_map_coordinates(tmp_path):
    rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")
    transform = rasterio.transform.from_origin(500_000, 4_600_000, 10, 20)
    (tmp_path / "images").mkdir()
    profile = {"driver": "GTiff", "height": SIZE[0], "width": SIZE[1], "count": 1, "dtype": "uint16"}
    with rasterio.open(tmp_path / "images" / "a.tif", "w", **profile, transform=transform, crs="EPSG:32633") as file:
        file.write(np.arange(48, dtype=np.uint16).reshape(1, *SIZE))
    ring = [list(transform * tuple(point)) for point in corners(1, 2, 4, 5)]
    write_json(tmp_path / "labels" / "a.json", geojson(("x", [ring])))
    contest = built(tmp_path, {"x": "x"}, {"polygons": "labels/{id}.json"})
    np.testing.assert_array_equal(contest.load(tmp_path, "train").targets[0][..., 0], box(1, 2, 4, 5))
    write_json(tmp_path / "labels" / "a.json", geojson(("x", [corners(1, 2, 4, 5)])))
    with pytest.raises(DataLayoutError, match=r"no polygon meets the image\. Give coordinates in the reference system"):
        contest.check(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2", "not whole JSON"),
        ([], "neither LabelMe .shapes. nor GeoJSON"),
        (labelme(("x", [[1, 2], [3, 4]])), "expected 3 points of two numbers or more"),
        (labelme(("x", corners(1, 2, 4, 5)), shape_type="circle"), "a shape of type 'circle', expected a polygon or"),
        (labelme(("x", corners(1, 2, 4, 5)), size=(60, 80)), "drawn on an image of 60x80, the file has 6x8"),
        (labelme(("y", corners(1, 2, 4, 5))), "'y' is no label of classes: x. Add it there, or to background"),
        (geojson(("x", [[1, 2]]), kind="Point"), "a feature of type 'Point', expected Polygon or MultiPolygon"),
        (geojson(("x", [])), None),
        (geojson(("x", [corners(100, 100, 200, 200)])), "no polygon meets the image. Give pixels"),
    ],
)
def test_files_that_are_no_polygons_are_named(folder, content, message):
    write_json(folder / "labels" / "b.json", labelme())
    path = folder / "labels" / "a.json"
    write_json(path, content) if not isinstance(content, str) else path.write_text(content)
    with pytest.raises(DataLayoutError, match=rf"a\.json: {message or 'a polygon without rings'}"):
        built(folder, {"x": "x"}, {"polygons": "labels/{id}.json"}).check(folder)


def test_images_and_polygon_files_without_each_other_are_named(folder):
    write_json(folder / "labels" / "a.json", labelme())
    write_json(folder / "labels" / "z.json", labelme())
    with pytest.raises(DataLayoutError) as error:
        built(folder, {"x": "x"}, {"polygons": "labels/{id}.json"}).load(folder, "train")
    assert "b.png: no file" in str(error.value)
    assert "z.json: no image 'z' in the folder" in str(error.value)


# --- COCO ------------------------------------------------------------------------------------------------------------


def coco(*annotations: dict, names=("a.png", "sub/b.png"), size=SIZE) -> dict:
    images = [{"id": i, "file_name": name, "height": size[0], "width": size[1]} for i, name in enumerate(names)]
    categories = [{"id": 3, "name": "ship"}, {"id": 4}]
    return {"images": images, "annotations": list(annotations), "categories": categories}


def test_coco_annotations_are_polygons_or_counts(folder):
    flat = [value for point in corners(1, 2, 4, 5) for value in point]
    shapes = [
        {"image_id": 0, "category_id": 3, "segmentation": [flat, [0, 0, 1, 0, 1, 1, 0, 1]]},
        {"image_id": 0, "category_id": 4, "segmentation": encode_coco(box(2, 3, 6, 8), compressed=False)},
        {"image_id": 0, "category_id": 4, "segmentation": encode_coco(box(0, 0, 1, 1)), "iscrowd": 1},
    ]
    write_json(folder / "coco.json", coco(*shapes))
    contest = built(folder, {"ships": "ship", "cars": 4}, {"coco": "coco.json"})
    targets = contest.load(folder, "train").targets
    expected = [box(1, 2, 4, 5) | box(0, 0, 1, 1), box(2, 3, 6, 8) | box(0, 0, 1, 1)]
    np.testing.assert_array_equal(targets[0], np.stack(expected, -1))
    assert not targets[1].any()
    assert targets.sources(0) != targets.sources(1)
    assert contest.check(folder).startswith("2 images with masks, grid 6x8; ships 10.4% of the pixels, empty 50%")
    truth = contest.read_truth(folder / "coco.json")
    assert truth.ids.tolist() == ["a", "b"]
    np.testing.assert_array_equal(truth.targets[0], targets[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": []}, r"image 'a\.png' is not listed"),
        (coco(names=("a.png", "b.png", "z.png")), r"no image 'z\.png' in the folder"),
        (coco(names=("a.png", "x/a.png")), r"image 'a\.png' is there twice"),
        (coco(size=(7, 8)), r"image 'a\.png' has height and width \(7, 8\), its file \(6, 8\)"),
        (coco({"image_id": 0, "category_id": 9}), "an image, annotation or category without 9"),
        (coco({"image_id": 0, "category_id": 3, "segmentation": None}), "an annotation without segmentation"),
        (
            coco({"image_id": 0, "category_id": 3, "segmentation": {"size": [9**9, 9**9], "counts": [9**18]}}),
            r"counts of size .*, expected \[6, 8\]",
        ),
        (coco({"image_id": 0, "category_id": 3, "segmentation": {"size": [6, 8], "counts": [9]}}), "add up to 9"),
        ([1], "expected COCO, with lists of images"),
    ],
)
def test_what_is_wrong_with_a_coco_file_is_named(folder, content, message):
    write_json(folder / "coco.json", content)
    with pytest.raises(DataLayoutError, match=message):
        built(folder, {"ships": "ship", "cars": 4}, {"coco": "coco.json"}).check(folder)
