"""The contest's files are read as they are meant, all their faults are listed at once, and the sample is like them."""

from __future__ import annotations

import csv
import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from skyfold import competition
from skyfold.competition import Competition
from skyfold.errors import ConfigError, DataLayoutError, InvalidSubmission
from skyfold.files import file_digest
from skyfold.rle.codec import decode

SETTINGS = {"train": 8, "test": 4, "seed": 0, "height": 64}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "understanding_clouds"
    write(folder)
    return folder


def write(folder: Path, **settings: int) -> None:
    write_sample = built(None).write_sample
    assert write_sample is not None
    write_sample(folder, **{**SETTINGS, **settings})


def built(folder: Path | None) -> Competition:
    return competition.build("understanding_clouds", {}, folder)


def copy(sample: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample, tmp_path / "copy"))


def rows(path: Path) -> list[list[str]]:
    with open(path, newline="") as file:
        return list(csv.reader(file))


def rewrite(path: Path, change: Callable[[list[list[str]]], list[list[str]]]) -> None:
    lines = change(rows(path))
    with open(path, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)


def problems(folder: Path) -> str:
    with pytest.raises(DataLayoutError) as error:
        built(folder).check(folder)
    return str(error.value)


def test_the_sample_has_the_contests_layout(sample: Path) -> None:
    assert len(list((sample / "train_images").glob("*.jpg"))) == 8
    assert len(list((sample / "test_images").glob("*.jpg"))) == 4
    assert rows(sample / "train.csv")[0] == ["Image_Label", "EncodedPixels"]
    assert len(rows(sample / "train.csv")) == 1 + 8 * 4
    keys = [key for key, _ in rows(sample / "sample_submission.csv")]
    assert keys == [key for key, _ in rows(sample / "test_truth.csv")]
    assert built(sample).check(sample).startswith("8 train and 4 test images of 64x96 pixels, 32 rows in train.csv")


def test_the_grid_is_a_quarter_of_the_images_or_the_contests_own(sample: Path) -> None:
    assert built(sample).grid == (16, 24)
    assert built(None).grid == built(sample / "absent").grid == (350, 525)
    assert competition.build("understanding_clouds", {"grid": [70, 105]}, sample).grid == (70, 105)


def test_targets_are_the_rows_of_train_csv_sampled_on_the_grid(sample: Path) -> None:
    samples = built(sample).load(sample, "train")
    text = dict(rows(sample / "train.csv"))
    assert samples.targets is not None
    for row, name in enumerate(samples.ids):
        for place, label in enumerate(built(sample).classes):
            drawn = decode(text[f"{name}_{label}"], (64, 96))
            assert np.array_equal(samples.targets[row][..., place], drawn[::4, ::4])
    assert samples.inputs[0].shape == (64, 96, 3)


def test_the_test_part_has_images_alone_in_the_order_of_the_sample_submission(sample: Path, tmp_path: Path) -> None:
    folder = copy(sample, tmp_path)
    rewrite(folder / "sample_submission.csv", lambda lines: [lines[0], *lines[9:], *lines[1:9]])
    samples = built(folder).load(folder, "test")
    assert samples.targets is None
    wanted = [key for key, _ in rows(folder / "sample_submission.csv")[1:]]
    assert [f"{name}_{label}" for name in samples.ids for label in built(folder).classes] == wanted
    assert wanted != sorted(wanted)
    image = np.asarray(Image.open(folder / "test_images" / samples.ids[0]))
    assert np.abs(samples.inputs[0].astype(int) - image).mean() < 2


def test_the_truth_scores_one_against_itself_and_the_dummy_less(sample: Path) -> None:
    contest = built(sample)
    truth = contest.read_truth(sample / "test_truth.csv")

    def score(submission: str) -> float:
        pred = contest.read_pred(sample / submission, truth.ids)
        stats = contest.metric.stats(
            target=np.stack([truth.targets[i] for i in range(4)]), pred=np.stack([pred[i] for i in range(4)])
        )
        return contest.metric.score(stats)

    assert score("test_truth.csv") == 1.0
    assert score("sample_submission.csv") < 0.1


