"""Planted label errors, and the list that the label audit ranks them in."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from scipy.ndimage import gaussian_filter

from skyfold.cli.main import main
from skyfold.data.mask_checks import displacement, specks, straight_border

SIDE, COUNT = 96, 120


def field(rng: np.random.Generator, sigma=10.0) -> np.ndarray:
    """A smooth random field of mean 0 and standard deviation 1."""
    made = gaussian_filter(rng.normal(size=(SIDE, SIDE)), sigma, mode="wrap")
    return (made - made.mean()) / made.std()


def test_specks_are_pieces_and_holes_of_a_few_pixels():
    square = np.zeros((40, 40), bool)
    square[10:30, 10:30] = True
    assert specks(square) == 0
    dotted = square.copy()
    dotted[2, 2], dotted[20, 20] = True, False
    assert specks(dotted) == pytest.approx(1 - 2 * 399 / (400 + 400))
    assert specks(np.zeros((4, 4), bool)) == 0


def test_a_cut_is_straight_and_the_frame_and_undefined_pixels_are_no_cut():
    y, x = np.mgrid[:100, :100]
    disk = np.hypot(y - 50, x - 50) < 40
    assert straight_border(disk) == 0
    cut = disk & (x < 50)  # a chord of 80 pixels
    assert straight_border(cut) == pytest.approx(0.79, abs=0.03)
    tilted = disk & (x + 2 * y < 150)
    assert straight_border(tilted) > 0.7
    assert straight_border(disk, x < 50) == 0  # the other half was not defined
    assert straight_border(y < 100) == 0


@pytest.mark.parametrize(("down", "right"), [(0, 0), (6, 0), (-4, 6), (20, 0)])
def test_a_mask_is_found_where_its_prediction_lies(down, right):
    made = field(np.random.default_rng(1), sigma=6.0)
    found = displacement(np.roll(made, (down, right), axis=(0, 1)) > 0.3, made)
    assert found.farthest == (down == 20)
    assert found.farthest or np.hypot(found.down + down, found.right + right) < 2
    assert (found.rise > 0.02) == ((down, right) != (0, 0))
    assert displacement(np.ones((SIDE, SIDE), bool), made).rise == 0


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A data set of bright clouds on dark ground, 6 masks exchanged, 2 emptied, 2 shifted; and a stored run."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    monkeypatch.delenv("SKYFOLD_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    from planted_labels import planted

    fields = [field(np.random.default_rng([7, i])) + 0.3 * (i % 5) for i in range(COUNT)]
    wrong, kinds = planted([one > 0.6 for one in fields], 0.05, seed=0)
    for name in ("images", "masks"):
        (tmp_path / "data/mine" / name).mkdir(parents=True)
    for i, (made, mask) in enumerate(zip(fields, wrong, strict=True)):
        grey = 110 + 40 * made + np.random.default_rng([8, i]).normal(0, 25, made.shape)
        image = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=-1)
        cv2.imwrite(f"data/mine/images/{i:03d}.png", image)
        cv2.imwrite(f"data/mine/masks/{i:03d}.png", mask.astype(np.uint8) * 255)
    data = {"competition": "mask_folder", "name": "mine", "options": {"classes": {"cloud": 255}}, "folds": {"k": 2}}
    (tmp_path / "configs").mkdir()
    run = {"name": "bright", "model": {"family": "colour_threshold", "options": {"feature": "brightness"}}}
    config = tmp_path / "configs/bright.yaml"
    config.write_text(yaml.safe_dump({"data": data, "image": {"size": [SIDE, SIDE]}, **run}))
    assert main(["prepare", str(config)]) == 0
    assert main(["train", str(config)]) == 0
    return config, {f"{row:03d}": kind for row, kind in kinds.items()}


def test_planted_errors_lead_the_list(project, capsys):
    config, kinds = project
    capsys.readouterr()
    assert main(["audit", str(config), "--labels", "bright", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["labels"]
    assert len(listed) == COUNT
    head = {one["id"]: one["reason"] for one in listed[: COUNT // 10]}
    assert sum(name in head for name in kinds) >= len(kinds) / 2
    assert {kind for name, kind in kinds.items() if name in head} == {"exchanged", "emptied", "shifted"}
    for name, reason in head.items():
        assert kinds.get(name) != "emptied" or "empty;" in reason
    with open("oof/mine/audit/labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [one["id"] for one in listed]
    page = Path("oof/mine/audit/labels/index.html")
    assert listed[0]["id"] in page.read_text()
    assert list(page.parent.glob("images/*.webp"))
    assert main(["audit", str(config), "--labels", "bright,none"]) == 3
    assert "none: no run here" in capsys.readouterr().err
