"""Light, radar and masks of sea ice become four bands and targets; what is broken or missing is named with a remedy."""

import shutil

import cv2
import numpy as np
import pandas as pd
import pytest

from skyfold import competition
from skyfold.competitions.leeds_sea_ice import contest as leeds_sea_ice
from skyfold.config.data import DataConfig
from skyfold.errors import DataLayoutError
from skyfold.metrics.score_submission import score_submission
from skyfold.pipeline.prepare import prepare
from skyfold.workspace import Workspace


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "leeds_sea_ice"
    built().write_sample(folder, train=6, test=3, side=48)
    return folder


@pytest.fixture
def folder(sample, tmp_path):
    return shutil.copytree(sample, tmp_path / "copy")


def built(folder=None):
    return competition.build("leeds_sea_ice", {}, folder)


def ids(folder, part="train"):
    return sorted(path.name.removesuffix("_vis.tiff") for path in (folder / part).glob("*_vis.tiff"))


def assert_problems(folder, *named):
    with pytest.raises(DataLayoutError) as error:
        built(folder).check(folder)
    for problem in named:
        assert problem in str(error.value)


def triplet(folder, vis, sar, ref):
    """A data set of one sample, RGB written in the order that OpenCV wants; the test part is the same without mask."""
    for part in ("train", "test"):
        (folder / part).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / part / "a_vis.tiff"), vis[..., ::-1])
        cv2.imwrite(str(folder / part / "a_sar.tiff"), sar)
    cv2.imwrite(str(folder / "train" / "a_ref.tiff"), ref)
    return folder


def test_the_sample_has_the_contests_layout(sample):
    assert built(sample).grid == (48, 48)
    assert built().grid == built(sample / "absent").grid == (240, 240)
    names = {part: sorted(path.name for path in (sample / part).iterdir()) for part in ("train", "test")}
    assert names["train"] == [f"{name}_{kind}.tiff" for name in ids(sample) for kind in ("ref", "sar", "vis")]
    assert names["test"] == [f"{name}_{kind}.tiff" for name in ids(sample, "test") for kind in ("sar", "vis")]
    said = built(sample).check(sample)
    assert said.startswith("synthetic sample: 6 train samples (vis 48x48, sar 144x144, ref 48x48, ice ")
    assert "3 test samples (vis 48x48, sar 144x144)" in said


def test_each_image_goes_to_the_wanted_size_in_one_step(tmp_path):
    """Radar columns 30 60 90 120 150 180 at 4 columns, each 1.5 wide: (30 + 60 / 2) / 1.5 = 40, (60 / 2 + 90) / 1.5 =
    80, and so on. At 2 columns: means of three, 60 and 150. The visible pixel pairs are enlarged bilinearly."""
    sar = np.tile(np.arange(30, 181, 30, dtype=np.uint8), (6, 1))
    vis = np.zeros((2, 2, 3), np.uint8)
    vis[:, 1] = (200, 100, 40)
    folder = triplet(tmp_path, vis, sar, np.array([[0, 255], [0, 255]], np.uint8))
    samples = built(folder).load(folder, "train")
    assert samples.inputs[0].tolist() == [[[0, 0, 0, 60], [200, 100, 40, 150]]] * 2
    large = samples.inputs.resized(0, (4, 4))
    assert large[0, :, 3].tolist() == [40, 80, 130, 170]
    assert large[0, :, 0].tolist() == [0, 50, 150, 200]
    assert samples.targets[0][..., 0].tolist() == [[0, 1], [0, 1]]


def test_the_test_part_comes_in_the_order_of_the_sample_submission(folder):
    table = folder / "sample_submission.csv"
    pd.read_csv(table)[::-1].to_csv(table, index=False)
    samples = built(folder).load(folder, "test")
    assert samples.targets is None
    assert samples.ids.tolist() == pd.read_csv(table)["id"].tolist() != sorted(samples.ids)
    vis = cv2.imread(str(folder / "test" / f"{samples.ids[0]}_vis.tiff"))
    np.testing.assert_array_equal(samples.inputs[0][..., :3], vis[..., ::-1])
    table.unlink()
    assert built(folder).load(folder, "test").ids.tolist() == sorted(samples.ids)


def test_a_sample_submission_of_other_files_is_refused(folder):
    first, *_ = ids(folder, "test")
    table = folder / "sample_submission.csv"
    table.write_text(table.read_text().replace(f"{first},", "stranger,"))
    with pytest.raises(DataLayoutError, match=f"no row for sample '{first}'"):
        built(folder).load(folder, "test")
    assert_problems(folder, "no complete sample 'stranger' in test/")
    table.write_text(table.read_text().replace("stranger,", f"{ids(folder, 'test')[1]},"))
    assert_problems(folder, "an id is there twice")
    table.write_text("name,rle\n")
    assert_problems(folder, "column 'id' is missing")


