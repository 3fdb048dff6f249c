"""Planted copies, groups and differences between parts, and the audit that finds them."""

import json
import shutil

import cv2
import numpy as np
import pytest
import yaml

from skyfold.cli.main import main
from skyfold.competitions.understanding_clouds.sample import scene
from skyfold.data.images import ImageFiles
from skyfold.data.name_groups import guessed_groups
from skyfold.data.near_copies import coarse_structure, near_copies
from skyfold.data.thumbnails import look_at
from skyfold.metrics.adversarial import auc, told_apart

pytestmark = pytest.mark.usefixtures("own_data")
ORIGINALS = 40
KINDS = {
    "same": lambda image: image,
    "half": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "mirrored": lambda image: image[:, ::-1],
    "turned": lambda image: np.rot90(image),
    "upside down": lambda image: image[::-1, ::-1],
    "darker": lambda image: (0.8 * image).astype(np.uint8),
    "gamma": lambda image: (255 * (image / 255) ** 0.8).astype(np.uint8),
}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A folder of images of 112 x 168 pixels, and after them a copy of each kind, one of one image, and a JPEG."""
    folder = tmp_path_factory.mktemp("scenes")
    images = [scene(np.random.default_rng([3, i]), 112)[0][..., ::-1] for i in range(ORIGINALS)]
    for i, image in enumerate(images):
        cv2.imwrite(str(folder / f"a{i:02d}.png"), image)
    for i, (name, changed) in enumerate(KINDS.items()):
        cv2.imwrite(str(folder / f"b{i:02d} {name}.png"), np.ascontiguousarray(changed(images[i])))
    cv2.imwrite(str(folder / "c jpeg.jpg"), images[len(KINDS)], [cv2.IMWRITE_JPEG_QUALITY, 70])
    return folder


@pytest.fixture(scope="module")
def seen(scenes):
    return look_at(ImageFiles(sorted(scenes.iterdir())))


def test_copies_of_every_kind_are_found_and_no_others(seen):
    found = near_copies(seen.grey)
    expected = [(i, ORIGINALS + i) for i in range(len(KINDS) + 1)]
    assert [(one.first, one.second) for one in found] == expected
    views = [one.view for one in found]
    assert views == ["as it is", "as it is", "mirrored", "turned by 270", "turned by 180", *["as it is"] * 3]


def test_images_of_one_colour_are_no_copies():
    grey = np.repeat(np.array([40, 41, 200], np.float32)[:, None, None], 64, axis=1).repeat(64, axis=2)
    assert near_copies(grey) == []


def test_the_frame_that_all_images_share_is_no_likeness(seen):
    grey = seen.grey[:ORIGINALS].copy()
    y, x = np.mgrid[:64, :64]
    grey[:, np.hypot(y - 32, x - 32) > 28] = 0  # the edge of a dome
    assert near_copies(grey) == []


def test_names_tell_of_groups_where_images_bear_them_out(seen):
    rng = np.random.default_rng(0)
    scene_of = np.repeat(np.arange(10), 4)
    grey = seen.grey[:10][scene_of] + rng.normal(0, 8, (40, 64, 64)).astype(np.float32)
    ids = [f"patch_{i}_LC{number:03d}.png" for i, number in enumerate(scene_of)]
    found = guessed_groups(ids, coarse_structure(grey))
    assert found is not None
    assert len(np.unique(found.groups)) == 10
    assert len({*zip(found.groups.tolist(), scene_of.tolist(), strict=True)}) == 10
    assert guessed_groups(ids, coarse_structure(rng.normal(0, 8, (40, 64, 64)).astype(np.float32))) is None


def test_parts_that_differ_are_told_apart_and_equal_ones_are_not(seen):
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(200, 5)), np.arange(200) % 2 == 0
    names = tuple("abcde")
    alike = told_apart(features, labels, names)
    assert alike.low < 0.5 < alike.high
    other = features + 1.5 * labels[:, None] * np.array([0, 0, 1, 0, 0])
    apart = told_apart(other, labels, names)
    assert apart.low > 0.7
    assert apart.by[0][0] == "c"
    assert told_apart(features[:6], labels[:6], names) is None  # too few to be divided


def test_a_leak_by_groups_is_not_taken_for_a_difference():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(30), 6)
    features, labels = rng.normal(size=(30, 4))[groups] + 0.01 * rng.normal(size=(180, 4)), groups % 2 == 0
    by_group = told_apart(features, labels, tuple("abcd"), groups=groups)
    assert by_group.low < 0.5 < by_group.high
    assert told_apart(features, labels, tuple("abcd")).low > 0.9  # rows of one group on both sides


def test_auc_counts_ties_half():
    assert auc(np.array([0.0, 1, 1, 2]), np.array([False, False, True, True])) == 0.875


def test_the_command_names_what_leaks(scenes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    images, masks = tmp_path / "data/mine/images", tmp_path / "data/mine/masks"
    shutil.copytree(scenes, images)
    masks.mkdir()
    for path in images.iterdir():
        size = cv2.imread(str(path)).shape[:2]
        cv2.imwrite(str(masks / f"{path.stem}.png"), np.zeros(size, np.uint8))
    (tmp_path / "configs").mkdir()
    data = {"competition": "mask_folder", "name": "mine", "options": {"classes": {"cloud": 1}, "grid": "own"}}
    config = tmp_path / "mine.yaml"
    config.write_text(yaml.safe_dump({"data": {**data, "folds": {"k": 2, "phash_max_distance": -1}}}))
    assert main(["prepare", str(config)]) == 0
    capsys.readouterr()
    assert main(["audit", str(config), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    first = document["findings"][0]
    assert (first["kind"], first["leak"]) == ("copies between folds", True)
    assert first["text"].startswith(f"{len(KINDS) + 1} pairs of near-identical training images")
    lines = (tmp_path / "oof/mine/audit/copies.csv").read_text().splitlines()
    assert lines[0] == "first,fold,second,fold of second,view,similarity"
    assert len(lines) == 2 + len(KINDS)
    assert main(["audit", "arctic_sea_ice"]) == 2
