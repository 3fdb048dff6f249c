"""Maps of georeferenced scenes lie where their scenes lie, and their areas are those on the ground."""

import json

import numpy as np
import pytest

from skyfold.cli.main import main
from skyfold.data.georeference import NO_DATA, georeference_of, polygons_of, write_class_map
from skyfold.errors import ConfigError
from skyfold.reports.scene_maps import SceneMap, write_products

rasterio = pytest.importorskip("rasterio", reason="needs the extra: pip install -e .[geo]")
COLOURS = {"background": (0, 0, 0), "cloud": (255, 128, 0)}
UTM = rasterio.Affine(10.0, 0, 500_000.0, 0, -10.0, 5_300_000.0)  # pixels of 10 m x 10 m


def scene(path, size=(60, 40), crs="EPSG:32633", transform=UTM, **more):
    """A scene of one value, uint16."""
    kept = {"height": size[0], "width": size[1], "count": 1, "dtype": "uint16", "crs": crs, "transform": transform}
    with rasterio.open(path, "w", driver="GTiff", **kept, **more) as file:
        file.write(np.full(size, 7, dtype=np.uint16), 1)
    return path


def test_a_map_lies_where_its_scene_lies(tmp_path):
    where = georeference_of(scene(tmp_path / "scene.tif"))
    places = np.zeros((60, 40), dtype=np.uint8)
    places[20:30, 5:9] = 1
    places[:3] = NO_DATA
    write_class_map(tmp_path / "map.tif", places, where, COLOURS)
    with rasterio.open(tmp_path / "map.tif") as file:
        np.testing.assert_array_equal(file.read(1), places)
        assert file.crs.to_epsg() == 32633
        assert (file.transform, file.nodata) == (UTM, NO_DATA)
        assert file.colormap(1)[1] == (255, 128, 0, 255)
        assert file.tags(1)["class_1"] == "cloud"
        assert file.profile["tiled"]
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        x, y = file.xy(25, 7)  # the middle of a pixel of cloud
    assert (x, y) == (500_075.0, 5_299_745.0)
    assert np.array(places)[int((5_300_000 - y) // 10), int((x - 500_000) // 10)] == 1


def test_a_known_point_lies_within_half_a_pixel_of_its_polygon(tmp_path):
    where = georeference_of(scene(tmp_path / "scene.tif"))
    places = np.zeros((60, 40), dtype=np.uint8)
    places[25, 7] = 1
    [feature] = polygons_of(places, where, list(COLOURS))["features"]
    assert feature["properties"] == {"class": "cloud"}
    ring = np.array(feature["geometry"]["coordinates"][0])
    from rasterio.warp import transform

    [longitude], [latitude] = transform("EPSG:32633", "EPSG:4326", [500_075.0], [5_299_745.0])
    assert abs(ring[:, 0].mean() - longitude) < 5 / 111_000 / np.cos(np.radians(48))
    assert ring[:, 1].min() < latitude < ring[:, 1].max()


@pytest.mark.parametrize(
    ("crs", "transform", "kilometres"),
    [
        ("EPSG:32633", UTM, 60 * 40 * 1e-4),
        # A degree of latitude by a degree of longitude at the equator, on a sphere of radius 6371.0072 km.
        ("EPSG:4326", rasterio.Affine(1 / 40, 0, 10, 0, -1 / 60, 0.5), 12364.0),
        # Half as wide at 60 degrees.
        ("EPSG:4326", rasterio.Affine(1 / 40, 0, 10, 0, -1 / 60, 60.5), 6182.0),
        ("EPSG:2264", rasterio.Affine(10, 0, 0, 0, -10, 0), 60 * 40 * (10 * 0.3048006096) ** 2 * 1e-6),  # in feet
    ],
)
def test_areas_are_those_on_the_ground(tmp_path, crs, transform, kilometres):
    where = georeference_of(scene(tmp_path / "scene.tif", crs=crs, transform=transform))
    assert where.areas().sum() * 40 == pytest.approx(kilometres, rel=2e-4)


def test_products_hold_square_kilometres_and_leave_out_what_was_not_measured(tmp_path):
    where = georeference_of(scene(tmp_path / "scene.tif"))
    places = np.zeros((60, 40), dtype=np.uint8)
    places[:, :10], places[:30] = 1, NO_DATA
    write_products(tmp_path / "p", iter([SceneMap("a", places, where)]), COLOURS, count=1, polygons=True)
    table = (tmp_path / "p" / "shares.csv").read_text().splitlines()
    assert table == [
        "id,background,cloud,covered,grade,background_km2,cloud_km2",
        "a,0.7500,0.2500,0.2500,B,0.0900,0.0300",
    ]
    assert json.loads((tmp_path / "p" / "polygons" / "a.geojson").read_text())["features"]
    with pytest.raises(ConfigError, match="'b' is not georeferenced"):
        write_products(tmp_path / "p", iter([SceneMap("b", places)]), COLOURS, count=1, polygons=True)


def test_a_scene_without_a_place_has_none(tmp_path):
    import tifffile

    tifffile.imwrite(tmp_path / "plain.tif", np.zeros((4, 4), np.uint8))
    assert georeference_of(tmp_path / "plain.tif") is None
    assert georeference_of(tmp_path / "photo.png") is None


def test_the_extra_is_asked_for_where_it_is_needed(tmp_path, monkeypatch):
    path = scene(tmp_path / "scene.tif")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs the extra geo: pip install -e \.\[geo\]"):
        georeference_of(path)


def test_chips_are_submitted_with_maps_on_the_ground(tmp_path, monkeypatch):
    """From the sample of a contest, its test chips placed on the earth, to maps of an imported run."""
    root = tmp_path / "project"
    (root / "configs").mkdir(parents=True)
    monkeypatch.chdir(root)
    config = root / "configs" / "blend.yaml"
    config.write_text(
        "data: {competition: on_cloud_n, folds: {k: 2, phash_max_distance: -1}, sample: {train: 4, test: 2}}\n"
        "name: mean\nruns: [{name: theirs, model: {family: imported}}]\npostprocess: {thresholds: 3}\n"
    )
    assert main(["prepare", str(config), "--sample"]) == 0
    data = root / "data" / "on_cloud_n"
    for chip in (data / "test_features").iterdir():
        scene(chip / "B02.tif", size=(512, 512))
    arrays = {}
    for part in ("train", "test"):
        folder = data / ("train_labels" if part == "train" else "test_truth")
        masks = {path.stem: rasterio.open(path).read(1) * np.uint8(255) for path in folder.iterdir()}
        arrays[part] = masks
        np.savez(root / f"{part}.npz", **masks)
    assert main(["import", "theirs", "--data", str(config), "--oof", "train.npz", "--test", "test.npz"]) == 0
    assert main(["blend", str(config)]) == 0
    assert main(["submit", str(config), "--products", "--polygons"]) == 0
    products = root / "submissions" / "on_cloud_n" / "mean_products"
    for name, mask in arrays["test"].items():
        with rasterio.open(products / "geotiff" / f"{name}.tif") as file:
            np.testing.assert_array_equal(file.read(1), mask > 0)
            assert file.transform == UTM
        handed_in = rasterio.open(root / "submissions" / "on_cloud_n" / "mean" / f"{name}.tif").read(1)
        np.testing.assert_array_equal(handed_in, mask > 0)
