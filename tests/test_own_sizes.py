"""Images that differ in size: imported, blended, post-processed and submitted, each on its own size."""

import json
import re

import cv2
import numpy as np
import pytest

from contests.own_sizes import CLASSES, SIZES, mask, names, padded, size_of
from skyfold.cli.main import main
from skyfold.config.files import load_blend
from skyfold.errors import OofMismatch
from skyfold.pipeline.import_predictions import Foreign, import_predictions
from skyfold.pipeline.prepare import prepare
from skyfold.pipeline.submit import submit
from skyfold.store.rows import RowsOfShapes, RowStore, pieces
from skyfold.submission.formats import RleTable
from skyfold.tasks import task_class
from skyfold.workspace import Workspace


def maps(part, seed):
    """Probability maps, uint8: the mask (of test images what would be one) in noise."""
    rng, found = np.random.default_rng(seed), {}
    for i, name in enumerate(names(part)):
        noise = rng.normal(0, 60, (*size_of(i), len(CLASSES)))
        found[str(name)] = np.clip(60 + 130 * mask(i) + noise, 0, 255).astype(np.uint8)
    return found


def project(root, *, one_size, blend="", pooled=False):
    """A blend of two imported members; returns its workspace and config."""
    root.mkdir()
    (root / "data" / "own_sizes").mkdir(parents=True)
    options = f"{{padded: {str(one_size).lower()}, pooled: {str(pooled).lower()}}}"
    members = "[{name: a, model: {family: imported}}, {name: b, model: {family: imported}}]"
    post = "postprocess: {thresholds: 15, min_areas: [0, 9, 40]}"
    config = root / "blend.yaml"
    config.write_text(
        f"data: {{competition: own_sizes, options: {options}, folds: {{k: 3, phash_max_distance: -1}}}}\n"
        f"name: mean\nruns: {members}\n{post}\n{blend}\n"
    )
    workspace = Workspace(root)
    loaded = load_blend(config)
    prepare(loaded.data, workspace)
    for seed, name in enumerate("ab"):
        files = {}
        for part in ("train", "test"):
            arrays = maps(part, seed)
            if one_size:  # what was added to training samples does not count; in test images it is dark
                arrays = {key: padded(value, 200 if part == "train" else 0) for key, value in arrays.items()}
            files[part] = root / f"{name}_{part}.npz"
            np.savez(files[part], **arrays)
        import_predictions(name, loaded.data, Foreign(files["train"], [files["test"]]), workspace)
    return workspace, loaded


@pytest.mark.usefixtures("made_up_plugins")
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("blend", ["weights: [1, 3]", "combine: stack", "weights: {steps: 4, thresholds: 5}"])
def test_scores_are_those_of_the_same_images_padded_to_one_size(tmp_path, blend, pooled):
    results = []
    for one_size in (False, True):
        workspace, config = project(tmp_path / str(one_size), one_size=one_size, blend=blend, pooled=pooled)
        task = task_class(config.task)
        result = task.blend(config, workspace)
        [path] = submit(config, workspace)
        sizes = None if one_size else {str(n): size_of(i) for i, n in enumerate(names("test"))}
        table = RleTable(CLASSES, (40, 50), key_column="id", rle_column="rle", sizes=sizes)
        masks = table.read_masks(path, names("test"))[1]
        results.append((result["scores"], result["selection"], [masks[i] for i in range(len(masks))]))
    (own, chosen, own_masks), (other, same, padded_masks) = results
    assert own == other
    assert chosen == same
    assert own["final"]["cv_cross_fitted"] > 0.5
    for size, one, full in zip(SIZES, own_masks, padded_masks, strict=True):
        assert one.shape == (*size, len(CLASSES))
        np.testing.assert_array_equal(one, full[: size[0], : size[1]])


@pytest.mark.usefixtures("made_up_plugins")
def test_each_row_is_stored_at_its_own_size(tmp_path):
    workspace, _ = project(tmp_path / "p", one_size=False)
    store = RowStore.open(workspace.run("own_sizes", "a") / "oof")
    assert isinstance(store.values, RowsOfShapes)
    assert store.values.flat.nbytes == sum(2 * h * w for h, w in SIZES) * 3
    expected = maps("train", 0)
    for row, name in enumerate(store.ids):
        np.testing.assert_array_equal(store[row], expected[name])
    about = json.loads((workspace.run("own_sizes", "a") / "run.json").read_text())
    assert about["kind"] == "imported"
    assert about["config"]["imported"]["folds"] == "unknown"


@pytest.mark.usefixtures("made_up_plugins")
def test_maps_of_which_constant_masks_are_better_are_noted(tmp_path, capsys):
    workspace, config = project(tmp_path / "p", one_size=False)
    assert "no better than" not in capsys.readouterr().err
    np.savez(tmp_path / "inverted.npz", **{name: 255 - values for name, values in maps("train", 0).items()})
    import_predictions("a", config.data, Foreign(tmp_path / "inverted.npz"), workspace)
    first, second = CLASSES
    noted = f"no better than .* masks .*, values of another scale or classes in another order than {first}, {second}\\."
    assert re.search(noted, capsys.readouterr().err)


