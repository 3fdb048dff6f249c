"""Nodata: left out of averages, filled in inputs, not valid in targets and scores, and no business of whole data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from skyfold.data.cache import training_arrays, with_packed_masks
from skyfold.data.definedness import filled, has_undefined, reduce_defined
from skyfold.data.valid_pixels import with_defined_inputs
from skyfold.errors import DataLayoutError
from skyfold.types import Samples


@dataclass
class Images:
    """Images in memory, undefined where they are `nodata`; of an image without it `defined` is None."""

    values: np.ndarray
    nodata: float

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.values[index]

    def defined(self, index: int) -> np.ndarray | None:
        found = (self.values[index] != self.nodata).all(axis=-1)
        return None if found.all() else found


def samples(dtype: type = np.int16, *, nodata: float = -1, count: int = 3) -> Samples:
    """Images of 4 x 6 pixels; of number 1 the left third is undefined. A mask of one class on 2 x 3."""
    values = np.full((count, 4, 6, 2), 40).astype(dtype)
    values[1, :, :2] = nodata
    targets = np.ones((count, 2, 3, 1), np.uint8)
    return Samples(np.arange(count).astype(str), Images(values, nodata), targets)


def test_an_area_is_the_mean_of_its_defined_pixels() -> None:
    image = np.array([[10, 20, 7, 7], [90, 99, 7, 7]], np.uint16)[..., np.newaxis]
    defined = np.array([[True, True, False, False], [True, False, False, False]])
    small, known = reduce_defined(image, defined, (1, 2))
    assert small[..., 0].tolist() == [[40, 0]]  # (10 + 20 + 90) / 3; nothing is known of the second area
    assert known.tolist() == [[True, False]]
    assert small.dtype == np.uint16
    floats, _ = reduce_defined(np.where(defined[..., None], image, np.nan).astype(np.float32), defined, (1, 2))
    assert floats[..., 0].tolist() == [[40, np.finfo(np.float32).min]]
    same, _ = reduce_defined(image, defined, (2, 4))
    assert same[..., 0].tolist() == [[10, 20, 0, 0], [90, 0, 0, 0]]


@pytest.mark.parametrize(("dtype", "least"), [(np.uint8, 0), (np.int16, -32768), (np.float32, np.finfo("f").min)])
def test_undefined_pixels_are_the_least_number_of_their_type(dtype: type, least: float) -> None:
    image = np.ones((1, 2, 2), dtype)
    assert filled(image, np.array([[True, False]])).tolist() == [[[1, 1], [least, least]]]
    assert (image == 1).all()


def test_the_cache_keeps_type_and_values_and_tells_what_is_undefined(tmp_path: Path) -> None:
    given = with_defined_inputs(samples(), (2, 3))
    arrays = training_arrays(given, size=(2, 3), folder=tmp_path, fingerprint="")
    assert arrays.inputs.dtype == np.int16
    assert (arrays.inputs[0] == 40).all()
    assert arrays.inputs[1][0, :, 0].tolist() == [-32768, 40, 40]
    assert [np.unique(piece).tolist() for piece in arrays.pixels(np.array([0, 1]))] == [[40], [40]]
    assert arrays.targets is not None
    assert arrays.targets[1][0].tolist() == [[0, 0], [1, 1], [1, 1]]  # no mask, not valid; then both
    assert arrays.targets[0].all()


def test_valid_is_what_target_and_input_leave_for_training_and_scores_alike(tmp_path: Path) -> None:
    own = np.ones((3, 2, 3), bool)
    own[1, 0, 2] = own[0, 0, 0] = False
    given = samples()
    joined = with_defined_inputs(Samples(given.ids, given.inputs, given.targets, own), (2, 3))
    assert joined.valid is not None
    assert joined.valid[0].tolist() == own[0].tolist()
    assert joined.valid[1].tolist() == [[False, True, False], [False, True, True]]
    packed = with_packed_masks(joined, tmp_path)
    assert packed.valid is not None
    assert packed.valid[1].tolist() == joined.valid[1].tolist()


def test_whole_data_are_as_they_were(tmp_path: Path) -> None:
    """Inputs that could tell, and have nothing to tell, make the same samples, stores and checksums as plain ones."""
    whole = samples(np.uint8, nodata=200)
    whole.inputs.values[:] = 40  # type: ignore[attr-defined]
    assert not has_undefined(whole.inputs)
    assert with_defined_inputs(whole, (2, 3)) is whole
    plain = Samples(whole.ids, whole.inputs.values, whole.targets)  # type: ignore[attr-defined]
    found = [
        training_arrays(some, size=(2, 3), folder=tmp_path / name, fingerprint="")
        for name, some in (("whole", whole), ("plain", plain))
    ]
    assert found[0].checksum == found[1].checksum
    assert found[0].defined is None
    assert sorted(path.name for path in (tmp_path / "whole").iterdir() if path.is_dir()) == ["inputs", "targets"]
    unlabelled = Samples(whole.ids, samples().inputs)
    assert with_defined_inputs(unlabelled, (2, 3)) is unlabelled


def test_what_is_undefined_is_in_the_checksum(tmp_path: Path) -> None:
    """Where the least number of the type was measured, the inputs are the same bytes."""
    one, other = samples(np.uint16, nodata=0), samples(np.uint16, nodata=5)
    one.inputs.values[1, :, :2] = other.inputs.values[1, :, :2] = 0  # type: ignore[attr-defined]
    checksums = {
        training_arrays(some, size=(2, 3), folder=tmp_path / str(i), fingerprint="").checksum
        for i, some in enumerate((one, other))
    }
    assert len(checksums) == 2


def test_values_that_are_not_finite_and_images_of_several_types_are_named(tmp_path: Path) -> None:
    floats = np.ones((2, 4, 6, 1), np.float32)
    floats[1, 0, 0] = np.nan
    ids = np.array(["a", "b"])
    with pytest.raises(DataLayoutError, match=r"'b': values are NaN or infinite\. Declare them as nodata"):
        training_arrays(Samples(ids, floats), size=(2, 3), folder=tmp_path / "floats", fingerprint="")
    others = (np.ones((4, 6, 1), np.uint16), "uint16"), (np.ones((4, 6, 3), np.uint8), r"uint8 \(2, 3, 3\)")
    for other, what in others:
        mixed = [np.ones((4, 6, 1), np.uint8), other]
        with pytest.raises(DataLayoutError, match=rf"'b' is {what}.*'a' uint8 \(2, 3, 1\), once reduced"):
            training_arrays(Samples(ids, mixed), size=(2, 3), folder=tmp_path / what[:5], fingerprint="")
