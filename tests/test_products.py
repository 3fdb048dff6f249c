"""Maps, shares and grades of scenes say what was predicted, and a map can be handed in as it is."""

import csv

import numpy as np
import pytest
from PIL import Image

from conftest import begin_stored, store_rows
from skyfold.cli.main import main
from skyfold.competition import build
from skyfold.config.data import DataConfig
from skyfold.config.files import load_blend, load_run
from skyfold.errors import ConfigError
from skyfold.metrics.score_submission import score_submission
from skyfold.pipeline.prepare import prepare
from skyfold.pipeline.products import write_blend_products
from skyfold.reports.scene_maps import SceneMap, class_map, quality_grade, write_products
from skyfold.store.folds import read_folds
from skyfold.tasks.segmentation import Segmentation
from skyfold.workspace import Workspace

COLOURS = {"background": (0, 0, 0), "cloud": (255, 255, 255), "shadow": (0, 0, 255)}
CONFIG = """
data:
  competition: cloud_cover
  options: {grid: [48, 48]}
  folds: {k: 2, seed: 0, phash_max_distance: -1}
  sample: {train: 6, validation: 2, test: 2, side: 96}
name: final
runs:
  - {name: truth, image: {size: [48, 48]}, model: {family: colour_threshold, options: {feature: brightness}}}
postprocess: {thresholds: 3, min_areas: [0]}
bootstrap: 20
"""


def rows(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_shares_and_grades_of_two_scenes(tmp_path):
    one = np.zeros((4, 5), np.uint8)
    one[0, :3], one[3, 4] = 1, 2  # of 20 pixels 3 and 1
    other = np.full((2, 3), 1, np.uint8)
    write_products(tmp_path, iter([SceneMap("one", one), SceneMap("other", other)]), COLOURS, count=2)
    assert rows(tmp_path / "shares.csv") == [
        ["id", "background", "cloud", "shadow", "covered", "grade"],
        ["one", "0.8000", "0.1500", "0.0500", "0.2000", "B"],
        ["other", "0.0000", "1.0000", "0.0000", "1.0000", "D"],
    ]
    image = Image.open(tmp_path / "one.png")
    assert image.mode == "P"
    assert np.array_equal(image, one)
    assert np.array_equal(image.convert("RGB"), np.array(list(COLOURS.values()))[one])
    assert [quality_grade(covered) for covered in (0.0, 0.1, 0.3, 0.31, 0.6, 0.61)] == ["A", "A", "B", "C", "C", "D"]


def test_a_scene_is_held_one_at_a_time_and_the_table_comes_last(tmp_path):
    def maps():
        yield SceneMap("one", np.zeros((2, 2), np.uint8))
        assert (tmp_path / "one.png").is_file()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_products(tmp_path, maps(), COLOURS, count=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png"]


@pytest.mark.parametrize(
    ("values", "shape", "expected"),
    [
        ([[[9, 1, 3], [1, 8, 9]], [[5, 5, 5], [0, 7, 7]]], (2, 2), [[0, 2], [0, 1]]),
        # Two cells side by side meet in the middle; of 9 columns, the fifth is as much the one as the other.
        ([[[200, 0], [0, 200]]], (3, 9), [[0] * 5 + [1] * 4] * 3),
    ],
)
def test_the_largest_value_between_cells_too_is_the_class_and_the_first_of_equal_ones(values, shape, expected):
    assert class_map(np.array(values, np.uint8), shape).tolist() == expected


@pytest.fixture(scope="module")
def blended(tmp_path_factory, own_data):
    """A working folder with the blend of a run that predicts the truth: rows as training would have written them."""
    root = tmp_path_factory.mktemp("products")
    (root / "blend.yaml").write_text(CONFIG)
    config, workspace = load_run(root / "blend.yaml#truth"), Workspace(root=root)
    data = workspace.data("cloud_cover")
    prepare(config.data, workspace, sample=True)
    competition = build("cloud_cover", config.data.options, data)
    folder, folds = workspace.run("cloud_cover", "truth"), read_folds(workspace.folds("cloud_cover"))
    info = begin_stored(folder, folds, competition.classes, config=config)
    train, truth = competition.load(data, "train"), competition.read_truth(data / "labels" / "test")
    for part, of in (("oof", train), ("test", truth)):
        values = np.stack([of.targets[row] for row in range(len(of.ids))]).astype(np.uint8) * 200 + 20
        store_rows(folder, info, part, of.ids, values)
    Segmentation.blend(load_blend(root / "blend.yaml"), workspace)
    return root


def test_submit_writes_maps_that_can_be_submitted(blended, capsys):
    assert main(["submit", "--root", str(blended), str(blended / "blend.yaml"), "--products"]) == 0
    folder = blended / "submissions" / "cloud_cover" / "final_products"
    assert f"products: {folder}" in capsys.readouterr().out
    data = blended / "data" / "cloud_cover"
    table = rows(folder / "shares.csv")
    assert [row[0] for row in table[1:]] == ["scene_0008", "scene_0009"]
    for name, *shares, covered, _ in table[1:]:
        image = Image.open(folder / f"{name}.png")
        assert image.size == Image.open(data / "images" / "test" / f"{name}.png").size
        assert sum(map(float, shares)) == pytest.approx(1, abs=2e-4)
        assert float(covered) == pytest.approx(1 - float(shares[0]), abs=1e-4)
        # Half of the side was stored, so that the outlines are rough, but not the areas.
        label = np.array(Image.open(data / "labels" / "test" / f"{name}.png"))
        assert float(shares[1]) == pytest.approx((label == [255, 0, 0]).all(axis=-1).mean(), abs=0.02)
    competition = build("cloud_cover", {"grid": [48, 48]}, data)
    assert score_submission(competition, folder, data / "labels" / "test", draws=10).score > 0.9


def test_products_need_classes_that_do_not_overlap(blended):
    config = load_blend(blended / "blend.yaml")
    data = DataConfig(competition="understanding_clouds", name="cloud_cover")
    with pytest.raises(ConfigError, match="its classes may overlap"):
        write_blend_products(config.model_copy(update={"data": data}), Workspace(root=blended))