@pytest.mark.usefixtures("made_up_plugins")
def test_members_of_other_sizes_are_refused(tmp_path):
    workspace, config = project(tmp_path / "p", one_size=False)
    folder = workspace.run("own_sizes", "b") / "oof"
    before = RowStore.open(folder)
    shapes = [before.values.row_shape(row) for row in range(len(before))]
    shapes[4] = (shapes[4][1], shapes[4][0] + 1, 2)
    again = RowStore.open_or_create(folder, ids=before.ids, shape=shapes, dtype="uint8", fingerprint=before.fingerprint)
    for row, shape in enumerate(shapes):
        again.write(np.array([row]), np.zeros((1, *shape), dtype=np.uint8))
    again.flush()
    with pytest.raises(OofMismatch, match=r"sizes differ: 'train04' is 27 x 27 in run 'a', 27 x 28 in run 'b'"):
        task_class("segmentation").blend(config, workspace)


def test_rows_are_split_where_their_size_changes_and_where_they_are_many(tmp_path):
    shapes = [(2, 3, 1)] * 5 + [(4, 3, 1)] * 2 + [(2, 3, 1)]
    rows = RowsOfShapes(np.arange(5 * 6 + 2 * 12 + 6, dtype=np.uint8), shapes)
    assert [piece.tolist() for piece in pieces([rows], np.arange(8), 12)] == [[0, 1], [2, 3], [4], [5], [6], [7]]
    assert rows[5].tolist() == (30 + np.arange(12).reshape(4, 3, 1)).tolist()
    assert rows[1:3].shape == (2, 2, 3, 1)
    assert rows.shape == (8, None, 3, 1)


CONFIG = """
data:
  competition: mask_folder
  name: own
  options: {classes: {cloud: 255}, grid: own, test_images: test}
  folds: {k: 2, phash_max_distance: -1}
name: mean
image: {size: [16, 24]}
runs:
  - {name: bright, model: {family: colour_threshold, options: {feature: brightness}}}
  - {name: white, model: {family: colour_threshold, options: {feature: whiteness}}}
postprocess: {thresholds: 15, min_areas: [0, 12]}
"""


def folder_of_sizes(root):
    """Bright boxes on a dark ground, and their masks; images to predict."""
    rng = np.random.default_rng(3)
    for name in ("images", "masks", "test"):
        (root / "data" / "own" / name).mkdir(parents=True)
    for i in range(14):
        size = SIZES[i % len(SIZES)]
        inside = np.zeros(size, dtype=np.uint8)
        inside[3:9, 4 : 12 + i // 2] = 255
        image = np.repeat((50 + inside // 2 + rng.integers(0, 40, size)).astype(np.uint8)[..., None], 3, axis=2)
        folder = "test" if i >= 10 else "images"
        cv2.imwrite(str(root / "data" / "own" / folder / f"{i:02d}.png"), image)
        if i < 10:
            cv2.imwrite(str(root / "data" / "own" / "masks" / f"{i:02d}.png"), inside)
    (root / "blend.yaml").write_text(CONFIG)
    return str(root / "blend.yaml")


def test_a_folder_of_images_of_several_sizes_is_trained_on_blended_and_submitted(tmp_path, capsys):
    config = folder_of_sizes(tmp_path)
    assert main(["run", config, "--root", str(tmp_path)]) == 0
    assert "each on its own size" in capsys.readouterr().out
    rows = RowStore.open(tmp_path / "oof" / "own" / "bright" / "oof")
    assert [rows.values.row_shape(i)[:2] for i in range(10)] == SIZES * 2
    table = tmp_path / "submissions" / "own" / "mean.csv"
    sizes = {f"{i:02d}": SIZES[i % len(SIZES)] for i in range(10, 14)}
    masks = RleTable(("cloud",), (1, 1), key_column="id_class", sizes=sizes).read_masks(table)[1]
    assert [masks[i].shape[:2] for i in range(4)] == list(sizes.values())
    result = json.loads((tmp_path / "oof" / "own" / "mean" / "blend.json").read_text())
    assert result["scores"]["final"]["cv_cross_fitted"] > 0.6
    # The masks themselves, as a submission of the training images: all right.
    given = [str(tmp_path / "data" / "own" / "masks"), "--truth", str(tmp_path / "data" / "own" / "masks")]
    assert main(["score", config, *given, "--root", str(tmp_path)]) == 0
    assert "mean_dice: 1.000000 (10 samples)" in capsys.readouterr().out


def test_sizes_that_differ_without_a_grid_are_refused_with_both_ways_out(tmp_path, capsys):
    config = folder_of_sizes(tmp_path)
    text = (tmp_path / "blend.yaml").read_text()
    (tmp_path / "blend.yaml").write_text(text.replace("grid: own, ", ""))
    assert main(["prepare", config, "--root", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "Set grid: [rows, columns]" in said
    assert "Or set grid: own;" in said
