"""Flips and quarter turns of test-time augmentation are undone exactly, and predictions are averaged."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyfold.store.rows import RowStore
from skyfold.training import predict, tta
from skyfold.training.predict import mean_predictions, on_grid, sigmoid, write_predictions


@given(st.permutations(["hflip", "vflip", "rot90"]), st.integers(0, 3), st.integers(1, 5), st.integers(1, 5))
def test_an_undone_view_is_the_image(names, count, height, width):
    images = np.random.default_rng(0).random((2, height, width, 3))
    for view in tta.views(names[:count]):
        np.testing.assert_array_equal(tta.undo(tta.apply(images, view), view), images)
        labels = images[:, 0, 0]  # of whole images: they are not turned
        np.testing.assert_array_equal(tta.undo(labels, view), labels)


@pytest.mark.parametrize(
    ("names", "flips", "turns"),
    [
        (["hflip"], [0, 1], [0]),
        (["hflip", "vflip"], [0, 1], [0, 2]),  # a half turn is both flips
        (["rot90"], [0], range(4)),
        (["hflip", "rot90"], [0, 1], range(4)),
        (["vflip", "hflip", "rot90"], [0, 1], range(4)),
        (["d4"], [0, 1], range(4)),
    ],
)
def test_views_are_those_that_the_names_generate(names, flips, turns):
    image = np.arange(9.0).reshape(1, 3, 3, 1)
    starts = [np.flip(image, 2) if flip else image for flip in flips]
    wanted = {tuple(np.rot90(start, number, (1, 2)).ravel()) for start in starts for number in turns}
    seen = [tuple(tta.apply(image, view).ravel()) for view in tta.views(names)]
    assert seen[0] == tuple(image.ravel())
    assert len(seen) == len(wanted)  # none is predicted twice
    assert set(seen) == wanted


def predicted(answer, views, *, count=3, size=(4, 6), members=(lambda: None,)):
    """Mean predictions of a network that answers with a function of its inputs, two images at a time."""
    images = np.random.default_rng(3).integers(0, 256, (count, *size, 3), dtype=np.uint8)
    objective = SimpleNamespace(normalization="unit", activate=sigmoid, config=SimpleNamespace(tta=views))
    network = SimpleNamespace(batch_size=2, predicted_batch_size=2, logits=answer)
    arrays = SimpleNamespace(inputs=images, targets=None)
    return mean_predictions(network, members, objective, arrays, np.arange(count))


@pytest.mark.parametrize(
    ("views", "size", "place", "expected"),
    [
        # "Yes" in the left column, whatever it sees: under hflip that is the right column.
        (["hflip"], (1, 6), np.s_[:, :, 0], [[0.5, 0, 0, 0, 0, 0.5]]),
        # "Yes" in the first pixel: over all 8 views each corner gets two of them.
        (["d4"], (3, 3), np.s_[:, 0, 0], [[0.25, 0, 0.25], [0, 0, 0], [0.25, 0, 0.25]]),
    ],
)
def test_views_are_averaged_where_they_belong(views, size, place, expected):
    def answer(x):
        logits = np.full((*x.shape[:3], 1), -100, np.float32)
        logits[place] = 100
        return logits

    np.testing.assert_allclose(predicted(answer, views, size=size)[0, ..., 0], expected, atol=1e-6)


def test_members_are_averaged():
    logit = [0.0]
    members = [lambda: logit.__setitem__(0, 0.0), lambda: logit.__setitem__(0, np.log(3))]
    mean = predicted(lambda x: np.full((len(x), 4), logit[0], np.float32), [], members=members)
    np.testing.assert_allclose(mean, np.full((3, 4), (0.5 + 0.75) / 2), atol=1e-6)


def test_sigmoid_never_overflows_and_the_grid_rounds_once_and_interpolates():
    with np.errstate(all="raise"):
        np.testing.assert_allclose(sigmoid(np.array([-1e4, 0, np.log(3), 1e4])), [0, 0.5, 0.75, 1], atol=1e-7)
    # Four pixels from two, centres a quarter apart: 0, 1/4, 3/4, 1 of 255, and the ends repeat their value.
    for values, expected in (([0, 1], [0, 64, 191, 255]), ([0.1, 0.5], [26, 128])):
        pixels = np.array(values, np.float32).reshape(1, 1, 2, 1)
        np.testing.assert_array_equal(on_grid(pixels, (1, len(expected))).ravel(), expected)


@pytest.mark.parametrize("count", [1, 7, 64, 65])
def test_chunks_are_whole_batches(tmp_path, monkeypatch, count):
    monkeypatch.setattr(predict, "CHUNK_BYTES", 170)
    rows, seen = np.arange(count), []
    store = RowStore.open_or_create(tmp_path, ids=rows.astype(str), shape=(2,), dtype="float32", fingerprint="")
    objective = SimpleNamespace(output_shape=lambda _: (2,), to_rows=lambda values, *_: values)

    def values(arrays, chunk):
        seen.append(chunk)
        return np.stack([chunk, -chunk], axis=-1).astype(np.float32)

    images = SimpleNamespace(input_shape=(4, 4, 3))
    for _ in range(2):  # what is complete stays
        write_predictions(values, objective, images, rows, store, batch_size=8, label="a")
        assert len(seen) == -(-count // 16)
    assert all(len(chunk) == 16 for chunk in seen[:-1])
    np.testing.assert_array_equal(store.values, np.stack([rows, -rows], axis=-1))
