"""Scenes of any size become samples on one grid, the sample is laid out as the official files, and faults are named."""

import shutil

import numpy as np
import pytest
from PIL import Image

from skyfold import competition
from skyfold.data.images import read_header
from skyfold.errors import ConfigError, DataLayoutError, InvalidSubmission
from skyfold.metrics.score_submission import score_submission

SETTINGS = {"train": 5, "validation": 2, "test": 2, "side": 64}
RGB = {"background": (0, 0, 0), "thick_cloud": (255, 0, 0), "thin_cloud": (0, 255, 0), "shadow": (0, 0, 255)}


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes") / "sample"
    built(None).write_sample(folder, **SETTINGS)
    return folder


@pytest.fixture
def folder(sample, tmp_path):
    return shutil.copytree(sample, tmp_path / "copy")


def built(folder, **options):
    return competition.build("cloud_cover", {"grid": [24, 20], **options}, folder)


def test_the_sample_has_the_official_layout_and_scenes_of_different_sizes(sample):
    sizes = []
    for split, count in (("train", 5), ("validation", 2), ("test", 2)):
        images, labels = (sorted((sample / kind / split).glob("*.png")) for kind in ("images", "labels"))
        assert len(images) == count
        assert [path.name for path in images] == [path.name for path in labels]
        sizes += [read_header(path).size for path in images]
        assert [read_header(path).size for path in labels] == sizes[-count:]
    assert len(set(sizes)) > 4
    assert {size.index(64) for size in sizes} == {0, 1}  # the fixed side is the height of some, the width of others


def test_training_joins_train_and_validation(sample):
    contest = built(sample)
    train, test = (contest.load(sample, part) for part in ("train", "test"))
    assert [*train.ids, *test.ids] == [f"scene_{index:04d}" for index in range(9)]
    assert test.targets is None
    targets = np.stack(list(train.targets))
    assert targets.shape == (7, 24, 20, 4)
    assert (targets.sum(axis=-1) == 1).all()
    assert (targets.any(axis=(1, 2)).mean(axis=0) > 0.5).all()
    summary = contest.check(sample)
    assert summary.startswith("7 images with masks, grid 24x20; background ")
    assert summary.endswith("2 test images")


def test_colours_are_the_configs(folder):
    path = folder / "labels" / "train" / "scene_0000.png"
    label = np.array(Image.open(path))
    label[:10] = [250, 250, 250]
    Image.fromarray(label).save(path)
    unknown = rf"scene_0000\.png: {10 * label.shape[1]} pixels have values that no class has: #fafafa"
    with pytest.raises(DataLayoutError, match=unknown):
        built(folder).check(folder)
    thick = {"thick_cloud": ["#ff0000", "#fafafa"]}
    colours = {"background": "#000000", **thick, "thin_cloud": "#00ff00", "shadow": "#0000ff"}
    assert built(folder, colours=colours).load(folder, "train").targets[0][0, :, 1].all()


@pytest.mark.parametrize(
    ("colours", "message"),
    [
        ({"background": "#000000"}, "name background, thick_cloud, thin_cloud, shadow; got background"),
        (dict(zip(RGB, range(4), strict=True)), "give colours as '#rrggbb'"),
    ],
)
def test_other_classes_and_grey_values_are_refused(colours, message):
    with pytest.raises(ConfigError, match=message):
        built(None, colours=colours)


def test_faults_of_all_splits_are_listed_together(folder):
    (folder / "labels" / "train" / "scene_0001.png").unlink()
    cut = folder / "images" / "validation" / "scene_0005.png"
    cut.write_bytes(cut.read_bytes()[:-30])
    shutil.rmtree(folder / "images" / "test")
    with pytest.raises(DataLayoutError) as error:
        built(folder).check(folder)
    assert "scene_0001.png: no mask 'scene_0001.png' for this image" in str(error.value)
    assert "scene_0005.png: the PNG is cut short" in str(error.value)
    assert "images/test: no such folder" in str(error.value)


def test_one_name_in_two_splits_is_refused(folder):
    for kind in ("images", "labels"):
        shutil.copy(folder / kind / "train" / "scene_0002.png", folder / kind / "validation" / "scene_0002.png")
    with pytest.raises(DataLayoutError, match="id 'scene_0002' is in 2 folders"):
        built(folder).check(folder)


def test_an_indexed_png_is_read_by_its_colours(sample, tmp_path):
    contest = built(sample)
    ids = contest.read_truth(sample / "labels" / "test").ids
    for name in ids:
        colours = np.array(Image.open(sample / "labels" / "test" / f"{name}.png"))
        places = np.array([(colours == rgb).all(axis=-1) for rgb in RGB.values()]).argmax(axis=0)
        indexed = Image.fromarray(places.astype(np.uint8)).convert("P")
        indexed.putpalette([channel for rgb in RGB.values() for channel in rgb])
        indexed.save(tmp_path / f"{name}.png")
    scored = score_submission(contest, tmp_path, sample / "labels" / "test", draws=10)
    assert (scored.score, scored.samples) == (1.0, 2)


def test_label_images_that_are_missing_or_of_another_size_are_listed(sample, tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "scene_0008.png")
    message = r"(?s)no mask for 'scene_0007'.*0008\.png: 20x30 pixels, expected (\d+x64|64x)"
    with pytest.raises(InvalidSubmission, match=message):
        built(sample).read_pred(tmp_path, np.array(["scene_0007", "scene_0008"]))


def test_a_place_of_the_grid_is_the_middle_of_what_it_covers(tmp_path):
    """So that a map that is enlarged again lies where its scene does."""
    label = np.zeros((30, 60, 3), np.uint8)
    label[2::5, 2::5] = RGB["shadow"]
    Image.fromarray(label).save(tmp_path / "scene_0007.png")
    contest = built(None, grid=[6, 12])
    masks = [contest.read_truth(tmp_path).targets[0], contest.read_pred(tmp_path, np.array(["scene_0007"]))[0]]
    for mask in masks:
        assert mask[..., 3].all()
