"""Contests of other people: their metrics beside figures worked by hand and by independent graders, their refusals.

SKYFOLD_GOLDEN names a folder that holds, for each contest, `truth.csv`, `submission.csv` and, where sizes differ,
`sizes.csv`.
"""

import ast
import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

import skyfold.api
from skyfold.cli.main import main
from skyfold.competition import build
from skyfold.competitions.tgs_salt import MeanPrecision
from skyfold.competitions.uw_madison import DiceAndHausdorff, hausdorff
from skyfold.competitions.vesuvius_ink import MeanF05

GOLDEN = os.environ.get("SKYFOLD_GOLDEN", "")
needs_golden = pytest.mark.skipif(not GOLDEN, reason="SKYFOLD_GOLDEN names no folder of graded submissions")
CONTESTS = {
    "tgs_salt": ("tgs-salt-identification-challenge", 0.5914285714285714),
    "google_contrails": ("google-research-identify-contrails-reduce-global-warming", 0.7431478231804128),
    "hubmap_kidney": ("hubmap-kidney-segmentation", 0.6935608088752857),
    "uw_madison": ("uw-madison-gi-tract-image-segmentation", 0.5931421374065771),
    "vesuvius_ink": ("vesuvius-challenge-ink-detection", 0.7894386462593928),
}
ONE_FILE = [*CONTESTS, "on_cloud_n"]
WRONG_TEXTS = {
    "unsorted": "10 5 1 3",
    "overlapping": "1 5 3 4",
    "doubled": "1 3 1 3",
    "start 0": "0 3",
    "negative start": "-4 3",
    "length 0": "5 0",
    "negative length": "5 -1",
    "a letter": "1 a",
    "fractions": "1.0 3.0",
    "commas": "1,3,10,5",
    "one number": "5",
    "three numbers": "1 3 10",
    "five numbers": "1 3 10 5 20",
    "over the last pixel": "1 999999999",
    "behind the last pixel": "999999999 1",
}


def score(capsys, name, submission, truth, *options):
    code = main(["score", name, str(submission), "--truth", str(truth), "--json", *map(str, options)])
    shown = capsys.readouterr()
    return code, json.loads(shown.out) if code == 0 else shown.err


