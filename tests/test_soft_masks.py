"""Soft labels are decided at one half: fractions as stored, and the votes of annotators."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from skyfold import competition
from skyfold.errors import ConfigError, DataLayoutError

SIZE = (2, 4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path / "images" / "a.png", np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8))
    return tmp_path


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        assert cv2.imwrite(str(path), array)


def built(folder: Path, classes=None, **masks):
    return competition.build("mask_folder", {"classes": classes or {"x": 1}, "ignore_value": 9, "masks": masks}, folder)


def rows(*values: float) -> np.ndarray:
    return np.array([values] * SIZE[0])


def test_more_than_half_of_the_annotators_decide(folder):
    """Two of three; of two that looked, one is not enough, and none leave the pixel undefined."""
    for name, values in {"ann": (1, 1, 9, 9), "bob": (1, 0, 1, 9), "cy": (0, 0, 0, 9)}.items():
        save(folder / "masks" / name / "a.png", rows(*values).astype(np.uint8))
    contest = built(folder, annotators=["ann", "bob", "cy"], files="{annotator}/{id}.png")
    samples = contest.load(folder, "train")
    assert samples.targets[0][0, :, 0].tolist() == [1, 0, 0, 0]
    assert samples.valid[0][0].tolist() == [True, True, True, False]
    fractions, _ = samples.targets.fractions(0)
    assert fractions[0, :, 0].tolist() == pytest.approx([2 / 3, 1 / 3, 1 / 2, 0])
    # one of the three columns that are defined
    assert contest.check(folder) == "1 images with masks, grid 2x4; x 33.3% of the pixels, empty 0%; undefined 25.0%"
    assert len(samples.targets.sources(0)) == 4
    (folder / "masks" / "cy" / "a.png").unlink()
    with pytest.raises(DataLayoutError, match=r"a\.png: no mask 'cy/a\.png' for this image"):
        contest.load(folder, "train")
    save(folder / "masks" / "cy" / "a.png", np.zeros((2, 3), np.uint8))
    with pytest.raises(DataLayoutError, match=r"cy.a\.png: 2x3 pixels, .*ann.a\.png 2x4. Bring the masks"):
        contest.check(folder)


@pytest.mark.parametrize(
    ("suffix", "stored"),
    [
        (".npy", rows(0.0, 0.5, 0.51, 1.0).astype(np.float32)),
        (".png", rows(0, 127, 128, 255).astype(np.uint8)[..., None].repeat(3, -1)),
        (".png", rows(0, 32767, 32768, 65535).astype(np.uint16)),
    ],
)
def test_fractions_are_of_any_type(folder, suffix, stored):
    save(folder / "masks" / f"a{suffix}", stored)
    bands = stored.shape[2] if stored.ndim == 3 else 1
    classes = {f"x{band}": band + 1 for band in range(bands)}
    targets = built(folder, classes, fractions=True).load(folder, "train").targets
    assert targets[0][0].T.tolist() == [[0, 0, 1, 1]] * bands


def test_classes_of_fractions_are_bands(folder):
    values = np.dstack([rows(0.2, 0.8, np.nan, 0.6), rows(0.7, 0.1, 0.3, 0.3)]).astype(np.float32)
    save(folder / "masks" / "a.npy", values)
    contest = built(folder, {"thin": 1, "thick": 2}, fractions=True)
    samples = contest.load(folder, "train")
    assert samples.targets[0][0].tolist() == [[0, 1], [1, 0], [0, 0], [1, 0]]
    assert samples.valid[0][0].tolist() == [True, True, False, True]
    contest.check(folder)
    save(folder / "masks" / "a.npy", values * 255)
    with pytest.raises(DataLayoutError, match=r"a\.npy: float32 values from .* to 204, expected fractions: 0 to 1"):
        contest.check(folder)


@pytest.mark.parametrize(
    ("classes", "masks", "message"),
    [
        ({"x": 255}, {"fractions": True}, r"with masks\.fractions number the bands: \{x: 1\}"),
        ({"x": 1}, {"annotators": ["a", "b"]}, r"give annotators and a path with \{annotator\} in it"),
        ({"x": 1}, {"annotators": ["a"], "files": "{annotator}/{id}", "fractions": True}, "of one file an image"),
    ],
)
def test_options_that_contradict_are_refused(folder, classes, masks, message):
    with pytest.raises(ConfigError, match=message):
        built(folder, classes, **masks)
