"""Any folder of images and masks is a competition, once its files fit together."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skyfold import competition
from skyfold.config.files import load_config
from skyfold.errors import ConfigError, DataLayoutError, InvalidSubmission

CLOUD = {"classes": {"cloud": 255}, "background": 100, "ignore_value": 0}
CONFIGS = Path(__file__).parents[1] / "configs"


def folder_of(root, masks, size=(8, 12)):
    """`images/<name>.jpg` of noise and `masks/<name>.png`."""
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for seed, (name, mask) in enumerate(masks.items()):
        image = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
        Image.fromarray(image).save(root / "images" / f"{name}.jpg")
        Image.fromarray(mask).save(root / "masks" / f"{name}.png")
    return root


def halves(left, right, size=(8, 12)):
    mask = np.full(size, left, np.uint8)
    mask[:, size[1] // 2 :] = right
    return mask


@pytest.fixture
def folder(tmp_path):
    return folder_of(tmp_path, {"a": halves(255, 100), "b": halves(0, 255)})


def built(folder, **options):
    return competition.build("mask_folder", {**CLOUD, **options}, folder)


def test_images_and_masks_become_samples(folder):
    contest = built(folder)
    samples = contest.load(folder, "train")
    assert (contest.grid, contest.classes) == ((8, 12), ("cloud",))
    assert samples.ids.tolist() == ["a", "b"]
    assert samples.targets[0][0, :, 0].tolist() == [1] * 6 + [0] * 6
    assert samples.valid[0].all()
    assert samples.valid[1][0].tolist() == [False] * 6 + [True] * 6
    # 6 + 6 columns are cloud of the 18 that count in two images of 12 columns.
    assert contest.check(folder) == (
        "2 images with masks, grid 8x12; cloud 66.7% of the pixels, empty 0%; undefined 25.0%"
    )
    samples = built(folder, grid=[4, 6], background=[0, 100], ignore_value=None).load(folder, "train")
    assert samples.targets[0][..., 0].tolist() == [[1, 1, 1, 0, 0, 0]] * 4
    assert samples.valid is None


def test_images_of_different_sizes_need_a_grid(folder):
    folder_of(folder, {"c": halves(255, 100, (16, 16))}, (16, 16))
    for use in (lambda: built(folder).load(folder, "train"), lambda: built(folder).check(folder)):
        with pytest.raises(DataLayoutError, match=r"a\.jpg has 8x12 pixels, .*c\.jpg 16x16. Set grid"):
            use()
    with pytest.raises(ConfigError, match=r"c\.jpg 16x16. Set grid"):
        built(folder).read_truth(folder / "masks")
    assert np.stack(list(built(folder, grid=[8, 12]).load(folder, "train").targets)).shape == (3, 8, 12, 1)
    with pytest.raises(ConfigError, match="grid: set it, or name the folder"):
        built(None)
    with pytest.raises(DataLayoutError, match="images: no such folder"):
        built(folder / "absent").load(folder / "absent", "train")


def use_capitals(folder):
    for name in "ab":
        (folder / "masks" / f"{name}.png").rename(folder / "masks" / f"{name.upper()}.png")


def turn(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(folder / "images" / "b.jpg").save(folder / "images" / "b.jpg", exif=exif)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: (f / "masks" / "a.png").rename(f / "masks" / "z.png"),
            r"2 problems .*a\.jpg: no mask 'a\.png'.*z\.png: no image for this mask",
        ),
        (use_capitals, r"1 problem .*a\.jpg and .*A\.png: names that differ only in capitals"),
        (turn, r"2 problems .*b\.jpg: an EXIF tag turns it.*b\.jpg: 12x8 pixels, its mask 8x12 \(an EXIF tag turns it"),
        (lambda f: shutil.rmtree(f / "masks"), "1 problem .*masks: no such folder"),
    ],
)
def test_images_and_masks_that_do_not_fit_together_are_refused(change, message, folder):
    change(folder)
    with pytest.raises(DataLayoutError, match=f"(?s){message}"):
        built(folder, grid=[8, 12]).load(folder, "train")


def test_the_test_part_is_a_folder_of_images_alone(folder):
    with pytest.raises(DataLayoutError, match=r"no test part.*data\.options\.test_images"):
        built(folder).load(folder, "test")
    contest = built(folder, test_images="images")
    samples = contest.load(folder, "test")
    assert (samples.targets, samples.ids.tolist()) == (None, ["a", "b"])
    assert contest.check(folder).endswith("2 test images")


def test_checking_lists_broken_images_and_unexplained_masks_together(folder):
    Image.fromarray(halves(255, 33)).save(folder / "masks" / "a.png")
    image = folder / "images" / "b.jpg"
    image.write_bytes(image.read_bytes()[:-20])
    both = r"(?s)2 problems.*b\.jpg: the JPEG is cut short.*a\.png: 48 pixels have values that no class has: 33\."
    with pytest.raises(DataLayoutError, match=both):
        built(folder).check(folder)


def test_groups_come_from_a_table(folder):
    group = {"file": "index.csv", "id": "name", "column": "scene"}
    index = folder / "index.csv"
    index.write_text("scene,name\nnorth,b\nsouth,a\neast,c\n")
    contest = built(folder, group=group)
    assert contest.load(folder, "train").groups.tolist() == ["south", "north"]
    index.write_text("scene,name\nnorth,b\nsouth,b\n")
    with pytest.raises(DataLayoutError, match=r"(?s)id 'b' is listed 2 times.*no group for image 'a'"):
        contest.load(folder, "train")
    index.write_text("scene,id\nnorth,b\n")
    with pytest.raises(DataLayoutError, match="column 'name' is missing"):
        contest.load(folder, "train")


def test_masks_and_tables_are_read_as_truth_and_as_predictions(folder):
    contest = built(folder)
    truth = contest.read_truth(folder / "masks")
    masks = np.stack(list(truth.targets)).astype(bool)
    contest.submission.encode(truth.ids, masks).to_csv(folder / "pred.csv", index=False)
    for name in ("pred.csv", "masks"):
        assert np.array_equal(np.stack(list(contest.read_truth(folder / name).targets)), masks)
        assert np.array_equal(np.stack(list(contest.read_pred(folder / name, truth.ids))), masks)
    other = folder_of(folder / "pred", {"a": halves(255, 100, (4, 6))}, (4, 6)) / "masks"
    with pytest.raises(InvalidSubmission, match=r"(?s)no mask for 'b'.*a\.png: 4x6 pixels, expected 8x12"):
        contest.read_pred(other, truth.ids)


def test_predicted_masks_of_one_class_may_be_plain_black_and_white(tmp_path):
    folder = folder_of(tmp_path, {"a": halves(7, 100), "b": halves(1, 7)})
    contest = built(folder, classes={"cloud": 7}, ignore_value=1)
    plain = folder_of(tmp_path / "pred", {"a": halves(255, 0), "b": halves(0, 255)}) / "masks"
    pred = contest.read_pred(plain, np.array(["b", "a"]))
    assert [mask[0, :, 0].tolist() for mask in pred] == [[0] * 6 + [1] * 6, [1] * 6 + [0] * 6]


@pytest.mark.real_data
@pytest.mark.skipif("SKYFOLD_DATA" not in os.environ, reason="SKYFOLD_DATA names no folder of real data")
def test_real_folders_pass_the_check_and_masks_of_a_published_model_score_what_was_published():
    for name, found in (
        ("wsiseg", "320 images with masks, grid 450x480; cloud 55.7% of the pixels, empty 0%; undefined 35.8%"),
        ("l8biome_rgb", "60 images with masks, grid 384x384; cloud 35.6% of the pixels, empty 28%; 47 groups"),
    ):
        folder, data = Path(os.environ["SKYFOLD_DATA"]) / name, load_config(CONFIGS / name / "data.yaml").data
        contest = competition.build(data.competition, data.options, folder)
        assert contest.check(folder) == found
    truth = contest.read_truth(folder / "masks")
    pred = contest.read_pred(folder / "pred_cdmamba", truth.ids)
    stats = contest.metric.stats(target=np.stack(list(truth.targets)), pred=np.stack(list(pred)))
    published = pd.read_csv(folder / "index.csv", index_col="id", dtype={"id": str})["dice_pred"]
    assert contest.metric.per_row(stats) == pytest.approx(published[truth.ids].to_numpy(), abs=6e-4)
    assert contest.metric.score(stats) == pytest.approx(0.843, abs=5e-4)