def test_the_sample_depends_on_its_seed_alone(sample: Path, tmp_path: Path) -> None:
    write(tmp_path / "same")
    write(tmp_path / "other", seed=1)
    assert all(
        file_digest(path) == file_digest(tmp_path / "same" / path.relative_to(sample))
        for path in sample.rglob("*")
        if path.is_file()
    )
    assert rows(tmp_path / "other" / "train.csv") != rows(sample / "train.csv")


def test_writing_the_sample_again_changes_nothing_and_other_files_are_never_overwritten(tmp_path: Path) -> None:
    write(tmp_path / "sample")
    (tmp_path / "sample" / "note.txt").touch()
    write(tmp_path / "sample")
    with pytest.raises(DataLayoutError, match="holds other files already"):
        write(tmp_path / "sample", seed=1)
    assert (tmp_path / "sample" / "note.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["sample"]


def test_an_unknown_or_impossible_sample_setting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown sample setting 'images'"):
        write(tmp_path / "a", images=3)
    with pytest.raises(ConfigError, match=r"data\.sample\.height: expected a multiple of 8, got 65"):
        write(tmp_path / "a", height=65)
    with pytest.raises(ConfigError, match=r"data\.sample\.seed: expected a whole number from 0 on, got -1"):
        write(tmp_path / "a", seed=-1)
    settings: dict[str, Any] = {"train": "a"}
    with pytest.raises(ConfigError, match=r"data\.sample\.train: expected a whole number from 1 on, got 'a'"):
        write(tmp_path / "a", **settings)
    assert not list(tmp_path.iterdir())


def test_sample_classes_are_empty_at_the_contests_rates() -> None:
    from skyfold.competitions.understanding_clouds.sample import EMPTY_RATES, scene

    empty = np.array([~scene(np.random.default_rng([5, i]), 64)[1].any(axis=(1, 2)) for i in range(50)])
    # 2.8 standard errors of a rate of one half from 50 scenes are 0.2; the seeds are fixed.
    assert np.abs(empty.mean(axis=0) - list(EMPTY_RATES.values())).max() < 0.2
    assert not empty.all(axis=1).any()


def test_all_faults_are_listed_at_once(sample: Path, tmp_path: Path) -> None:
    folder = copy(sample, tmp_path)
    names = sorted(path.name for path in (folder / "train_images").iterdir())
    cut = folder / "train_images" / names[0]
    cut.write_bytes(cut.read_bytes()[:-200])
    Image.new("RGB", (96, 60)).save(folder / "test_images" / "other_size.jpg")
    (folder / "train_images" / names[1]).unlink()

    def spoil(lines: list[list[str]]) -> list[list[str]]:
        kept = [line for line in lines if line[0] != f"{names[2]}_Gravel"]
        by_key = {line[0]: line for line in kept}
        by_key[f"{names[3]}_Fish"][1] = "1 2 3"
        by_key[f"{names[3]}_Sugar"][1] = "6140 9"
        by_key[f"{names[4]}_Flower"][0] = f"{names[4]}_Flour"
        return [*kept, by_key[f"{names[5]}_Fish"]]

    rewrite(folder / "train.csv", spoil)
    sugar = 1 + [key for key, _ in rows(folder / "train.csv")].index(f"{names[3]}_Sugar")
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
        f"row '{names[5]}_Fish' stands there 2 times",
    ):
        assert expected in text
    assert f"{folder}: 10 problems" in text  # with the missing row of the misspelt class


def test_missing_files_are_listed_together(sample: Path, tmp_path: Path) -> None:
    folder = copy(sample, tmp_path)
    shutil.rmtree(folder / "test_images")
    (folder / "train.csv").unlink()
    text = problems(folder)
    assert "test_images: no such folder" in text
    assert "train.csv: no such file" in text
    with pytest.raises(DataLayoutError, match="no such folder"):
        built(folder).load(folder, "test")
    with pytest.raises(DataLayoutError, match="no such file"):
        built(folder).load(folder, "train")
    assert "no such folder" in problems(tmp_path / "absent")


def test_a_submission_of_another_size_is_refused(sample: Path) -> None:
    with pytest.raises(InvalidSubmission, match=r"train\.csv: not a table of masks of 16x24 pixels"):
        built(sample).read_truth(sample / "train.csv")


