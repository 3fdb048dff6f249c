"""Files of the rain contest become sequences in mm/h, windows that share a frame share a fold, faults are named."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skyfold import competition
from skyfold.competition import Competition
from skyfold.competitions.hydro_rain.contest import DAMS, TABLE
from skyfold.competitions.hydro_rain.shared_frames import shared_frame_groups
from skyfold.config.data import DataConfig
from skyfold.errors import ConfigError, DataLayoutError, InvalidSubmission
from skyfold.files import file_digest, read_json, with_checksum
from skyfold.metrics.points import at_points
from skyfold.metrics.score_submission import score_submission
from skyfold.pipeline.prepare import prepare
from skyfold.store.folds import read_folds
from skyfold.submission.write import write_submission
from skyfold.workspace import Workspace

FIRST = "test_00000.npy"


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "hydro_rain"
    built().write_sample(folder, train=12, test=4, train_events=3, test_events=1)  # type: ignore[misc]
    return folder


@pytest.fixture
def folder(sample: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample, tmp_path / "copy"))


def built(folder: Path | None = None) -> Competition:
    return competition.build("hydro_rain", {}, folder)


def patches(path: Path, **arrays: np.ndarray) -> Path:
    """A folder with six patches of two events; `arrays` replace what is in the file."""
    rng = np.random.default_rng(0)
    usual = {"x": rng.integers(0, 200, (6, 120, 120, 5), dtype=np.uint8), "event": np.array(["a", "b"] * 3)}
    path.mkdir()
    np.savez(path / "patches.npz", **{**usual, **arrays})  # type: ignore[arg-type]
    return path


def test_the_sample_has_the_contests_layout(sample: Path) -> None:
    train, test = (sorted((sample / part).iterdir()) for part in ("train", "test"))
    assert [len(train), len(test)] == [12, 4]
    assert np.load(train[0]).shape == (120, 120, 5)
    assert np.load(test[0]).shape == (120, 120, 4)
    lines = (sample / "sample_submission.csv").read_text().splitlines()
    assert [line.count(",") for line in lines] == [14400] * 5
    assert lines[0].startswith("file_name,")
    assert lines[1].startswith("test_00000.npy,0,")
    found = built(sample).check(sample)
    assert found.startswith("synthetic sample: 12 train files (rain in ")
    assert found.endswith("3 groups of train files that share frames")


def test_frames_come_first_and_in_mm_per_h(tmp_path: Path) -> None:
    """Raw 2301 is 1 mm/h (Z = 200), 3901 is 10; -9999 is no data: no rain as an input, not scored as a target."""
    for part, frames in (("train", 5), ("test", 4)):
        (tmp_path / part).mkdir()
        raw = np.zeros((120, 120, frames), np.int16)
        raw[7, 9, 0], raw[7, 9, 3], raw[5, 5, 3] = 2301, 3901, -9999
        if frames == 5:
            raw[1, 2, 4], raw[3, 4, 4] = 2301, -9999
        np.save(tmp_path / part / "one.npy", raw)
    train, test = (built(tmp_path).load(tmp_path, part) for part in ("train", "test"))
    for samples in (train, test):
        inputs = samples.inputs[0]
        assert (inputs.shape, inputs.dtype) == ((4, 120, 120), np.float32)
        np.testing.assert_allclose(inputs[[0, 3, 1, 3], [7, 7, 7, 5], [9, 9, 9, 5]], [1, 10, 0, 0], rtol=1e-3)
    assert test.targets is None
    assert train.targets[0].shape == (120, 120, 1)
    assert train.targets[0].sum() == train.targets[0][1, 2, 0] == pytest.approx(1.0, rel=1e-3)
    assert np.argwhere(~train.valid[0]).tolist() == [[3, 4, 0]]


def test_windows_that_share_frames_share_a_fold(sample: Path, tmp_path: Path) -> None:
    samples = built(sample).load(sample, "train")
    assert sorted(np.unique(samples.groups, return_counts=True)[1].tolist()) == [4, 4, 4]
    data = DataConfig.model_validate({"competition": "hydro_rain", "folds": {"k": 3}})
    prepare(data, Workspace(root=tmp_path, data_from=sample))
    folds = read_folds(tmp_path / "oof" / "hydro_rain" / "folds.csv")
    for group in np.unique(samples.groups):
        assert len(set(folds.fold[samples.groups == group])) == 1
    held_out = folds.split(0)
    frames = {frame.tobytes() for i in held_out.train for frame in samples.inputs[i] if frame.any()}
    assert not [i for i in held_out.valid if samples.targets[i][..., 0].tobytes() in frames]


def test_a_chain_of_shared_frames_is_one_group_and_dry_frames_join_nothing(tmp_path: Path) -> None:
    rain = np.random.default_rng(0).integers(0, 4000, (40, 40, 9)).astype(np.int16)
    dry = np.zeros((40, 40, 5), np.int16)
    windows = {"a": rain[..., :5], "b": dry, "c": rain[..., 3:8], "d": rain[..., 7:] + 1, "e": dry, "f": rain[..., 6:]}
    for name, window in windows.items():
        np.save(tmp_path / name, window)
    assert shared_frame_groups(sorted(tmp_path.glob("*.npy"))).tolist() == [0, 1, 0, 3, 4, 0]


def test_the_test_part_comes_in_the_order_of_the_sample_submission(folder: Path) -> None:
    table = folder / "sample_submission.csv"
    header, *lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join([header, *lines[::-1]]))
    assert built(folder).load(folder, "test").ids.tolist() == [f"test_{i:05d}.npy" for i in (3, 2, 1, 0)]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda text: text.replace(b",", b";"), "the header is parted by semicolons"),
        (lambda text: text.replace(b",", b"\t"), "the header is parted by tabs"),
        (lambda text: text.replace(b"file_name", b"name"), "the first column is 'name', expected 'file_name'"),
        (lambda text: text.replace(b"test_", b"te\xff_", 1), "not a readable CSV file: line 2 is not UTF-8"),
        (lambda text: b"\n".join(text.splitlines()[:1] + text.splitlines()[2:]), f"no row for '{FIRST}'"),
        (lambda text: text + text.splitlines()[1].replace(b"test_00000", b"other"), "row 'other.npy', but no"),
        (lambda text: text + text.splitlines()[1], "a file has two rows"),
    ],
)
def test_a_sample_submission_of_another_layout_is_named(folder: Path, change: Any, named: str) -> None:
    table = folder / "sample_submission.csv"
    table.write_bytes(change(table.read_bytes()))
    with pytest.raises(DataLayoutError, match=rf"sample_submission\.csv: {named}"):
        built(folder).load(folder, "test")


def test_a_submission_is_written_read_and_scored_in_mm_per_h(sample: Path, tmp_path: Path) -> None:
    contest, path = built(sample), tmp_path / "mine.csv"
    ids = contest.load(sample, "test").ids
    rain = np.random.default_rng(0).gamma(0.3, 4.0, (4, 120, 120, 1)).astype(np.float32)
    rain[rain < 0.05] = 0
    write_submission(path, ids, rain, TABLE, sample / "sample_submission.csv", {"by": "hand"})
    sidecar = {"by": "hand", "file": "mine.csv", "rows": 4, "sha256": file_digest(path)}
    assert read_json(tmp_path / "mine.json") == with_checksum(sidecar)
    np.testing.assert_allclose(np.stack(list(contest.read_pred(path, ids))), rain, rtol=1e-3, atol=6e-4)
    assert score_submission(contest, path, contest.read_truth(path), draws=2).score == 0.0


def test_a_forecast_of_rain_where_the_truth_is_not_known_changes_nothing(folder: Path) -> None:
    path = folder / "test_truth.csv"
    path.write_text(path.read_text().replace(f"{FIRST},0,", f"{FIRST},-9999,"))
    truth = built(folder).read_truth(path)
    assert [int((~known).sum()) for known in truth.valid] == [1, 0, 0, 0]
    rain = [target.copy() for target in truth.targets]
    rain[0][0, 0] = 99.0
    write_submission(folder / "mine.csv", truth.ids, rain, TABLE, None, {})
    assert score_submission(built(folder), folder / "mine.csv", path, draws=2).score == pytest.approx(0, abs=1e-4)


def test_patches_are_grouped_by_event(tmp_path: Path) -> None:
    codes = np.zeros((6, 120, 120, 5), np.uint8)
    codes[2, 3, 4] = [1, 254, 0, 0, 127]
    coded = patches(tmp_path / "coded", x=codes)
    contest = built(coded)
    assert contest.parts == ("train",)
    samples = contest.load(coded, "train")
    assert samples.groups.tolist() == ["a", "b"] * 3
    np.testing.assert_allclose(samples.inputs[2][:, 3, 4], [0.05, 200, 0, 0])
    assert samples.targets[2][3, 4, 0] == pytest.approx(0.05 * 4000 ** (126 / 253))
    assert contest.check(coded) == "other files: 6 patches of 2 rain events (a 3, b 3)"
    with pytest.raises(ConfigError, match="has only train"):
        contest.load(coded, "test")


def damaged(value: float, dtype: type = np.float32) -> np.ndarray:
    rain = np.ones((6, 120, 120, 5), dtype)
    rain[4, 0, 0, 0] = value
    return rain


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        ({"x": damaged(255, np.uint8)}, "x, patch 4: code 255"),
        ({"x": damaged(-0.5)}, "x, patch 4: negative rain"),
        ({"x": damaged(np.nan)}, "x, patch 4: NaN"),
        ({"x": damaged(2301)}, "x, patch 4: rain above 1000 mm/h: is it raw reflectivity"),
        ({"x": damaged(3, np.int16)}, "x: int16 values"),
        ({"x": np.zeros((6, 64, 120, 5), np.uint8)}, r"x has shape \(6, 64, 120, 5\), expected \(n, 120, 120, frames"),
        ({"x": np.zeros((0, 120, 120, 5), np.uint8), "event": np.array([], str)}, r"x has shape \(0, .*: no patch"),
        ({"event": np.array(["a"])}, "6 patches, but event has shape"),
        ({"event": np.array([{}] * 6)}, ".*Python objects are not loaded"),
        (b"not an archive", "expected an .npz file with the arrays x and event"),
        (None, "no such file"),
    ],
)
def test_damaged_patches_are_refused_by_name(tmp_path: Path, arrays: Any, named: str) -> None:
    coded = patches(tmp_path / "coded", **(arrays if isinstance(arrays, dict) else {}))
    contest, path = built(coded), coded / "patches.npz"
    if arrays is None:
        path.unlink()
    elif isinstance(arrays, bytes):
        path.write_bytes(arrays)
    with pytest.raises(DataLayoutError, match=rf"patches\.npz: {named}"):
        contest.load(coded, "train")


def test_broken_files_are_named_all_at_once(folder: Path) -> None:
    train = folder / "train"
    unknown = np.zeros((120, 120, 5), np.float32)
    unknown[3, 4, 1] = np.nan
    objects = np.array([{"run": "me"}])
    too_great, words = np.full((120, 120, 5), 30000, np.int16), np.full((120, 120, 5), "rain")
    for number, array in enumerate([np.zeros((120, 120, 4), np.int16), unknown, objects, too_great, words], start=1):
        np.save(train / f"train_0000{number}.npy", array, allow_pickle=array is objects)
    (train / "train_00006.npy").write_bytes((train / "train_00006.npy").read_bytes()[:5000])
    with open(train / "train_00007.npy", "wb") as file:
        np.savez(file, x=unknown)
    with pytest.raises(DataLayoutError, match="copy: 7 problems") as error:
        built(folder).check(folder)
    for named in [
        "train_00001.npy: shape (120, 120, 4), expected (120, 120, 5)",
        "train_00002.npy: row 3, column 4, frame 1: NaN",
        "train_00003.npy: not a complete .npy file of numbers (Array can't be memory-mapped: Python objects",
        "train_00004.npy: row 0, column 0, frame 0: 30000 is too much",
        "train_00005.npy: <U4 values",
        "train_00006.npy: not a complete .npy file",
        "train_00007.npy: an archive of arrays",
    ]:
        assert named in str(error.value)


def test_mm_per_h_are_not_taken_for_reflectivity(folder: Path, tmp_path: Path) -> None:
    ids, rain = built(folder).load(folder, "test").ids, np.zeros((4, 120, 120, 1))
    rain[:, 20:40] = 12.0
    TABLE.write(tmp_path / "mine.csv", TABLE.encode_raw(ids, rain))
    with pytest.raises(InvalidSubmission, match=r"mine\.csv: no pixel reaches 0\.1 mm/h .* If these are mm/h"):
        score_submission(built(folder), tmp_path / "mine.csv", folder / "test_truth.csv")
    for part in ("train", "test"):
        for path in (folder / part).glob("*.npy"):
            np.save(path, np.load(path) / 100)
        with pytest.raises(DataLayoutError, match=rf"- {part}/: no pixel of any file reaches 0\.1 .*Are these mm/h\?"):
            built(folder).check(folder)


def test_files_that_were_copied_are_the_same_and_changed_ones_are_not(folder: Path) -> None:
    def checksum() -> str:
        return built(folder).load(folder, "train").inputs.checksum

    path, first = folder / "train" / "train_00000.npy", checksum()
    os.utime(path, ns=(0, 0))
    assert checksum() == first
    raw = np.load(path)
    raw[5, 5, 0] += 1
    np.save(path, raw)
    assert checksum() != first


def test_a_truth_with_a_row_twice_or_too_great_a_number_is_blamed_itself(folder: Path, tmp_path: Path) -> None:
    rows, truth = (folder / "test_truth.csv").read_text().splitlines(), tmp_path / "truth.csv"
    truth.write_text("\n".join([*rows, rows[-1]]) + "\n")
    with pytest.raises(InvalidSubmission, match=r"truth\.csv: 'test_000\d\d\.npy' has two rows"):
        built(folder).read_truth(truth)
    truth.write_text("\n".join([rows[0], rows[1].replace(",0", ",9001", 1)]) + "\n")
    with pytest.raises(InvalidSubmission, match=r"truth\.csv: not a table of rain\n.* is 9001, expected 0 to 9000"):
        built(folder).read_truth(truth)
    truth.write_text("\n".join(rows[:-1]) + "\n")
    with pytest.raises(InvalidSubmission, match=r"The rows wanted are those of .*truth\.csv"):
        score_submission(built(folder), folder / "sample_submission.csv", truth)


def test_missing_folders_and_empty_ones_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataLayoutError, match=r"train: no such folder"):
        built(tmp_path).load(tmp_path, "train")
    (tmp_path / "train").mkdir()
    with pytest.raises(DataLayoutError, match=r"train: no \.npy file"):
        built(tmp_path).load(tmp_path, "train")
    with pytest.raises(ConfigError, match="part 'valid'"):
        built(tmp_path).load(tmp_path, "valid")


def test_forecasts_that_are_none_are_not_submitted(sample: Path, tmp_path: Path) -> None:
    ids, rain = np.array([FIRST]), np.zeros((1, 120, 120, 1), np.float32)
    for bad, named in ((np.nan, "'test_00000.npy': NaN"), (-1.0, "negative rain, -1 mm/h")):
        rain[0, 5, 5] = bad
        with pytest.raises(InvalidSubmission, match=named):
            TABLE.encode(ids, rain)
    with pytest.raises(InvalidSubmission, match=r"expected \(120, 120, 1\), got \(60, 60, 1\)"):
        TABLE.encode(ids, np.zeros((1, 60, 60, 1)))
    few = tmp_path / "few.csv"
    with pytest.raises(InvalidSubmission, match=r"no row for 'test_00001\.npy'"):
        write_submission(few, ids, np.zeros((1, 120, 120, 1)), TABLE, sample / "sample_submission.csv", {})
    assert not few.exists()


def test_the_rain_over_the_dams_is_read_at_their_pixels() -> None:
    maps = np.arange(2 * 120 * 120, dtype=np.float32).reshape(2, 120, 120, 1)
    points = at_points(maps, DAMS)
    assert points.shape == (2, 7, 1, 1)
    assert (points[0, 0].item(), points[1, 6].item()) == (67 * 120 + 28, 120 * 120 + 87 * 120 + 56)
