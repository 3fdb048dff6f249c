"""A window of a scene is the same pixels whatever kind of file they lie in, and costs no more than itself."""

from __future__ import annotations

import os
import re
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from skyfold.data.masks import ClassTable
from skyfold.data.windows import ArrayWindows, TiffWindows, Windows, open_labels, open_windows
from skyfold.errors import DataLayoutError

HEIGHT, WIDTH = 101, 75


def scene(height: int = HEIGHT, width: int = WIDTH, bands: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, bands)).astype(np.uint8)


def as_tiff(path: Path, image: np.ndarray, **how: Any) -> Path:
    colours = "rgb" if image.shape[-1] in (3, 4) else "minisblack"
    tifffile.imwrite(path, image.squeeze(), photometric=colours, planarconfig="contig", **how)
    return path


def assert_windows_agree(opened: Windows, image: np.ndarray) -> None:
    height, width = image.shape[:2]
    assert opened.shape == image.shape
    corner = (height - 1, width - 1, 1, 1)
    for top, left, rows, columns in [(0, 0, height, width), (17, 30, 40, 21), corner, (31, 0, 2, 70)]:
        window = opened.read(top, left, rows, columns)
        assert window.dtype == opened.dtype == image.dtype
        assert np.array_equal(window, image[top : top + rows, left : left + columns])


def lzw_tiff(path: Path, image: np.ndarray) -> None:
    cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 5])


def planar_tiff(path: Path, image: np.ndarray) -> None:
    planes = np.moveaxis(image, -1, 0)
    tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate", rowsperstrip=16, compression="zlib")


def png(path: Path, image: np.ndarray) -> None:
    Image.fromarray(image).save(path)


WRITERS: dict[str, tuple[str, Callable[[Path, np.ndarray], Any]]] = {
    "plain": (".tif", as_tiff),
    "strips": (".tif", partial(as_tiff, rowsperstrip=16, compression="zlib")),
    "strips with differences": (".tif", partial(as_tiff, rowsperstrip=16, compression="zlib", predictor=2)),
    "one strip": (".tif", partial(as_tiff, rowsperstrip=HEIGHT, compression="zlib")),
    "plain tiles": (".tif", partial(as_tiff, tile=(32, 16))),
    "tiles": (".tif", partial(as_tiff, tile=(32, 48), compression="zlib")),
    "planes": (".tif", planar_tiff),
    "LZW": (".tif", lzw_tiff),
    "decoded once: PNG": (".png", png),
    "array": (".npy", np.save),
}


@pytest.mark.parametrize("name", WRITERS)
def test_windows_of_a_file_are_its_pixels(tmp_path: Path, name: str) -> None:
    suffix, write = WRITERS[name]
    path, image = tmp_path / f"a{suffix}", scene()
    write(path, image)
    assert_windows_agree(open_windows(path, cache=tmp_path / "cache"), image)
    assert len(list(tmp_path.glob("cache/*/*.npy"))) == name.startswith("decoded once")


DEEP_WRITERS: dict[str, tuple[str, Callable[[Path, np.ndarray], Any]]] = {
    **{name: WRITERS[name] for name in ("plain", "strips", "plain tiles", "tiles", "planes", "array")},
    "plain, big-endian": (".tif", partial(as_tiff, byteorder=">")),
    "tiles, big-endian": (".tif", partial(as_tiff, byteorder=">", tile=(32, 48), compression="zlib")),
    "BigTIFF": (".tif", partial(as_tiff, bigtiff=True, rowsperstrip=16, compression="zlib")),
}


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("name", DEEP_WRITERS)
def test_windows_keep_the_type_of_a_file(tmp_path: Path, name: str, dtype: type) -> None:
    suffix, write = DEEP_WRITERS[name]
    path = tmp_path / f"a{suffix}"
    image = (np.random.default_rng(0).random((HEIGHT, WIDTH, 3)) * 60000 - 30000 * (dtype != np.uint16)).astype(dtype)
    write(path, image)
    assert_windows_agree(open_windows(path, cache=tmp_path / "cache"), image)
    assert not (tmp_path / "cache").exists()


def test_differences_of_whole_numbers_keep_their_depth(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH, 3)).astype(np.uint16)
    path = as_tiff(tmp_path / "a.tif", image, tile=(32, 48), compression="zlib", predictor=2)
    assert_windows_agree(open_windows(path, cache=tmp_path), image)


def test_only_what_a_window_touches_is_decoded(tmp_path: Path) -> None:
    path = as_tiff(tmp_path / "a.tif", scene(), tile=(32, 48), compression="zlib")
    opened = open_windows(path, cache=tmp_path)
    assert isinstance(opened, TiffWindows)
    noting = Mock(side_effect=opened.decode)
    object.__setattr__(opened, "decode", noting)
    opened.read(33, 40, 60, 20)
    # Tiles lie in rows of two: columns 40 to 59 touch both, rows 33 to 92 the second and the third row.
    assert [call.args[1] for call in noting.call_args_list] == [2, 3, 4, 5]


@pytest.mark.parametrize(("bands", "wanted"), [(1, 1), (1, 3), (3, 3), (4, 4), (4, 3), (8, 8)])
def test_bands_of_a_tiff(tmp_path: Path, bands: int, wanted: int) -> None:
    image = scene(bands=bands)
    path = as_tiff(tmp_path / "a.tif", image, tile=(32, 32), compression="zlib")
    opened = open_windows(path, cache=tmp_path, bands=wanted)
    expected = np.repeat(image, 3, axis=2) if (bands, wanted) == (1, 3) else image[..., :wanted]
    assert_windows_agree(opened, expected)