def test_the_truth_is_a_table_of_bare_ids_or_a_folder_of_masks(sample):
    contest = built(sample)
    truth = contest.read_truth(sample / "test_truth.csv")
    assert truth.ids.tolist() == ids(sample, "test")
    assert score_submission(contest, sample / "test_truth.csv", truth, draws=1).score == 1.0
    nothing = contest.read_pred(sample / "sample_submission.csv", truth.ids)
    assert not np.stack(list(nothing)).any()
    masks = contest.read_truth(sample / "train")
    assert masks.ids.tolist() == ids(sample)
    stored = cv2.imread(str(sample / "train" / f"{masks.ids[0]}_ref.tiff"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(masks.targets[0][..., 0], stored == 255)
    with pytest.raises(DataLayoutError, match="no masks here"):
        contest.read_truth(sample / "test")


def test_only_as_many_samples_as_the_contest_has_are_the_official_files(sample, folder, monkeypatch):
    provenance = built().provenance
    monkeypatch.setattr(leeds_sea_ice, "OFFICIAL", {"train": 6, "test": 3})
    assert provenance(sample) == "synthetic sample"  # as many, but written by ourselves
    (folder / "sample.json").unlink()
    assert provenance(folder) == "official"
    (folder / "test" / f"{ids(folder, 'test')[0]}_vis.tiff").unlink()
    assert provenance(folder) == "other files"


def test_single_and_missing_files_are_named_with_the_remedy(folder, tmp_path):
    first, second, third, *_ = ids(folder)
    train, tested = folder / "train", ids(folder, "test")[0]
    for name in (f"{first}_sar", f"{second}_vis", f"{second}_ref"):
        (train / f"{name}.tiff").unlink()
    shutil.copy(train / f"{third}_vis.tiff", train / f"{third}_VIS.tif")
    shutil.copy(train / f"{third}_vis.tiff", train / "map.tiff")
    (folder / "test" / f"{tested}_sar.tiff").unlink()
    assert_problems(
        folder,
        f"sample '{first}' has no {first}_sar.tiff. Get it again, or remove {first}_ref.tiff, {first}_vis",
        f"sample '{second}' has no {second}_vis.tiff, {second}_ref.tiff. Get it again, or remove ",
        "two files of one kind. Keep one",
        "map.tiff: its name ends in none of _vis, _sar, _ref",
        f"test: sample '{tested}' has no",
        f"{folder}: 6 problems",
    )
    with pytest.raises(DataLayoutError, match=f"sample '{first}' has no"):
        built(folder).load(folder, "train")
    assert_problems(tmp_path / "none", "train: no such folder", "test: no such folder")


def test_broken_files_and_an_odd_first_one_are_named_all_at_once(folder):
    odd, cut, empty, other = ids(folder)[:4]
    train = folder / "train"
    data = (train / f"{cut}_vis.tiff").read_bytes()
    (train / f"{cut}_vis.tiff").write_bytes(data[:-300])
    (train / f"{empty}_sar.tiff").write_bytes(b"")
    (train / f"{other}_ref.tiff").write_text("no picture")
    cv2.imwrite(str(train / f"{odd}_sar.tiff"), np.zeros((150, 150), np.uint8))
    cv2.imwrite(str(train / f"{odd}_vis.tiff"), np.zeros((48, 48), np.uint8))
    assert_problems(
        folder,
        f"{cut}_vis.tiff: the TIFF is cut short or damaged",
        f"{empty}_sar.tiff: the file is empty",
        f"{other}_ref.tiff: not a TIFF file",
        f"{odd}_sar.tiff: 150x150 pixels, most others have 144x144",
        f"{odd}_vis.tiff: expected 3 bands, the file has 1",
        f"{folder}: 5 problems",
    )


VIS, SAR = np.zeros((4, 4, 3), np.uint8), np.zeros((12, 12), np.uint8)
REF = np.array([[0, 1, 1, 0]] * 4, np.uint8)


@pytest.mark.parametrize(
    ("sar", "ref", "message"),
    [
        (SAR[:, :9], REF, "differ in shape: vis 4x4, sar 12x9"),
        (SAR, REF[:2, :2], "Masks are as large as vis images"),
        (SAR.astype(np.float32), REF, r"a_sar.tiff: float32 values (0 to 0), expected bytes"),
        (SAR, np.where(REF, [0, 1, 255, 0], REF).astype(np.uint8), "holds both 1 and 255"),
        (SAR, 7 * REF, "8 pixels have values that no class has: 7"),
        (SAR, np.full((4, 4), 0.5, np.float32), "float32 values from 0.5 to 0.5, expected 0 to 65535"),
    ],
)
def test_images_and_masks_that_cannot_be_used_are_refused(sar, ref, message, tmp_path):
    assert_problems(triplet(tmp_path, VIS, sar, ref), message)


@pytest.mark.parametrize("ref", [REF.astype(np.float32), 255 * REF])
def test_ice_is_1_or_255(ref, tmp_path):
    folder = triplet(tmp_path, VIS, SAR, ref)
    assert built(folder).load(folder, "train").targets[0][..., 0].tolist() == REF.tolist()
    assert "ice 50% of the pixels" in built(folder).check(folder)


def test_the_same_radar_image_under_two_names_shares_a_fold(folder, tmp_path):
    first, *_ = ids(folder)
    for kind in ("vis", "sar", "ref"):
        shutil.copy(folder / "train" / f"{first}_{kind}.tiff", folder / "train" / f"zz_{kind}.tiff")
    data = DataConfig.model_validate({"competition": "leeds_sea_ice", "folds": {"k": 2}})
    lines = prepare(data, Workspace(root=tmp_path, data_from=folder))
    assert "1 identical or near-identical images share a fold" in " ".join(lines)
    fold_of = pd.read_csv(tmp_path / "oof" / "leeds_sea_ice" / "folds.csv", index_col=0).iloc[:, 0]
    assert fold_of["zz"] == fold_of[first]