def graded(name):
    folder = Path(GOLDEN) / CONTESTS[name][0]
    sizes = folder / "sizes.csv"
    return folder, ["--sizes", sizes] if sizes.is_file() else []


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def write_rows(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    return path


@needs_golden
@pytest.mark.parametrize("name", CONTESTS)
def test_score_is_that_of_an_independent_grader(name, capsys):
    folder, sizes = graded(name)
    code, found = score(capsys, name, folder / "submission.csv", folder / "truth.csv", *sizes)
    assert code == 0
    assert found["score"] == pytest.approx(CONTESTS[name][1], abs=1e-12)


@needs_golden
@pytest.mark.parametrize("name", CONTESTS)
def test_order_of_rows_and_columns_and_a_further_column_change_nothing(name, capsys, tmp_path):
    folder, sizes = graded(name)
    rows = rows_of(folder / "submission.csv")
    other = [[row[-1], *row[:-1], "note"] for row in (rows[0], *rows[:0:-1])]
    touching = write_rows(tmp_path / "other.csv", other)
    code, found = score(capsys, name, touching, folder / "truth.csv", *sizes)
    assert code == 0
    assert found["score"] == pytest.approx(CONTESTS[name][1], abs=1e-12)


@needs_golden
@pytest.mark.parametrize("name", CONTESTS)
def test_a_table_of_other_rows_is_refused(name, capsys, tmp_path):
    folder, sizes = graded(name)
    rows = rows_of(folder / "submission.csv")
    unknown = [f"x{rows[3][0]}", *rows[3][1:]]
    changed = {
        "no row for": [*rows[:3], *rows[4:]],
        "line 5": [*rows[:4], rows[3], *rows[5:]],
        "in 2 rows": [*rows, rows[3]],
        f"x{rows[3][0]}": [*rows, unknown],
        "no rows, only a header": rows[:1],
        f"'{rows[0][0]}'": [[f"my_{rows[0][0]}", *rows[0][1:]], *rows[1:]],
        f"'{rows[0][-1]}'": [row[:-1] for row in rows],
    }
    for message, table in changed.items():
        code, said = score(capsys, name, write_rows(tmp_path / "s.csv", table), folder / "truth.csv", *sizes)
        assert code == 2, message
        assert message in said
        assert "s.csv" in said


@needs_golden
@pytest.mark.parametrize("name", CONTESTS)
def test_run_length_text_that_a_grader_may_let_pass_is_refused(name, capsys, tmp_path):
    folder, sizes = graded(name)
    rows = rows_of(folder / "submission.csv")
    place = next(i for i, row in enumerate(rows) if i and " " in row[-1])
    wrong = {**WRONG_TEXTS, "the other marker": "" if name == "google_contrails" else "-"}
    for kind, text in wrong.items():
        table = [*rows[:place], [*rows[place][:-1], text], *rows[place + 1 :]]
        code, said = score(capsys, name, write_rows(tmp_path / "s.csv", table), folder / "truth.csv", *sizes)
        assert code == 2, kind
        assert f"line {place + 1}" in said, kind


@needs_golden
@pytest.mark.parametrize("name", ["hubmap_kidney", "uw_madison", "vesuvius_ink"])
def test_an_imported_submission_scores_out_of_fold_what_it_scores_as_a_file(name, tmp_path, capsys):
    """The masks as out-of-fold predictions: at 0.5 nothing is chosen; then blended, and handed in."""
    folder, _ = graded(name)
    data = tmp_path / "data" / name
    data.mkdir(parents=True)
    for kind, file in (("truth", "train"), ("submission", "sample_submission"), ("sizes", "sizes")):
        shutil.copy(folder / f"{kind}.csv", data / f"{file}.csv")
    config = tmp_path / "blend.yaml"
    config.write_text(
        f"data: {{competition: {name}, folds: {{k: 3}}}}\nname: mean\n"
        "runs: [{name: theirs, model: {family: imported}}]\npostprocess: {thresholds: 3, rule: total}\n"
    )
    files = ["--oof", str(folder / "submission.csv"), "--test", str(folder / "submission.csv")]
    commands = (["prepare", str(config)], ["import", "theirs", "--data", str(config), *files])
    for command in (*commands, ["blend", str(config)], ["submit", str(config)]):
        assert main([*command, "--root", str(tmp_path)]) == 0, capsys.readouterr().err
    result = json.loads((tmp_path / "oof" / name / "mean" / "blend.json").read_text())
    assert result["scores"]["final"]["cv_at_0.5"] == pytest.approx(CONTESTS[name][1], abs=1e-12)
    assert result["scores"]["final"]["cv_in_sample"] == pytest.approx(CONTESTS[name][1], abs=1e-12)
    capsys.readouterr()
    code, found = score(capsys, name, tmp_path / "submissions" / name / "mean.csv", *graded_truth(name))
    assert (code, found["score"]) == (0, pytest.approx(CONTESTS[name][1], abs=1e-12))


def graded_truth(name):
    folder, sizes = graded(name)
    return folder / "truth.csv", *sizes


@pytest.mark.parametrize("name", ONE_FILE)
def test_a_contest_in_one_file_imports_nothing_of_skyfold_but_its_interface(name):
    path = Path(skyfold.api.__file__).parent / "competitions" / f"{name}.py"
    tree = ast.parse(path.read_text())
    taken = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {module for module in taken if module.startswith("skyfold")} == {"skyfold.api"}
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)]
    of_texts = {line for node in texts for line in range(node.lineno, node.end_lineno + 1)}
    lines = [text.strip() for n, text in enumerate(path.read_text().splitlines(), start=1) if n not in of_texts]
    assert len([text for text in lines if text and not text.startswith("#")]) <= 150


def test_precision_counts_the_thresholds_that_the_iou_exceeds():
    """Of 10 pixels 6, 9, 10 and none are right: IoU .6 exceeds .5 and .55, .9 exceeds eight of ten, 1 all."""
    counts = np.array([[6.0, 10, 6], [9, 10, 9], [10, 10, 10], [0, 0, 3], [0, 3, 0], [0, 0, 0]])
    scores = MeanPrecision().of_counts(*counts.T)
    assert scores.tolist() == [0.2, 0.8, 1.0, 0.0, 0.0, 1.0]


