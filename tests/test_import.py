"""Predictions of another framework become a run: how they are read, what is refused, what the record says."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from conftest import begin_stored, store_rows
from skyfold.cli.main import main
from skyfold.config.files import load_run
from skyfold.data.foreign_predictions import as_probability_map, read_labels
from skyfold.errors import DataLayoutError
from skyfold.store.folds import read_folds
from skyfold.store.rows import RowStore
from skyfold.training import fold_trainer

IDS = [f"c{i:02d}" for i in range(12)]
TEST_IDS = [f"t{i}" for i in range(4)]
EMPTY = IDS[::3]
SIZE = (16, 24)
CONFIG = """
data:
  competition: mask_folder
  name: tiny
  options: {classes: {cloud: 255}, test_images: test}
  folds: {k: 2, phash_max_distance: -1}
"""
BLEND = f"""
{CONFIG}
name: mean
runs:
  - {{name: bright, image: {{size: [16, 24]}}, model: {{family: colour_threshold, options: {{feature: brightness}}}}}}
  - {{name: theirs, model: {{family: imported}}}}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project with images and folds; every third image shows what only looks like a cloud."""
    root = tmp_path_factory.mktemp("project")
    rng = np.random.default_rng(0)
    for folder in ("configs", "data/tiny/images", "data/tiny/masks", "data/tiny/test"):
        (root / folder).mkdir(parents=True)
    for name in (*IDS, *TEST_IDS):
        mask = np.zeros(SIZE, dtype=np.uint8)
        top, left = rng.integers(0, 8, 2)
        mask[top : top + 7, left : left + 9] = 255
        image = np.repeat((60 + mask / 2 + rng.normal(0, 25, SIZE)).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
        kind = "images" if name in IDS else "test"
        cv2.imwrite(str(root / "data" / "tiny" / kind / f"{name}.png"), image)
        if kind == "images":
            cv2.imwrite(str(root / "data" / "tiny" / "masks" / f"{name}.png"), mask * (name not in EMPTY))
    (root / "configs" / "data.yaml").write_text(CONFIG)
    (root / "configs" / "mean.yaml").write_text(BLEND)
    assert main(["prepare", str(root / "configs" / "data.yaml"), "--root", str(root)]) == 0
    return root


def maps(ids, shape=SIZE):
    """Probabilities, multiples of 1/255: the same for an id whatever the others are."""
    found = [np.random.default_rng(int(name[1:]) + 100 * (name[0] == "t")).integers(0, 256, shape) for name in ids]
    return np.stack(found).astype(np.uint8)


def imported(root, *arguments, name="theirs"):
    return main(
        ["import", name, "--data", str(root / "configs" / "data.yaml"), *map(str, arguments), "--root", str(root)]
    )


def stored(root, part="oof", name="theirs"):
    store = RowStore.open(root / "oof" / "tiny" / name / part)
    return np.stack([store[i] for i in range(len(store))])


def as_npy(folder, ids, values):
    np.save(folder / "maps.npy", values)
    return folder / "maps.npy"


def as_npz(folder, ids, values):
    np.savez(folder / "maps.npz", **dict(zip(ids, values, strict=True)))
    return folder / "maps.npz"


def as_listed_npz(folder, ids, values):
    np.savez(folder / "maps.npz", ids=np.array(ids)[::-1], p=values[::-1])
    return folder / "maps.npz"


def as_floats_of_pytorch(folder, ids, values):
    np.save(folder / "maps.npy", (values / np.float32(255))[:, np.newaxis])
    return folder / "maps.npy"


def as_pngs(folder, ids, values):
    (folder / "maps").mkdir()
    for name, value in zip(ids, values, strict=True):
        cv2.imwrite(str(folder / "maps" / f"{name}.png"), value)
    return folder / "maps"


def as_tiffs_of_16_bits(folder, ids, values):
    (folder / "maps").mkdir()
    for name, value in zip(ids, values, strict=True):
        tifffile.imwrite(folder / "maps" / f"{name}.tif", value.astype(np.uint16) * 257)
    return folder / "maps"


def as_npys_in_capitals(folder, ids, values):
    (folder / "maps").mkdir()
    for name, value in zip(ids, values, strict=True):
        with (folder / "maps" / f"{name}.NPY").open("wb") as file:
            np.save(file, value / np.float32(255))
    return folder / "maps"


WRITERS = [as_npy, as_npz, as_listed_npz, as_floats_of_pytorch, as_pngs, as_tiffs_of_16_bits, as_npys_in_capitals]


@pytest.mark.parametrize("write", WRITERS)
def test_maps_are_stored_as_they_are(made, tmp_path, write):
    (tmp_path / "test").mkdir()
    oof, test = write(tmp_path, IDS, maps(IDS)), write(tmp_path / "test", TEST_IDS, maps(TEST_IDS))
    assert imported(made, "--oof", oof, "--test", test) == 0
    np.testing.assert_array_equal(stored(made)[..., 0], maps(IDS))
    np.testing.assert_array_equal(stored(made, "test")[..., 0], maps(TEST_IDS))


def test_a_table_of_masks_counts_as_0_and_1(made, tmp_path):
    table = tmp_path / "masks.csv"
    table.write_text("id_class,EncodedPixels\n" + "".join(f"{name}_cloud,1 {i + 1}\n" for i, name in enumerate(IDS)))
    assert imported(made, "--oof", table) == 0
    found = stored(made)[..., 0]
    assert set(np.unique(found)) == {0, 255}
    assert (found > 0).sum(axis=(1, 2)).tolist() == list(range(1, 13))


def test_ids_name_the_rows_of_arrays_of_both_parts(made, tmp_path):
    ids = [*IDS[::-1], *TEST_IDS[::-1]]
    (tmp_path / "ids.csv").write_text("id\n" + "\n".join(ids) + "\n")
    np.save(tmp_path / "oof.npy", maps(IDS[::-1]))
    np.save(tmp_path / "test.npy", maps(TEST_IDS[::-1]))
    files = ["--oof", tmp_path / "oof.npy", "--test", tmp_path / "test.npy", "--ids", tmp_path / "ids.csv"]
    assert imported(made, *files) == 0
    np.testing.assert_array_equal(stored(made)[..., 0], maps(IDS))
    np.testing.assert_array_equal(stored(made, "test")[..., 0], maps(TEST_IDS))


def test_another_size_is_resampled_to_the_grid(made, tmp_path):
    """Twice the size in each direction, each value four times: bilinear sampling gives the value itself."""
    large = maps(IDS).repeat(2, axis=1).repeat(2, axis=2)
    assert imported(made, "--oof", as_npy(tmp_path, IDS, large)) == 0
    np.testing.assert_array_equal(stored(made)[..., 0], maps(IDS))


def test_an_imported_run_is_blended_scored_and_submitted(made, tmp_path, capsys):
    folds = (made / "oof" / "tiny" / "folds.csv").read_text().splitlines()
    fold_of = dict(line.split(",")[:2] for line in folds[1:])
    (tmp_path / "folds.csv").write_text("id,fold\n" + "".join(f"{n},{'ab'[int(f)]}\n" for n, f in fold_of.items()))
    files = ["--oof", as_npy(tmp_path, IDS, maps(IDS)), "--folds", tmp_path / "folds.csv"]
    (tmp_path / "test").mkdir()
    assert imported(made, *files, "--test", as_npy(tmp_path / "test", TEST_IDS, maps(TEST_IDS))) == 0
    about = json.loads((made / "oof" / "tiny" / "theirs" / "run.json").read_text())
    assert (about["kind"], about["config"]["imported"]["folds"]) == ("imported", "declared")
    assert main(["run", str(made / "configs" / "mean.yaml"), "--root", str(made)]) == 0
    assert main(["submit", str(made / "configs" / "mean.yaml"), "--root", str(made)]) == 0
    shown = capsys.readouterr()
    assert "imported without its folds" not in shown.err
    assert "theirs" in shown.out
    result = json.loads((made / "oof" / "tiny" / "mean" / "blend.json").read_text())
    assert [run["name"] for run in result["runs"]] == ["bright", "theirs"]
    assert imported(made, "--oof", as_npy(tmp_path, IDS, 255 - maps(IDS))) == 0
    assert main(["submit", str(made / "configs" / "mean.yaml"), "--root", str(made)]) == 3
    assert "run 'theirs' was imported anew since 'mean' was blended" in capsys.readouterr().err


def truth(root, name):
    return cv2.imread(str(root / "data" / "tiny" / "masks" / f"{name}.png"), cv2.IMREAD_GRAYSCALE)


def test_a_score_that_takes_no_model_is_noted_with_what_may_be_the_reason(made, tmp_path, capsys):
    """The truth itself, and nothing at all, which is right for the third of the images that show nothing."""
    right = np.stack([truth(made, name) for name in IDS])
    assert imported(made, "--oof", as_npy(tmp_path, IDS, right)) == 0
    assert "no better than" not in capsys.readouterr().err
    assert imported(made, "--oof", as_npy(tmp_path, IDS, np.zeros_like(right))) == 0
    assert capsys.readouterr().err.splitlines()[-1] == (
        "note: 'theirs' scores 0.3333 out of fold, no better than empty masks (0.3333): likely causes are rows in "
        "another order than their ids or values of another scale."
    )


def table_of_folds(root, folder, name_of=("0", "1")):
    """The folds of the data, by other names."""
    lines = [line.split(",") for line in (root / "oof" / "tiny" / "folds.csv").read_text().splitlines()[1:]]
    (folder / "folds.csv").write_text("id,fold\n" + "".join(f"{line[0]},{name_of[int(line[1])]}\n" for line in lines))
    return folder / "folds.csv"


def maps_of_fold(fold, shape=SIZE):
    return np.random.default_rng(50 + fold).integers(0, 256, (len(TEST_IDS), *shape)).astype(np.uint8)


def by_fold(root, folder, *test, name_of=("0", "1")):
    """Arguments of an import with these maps of the test part, a file each."""
    files = ["--oof", as_npy(folder, IDS, maps(IDS)), "--folds", table_of_folds(root, folder, name_of), "--test"]
    for place, values in enumerate(test):
        np.save(folder / f"test{place}.npy", values)
    return [*files, *(folder / f"test{place}.npy" for place in range(len(test)))]


@pytest.mark.parametrize("name_of", [("0", "1"), ("10", "2")])
def test_test_predictions_of_each_fold_are_kept_and_their_mean_is_that_of_the_run(made, tmp_path, name_of):
    """Files follow the numbers of the table that the models were trained with, which may be others."""
    first, second = maps_of_fold(0), maps_of_fold(1)
    assert imported(made, *by_fold(made, tmp_path, first, second, name_of=name_of)) == 0
    mean = (first.astype(float) + second) / 2
    assert np.abs(stored(made, "test")[..., 0] - mean).max() == 0.5
    in_order = (first, second) if name_of == ("0", "1") else (second, first)
    for fold, values in enumerate(in_order):
        np.testing.assert_array_equal(stored(made, f"test_folds/fold{fold}")[..., 0], values)
    one = ["--oof", as_npy(tmp_path, IDS, maps(IDS)), "--test", tmp_path / "test0.npy"]
    assert imported(made, *one) == 0
    np.testing.assert_array_equal(stored(made, "test")[..., 0], first)
    assert not (made / "oof" / "tiny" / "theirs" / "test_folds").exists()


def test_files_of_folds_that_cannot_be_told_apart_are_refused(made, tmp_path, capsys):
    first, second = maps_of_fold(0), maps_of_fold(1)

    def refused(*arguments):
        assert imported(made, *arguments, name="refused") == 2
        assert not (made / "oof" / "tiny" / "refused").exists()
        return capsys.readouterr().err

    arguments = by_fold(made, tmp_path, first, second)
    assert "2 files, one of each fold, but the folds are not known" in refused(*arguments[:2], *arguments[4:])
    assert "--test: 3 files, expected 2, one of each fold" in refused(*arguments, tmp_path / "test0.npy")
    assert "--test: two files hold the same" in refused(*by_fold(made, tmp_path, first, first))
    assert "' has no number, so that the order" in refused(*by_fold(made, tmp_path, first, second, name_of="ab"))
    larger = by_fold(made, tmp_path, first, second.repeat(2, axis=1))
    assert "test1.npy, 't0': (32, 24, 1), in" in refused(*larger)


STUDENT = f"""
{CONFIG}
name: student
image: {{size: [8, 12]}}
model: {{family: tiny_net}}
training: {{epochs: 1, batch_size: 4}}
pseudo_labels: {{run: theirs}}
"""


@pytest.mark.usefixtures("tiny_families")
def test_each_fold_of_a_student_learns_from_the_imported_maps_of_that_fold(made, tmp_path, monkeypatch, capsys):
    """Blocks of four equal values, so that half the size has these values."""
    learned, fit_fold = {}, fold_trainer.fit_fold

    def watched(network, *, arrays, split, fold, **options):
        learned[fold] = np.array([arrays.targets[row] for row in split.train[-len(TEST_IDS) :]])
        return fit_fold(network, arrays=arrays, split=split, fold=fold, **options)

    monkeypatch.setattr(fold_trainer, "fit_fold", watched)
    config = made / "configs" / "student.yaml"
    config.write_text(STUDENT)
    train = ["train", str(config), "--root", str(made)]
    small = [maps_of_fold(fold, (8, 12)) for fold in (0, 1)]
    first, second = (values.repeat(2, axis=1).repeat(2, axis=2) for values in small)
    assert imported(made, *by_fold(made, tmp_path, first, second)) == 0
    assert main(train) == 0
    for fold, values in enumerate(small):
        shown, absent = values / np.float32(255) >= 0.9, values / np.float32(255) <= 0.1
        np.testing.assert_array_equal(learned[fold], np.stack([shown, shown | absent], axis=-1))
    learned.clear()
    assert imported(made, *by_fold(made, tmp_path, first, second)) == 0
    assert main(train) == 0
    assert not learned  # the same maps are the same labels
    assert imported(made, *by_fold(made, tmp_path, first, 255 - second)) == 0
    assert main(train) == 3
    assert "this run was begun with other pseudo-labels" in capsys.readouterr().err
    assert main([*train, "--restart"]) == 0
    np.testing.assert_array_equal(learned[1][..., 0], 1 - small[1] / np.float32(255) >= 0.9)


@pytest.mark.usefixtures("tiny_families")
def test_an_imported_run_without_test_predictions_of_each_fold_is_no_teacher(made, tmp_path, capsys):
    (made / "configs" / "taught.yaml").write_text(STUDENT.replace("name: student", "name: taught"))
    arguments = by_fold(made, tmp_path, maps_of_fold(0))
    for given in (arguments, [*arguments[:2], *arguments[4:]]):
        assert imported(made, *given) == 0
        assert main(["train", str(made / "configs" / "taught.yaml"), "--root", str(made)]) == 2
        assert "Import it again with --folds FILE and --test FILE FILE ..., one file" in capsys.readouterr().err
    assert not (made / "oof" / "tiny" / "taught" / "run.json").exists()


def probabilities(ids):
    """Of a classifier that is right, more or less sure."""
    unsure = np.random.default_rng(len(ids)).random((len(ids), 1), dtype=np.float32) / 2
    return np.where(np.isin(ids, EMPTY)[:, None], unsure, 1 - unsure)


def as_table(path, ids, values, header="id,cloud"):
    lines = (f"{name},{','.join(map(str, row))}" for name, row in zip(ids, np.asarray(values).tolist(), strict=True))
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def classified(root, *arguments, name="imported_gate"):
    return imported(root, "--task", "classification", *arguments, name=name)


@pytest.mark.parametrize("kind", ["csv", "npy", "npz"])
def test_probabilities_of_a_classifier_are_stored_as_they_are(made, tmp_path, kind):
    values = probabilities(IDS)
    if kind == "csv":
        oof = as_table(tmp_path / "oof.csv", IDS[::-1], values[::-1])
    else:
        oof = (as_npy if kind == "npy" else as_listed_npz)(tmp_path, IDS, values)
    assert classified(made, "--oof", oof) == 0
    np.testing.assert_array_equal(stored(made, name="imported_gate"), values)


def test_columns_of_a_table_are_found_by_the_names_of_the_classes(tmp_path, capsys):
    table = as_table(tmp_path / "t.csv", ["b", "a"], [[0.25, 7, 1], [0.5, 7, 0]], header="id,dark,fold,bright")
    rows = read_labels(table, np.array(["a", "b"]), ("bright", "dark"))
    assert [row.tolist() for row in rows] == [[0.0, 0.5], [1.0, 0.25]]
    assert "t.csv: not read: column fold." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ids", "values", "said"),
    [
        ([*IDS, "c99"], probabilities([*IDS, "c99"]), "ids that the data do not have\n  - line 14: 'c99'"),
        (IDS[1:], probabilities(IDS[1:]), "1 of 12 predictions are missing\n  - nothing of 'c00'"),
        ([*IDS, "c03"], probabilities([*IDS, "c03"]), "line 14 ('c03'): the id stands in line 5, too. Keep one"),
        (IDS, [["yes"]] * 12, "line 2 ('c00'): yes: expected numbers from 0 to 1"),
        (IDS, [["nan"]] * 12, "line 2 ('c00'): values from nan to nan, expected probabilities from 0 to 1"),
        (IDS, 100 * probabilities(IDS), "line 2 ('c00'): values from"),
    ],
)
def test_what_is_no_probability_of_a_class_is_refused_by_file_and_line(made, tmp_path, capsys, ids, values, said):
    assert classified(made, "--oof", as_table(tmp_path / "oof.csv", ids, values), name="refused") == 2
    assert said in capsys.readouterr().err
    assert not (made / "oof" / "tiny" / "refused").exists()


def test_arrays_of_other_classes_and_other_tasks_are_refused(made, tmp_path, capsys):
    other = as_table(tmp_path / "oof.csv", IDS, probabilities(IDS), header="id,clouds")
    assert classified(made, "--oof", other, name="refused") == 2
    assert "column 'cloud' is missing; the header is id,clouds" in capsys.readouterr().err
    assert classified(made, "--oof", as_npy(tmp_path, IDS, maps(IDS)), name="refused") == 2
    assert "'c00': expected (1,), got (16, 24)" in capsys.readouterr().err
    assert imported(made, "--oof", tmp_path / "maps.npy", "--task", "clasification", name="refused") == 2
    assert "'task': unknown (did you mean 'classification'?)" in capsys.readouterr().err
    assert imported(made, "--oof", tmp_path / "maps.npy", "--task", "forecasting", name="refused") == 2
    assert (
        "--task: forecasting is not for competition 'mask_folder', which is for segmentation" in capsys.readouterr().err
    )


def test_an_imported_classifier_gates_as_one_that_was_trained(made, tmp_path, capsys):
    """The very rows of a trained classifier, imported: the same selection, scores and submission."""
    members = {
        "own_gate": "image: {size: [16, 24]}, model: {family: efficientnet_classifier}, loss: {name: bce}",
        "imported_gate": "model: {family: imported}",
    }
    for name, keys in members.items():
        gate = f"classifier_gate: {{name: {name}, task: classification, {keys}}}"
        text = BLEND.replace("name: mean", f"name: by_{name}").replace(
            "  - {name: theirs, model: {family: imported}}\n", gate
        )
        (made / "configs" / f"{name}.yaml").write_text(text)
    assert main(["train", str(made / "configs" / "own_gate.yaml#bright"), "--root", str(made)]) == 0
    folder, folds = made / "oof" / "tiny" / "own_gate", read_folds(made / "oof" / "tiny" / "folds.csv")
    config = load_run(made / "configs" / "own_gate.yaml#own_gate")
    info = begin_stored(folder, folds, ("cloud",), config=config, task="classification")
    files = {}
    for part, ids in (("oof", IDS), ("test", TEST_IDS)):
        store_rows(folder, info, part, ids, probabilities(ids))
        files[part] = as_table(tmp_path / f"{part}.csv", ids, probabilities(ids))
    assert classified(made, "--oof", files["oof"], "--test", files["test"]) == 0
    found = []
    for name in members:
        config = str(made / "configs" / f"{name}.yaml")
        assert main(["blend", config, "--root", str(made)]) == 0
        assert ("run 'imported_gate' was imported without its folds" in capsys.readouterr().err) == (name != "own_gate")
        assert main(["submit", config, "--root", str(made)]) == 0
        result = json.loads((made / "oof" / "tiny" / f"by_{name}" / "blend.json").read_text())
        tables = [(made / "submissions" / "tiny" / f"by_{name}{end}.csv").read_text() for end in ("", "_before_gate")]
        found.append([result["scores"], result["selection"], result["presence_stack"], tables])
    assert found[0] == found[1]
    assert found[0][0]["final"] != found[0][0]["before_gate"]
    assert main(["run", config, "--root", str(made)]) == 0
    assert main(["leaderboard", "tiny", "--root", str(made)]) == 0
    assert re.search("imported_gate +classifier, imported, folds not known", capsys.readouterr().out)


def wrong(folder, what):
    """Arguments of an import that is refused, and what is said."""
    values, path = maps(IDS), folder / "maps.npy"
    (folder / "ids.csv").write_text("id\n" + "\n".join(IDS[:11]) + "\nc99\n")
    (folder / "folds.csv").write_text("id,fold\n" + "".join(f"{name},{i % 2}\n" for i, name in enumerate(IDS)))
    bad = (values / 255).astype(np.float32)
    bad[4, 3, 3] = np.nan
    arrays = {
        "too few": (values[:11], "(11, 16, 24), expected 12 rows. Name their ids"),
        "logits": (values - 100.0, "'c00': values from"),
        "nan": (bad, "'c04': values from nan"),
        "bytes 0 and 1": (values // 128, "bytes of 0 and 1 only"),
        "classes": (np.stack([values] * 2, axis=-1), "'c00': expected (H, W), got (16, 24, 2)"),
        "integers": (values.astype(np.int64), "'c00': int64 values. Write probabilities as float32"),
        "unknown id": (values, "ids that the data do not have\n  - 'c99'"),
        "other folds": (values, "folds.csv: not the folds of folds.csv"),
    }
    array, said = arrays[what]
    np.save(path, array)
    more = {"unknown id": ["--ids", folder / "ids.csv"], "other folds": ["--folds", folder / "folds.csv"]}
    return ["--oof", path, *more.get(what, [])], said


@pytest.mark.parametrize(
    "what",
    ["too few", "logits", "nan", "bytes 0 and 1", "classes", "integers", "unknown id", "other folds"],
)
def test_what_is_no_prediction_of_the_data_is_refused_and_nothing_written(made, tmp_path, capsys, what):
    arguments, said = wrong(tmp_path, what)
    assert imported(made, *arguments, name="refused") == 2
    assert said in capsys.readouterr().err
    assert not (made / "oof" / "tiny" / "refused").exists()


def test_a_run_that_was_trained_is_not_replaced(made, tmp_path, capsys):
    config = made / "configs" / "mean.yaml"
    assert main(["train", f"{config}#bright", "--root", str(made)]) == 0
    assert imported(made, "--oof", as_npy(tmp_path, IDS, maps(IDS)), name="bright") == 2
    assert "holds the run 'bright', which this imported would overwrite" in capsys.readouterr().err
    assert main(["train", f"{config}#theirs", "--root", str(made)]) == 2
    assert "are imported. Import them: skyfold import theirs --task segmentation" in capsys.readouterr().err
    assert imported(made, "--oof", as_npy(tmp_path, IDS, maps(IDS)), name="a/b") == 2
    assert "'name': a name becomes a folder" in capsys.readouterr().err


def test_files_are_read_from_any_place(made, tmp_path, capsys):
    assert imported(made, "--oof", tmp_path / "nothing.npy", name="refused") == 2
    assert "no such file or folder" in capsys.readouterr().err
    Path(tmp_path / "maps.pt").write_bytes(b"PK")
    assert imported(made, "--oof", tmp_path / "maps.pt", name="refused") == 2
    assert "expected .npy, .npz, .csv, or a folder of images" in capsys.readouterr().err


def test_axes_of_classes_may_stand_first_or_last():
    values = np.random.default_rng(0).random((5, 7, 3), dtype=np.float32)
    np.testing.assert_array_equal(as_probability_map(values, 3, "a"), values)
    np.testing.assert_array_equal(as_probability_map(np.moveaxis(values, -1, 0), 3, "a"), values)
    with pytest.raises(DataLayoutError, match=r"a: expected \(H, W, 3\), got \(5, 7\)"):
        as_probability_map(values[..., 0], 3, "a")