def test_a_decoded_scene_is_kept_until_its_file_changes_and_apart_from_others_of_its_name(tmp_path: Path) -> None:
    path, cache = tmp_path / "one" / "a.png", tmp_path / "cache"
    path.parent.mkdir()
    png(path, scene())
    open_windows(path, cache=cache)
    (kept,) = cache.glob("*/*.npy")
    written = kept.stat().st_mtime_ns
    open_windows(path, cache=cache)
    assert kept.stat().st_mtime_ns == written
    other = scene(height=64, seed=1)
    png(path, other)
    assert_windows_agree(open_windows(path, cache=cache), other)
    (kept,) = cache.glob("*/*.npy")
    kept.write_bytes(kept.read_bytes()[:-9])  # as a disk that was full leaves it: made again
    assert_windows_agree(open_windows(path, cache=cache), other)
    (tmp_path / "two").mkdir()
    png(tmp_path / "two" / "a.png", scene())
    assert_windows_agree(open_windows(tmp_path / "two" / "a.png", cache=cache), scene())
    assert_windows_agree(open_windows(path, cache=cache), other)


def test_labels_are_places_of_classes(tmp_path: Path) -> None:
    table = ClassTable.parse({"thick": "#ffffff", "thin": "#00ff00"}, background=0, ignore_value=None)
    colours = np.zeros((6, 8, 3), np.uint8)
    colours[:3] = 255
    colours[4:, 5:] = [0, 255, 0]
    png(tmp_path / "a.png", colours)
    labels = open_labels(tmp_path / "a.png", table, cache=tmp_path / "cache")
    assert labels.shape == (6, 8, 1)
    assert labels.read(2, 4, 3, 3)[..., 0].tolist() == [[0, 0, 0], [253, 253, 253], [253, 1, 1]]


def test_broken_files_are_named(tmp_path: Path) -> None:
    path = as_tiff(tmp_path / "cut.tif", scene(), tile=(32, 32), compression="zlib")
    whole = path.read_bytes()
    with tifffile.TiffFile(path) as file:
        offset = file.pages.first.dataoffsets[5]
    path.write_bytes(whole[: offset + 3])
    with pytest.raises(DataLayoutError, match=r"cut\.tif: (the TIFF is cut short|not a TIFF)"):
        open_windows(path, cache=tmp_path)
    damaged = tmp_path / "damaged.tif"
    damaged.write_bytes(whole[:offset] + bytes(40) + whole[offset + 40 :])
    opened = open_windows(damaged, cache=tmp_path)
    opened.read(0, 0, 32, 32)
    with pytest.raises(DataLayoutError, match=r"damaged\.tif: segment 5 is cut short or damaged"):
        opened.read(0, 0, HEIGHT, WIDTH)
    (tmp_path / "text.tif").write_text("no image")
    as_tiff(tmp_path / "bands.tif", scene(bands=8), compression="zlib")
    np.save(tmp_path / "deep.npy", np.zeros((4, 4, 3), np.float64))
    (tmp_path / "a.gif").touch()
    as_tiff(tmp_path / "double.tif", np.zeros((8, 8, 3)), compression="zlib")
    for named in (
        "text.tif: not a TIFF",
        "bands.tif: expected 3 bands, the file has 8",
        "none.tif: no such file",
        "deep.npy: expected (H, W, C) of uint8, uint16, int16, float32, got float64",
        "double.tif: float64 of 64 bits. Write it as uint8, uint16, int16, float32.",
        "a.gif: expected .jpg",
    ):
        with pytest.raises(DataLayoutError, match=re.escape(named)):
            open_windows(tmp_path / named.partition(":")[0], cache=tmp_path)


@settings(max_examples=30, deadline=None)
@given(st.integers(-2, 9), st.integers(-2, 9), st.integers(-1, 12), st.integers(-1, 12))
def test_a_window_is_whole_or_refused(top: int, left: int, height: int, width: int) -> None:
    image = scene(10, 10)
    inside = min(top, left) >= 0 and min(height, width) >= 1 and top + height <= 10 and left + width <= 10
    if inside:
        assert ArrayWindows(image, 3).read(top, left, height, width).shape == (height, width, 3)
    else:
        with pytest.raises(ValueError, match="leaves the scene"):
            ArrayWindows(image, 3).read(top, left, height, width)


@pytest.mark.parametrize("kind", ["tiles", "map"])
def test_a_window_of_a_large_scene_takes_the_memory_of_a_window(tmp_path: Path, kind: str) -> None:
    """A scene of 24 MB, whose pages would show in the process's memory if they were kept."""
    path = tmp_path / ("a.npy" if kind == "map" else "a.tif")
    flat = np.zeros((4000, 2000, 3), np.uint8)
    np.save(path, flat) if kind == "map" else as_tiff(path, flat, tile=(256, 256), compression="zlib")
    del flat
    opened = open_windows(path, cache=tmp_path)
    opened.read(0, 0, 64, 64)
    before = resident_bytes()
    tracemalloc.start()
    for top in range(0, 4000 - 64, 64):
        opened.read(top, 900, 64, 64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 << 20
    assert resident_bytes() - before < 8 << 20


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