def test_f_half_weighs_precision_more():
    """Precision 1, recall 1/2: 1.25 * 2 / (2 + 0.25 * 4) = 5/6; the reverse: 2.5 / (4 + 0.5) = 5/9."""
    counts = np.array([[2.0, 2, 4], [2, 4, 2], [0, 0, 0], [0, 3, 3]])
    np.testing.assert_allclose(MeanF05().of_counts(*counts.T), [5 / 6, 5 / 9, 0, 0], rtol=1e-15)


def test_hausdorff_distance_is_measured_in_diagonals_of_the_volume():
    """One voxel each, two slices of four apart: 0.5 of the depth, over the diagonal of a unit cube."""
    target, pred = np.zeros((2, 4, 5, 10), dtype=bool)
    target[0, 2, 3] = pred[2, 2, 3] = True
    assert hausdorff(target, pred) == pytest.approx(0.5 / 3**0.5, abs=1e-15)
    pred[:] = True
    assert hausdorff(target, pred) == 1.0  # two hundred times the voxels
    assert hausdorff(target, np.zeros_like(target)) == 1.0
    assert hausdorff(target, target) == 0.0


def test_volume_score_skips_what_is_empty_in_both():
    target, pred = np.zeros((2, 3, 6, 6, 2), dtype=bool)
    target[0, :2, :2, 0] = pred[0, :2, :2, 0] = True  # one slice and class is right, all others are empty
    metric = DiceAndHausdorff()
    stats = metric.stats(target=target, pred=pred)
    assert stats.tolist() == [[1, 1, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert metric.score(stats) == 1.0
    pred[1, 0, 0, 1] = True  # Dice 0 in one of two, and a voxel that is a slice away: a third of the depth
    stats = metric.stats(target=target, pred=pred)
    assert metric.score(stats) == pytest.approx(0.4 * 0.5 + 0.6 * (1 - 1 / 3 / 3**0.5), abs=1e-15)


def test_cloud_chips_are_scored_by_one_jaccard_index_from_folders(tmp_path, capsys):
    """Of three chips: 100 of 100, 0 of 50 found and 50 invented, empty: 100 / (100 + 50 + 50)."""
    masks = {"truth": {}, "mine": {}}
    for name, rows, other in (("aaaa", (0, 100), (0, 100)), ("bbbb", (0, 50), (200, 250)), ("cccc", (0, 0), (0, 0))):
        for kind, (start, end) in (("truth", rows), ("mine", other)):
            mask = np.zeros((512, 512), dtype=np.uint8)
            mask[start:end, 7] = 1
            masks[kind][name] = mask
    for kind, chips in masks.items():
        (tmp_path / kind).mkdir()
        for name, mask in chips.items():
            tifffile.imwrite(tmp_path / kind / f"{name}.tif", mask)
    code, found = score(capsys, "on_cloud_n", tmp_path / "mine", tmp_path / "truth")
    assert code == 0
    assert found["score"] == 0.5
    tifffile.imwrite(tmp_path / "mine" / "dddd.tif", mask)
    assert "dddd.tif: no row names it" in score(capsys, "on_cloud_n", tmp_path / "mine", tmp_path / "truth")[1]
    (tmp_path / "mine" / "dddd.tif").unlink()
    tifffile.imwrite(tmp_path / "mine" / "cccc.tif", mask[:100])
    assert "(100, 512), expected" in score(capsys, "on_cloud_n", tmp_path / "mine", tmp_path / "truth")[1]
    tifffile.imwrite(tmp_path / "mine" / "cccc.tif", mask + 7)
    assert (
        "cccc.tif: 262144 pixels have values" in score(capsys, "on_cloud_n", tmp_path / "mine", tmp_path / "truth")[1]
    )


def test_a_folder_of_chips_is_submitted_beside_its_table(tmp_path):
    table = build("on_cloud_n").submission
    masks = np.zeros((2, 512, 512, 1), dtype=bool)
    masks[0, 3:9] = True
    ids = np.array(["aaaa", "bbbb"])
    table.write(tmp_path / "mine.csv", table.encode(ids, masks))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "mine.csv"]
    for name, mask in zip(ids, masks, strict=True):
        written = tifffile.imread(tmp_path / "mine" / f"{name}.tif")
        assert written.dtype == np.uint8
        np.testing.assert_array_equal(written, mask[..., 0])
