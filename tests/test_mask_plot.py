"""Images of any type and number of bands are shown, those of 16 bits and floats stretched."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from skyfold.reports.mask_plot import ERRORS, MaskPanels, draw_examples, draw_samples, error_layer, shown


def test_deep_values_are_stretched_between_their_percentiles() -> None:
    values = np.arange(101, dtype=np.int16).reshape(1, 101, 1) * 10 - 500
    drawn = shown(values).ravel()
    assert drawn[[0, 2, 50, 98, 100]].tolist() == [0, 0, 0.5, 1, 1]  # percentiles -480 and 480
    floats = np.array([[[np.nan], [1.0], [1.0]]], np.float32)
    assert shown(floats).ravel().tolist() == [0, 0, 0]
    assert not np.isfinite(shown(floats[:, :1])).any()  # nothing to show: drawn as nothing
    small = np.zeros((2, 2, 3), np.uint8)
    assert np.shares_memory(shown(small), small)


@pytest.mark.parametrize(("dtype", "bands"), [(np.uint8, 3), (np.uint16, 4), (np.float32, 1)])
def test_a_picture_is_drawn_of_every_kind(tmp_path: Path, dtype: type, bands: int) -> None:
    image = (np.random.default_rng(0).random((12, 16, bands)) * 200).astype(dtype)
    mask = np.zeros((6, 8, 1), bool)
    mask[2:4, 2:5] = True
    path = tmp_path / "a.png"
    draw_examples(path, images=[image], truth=[mask], pred=[~mask], classes=["a"], captions=["b"], title="c")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_an_outline_at_the_border_leaves_the_image_its_size(tmp_path: Path) -> None:
    image, everywhere = np.full((40, 40, 3), (90, 100, 110), np.uint8), np.ones((4, 4, 1), bool)
    path = tmp_path / "a.png"
    draw_examples(
        path, images=[image], truth=[everywhere], pred=[~everywhere], classes=["a"], captions=["b"], title="c"
    )
    above, below = np.split(cv2.imread(str(path)).astype(int), 2)
    outlined, plain = (np.ptp(np.argwhere((half == (110, 100, 90)).all(axis=-1)), axis=0) for half in (above, below))
    assert (plain > 200).all()
    assert (abs(plain - outlined) <= 2).all()
    red = above[..., 2] > above[..., 0] + 80
    assert red.sum() > 2 * plain.sum()  # on all four sides


def test_errors_are_coloured_where_pixels_count() -> None:
    truth = np.array([[[1, 0], [1, 0], [0, 0], [0, 0], [1, 0]]], bool)
    pred = np.array([[[1, 0], [0, 0], [0, 1], [0, 0], [0, 1]]], bool)
    names = [name_of(colour) for colour in error_layer(truth, pred, None)[0]]
    assert names == ["hit", "false negative", "false positive", None, "false positive"]
    ignored = np.array([[False, True, True, True, True]])
    assert name_of(error_layer(truth, pred, ignored)[0, 0]) is None


def name_of(colour: np.ndarray) -> str | None:
    if not colour[3]:
        return None
    red, green, blue = (round(255 * one) for one in colour[:3])
    return {value: name for name, value in ERRORS.items()}[f"#{red:02x}{green:02x}{blue:02x}"]


def test_a_sample_has_a_panel_for_each_thing_that_is_known() -> None:
    image, mask = np.zeros((20, 20, 3), np.uint8), np.ones((5, 5, 1), bool)
    widths = []
    for truth, pred in ((None, None), (mask, None), (mask, ~mask)):
        png = draw_samples([MaskPanels(image, truth, pred)], classes=["a"], title="b")
        assert png.startswith(b"\x89PNG")
        widths.append(int.from_bytes(png[16:20], "big"))
    assert widths[1] == 2 * widths[0]
    assert widths[2] == 4 * widths[0]
