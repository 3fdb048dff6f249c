"""The contest's files are read as they are meant, all their faults are listed at once, and the sample is like them."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skyfold import competition
from skyfold.errors import DataLayoutError, InvalidSubmission
from skyfold.metrics.score_submission import score_submission
from skyfold.rle.codec import decode


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "understanding_clouds"
    built(None).write_sample(folder, train=8, test=4, height=64)
    return folder


@pytest.fixture
def folder(sample, tmp_path):
    return shutil.copytree(sample, tmp_path / "copy")


def built(folder):
    return competition.build("understanding_clouds", {}, folder)


def rows(path):
    return pd.read_csv(path, keep_default_na=False).to_numpy().tolist()


def rewrite(path, lines):
    pd.DataFrame(lines, columns=["Image_Label", "EncodedPixels"]).to_csv(path, index=False)


def problems(folder):
    with pytest.raises(DataLayoutError) as error:
        built(folder).check(folder)
    return str(error.value)


def test_the_sample_has_the_contests_layout_and_a_grid_of_a_quarter(sample):
    assert [len(list((sample / part).glob("*.jpg"))) for part in ("train_images", "test_images")] == [8, 4]
    assert (sample / "train.csv").read_text().startswith("Image_Label,EncodedPixels\n")
    dummy, truth = sample / "sample_submission.csv", sample / "test_truth.csv"
    assert [key for key, _ in rows(dummy)] == [key for key, _ in rows(truth)]
    assert score_submission(built(sample), truth, truth, draws=1).score == 1.0
    assert score_submission(built(sample), dummy, truth, draws=1).score < 0.1
    assert built(sample).check(sample).startswith("8 train and 4 test images of 64x96 pixels, 32 rows in train.csv")
    assert built(sample).grid == (16, 24)
    assert built(None).grid == built(sample / "absent").grid == (350, 525)
    assert competition.build("understanding_clouds", {"grid": [70, 105]}, sample).grid == (70, 105)


def test_targets_are_the_rows_of_train_csv_sampled_on_the_grid(sample):
    samples = built(sample).load(sample, "train")
    text = dict(rows(sample / "train.csv"))
    for row, name in enumerate(samples.ids):
        for place, label in enumerate(built(sample).classes):
            drawn = decode(text[f"{name}_{label}"], (64, 96))
            assert np.array_equal(samples.targets[row][..., place], drawn[1::4, 1::4])
    assert samples.inputs[0].shape == (64, 96, 3)


def test_the_test_part_has_only_images_in_the_order_of_the_sample_submission(folder):
    lines = rows(folder / "sample_submission.csv")
    lines = lines[8:] + lines[:8]
    rewrite(folder / "sample_submission.csv", lines)
    samples = built(folder).load(folder, "test")
    assert samples.targets is None
    wanted = [key for key, _ in lines]
    assert [f"{name}_{label}" for name in samples.ids for label in built(folder).classes] == wanted != sorted(wanted)
    image = np.asarray(Image.open(folder / "test_images" / samples.ids[0]))
    assert np.abs(samples.inputs[0].astype(int) - image).mean() < 2


def test_all_faults_are_listed_at_once(folder):
    names = sorted(path.name for path in (folder / "train_images").iterdir())
    cut = folder / "train_images" / names[0]
    cut.write_bytes(cut.read_bytes()[:-200])
    Image.new("RGB", (96, 60)).save(folder / "test_images" / "other_size.jpg")
    (folder / "train_images" / names[1]).unlink()
    texts = dict(rows(folder / "train.csv"))
    del texts[f"{names[2]}_Gravel"]
    texts |= {f"{names[3]}_Fish": "1 2 3", f"{names[3]}_Sugar": "6140 9"}
    texts[f"{names[4]}_Flour"] = texts.pop(f"{names[4]}_Flower")
    rewrite(folder / "train.csv", [*texts.items(), (f"{names[5]}_Fish", "")])
    sugar = 2 + list(texts).index(f"{names[3]}_Sugar")
    text = problems(folder)
    for expected in (
        f"{names[0]}: the JPEG is cut short",
        "other_size.jpg: 60x96 pixels (h x w), expected 64x96",
        "no row for image 'other_size.jpg', class Fish, Flower, Gravel, Sugar",
        f"no image '{names[1]}' in the folder",
        f"no row for image '{names[2]}', class Gravel",
        f"row '{names[3]}_Fish': 3 numbers",
        f"train.csv, line {sugar}: row '{names[3]}_Sugar': the segment '6140 9'",
        f"'{names[4]}_Flour' does not end in one of",
        f"row '{names[5]}_Fish' is there 2 times",
    ):
        assert expected in text
    assert f"{folder}: 10 problems" in text  # with the missing row of the misspelt class


def test_missing_files_are_listed_together(folder, tmp_path):
    contest = built(folder)
    assert contest.sample_table(folder) == folder / "sample_submission.csv"
    shutil.rmtree(folder / "test_images")
    for name in ("train.csv", "sample_submission.csv"):
        (folder / name).unlink()
    text = problems(folder)
    assert "test_images: no such folder" in text
    assert "train.csv: no such file" in text
    for part, message in (("test", "no such folder"), ("train", "no such file")):
        with pytest.raises(DataLayoutError, match=message):
            contest.load(folder, part)
    with pytest.raises(DataLayoutError, match=r"sample_submission\.csv: no such file\. Download it"):
        contest.sample_table(folder)
    assert "no such folder" in problems(tmp_path / "absent")


def test_masks_of_another_size_foreign_ids_and_a_folder_in_the_place_of_a_table_are_refused(folder):
    contest, ids = built(folder), np.array(["a.jpg"])
    with pytest.raises(InvalidSubmission, match=r"train\.csv: not a table of masks of 16x24 pixels"):
        contest.read_truth(folder / "train.csv")
    with pytest.raises(InvalidSubmission, match="a folder, expected a CSV file"):
        contest.read_truth(folder)
    with pytest.raises(InvalidSubmission, match="a folder, expected a CSV file"):
        contest.read_pred(folder, ids)
    with pytest.raises(InvalidSubmission, match=r"test_truth\.csv: rows of masks:\n  - no row for 'a\.jpg_Fish'"):
        contest.read_pred(folder / "test_truth.csv", ids)
    (folder / "train.csv").unlink()
    (folder / "train.csv").mkdir()
    with pytest.raises(DataLayoutError, match=r"train\.csv: a folder, expected a CSV file"):
        contest.load(folder, "train")


def test_a_table_of_a_header_and_names_in_other_capitals_are_one_problem_each(folder):
    lines = rows(folder / "train.csv")
    rewrite(folder / "train.csv", [])
    assert re.search(r"(?s)1 problem with .*train.csv: only a header, no rows", problems(folder))
    rewrite(folder / "train.csv", lines)
    for path in (folder / "train_images").iterdir():
        path.rename(path.with_suffix(".JPG"))
    assert re.search(r"(?s)1 problem with .*\.JPG', and 7 more: only capitals differ", problems(folder))


def test_an_image_turned_by_exif_is_named(folder):
    path, exif = min((folder / "train_images").iterdir()), Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)
    assert built(folder).grid == (16, 24)
    with pytest.raises(DataLayoutError, match=r"96x64 .*expected 64x96 \(an EXIF tag turns it; write it unturned"):
        competition.build("understanding_clouds", {"grid": [16, 24]}, folder).check(folder)


@pytest.mark.real_data
@pytest.mark.skipif("SKYFOLD_DATA" not in os.environ, reason="SKYFOLD_DATA names no folder of real data")
def test_real_rows_score_one_against_themselves_and_all_empty_scores_the_empty_fraction(tmp_path):
    source = Path(os.environ["SKYFOLD_DATA"]) / "clouds_labels" / "train_all_525x350.csv.gz"
    table = pd.read_csv(source, nrows=1600, keep_default_na=False)
    truth, nothing = tmp_path / "truth.csv", tmp_path / "nothing.csv"
    table.to_csv(truth, index=False)
    table.assign(EncodedPixels="").to_csv(nothing, index=False)
    empty = (table["EncodedPixels"] == "").mean()
    assert score_submission(built(None), truth, truth, draws=1).score == 1.0
    assert score_submission(built(None), nothing, truth, draws=1).score == pytest.approx(empty)
