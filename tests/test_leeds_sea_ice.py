"""Light, radar and masks of sea ice become four bands and targets; what is broken or missing is named with a remedy."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from skyfold import competition
from skyfold.competition import Competition
from skyfold.config.data import DataConfig
from skyfold.errors import ConfigError, DataLayoutError, InvalidSubmission
from skyfold.files import file_digest
from skyfold.pipeline.prepare import prepare
from skyfold.workspace import Workspace

SETTINGS = {"train": 6, "test": 3, "seed": 0, "side": 48}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "leeds_sea_ice"
    write(folder)
    return folder


@pytest.fixture
def folder(sample: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample, tmp_path / "copy"))


def write(folder: Path, **settings: int) -> None:
    write_sample = built().write_sample
    assert write_sample is not None
    write_sample(folder, **{**SETTINGS, **settings})


def built(folder: Path | None = None, **options: Any) -> Competition:
    return competition.build("leeds_sea_ice", options, folder)


def ids(folder: Path, part: str = "train") -> list[str]:
    return sorted(path.name.removesuffix("_vis.tiff") for path in (folder / part).glob("*_vis.tiff"))


def problems(folder: Path, **options: Any) -> str:
    with pytest.raises(DataLayoutError) as error:
        built(folder, **options).check(folder)
    return str(error.value)


def rows(path: Path) -> list[list[str]]:
    with open(path, newline="") as file:
        return list(csv.reader(file))


def triplet(folder: Path, vis: np.ndarray, sar: np.ndarray, ref: np.ndarray, name: str = "a") -> Path:
    """A data set of one sample, RGB written in the order that OpenCV wants; the test part is the same without mask."""
    for part in ("train", "test"):
        (folder / part).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / part / f"{name}_vis.tiff"), vis[..., ::-1])
        cv2.imwrite(str(folder / part / f"{name}_sar.tiff"), sar)
    cv2.imwrite(str(folder / "train" / f"{name}_ref.tiff"), ref)
    return folder


def test_the_sample_has_the_contests_layout(sample: Path) -> None:
    names = {part: sorted(path.name for path in (sample / part).iterdir()) for part in ("train", "test")}
    assert names["train"] == [f"{name}_{kind}.tiff" for name in ids(sample) for kind in ("ref", "sar", "vis")]
    assert names["test"] == [f"{name}_{kind}.tiff" for name in ids(sample, "test") for kind in ("sar", "vis")]
    said = built(sample).check(sample)
    assert said.startswith("synthetic sample: 6 train samples (vis 48x48, sar 144x144, ref 48x48, ice ")
    assert "3 test samples (vis 48x48, sar 144x144)" in said


def test_the_grid_is_that_of_the_masks_or_the_contests_own(sample: Path) -> None:
    assert built(sample).grid == (48, 48)
    assert built().grid == built(sample / "absent").grid == (240, 240)
    assert built(sample, grid=[24, 24]).grid == (24, 24)


def test_each_image_goes_to_the_wanted_size_in_one_step(tmp_path: Path) -> None:
    """Radar columns 30 60 90 120 150 180 at 4 columns, each 1.5 wide: (30 + 60 / 2) / 1.5 = 40, (60 / 2 + 90) / 1.5 =
    80, and so on. At 2 columns: means of three, 60 and 150. The visible pixel pairs are enlarged bilinearly."""
    sar = np.tile(np.arange(30, 181, 30, dtype=np.uint8), (6, 1))
    vis = np.zeros((2, 2, 3), np.uint8)
    vis[:, 1] = (200, 100, 40)
    folder = triplet(tmp_path, vis, sar, np.array([[0, 255], [0, 255]], np.uint8))
    samples = built(folder).load(folder, "train")
    assert samples.inputs[0].tolist() == [[[0, 0, 0, 60], [200, 100, 40, 150]]] * 2
    resized = getattr(samples.inputs, "resized")  # noqa: B009, since an ArraySequence need not have it
    large = resized(0, (4, 4))
    assert large[0, :, 3].tolist() == [40, 80, 130, 170]
    assert large[0, :, 0].tolist() == [0, 50, 150, 200]
    assert samples.targets is not None
    assert samples.targets[0][..., 0].tolist() == [[0, 1], [0, 1]]


def test_the_test_part_comes_in_the_order_of_the_sample_submission(folder: Path) -> None:
    table = folder / "sample_submission.csv"
    header, *lines = rows(table)
    table.write_text("\n".join(",".join(line) for line in [header, *lines[::-1]]) + "\n")
    samples = built(folder).load(folder, "test")
    assert samples.targets is None
    assert samples.ids.tolist() == [name for name, _ in lines[::-1]] != sorted(samples.ids.tolist())
    vis = cv2.imread(str(folder / "test" / f"{samples.ids[0]}_vis.tiff"))
    np.testing.assert_array_equal(samples.inputs[0][..., :3], vis[..., ::-1])
    table.unlink()
    assert built(folder).load(folder, "test").ids.tolist() == sorted(samples.ids.tolist())


def test_a_sample_submission_of_other_files_is_refused(folder: Path) -> None:
    first, *_ = ids(folder, "test")
    table = folder / "sample_submission.csv"
    table.write_text(table.read_text().replace(f"{first},", "stranger,"))
    with pytest.raises(DataLayoutError, match=f"no row for sample '{first}'"):
        built(folder).load(folder, "test")
    assert "no files of 'stranger' in test/" in problems(folder)


def test_the_truth_is_a_table_of_bare_ids_or_a_folder_of_masks(sample: Path) -> None:
    contest = built(sample)
    truth = contest.read_truth(sample / "test_truth.csv")
    assert truth.ids.tolist() == ids(sample, "test")
    pred = contest.read_pred(sample / "test_truth.csv", truth.ids)
    stats = contest.metric.stats(target=np.stack(list(truth.targets)), pred=np.stack(list(pred)))
    assert contest.metric.score(stats) == 1.0
    nothing = contest.read_pred(sample / "sample_submission.csv", truth.ids)
    assert not np.stack(list(nothing)).any()
    masks = contest.read_truth(sample / "train")
    assert masks.ids.tolist() == ids(sample)
    stored = cv2.imread(str(sample / "train" / f"{masks.ids[0]}_ref.tiff"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(masks.targets[0][..., 0], stored == 255)
    with pytest.raises(DataLayoutError, match="no masks here"):
        contest.read_truth(sample / "test")


def test_submissions_have_a_row_for_each_bare_id(sample: Path) -> None:
    contest = built(sample)
    names = np.array(["b_1", "a", "7"])
    masks = np.random.default_rng(0).random((3, 48, 48, 1)) < 0.5
    table = contest.submission.encode(names, masks)
    assert list(table.columns) == ["id", "rle"]
    assert table["id"].tolist() == names.tolist()
    back = contest.submission.decode(table, names[::-1])
    np.testing.assert_array_equal(np.stack([back[i] for i in range(3)]), masks[::-1])
    assert contest.submission.problems(table, table) == []
    assert contest.submission.problems(table.iloc[[0, 2]], table) == [
        "row 'a' is missing; add it, with an empty mask if need be."
    ]
    with pytest.raises(InvalidSubmission, match="row 'c' is missing"):
        contest.submission.decode(table, np.array(["a", "c"]))


def test_the_sample_depends_on_its_seed_alone_and_is_never_written_over_files(sample: Path, tmp_path: Path) -> None:
    write(tmp_path / "same")
    write(tmp_path / "other", seed=1)
    files = [path for path in sample.rglob("*") if path.is_file()]
    assert all(file_digest(path) == file_digest(tmp_path / "same" / path.relative_to(sample)) for path in files)
    assert rows(tmp_path / "other" / "test_truth.csv") != rows(sample / "test_truth.csv")
    with pytest.raises(DataLayoutError, match="holds other files already"):
        write(tmp_path / "same", seed=1)
    with pytest.raises(ConfigError, match=r"unknown sample setting 'height'. Known: train, test, seed, side"):
        write(tmp_path / "new", height=8)
    with pytest.raises(ConfigError, match=r"data\.sample\.side: expected a whole number from 32 on, got 8"):
        write(tmp_path / "new", side=8)


def test_light_and_radar_tell_more_together_than_either_alone() -> None:
    from sklearn.linear_model import LogisticRegression

    from skyfold.competitions.leeds_sea_ice.sample import scene
    from skyfold.data.images import resize

    scenes = [scene(np.random.default_rng([3, i]), 32) for i in range(60)]
    bands = np.stack([np.dstack([vis, resize(sar[..., np.newaxis], (32, 32))]) for vis, sar, _ in scenes]) / 255
    ice = np.stack([mask for _, _, mask in scenes])

    def accuracy(chosen: list[int]) -> float:
        train, test = bands[:40, ..., chosen].reshape(-1, len(chosen)), bands[40:, ..., chosen].reshape(-1, len(chosen))
        model = LogisticRegression().fit(train, ice[:40].ravel())
        return float(model.score(test, ice[40:].ravel()))

    light, radar, both = accuracy([0, 1, 2]), accuracy([3]), accuracy([0, 1, 2, 3])
    assert both > max(light, radar) + 0.01
    assert min(light, radar) > max(ice.mean(), 1 - ice.mean())


def test_single_and_missing_files_are_named_with_the_remedy(folder: Path) -> None:
    first, second, third, *_ = ids(folder)
    train = folder / "train"
    (train / f"{first}_sar.tiff").unlink()
    (train / f"{second}_vis.tiff").unlink()
    (train / f"{second}_ref.tiff").unlink()
    shutil.copy(train / f"{third}_vis.tiff", train / f"{third}_VIS.tif")
    shutil.copy(train / f"{third}_vis.tiff", train / "map.tiff")
    (folder / "test" / f"{ids(folder, 'test')[0]}_sar.tiff").unlink()
    text = problems(folder)
    assert f"sample '{first}' has no {first}_sar.tiff. Get it again, or remove {first}_ref.tiff, {first}_vis" in text
    assert f"sample '{second}' has no {second}_vis.tiff, {second}_ref.tiff. Get it again, or remove " in text
    assert "two files of one kind. Keep one" in text
    assert "map.tiff: its name ends in none of _vis, _sar, _ref" in text
    assert f"test: sample '{ids(folder, 'test')[0]}' has no" in text
    assert f"{folder}: 5 problems" in text
    with pytest.raises(DataLayoutError, match=f"sample '{first}' has no"):
        built(folder, grid=[48, 48]).load(folder, "train")


def test_broken_files_are_named_all_at_once(folder: Path) -> None:
    first, second, third, fourth, *_ = ids(folder)
    train = folder / "train"
    cut = train / f"{first}_vis.tiff"
    cut.write_bytes(cut.read_bytes()[:-300])
    (train / f"{second}_sar.tiff").write_bytes(b"")
    (train / f"{third}_ref.tiff").write_text("no picture")
    cv2.imwrite(str(train / f"{fourth}_sar.tiff"), np.zeros((150, 150), np.uint8))
    cv2.imwrite(str(train / f"{fourth}_vis.tiff"), np.zeros((48, 48), np.uint8))
    text = problems(folder, grid=[48, 48])
    assert f"{first}_vis.tiff: the TIFF is cut short or damaged" in text
    assert f"{second}_sar.tiff: the file is empty" in text
    assert f"{third}_ref.tiff: not a TIFF file" in text
    assert f"{fourth}_sar.tiff: 150x150 pixels, most others have 144x144" in text
    assert f"{fourth}_vis.tiff: expected 3 bands, the file has 1" in text
    assert f"{folder}: 5 problems" in text


def test_the_odd_one_out_is_named_also_where_it_comes_first(folder: Path) -> None:
    first = ids(folder)[0]
    cv2.imwrite(str(folder / "train" / f"{first}_sar.tiff"), np.zeros((150, 150), np.uint8))
    text = problems(folder, grid=[48, 48])
    assert f"{first}_sar.tiff: 150x150 pixels, most others have 144x144" in text
    assert f"{folder}: 1 problem " in text


def test_missing_folders_are_listed_together(tmp_path: Path) -> None:
    text = problems(tmp_path)
    assert "train: no such folder" in text
    assert "test: no such folder" in text


def test_images_of_another_view_are_refused(tmp_path: Path) -> None:
    vis, ref = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)
    wide = triplet(tmp_path / "wide", vis, np.zeros((24, 30), np.uint8), ref)
    assert "do not show one view: vis 8x8, sar 24x30" in problems(wide)
    coarse = triplet(tmp_path / "coarse", vis, np.zeros((24, 24), np.uint8), ref[:4, :4])
    assert "Masks are as large as vis images" in problems(coarse)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_numbers_that_are_no_bytes_need_a_range(tmp_path: Path, dtype: type) -> None:
    """0 .. 1000 at a range of 200 to 700: 450 is half-way, 127.5, which rounds to 128."""
    sar = np.repeat(np.array([0, 200, 450, 1000], dtype=dtype), 3)[np.newaxis].repeat(12, axis=0)
    folder = triplet(tmp_path, np.zeros((4, 4, 3), np.uint8), sar, np.zeros((4, 4), np.uint8))
    text = problems(folder)
    assert f"a_sar.tiff: {np.dtype(dtype)} values, expected bytes" in text
    assert "data.options.sar_range: [low, high]; this file has 0 to 1000" in text
    inputs = built(folder, sar_range=[200, 700]).load(folder, "train").inputs
    assert inputs[0][0, :, 3].tolist() == [0, 0, 128, 255]


def test_masks_mean_what_the_options_say(tmp_path: Path) -> None:
    vis, sar = np.zeros((4, 4, 3), np.uint8), np.zeros((12, 12), np.uint8)
    ref = np.array([[0, 1, 1, 0]] * 4, np.uint8)
    ones = triplet(tmp_path / "ones", vis, sar, ref.astype(np.float32))
    samples = built(ones).load(ones, "train")
    assert samples.targets is not None
    assert samples.targets[0][0, :, 0].tolist() == [0, 1, 1, 0]
    assert samples.valid is None
    ref[:, 3] = 255
    both = triplet(tmp_path / "both", vis, sar, ref)
    assert "its values 1 and 255 both stand for ice" in problems(both)
    samples = built(both, ice=1, ignore_value=255).load(both, "train")
    assert samples.targets is not None
    assert samples.valid is not None
    assert samples.targets[0][0, :, 0].tolist() == [0, 1, 1, 0]
    assert samples.valid[0][0].tolist() == [True, True, True, False]
    assert "ice 67% of the pixels" in built(both, ice=1, ignore_value=255).check(both)
    ref[0, 0] = 7
    assert "1 pixels have values that no class has: 7" in problems(triplet(tmp_path / "seven", vis, sar, ref))
    half = triplet(tmp_path / "half", vis, sar, np.full((4, 4), 0.5, np.float32))
    assert "float32 values from 0.5 to 0.5, expected 0 to 255" in problems(half, grid=[4, 4])


def test_the_same_radar_image_under_two_names_shares_a_fold(folder: Path, tmp_path: Path) -> None:
    first, *_ = ids(folder)
    for kind in ("vis", "sar", "ref"):
        shutil.copy(folder / "train" / f"{first}_{kind}.tiff", folder / "train" / f"zz_{kind}.tiff")
    data = DataConfig.model_validate({"competition": "leeds_sea_ice", "folds": {"k": 2}})
    lines = prepare(data, Workspace(root=tmp_path, data_from=folder))
    assert "1 identical or near-identical images share a fold" in " ".join(lines)
    table = {row[0]: row[1] for row in rows(tmp_path / "oof" / "leeds_sea_ice" / "folds.csv")}
    assert table["zz"] == table[first]


def test_only_as_many_samples_as_the_contest_has_are_the_official_files(
    sample: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from skyfold.competitions.leeds_sea_ice import contest as leeds_sea_ice

    provenance = built().provenance
    assert provenance is not None
    monkeypatch.setattr(leeds_sea_ice, "OFFICIAL", {"train": 6, "test": 3})
    assert provenance(sample) == "synthetic sample"  # as many, but written by ourselves
    (folder / "sample.json").unlink()
    assert provenance(folder) == "official"
    (folder / "test" / f"{ids(folder, 'test')[0]}_vis.tiff").unlink()
    assert provenance(folder) == "other files"


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"part 'valid': there are train and test"):
        built().load(Path("x"), "valid")
