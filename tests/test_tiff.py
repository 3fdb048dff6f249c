"""TIFF files of every common kind are read as stored; those that could be read wrongly are refused by name."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from skyfold.data.tiff import read_tiff
from skyfold.errors import DataLayoutError

SIZE = (40, 56)
RNG = np.random.default_rng(0)
LZW = 5  # OpenCV's number


def values(dtype: str, *shape: int) -> np.ndarray:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return RNG.normal(0, 20, shape).astype(kind)
    ends = np.iinfo(kind)
    return RNG.integers(ends.min, ends.max, shape, dtype=kind, endpoint=True)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4", "f8"])
@pytest.mark.parametrize("bands", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("how", [{}, {"compression": "zlib"}, {"tile": (16, 16)}, {"byteorder": ">"}], ids=str)
def test_every_number_type_and_band_comes_back(tmp_path: Path, dtype: str, bands: int, how: dict[str, Any]) -> None:
    image = values(dtype, *SIZE, bands) if bands > 1 else values(dtype, *SIZE)
    colours = "rgb" if bands == 3 else "minisblack"
    contiguous = {"planarconfig": "contig"} if bands > 1 else {}
    tifffile.imwrite(tmp_path / "a.tiff", image, photometric=colours, **contiguous, **how)
    read = read_tiff(tmp_path / "a.tiff")
    assert read.dtype == image.dtype
    np.testing.assert_array_equal(read, image)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_bands_that_are_stored_one_after_the_other_come_back(tmp_path: Path, dtype: str) -> None:
    planes = values(dtype, 3, *SIZE)
    tifffile.imwrite(tmp_path / "a.tiff", planes, photometric="rgb", planarconfig="separate", compression="zlib")
    np.testing.assert_array_equal(read_tiff(tmp_path / "a.tiff"), np.moveaxis(planes, 0, -1))


@pytest.mark.parametrize(("dtype", "bands"), [("u1", 1), ("u1", 3), ("u1", 4), ("u2", 1), ("u2", 3), ("f4", 1)])
def test_lzw_comes_back(tmp_path: Path, dtype: str, bands: int) -> None:
    image = values(dtype, *SIZE, bands) if bands > 1 else values(dtype, *SIZE)
    stored = image[..., [2, 1, 0, *range(3, bands)]] if bands > 1 else image
    assert cv2.imwrite(str(tmp_path / "a.tiff"), stored, [cv2.IMWRITE_TIFF_COMPRESSION, LZW])
    with tifffile.TiffFile(tmp_path / "a.tiff") as file:
        assert file.pages.first.compression == LZW
    np.testing.assert_array_equal(read_tiff(tmp_path / "a.tiff"), image)


def test_floats_with_their_own_predictor_come_back(tmp_path: Path) -> None:
    image = values("f4", *SIZE)
    Image.fromarray(image).save(tmp_path / "a.tiff", compression="tiff_lzw", tiffinfo={317: 3})
    np.testing.assert_array_equal(read_tiff(tmp_path / "a.tiff"), image)


def test_overviews_are_left_out_other_pages_refused_and_bits_become_0_and_1(tmp_path: Path) -> None:
    pages = values("u1", 3, *SIZE)
    with tifffile.TiffWriter(tmp_path / "a.tiff") as file:
        for page in (pages[0], pages[0, ::2, ::2], pages[0, ::4, ::4]):
            file.write(page, photometric="minisblack")
    np.testing.assert_array_equal(read_tiff(tmp_path / "a.tiff"), pages[0])
    tifffile.imwrite(tmp_path / "a.tiff", pages, photometric="minisblack")
    rows, columns = SIZE
    assert f"a TIFF of 3 pages: besides the first, of {rows}x{columns} pixels, page 2 of" in refusal(
        tmp_path / "a.tiff"
    )
    tifffile.imwrite(tmp_path / "b.tiff", pages[0] > 127, photometric="minisblack")
    read = read_tiff(tmp_path / "b.tiff")
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, pages[0] > 127)


def refusal(path: Path) -> str:
    with pytest.raises(DataLayoutError) as error:
        read_tiff(path)
    assert str(path) in str(error.value)
    return str(error.value)


def test_files_that_programs_read_in_different_ways_are_refused(tmp_path: Path) -> None:
    image, path = values("u1", *SIZE), tmp_path / "a.tiff"
    tifffile.imwrite(path, image, photometric="miniswhite")
    assert "white is stored as 0" in refusal(path)
    tifffile.imwrite(path, image, extratags=[(274, "H", 1, 6, True)])
    assert "a tag (orientation 6) turns it" in refusal(path)
    Image.fromarray(image).convert("P").save(path)
    assert "a TIFF with a palette. Write it as grey or RGB" in refusal(path)
    Image.fromarray(values("u1", *SIZE, 4), mode="CMYK").save(path)
    assert "colours of kind 5" in refusal(path)


def test_two_bands_by_lzw_come_back(tmp_path: Path) -> None:
    """Of which OpenCV gives one, without a word."""
    path, image = tmp_path / "a.tiff", values("u1", *SIZE, 2)
    Image.fromarray(image, mode="LA").save(path, compression="tiff_lzw")
    assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape != (*SIZE, 2)
    np.testing.assert_array_equal(read_tiff(path), image)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("left", [0.99, 0.5, 0.1])
def test_files_that_are_cut_short_are_named(tmp_path: Path, compression: str | None, left: float) -> None:
    path, image = tmp_path / "a.tiff", values("u1", *SIZE, 3)
    if compression == "lzw":
        cv2.imwrite(str(path), image, [cv2.IMWRITE_TIFF_COMPRESSION, LZW])
    else:
        tifffile.imwrite(path, image, photometric="rgb", compression=compression, rowsperstrip=8)
    data = path.read_bytes()
    path.write_bytes(data[: int(left * len(data))])
    assert "cut short or damaged" in refusal(path)


def test_a_strip_longer_than_the_file_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    tifffile.imwrite(path, values("u1", *SIZE, 3), photometric="rgb", compression="zlib")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags["StripByteCounts"].overwrite(3 << 30)
    tracemalloc.start()
    assert "cut short or damaged" in refusal(path)
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


def test_what_is_no_tiff_is_named(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "absent.tiff")
    (tmp_path / "empty.tiff").write_bytes(b"")
    assert "empty" in refusal(tmp_path / "empty.tiff")
    (tmp_path / "text.tiff").write_text("no picture")
    assert "not a TIFF file" in refusal(tmp_path / "text.tiff")
    (tmp_path / "folder.tiff").mkdir()
    assert "a folder" in refusal(tmp_path / "folder.tiff")
