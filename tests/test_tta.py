"""Flips and quarter turns of test-time augmentation are undone exactly, and each view is another one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyfold.training import tta
from skyfold.training.predict import chunks, mean_predictions, on_grid, sigmoid


@given(st.permutations(["hflip", "vflip", "rot90"]), st.integers(0, 3), st.integers(1, 5), st.integers(1, 5))
def test_undone_view_is_the_image(names, count, height, width):
    images = np.random.default_rng(0).random((2, height, width, 3))
    for view in tta.views(names[:count]):
        np.testing.assert_array_equal(tta.undo(tta.apply(images, view), view), images)


def test_views_differ():
    image = np.arange(4.0).reshape(1, 2, 2, 1)
    seen = {tuple(tta.apply(image, view).ravel()) for view in tta.views(["hflip", "vflip"])}
    assert seen == {(0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0)}


@pytest.mark.parametrize(
    ("names", "flips"),
    [(["rot90"], [False]), (["hflip", "rot90"], [False, True]), (["vflip", "hflip", "rot90"], [False, True])],
)
def test_views_are_those_that_the_names_generate(names, flips):
    image = np.arange(9.0).reshape(1, 3, 3, 1)
    wanted = {
        tuple(np.rot90(np.flip(image, 2) if flip else image, turns, (1, 2)).ravel())
        for flip in flips
        for turns in range(4)
    }
    seen = [tuple(tta.apply(image, view).ravel()) for view in tta.views(names)]
    assert seen[0] == tuple(image.ravel())
    assert len(seen) == len(wanted)  # none is predicted twice
    assert set(seen) == wanted


def test_d4_is_the_symmetries_of_the_square():
    assert tta.views(["d4"]) == tta.views(["hflip", "vflip", "rot90"])
    assert len(tta.views(["d4"])) == 8


def test_presence_is_not_turned():
    labels = np.array([[0.1, 0.9]])
    np.testing.assert_array_equal(tta.undo(labels, ("hflip",)), labels)
    np.testing.assert_array_equal(tta.undo(labels, ("transpose", "hflip")), labels)


class Answers:
    """A network that answers with a function of its inputs, two images at a time."""

    batch_size = 2

    def __init__(self, answer):
        self.answer = answer

    def logits(self, inputs):
        assert len(inputs) == self.batch_size
        return self.answer(inputs)


class Images:
    def __init__(self, count, size=(4, 6)):
        self.inputs = np.random.default_rng(3).integers(0, 256, (count, *size, 3), dtype=np.uint8)
        self.targets = None


def predicted(network, images, flips, members=(lambda: None,)):
    rows = np.arange(len(images.inputs))
    return mean_predictions(network, images, rows, members=members, normalization="unit", flips=flips, meaning=sigmoid)


def test_a_symmetric_network_is_not_changed_by_views():
    network, images = Answers(lambda x: x[..., :2] * 4 - 1), Images(5)
    plain = predicted(network, images, [])
    assert plain.shape == (5, 4, 6, 2)
    np.testing.assert_allclose(predicted(network, images, ["hflip", "vflip"]), plain, atol=1e-6)


def test_views_are_averaged_where_they_belong():
    # The network says "yes" in the left column only, whatever it sees: under hflip that is the right column.
    def left(x):
        logits = np.full((*x.shape[:3], 1), -100, np.float32)
        logits[:, :, 0] = 100
        return logits

    mean = predicted(Answers(left), Images(3), ["hflip"])
    np.testing.assert_allclose(mean[0, 0, :, 0], [0.5, 0, 0, 0, 0, 0.5], atol=1e-6)


def test_turned_views_are_averaged_where_they_belong():
    # "Yes" in the first pixel alone, whatever it sees: over all 8 views each corner gets two of them.
    def first(x):
        logits = np.full((*x.shape[:3], 1), -100, np.float32)
        logits[:, 0, 0] = 100
        return logits

    mean = predicted(Answers(first), Images(3, size=(3, 3)), ["d4"])
    np.testing.assert_allclose(mean[0, ..., 0], [[0.25, 0, 0.25], [0, 0, 0], [0.25, 0, 0.25]], atol=1e-6)


def test_a_pixelwise_network_is_not_changed_by_turns():
    network, images = Answers(lambda x: x[..., :2] * 4 - 1), Images(5, size=(4, 4))
    np.testing.assert_allclose(predicted(network, images, ["d4"]), predicted(network, images, []), atol=1e-6)


def test_members_are_averaged():
    network, images = Answers(None), Images(3)

    def member(logit):
        def load():
            network.answer = lambda x: np.full((len(x), 4), logit, np.float32)

        return load

    mean = predicted(network, images, [], members=[member(0.0), member(np.log(3))])
    np.testing.assert_allclose(mean, np.full((3, 4), (0.5 + 0.75) / 2), atol=1e-6)


def test_sigmoid_never_overflows():
    with np.errstate(all="raise"):
        np.testing.assert_allclose(sigmoid(np.array([-1e4, 0, np.log(3), 1e4])), [0, 0.5, 0.75, 1], atol=1e-7)


def test_grid_rounds_once_and_interpolates():
    halves = np.array([0, 1], np.float32).reshape(1, 1, 2, 1)
    # Four pixels from two, centres a quarter apart: 0, 1/4, 3/4, 1 of 255, and the ends repeat their value.
    np.testing.assert_array_equal(on_grid(halves, (1, 4)).ravel(), [0, 64, 191, 255])
    same = np.array([0.1, 0.5], np.float32).reshape(1, 1, 2, 1)
    np.testing.assert_array_equal(on_grid(same, (1, 2)).ravel(), [26, 128])


@pytest.mark.parametrize("count", [1, 7, 64, 65])
def test_chunks_are_whole_batches(count):
    rows = np.arange(count) + 3
    pieces = list(chunks(rows, batch_size=8, row_bytes=10, most_bytes=170))
    np.testing.assert_array_equal(np.concatenate(pieces), rows)
    assert all(len(piece) == 16 for piece in pieces[:-1])
