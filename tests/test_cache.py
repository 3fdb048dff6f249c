"""What is cached is what would be decoded, at any moment of being killed, and never of other files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from skyfold.data.cache import TrainingArrays, reduce_masks, training_arrays, with_packed_masks
from skyfold.data.images import ImageFiles
from skyfold.errors import DataLayoutError
from skyfold.store.rows import RowStore
from skyfold.types import IntPair, Samples


def samples(folder: Path, count: int = 5) -> Samples:
    """Images of 32 x 48 in files, masks of 16 x 24 for six classes, and a valid mask, all random but smooth."""
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{i}.png" for i in range(count)]
    for path in paths:
        coarse = rng.integers(0, 256, (4, 6, 3)).astype(np.uint8)
        Image.fromarray(np.asarray(cv2.resize(coarse, (48, 32)))).save(path)
    coarse_masks = rng.random((count, 4, 6, 6)) < 0.4
    targets = coarse_masks.repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)
    valid = (rng.random((count, 4, 6)) < 0.8).repeat(4, axis=1).repeat(4, axis=2)
    ids = np.array([path.name for path in paths])
    return Samples(ids=ids, inputs=ImageFiles(paths), targets=targets, valid=valid)


class FloatFiles(ImageFiles):
    """As a plug-in might give them."""

    def resized(self, index: int, size: IntPair) -> np.ndarray:
        return super().resized(index, size) / np.float64(255)


def cached(given: Samples, folder: Path, *, size: IntPair = (8, 12), fingerprint: str = "") -> TrainingArrays:
    return training_arrays(given, size=size, folder=folder / "cache", fingerprint=fingerprint)


def test_arrays_hold_the_reduced_images_and_masks_with_valid_as_last_plane(tmp_path: Path) -> None:
    given = samples(tmp_path / "images")
    arrays = cached(given, tmp_path)
    assert (arrays.inputs.shape, arrays.inputs.dtype) == ((5, 8, 12, 3), np.uint8)
    assert arrays.targets.shape == (5, 8, 12, 7)
    assert np.array_equal(arrays.inputs[3], cv2.resize(given.inputs[3], (12, 8), interpolation=cv2.INTER_AREA))
    # Blocks of 4 x 4 are of one value and each reduced pixel covers 2 x 2 of one block: nothing is mixed.
    assert np.array_equal(arrays.targets[..., -1], np.asarray(given.valid)[:, ::2, ::2])
    counting = np.asarray(given.valid)[:, ::2, ::2, None]
    assert np.array_equal(arrays.targets[..., :-1], np.asarray(given.targets)[:, ::2, ::2] * counting)


def test_a_mask_fills_a_pixel_where_it_covers_more_than_half_of_what_counts() -> None:
    # Columns of 2 x 2 blocks, mask cells / counting cells: 2/4 no, 3/4 yes, 2/3 yes, 1/2 (half undefined: not valid).
    target = np.array([[1, 1, 1, 1, 1, 0, 1, 0], [0, 0, 1, 0, 1, 0, 0, 1]], np.uint8)[..., None]
    valid = np.array([[1, 1, 1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 0, 1, 0]], bool)
    resized = reduce_masks(target, valid, (1, 4))
    assert resized[0, :, 0].tolist() == [0, 1, 1, 0]
    assert resized[0, :, 1].tolist() == [1, 1, 1, 0]
    assert reduce_masks(target, None, (1, 4))[0, :, 1].tolist() == [1, 1, 1, 1]


def test_done_rows_are_not_made_again_until_a_file_changes(tmp_path: Path) -> None:
    given, folder = samples(tmp_path / "images"), tmp_path / "cache/inputs"
    cached(given, tmp_path)
    stamp = RowStore.open(folder).fingerprint
    store = RowStore.open_or_create(folder, ids=given.ids, shape=(8, 12, 3), dtype="uint8", fingerprint=stamp)
    store.write(np.array([2]), np.full((1, 8, 12, 3), 77))  # a mark that decoding again would wipe out
    assert (cached(given, tmp_path).inputs[2] == 77).all()
    Image.fromarray(np.zeros((32, 48, 3), np.uint8)).save(tmp_path / "images" / "0.png")
    renewed = cached(given, tmp_path)
    assert not (renewed.inputs[2] == 77).all()
    assert (renewed.inputs[0] == 0).all()


@pytest.mark.parametrize("change", ["size", "fingerprint", "targets", "valid"])
def test_what_the_masks_are_made_from_is_in_the_stamp(tmp_path: Path, change: str) -> None:
    given = samples(tmp_path / "images")
    cached(given, tmp_path)
    before = RowStore.open(tmp_path / "cache" / "targets").fingerprint
    given.targets[0, 0, 0, 0] ^= change == "targets"
    given.valid[0, 0, 0] ^= change == "valid"
    fingerprint = "another class table" if change == "fingerprint" else ""
    cached(given, tmp_path, size=(4, 6) if change == "size" else (8, 12), fingerprint=fingerprint)
    assert RowStore.open(tmp_path / "cache" / "targets").fingerprint != before


def test_a_broken_image_is_named_and_the_rest_can_go_on_and_one_of_float64_is_refused(tmp_path: Path) -> None:
    given = samples(tmp_path / "images", count=40)
    broken = tmp_path / "images" / "30.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-30])
    with pytest.raises(DataLayoutError, match=r"30\.png: the PNG is cut short"):
        cached(given, tmp_path)
    broken.write_bytes(whole)
    assert cached(given, tmp_path).inputs[30].any()
    expected = r"'a': expected \(H, W, C\) of uint8, uint16, int16 or float32, got float64"
    with pytest.raises(DataLayoutError, match=expected):
        cached(Samples(ids=np.array(["a"]), inputs=np.zeros((1, 8, 8, 3), np.float64)), tmp_path / "floats")
    with pytest.raises(DataLayoutError, match=expected):
        cached(Samples(ids=np.array(["a"]), inputs=FloatFiles([broken])), tmp_path / "resized to floats")


def test_packed_masks_are_the_masks_and_samples_without_truth_have_none(tmp_path: Path) -> None:
    given = samples(tmp_path / "images")
    packed = with_packed_masks(given, tmp_path / "packed")
    for row in range(len(given)):
        assert np.array_equal(packed.targets[row], given.targets[row])
        assert np.array_equal(packed.valid[row], given.valid[row])
        assert (packed.targets[row].dtype, packed.valid[row].dtype) == (np.uint8, bool)
    assert np.array_equal(packed.targets[-1], given.targets[len(given) - 1])
    with pytest.raises(IndexError):
        packed.targets[len(given)]
    assert np.array_equal(with_packed_masks(packed, tmp_path / "packed again").targets[2], given.targets[2])
    unlabelled = Samples(ids=given.ids, inputs=given.inputs)
    assert with_packed_masks(unlabelled, tmp_path / "unpacked") is unlabelled
    assert cached(unlabelled, tmp_path).targets is None


FILL_SLOWLY = """
import sys, time
import numpy as np
from pathlib import Path
from skyfold.data.cache import filled_store

made = []

def make(row):
    made.append(row)
    time.sleep(0.004)
    return np.full(1000, row % 251, np.uint8)

ids = np.arange(400).astype(str)
filled_store(Path(sys.argv[1]), ids, make, fingerprint="s", label="rows")
print(len(made) - 1)  # the first tells the shape
"""


def test_a_killed_cache_goes_on_where_it_was(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FILL_SLOWLY, str(tmp_path / "store")]
    for wanted in (32, 160):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while not (tmp_path / "store" / "rows.json").is_file():
                time.sleep(0.005)
            store = RowStore.open(tmp_path / "store")
            while store.complete.sum() < wanted and process.poll() is None:
                time.sleep(0.005)
            os.kill(process.pid, signal.SIGKILL)
    done = np.flatnonzero(store.complete)
    assert 160 <= len(done) < 400
    assert all((store[row] == row % 251).all() for row in done)
    last = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(last.stdout) == 400 - len(done)
    whole = RowStore.open(tmp_path / "store")
    whole.checked[:]
    assert all((whole[row] == row % 251).all() for row in range(400))