def test_a_missing_sample_submission_is_refused_rather_than_left_out(sample: Path, tmp_path: Path) -> None:
    folder = copy(sample, tmp_path)
    assert built(folder).sample_table(folder) == folder / "sample_submission.csv"
    (folder / "sample_submission.csv").unlink()
    with pytest.raises(DataLayoutError, match=r"sample_submission\.csv: no such file\. Download it"):
        built(folder).sample_table(folder)


def test_a_folder_or_foreign_ids_in_the_place_of_a_table_are_refused(sample: Path, tmp_path: Path) -> None:
    contest = built(sample)
    with pytest.raises(InvalidSubmission, match="a folder, expected a CSV file"):
        contest.read_truth(sample)
    with pytest.raises(InvalidSubmission, match="a folder, expected a CSV file"):
        contest.read_pred(sample, np.array(["a.jpg"]))
    with pytest.raises(InvalidSubmission, match=r"test_truth\.csv: row 'a\.jpg_Fish' and 3 more are missing"):
        contest.read_pred(sample / "test_truth.csv", np.array(["a.jpg"]))
    folder = copy(sample, tmp_path)
    (folder / "train.csv").unlink()
    (folder / "train.csv").mkdir()
    with pytest.raises(DataLayoutError, match=r"train\.csv: a folder, expected a CSV file"):
        contest.load(folder, "train")


def test_a_table_of_the_header_alone_is_one_problem(sample: Path, tmp_path: Path) -> None:
    folder = copy(sample, tmp_path)
    rewrite(folder / "train.csv", lambda lines: lines[:1])
    assert "train.csv: it holds no rows, the header alone" in problems(folder)
    assert "1 problem with" in problems(folder)


def test_file_names_in_other_capitals_are_one_problem(sample: Path, tmp_path: Path) -> None:
    folder = copy(sample, tmp_path)
    for path in (folder / "train_images").iterdir():
        path.rename(path.with_suffix(".JPG"))
    text = problems(folder)
    assert "1 problem with" in text
    assert ".JPG', and 7 more: capitals alone differ" in text


def test_an_image_turned_by_exif_is_said_to_be(sample: Path, tmp_path: Path) -> None:
    folder = copy(sample, tmp_path)
    path = min((folder / "train_images").iterdir())
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)
    with pytest.raises(DataLayoutError, match=f"{path.name}: an EXIF tag turns this image to 96x64 pixels"):
        built(folder)
    with pytest.raises(
        DataLayoutError, match=r"96x64 pixels .*expected 64x96 \(an EXIF tag turns it; write it unturned"
    ):
        competition.build("understanding_clouds", {"grid": [16, 24]}, folder).check(folder)


@pytest.mark.real_data
@pytest.mark.skipif("SKYFOLD_DATA" not in os.environ, reason="SKYFOLD_DATA names no folder of real data")
def test_real_rows_score_one_against_themselves_and_all_empty_scores_the_empty_share(tmp_path: Path) -> None:
    source = Path(os.environ["SKYFOLD_DATA"]) / "clouds_labels" / "train_all_525x350.csv.gz"
    with gzip.open(source, "rt", newline="") as file, open(tmp_path / "truth.csv", "w", newline="") as out:
        out.writelines(line for _, line in zip(range(1 + 4 * 400), file, strict=False))
    contest = built(None)
    truth = contest.read_truth(tmp_path / "truth.csv")
    pred = contest.read_pred(tmp_path / "truth.csv", truth.ids)
    stats, nothing = [], []
    for row in range(len(truth.ids)):
        target = truth.targets[row][np.newaxis]
        stats.append(contest.metric.stats(target=target, pred=pred[row][np.newaxis]))
        nothing.append(contest.metric.stats(target=target, pred=np.zeros_like(target)))
    empty = np.mean([line[1] == "" for line in rows(tmp_path / "truth.csv")[1:]])
    assert contest.metric.score(np.concatenate(stats)) == 1.0
    assert contest.metric.score(np.concatenate(nothing)) == pytest.approx(empty)
