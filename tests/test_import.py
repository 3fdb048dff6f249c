"""Predictions of another framework become a run: how they are read, what is refused, what the record says."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from skyfold.cli.main import main
from skyfold.data.foreign_predictions import as_probability
from skyfold.errors import DataLayoutError
from skyfold.store.rows import RowStore

IDS = [f"c{i:02d}" for i in range(12)]
TEST_IDS = [f"t{i}" for i in range(4)]
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
    """A project with images and folds."""
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
            cv2.imwrite(str(root / "data" / "tiny" / "masks" / f"{name}.png"), mask)
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
    assert "run 'theirs' was trained anew since 'mean' was blended" in capsys.readouterr().err


def wrong(folder, what):
    """Arguments of an import that is refused, and what is said."""
    values, path = maps(IDS), folder / "maps.npy"
    (folder / "ids.csv").write_text("id\n" + "\n".join(IDS[:11]) + "\nc99\n")
    (folder / "folds.csv").write_text("id,fold\n" + "".join(f"{name},{i % 2}\n" for i, name in enumerate(IDS)))
    bad = (values / 255).astype(np.float32)
    bad[4, 3, 3] = np.nan
    arrays = {
        "too few": (values[:11], "11 maps, expected 12. Name their ids"),
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
    assert "its predictions are imported. Import them: skyfold import theirs" in capsys.readouterr().err
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
    np.testing.assert_array_equal(as_probability(values, 3, "a"), values)
    np.testing.assert_array_equal(as_probability(np.moveaxis(values, -1, 0), 3, "a"), values)
    with pytest.raises(DataLayoutError, match=r"a: expected \(H, W, 3\), got \(5, 7\)"):
        as_probability(values[..., 0], 3, "a")
