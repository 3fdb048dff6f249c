"""Images of every format come back in their own number type, with where they are defined."""

from __future__ import annotations

import struct
from itertools import count, product
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from skyfold.data.check_images import check_images
from skyfold.data.images import SUFFIXES, BandFiles, ImageFiles, read_header, read_image
from skyfold.data.mask_planes import read_plane
from skyfold.data.tiff import read_tiff
from skyfold.errors import DataLayoutError, Problems
from skyfold.types import PartlyDefined

SIZE = (40, 56)


def scene(dtype: str, bands: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Smooth enough for lossy codecs, over the range of the type; (H, W, bands)."""
    coarse = np.random.default_rng(bands).random((4, 5, bands))
    smooth = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_LINEAR).reshape(*size, bands)
    if dtype == "float32":
        return (500 * smooth - 200).astype(dtype)
    ends = np.iinfo(dtype)
    return np.rint(ends.min + smooth * (ends.max - ends.min)).astype(dtype)


# --- TIFF: every pair of two choices is in some file -----------------------------------------------------------------

CODECS: dict[str, dict[str, Any]] = {
    "none": {},
    "lzw": {"compression": "lzw"},
    "lzw differences": {"compression": "lzw", "predictor": True},
    "deflate": {"compression": "zlib"},
    "deflate differences": {"compression": "zlib", "predictor": True},
    "zstd": {"compression": "zstd"},
    "packbits": {"compression": "packbits"},
    "lzma": {"compression": "lzma"},
    "jpeg": {"compression": "jpeg", "compressionargs": {"level": 95}},
    "jpeg 2000": {"compression": "jpeg2000"},
    "lerc": {"compression": "lerc"},
}
CHOICES: dict[str, tuple[Any, ...]] = {
    "codec": tuple(CODECS),
    "dtype": ("uint8", "uint16", "int16", "float32"),
    "bands": (1, 3, 4, 6),
    "layout": ("strips", "tiles"),
    "planes": ("contig", "separate"),
    "big": (False, True),
    "byteorder": ("<", ">"),
}
LOSSY = {"jpeg": 12}  # greatest difference of smooth values


def is_written(codec: str, dtype: str, bands: int, layout: str, planes: str, big: bool, byteorder: str) -> bool:
    """Whether there are such files: codecs with types and bands of their own leave some out."""
    if codec == "jpeg" and (dtype != "uint8" or (planes == "contig" and bands > 3)):
        return False
    if codec == "jpeg 2000" and dtype == "float32":
        return False
    if codec in ("lerc", "jpeg 2000", "jpeg") and byteorder == ">":
        return False
    return not (bands == 1 and planes == "separate")


def pairwise() -> list[tuple[Any, ...]]:
    """Few choices in which all pairs of values of two keys occur that can: greedy, the first of the best."""
    every = [choice for choice in product(*CHOICES.values()) if is_written(*choice)]
    pairs = [{(i, choice[i], j, choice[j]) for i in range(7) for j in range(i)} for choice in every]
    open_pairs, chosen = set().union(*pairs), []
    while open_pairs:
        best = max(range(len(every)), key=lambda i: len(pairs[i] & open_pairs))
        open_pairs -= pairs[best]
        chosen.append(every[best])
    return chosen


def written_tiff(
    path: Path, image: np.ndarray, codec: str, layout: str, planes: str, big: bool, byteorder: str
) -> Path:
    bands = image.shape[2]
    stored = np.moveaxis(image, -1, 0) if planes == "separate" else image
    layouts: dict[str, dict[str, Any]] = {"strips": {"rowsperstrip": 16}, "tiles": {"tile": (16, 32)}}
    how = {**CODECS[codec], **layouts[layout], **({} if bands == 1 else {"planarconfig": planes})}
    colours = "rgb" if bands == 3 else "minisblack"
    given = stored[..., 0] if bands == 1 else np.ascontiguousarray(stored)
    tifffile.imwrite(path, given, photometric=colours, bigtiff=big, byteorder=byteorder, **how)
    return path


TIFFS = pairwise()


def test_the_set_of_tiff_files_is_small_and_names_every_choice() -> None:
    assert 30 < len(TIFFS) <= 150
    for place, values in enumerate(CHOICES.values()):
        assert {choice[place] for choice in TIFFS} == set(values)


@pytest.mark.parametrize("choice", TIFFS, ids=lambda choice: "-".join(map(str, choice)))
def test_a_tiff_of_every_kind_comes_back(tmp_path: Path, choice: tuple[Any, ...]) -> None:
    codec, dtype, bands, *how = choice
    image = scene(dtype, bands)
    path = written_tiff(tmp_path / "a.tif", image, codec, *how)
    header, read = read_header(path), read_image(path, bands=bands)
    assert (header.size, header.bands, header.dtype, read.dtype) == (SIZE, bands, np.dtype(dtype), np.dtype(dtype))
    assert read.shape == image.shape
    difference = np.abs(read.astype(np.float64) - image)
    assert difference.max() <= LOSSY.get(codec, 0)
    rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")
    if codec == "jpeg 2000":  # which GDAL does not read in a TIFF
        return
    with rasterio.open(path) as file:
        theirs = np.moveaxis(file.read(), 0, -1)
    assert np.abs(read.astype(np.float64) - theirs).max() <= LOSSY.get(codec, 0)


@pytest.mark.parametrize("compression", ["ZSTD", "LERC_ZSTD", "LERC_DEFLATE", "JPEG", "LZW"])
def test_tiff_files_of_gdal_come_back(tmp_path: Path, compression: str) -> None:
    """JPEG in YCbCr, as GDAL and libtiff write colours, among them."""
    rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")
    image = scene("uint8", 3)
    profile = {"driver": "GTiff", "height": SIZE[0], "width": SIZE[1], "count": 3, "dtype": "uint8", "nodata": 7}
    how = {"photometric": "YCBCR", "JPEG_QUALITY": 95} if compression == "JPEG" else {}
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", **profile, compress=compression, tiled=True, blockxsize=32, blockysize=16, **how
    ) as f:
        f.write(np.moveaxis(image, -1, 0))
    with rasterio.open(path) as file:
        theirs = np.moveaxis(file.read(), 0, -1)
    assert read_header(path).nodata == 7
    assert np.abs(read_tiff(path).astype(int) - theirs).max() <= (16 if compression == "JPEG" else 0)


@pytest.mark.parametrize(
    ("how", "refusal"),
    [
        ({"compression": "webp", "photometric": "rgb"}, "uint8 compressed by WEBP, which is not read. Write it with"),
        ({"compression": "png", "photometric": "rgb"}, "compressed by PNG, which is not read"),
        ({"compression": "jpegxl", "photometric": "rgb"}, "compressed by JPEGXL, which is not read"),
    ],
)
def test_other_compressions_are_refused_by_name(tmp_path: Path, how: dict[str, Any], refusal: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", scene("uint8", 3), **how)
    for read in (read_tiff, read_header):
        with pytest.raises(DataLayoutError, match=rf"a\.tif: .*{refusal}"):
            read(tmp_path / "a.tif")


def test_a_tile_that_tells_of_more_pixels_than_it_has_is_refused(tmp_path: Path) -> None:
    for compression, image in {
        "jpeg": scene("uint8", 1),
        "jpeg2000": scene("uint16", 1),
        "lerc": scene("int16", 1),
    }.items():
        path = tmp_path / f"{compression}.tif"
        tifffile.imwrite(path, image[..., 0], compression=compression, tile=(16, 16))
        data = path.read_bytes()
        with tifffile.TiffFile(path) as file:
            start, size = file.pages.first.dataoffsets[2], file.pages.first.databytecounts[2]
        segment = data[start : start + size]
        forged = {
            "jpeg": segment.replace(struct.pack(">HH", 16, 16), struct.pack(">HH", 60000, 60000), 1),
            "jpeg2000": segment.replace(struct.pack(">II", 16, 16), struct.pack(">II", 1 << 20, 1 << 20), 1),
            "lerc": segment.replace(struct.pack("<ii", 16, 16), struct.pack("<ii", 1 << 20, 1 << 20), 1),
        }[compression]
        assert forged != segment
        path.write_bytes(data[:start] + forged + data[start + size :])
        with pytest.raises(DataLayoutError, match=r"segment 2 of the TIFF is damaged \(.*, expected 16x16\)"):
            read_tiff(path)


# --- PNG, WebP, BMP, .npy --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_png_of_sixteen_bits_keeps_them(tmp_path: Path, bands: int) -> None:
    """An opaque alpha band, the second or fourth, is left out."""
    image = scene("uint16", bands)
    if bands in (2, 4):
        image[..., -1] = 65535
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(image.squeeze()))
    colours = 1 if bands < 3 else 3
    header = read_header(path)
    assert (header.bands, header.dtype, header.alpha) == (colours, np.dtype(np.uint16), bands in (2, 4))
    np.testing.assert_array_equal(read_image(path, bands=colours), image[..., :colours])
    with pytest.raises(DataLayoutError, match=r"a\.png: expected 5 bands, the file has"):
        read_image(path, bands=5)
    image[:4, :, -1] = 0
    path.write_bytes(imagecodecs.png_encode(image.squeeze()))
    if bands in (2, 4):
        with pytest.raises(DataLayoutError, match=r"10\.0% of the pixels are transparent"):
            read_image(path, bands=colours)


@pytest.mark.parametrize("suffix", [".webp", ".bmp"])
def test_webp_and_bmp_are_read_as_rgb(tmp_path: Path, suffix: str) -> None:
    image, path = scene("uint8", 3), tmp_path / f"a{suffix}"
    how = {"lossless": True} if suffix == ".webp" else {}
    Image.fromarray(image).save(path, **how)
    assert (read_header(path).size, read_header(path).bands) == (SIZE, 3)
    np.testing.assert_array_equal(ImageFiles([path])[0], image)
    data = path.read_bytes()
    for kept in (0.1, 0.5, 0.99):
        path.write_bytes(data[: int(len(data) * kept)])
        with pytest.raises(DataLayoutError, match=f"a{suffix}: "):
            read_image(path)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_bmp_of_every_kind_agrees_with_pillow(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.bmp"
    picture = Image.fromarray(scene("uint8", 3))
    (picture.quantize(16) if mode == "P" else picture.convert(mode)).save(path)
    with Image.open(path) as file:
        np.testing.assert_array_equal(read_image(path), np.array(file.convert("RGB")))


def test_a_webp_that_is_lossy_transparent_turned_or_animated(tmp_path: Path) -> None:
    image, path, exif = scene("uint8", 3), tmp_path / "a.webp", Image.Exif()
    Image.fromarray(image).save(path, quality=90)
    assert np.abs(read_image(path).astype(int) - image).mean() < 4
    alpha = np.full(SIZE, 255, np.uint8)
    alpha[:10] = 0
    Image.fromarray(np.dstack([image, alpha])).save(path, lossless=True, exact=True)
    with pytest.raises(DataLayoutError, match=r"25\.0% of the pixels are transparent"):
        read_image(path)
    np.testing.assert_array_equal(ImageFiles([path], nodata="alpha").defined(0), alpha == 255)
    exif[0x0112] = 3
    Image.fromarray(image).save(path, lossless=True, exif=exif)
    np.testing.assert_array_equal(ImageFiles([path])[0], image[::-1, ::-1])
    np.testing.assert_array_equal(ImageFiles([path], turn=False)[0], image)
    Image.fromarray(image).save(path, save_all=True, append_images=[Image.fromarray(image[::-1])])
    with pytest.raises(DataLayoutError, match="an animated WebP, expected one image"):
        read_image(path)


@pytest.mark.parametrize(
    ("stored", "kept"),
    [
        *((kind, kind) for kind in ("uint8", "uint16", "int16", "float32")),
        *(("bool", "uint8"), ("int8", "int16"), ("float16", "float32"), (">u2", "uint16")),
        *((kind, "float32") for kind in ("uint32", "int32", "uint64", "int64", "float64")),
    ],
)
def test_every_number_type_of_an_array_is_kept_or_widened(tmp_path: Path, stored: str, kept: str) -> None:
    path, image = tmp_path / "a.npy", np.arange(120).reshape(5, 8, 3).astype(stored)
    np.save(path, image)
    assert (read_header(path).size, read_header(path).dtype, read_header(path).bands) == ((5, 8), np.dtype(kept), 3)
    read = read_image(path)
    assert read.dtype == kept
    np.testing.assert_array_equal(read, image.astype(kept))


def test_arrays_that_would_lose_something_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    for array, refusal in (
        (np.full((4, 4), 2**24 + 1), "int64 values from .* that float32 does not hold exactly"),
        (np.full((4, 4), 0.1), "float64 values from 0.1 to 0.1 that float32 does not hold exactly"),
        (np.zeros((4, 4), complex), "not a complete .npy file of numbers .of type complex128"),
        (np.zeros((3, 40, 40)), r"shape \(3, 40, 40\), expected .*; the bands come first. Write it with np.moveaxis"),
        (np.zeros(9), r"an array of shape \(9,\), expected \(H, W\) or \(H, W, bands\)"),
    ):
        np.save(path, array)
        with pytest.raises(DataLayoutError, match=refusal):
            read_image(path, bands=1)


@pytest.mark.parametrize(("dtype", "bands"), [("uint8", 3), ("uint16", 1), ("uint16", 4), ("int16", 6)])
@pytest.mark.parametrize("suffix", [".jp2", ".j2k"])
def test_jpeg_2000_files_come_back(tmp_path: Path, suffix: str, dtype: str, bands: int) -> None:
    path, image = tmp_path / f"a{suffix}", scene(dtype, bands)
    path.write_bytes(imagecodecs.jpeg2k_encode(image.squeeze(), codecformat=suffix[1:], level=0, reversible=True))
    header, read = read_header(path), read_image(path, bands=bands)
    assert (header.size, header.bands, header.dtype) == (SIZE, bands, np.dtype(dtype))
    np.testing.assert_array_equal(read, image)
    data = path.read_bytes()
    for forged in (data[: len(data) // 2], data[:30], data[:-2]):
        path.write_bytes(forged)
        with pytest.raises(DataLayoutError, match=rf"a{suffix}: .*(cut short|not a whole JPEG 2000)"):
            read_image(path, bands=bands)


def test_every_suffix_has_a_reader(tmp_path: Path) -> None:
    for suffix, number in zip(SUFFIXES, count(), strict=False):
        path = tmp_path / f"{number}{suffix}"
        if suffix == ".npy":
            np.save(path, scene("uint8", 3))
        else:
            Image.fromarray(scene("uint8", 3)).save(path)
        assert read_image(path).shape == (*SIZE, 3)


# --- What is no measurement ------------------------------------------------------------------------------------------


def test_pixels_without_a_measurement_are_not_defined_and_hold_0(tmp_path: Path) -> None:
    deep, image = scene("int16", 4), scene("float32", 2)
    deep[0, 0, 1], deep[1, 2] = -9999, -9999
    tifffile.imwrite(
        tmp_path / "a.tif",
        deep,
        photometric="minisblack",
        planarconfig="contig",
        extratags=[(42113, "s", 0, "-9999", True)],
    )
    tifffile.imwrite(tmp_path / "b.tif", deep, photometric="minisblack", planarconfig="contig")
    image[3, 3, 0], image[4, 4, 1] = np.nan, np.inf
    np.save(tmp_path / "c.npy", image)
    expected = np.ones(SIZE, bool)
    expected[0, 0] = expected[1, 2] = False
    for files in (ImageFiles([tmp_path / "a.tif"], bands=4), ImageFiles([tmp_path / "b.tif"], bands=4, nodata=-9999)):
        assert isinstance(files, PartlyDefined)
        np.testing.assert_array_equal(files.defined(0), expected)
        np.testing.assert_array_equal(files[0], np.where(expected[..., None], deep, 0))
        assert files.resized(0, (20, 28)).dtype == np.int16
    assert ImageFiles([tmp_path / "b.tif"], bands=4).defined(0) is None
    floats = ImageFiles([tmp_path / "c.npy"], bands=2)
    assert np.argwhere(~floats.defined(0)).tolist() == [[3, 3], [4, 4]]
    assert np.isfinite(floats[0]).all()
    np.save(tmp_path / "c.npy", scene("float32", 2))
    assert floats.defined(0).all()


def test_more_than_sixteen_bands_are_refused(tmp_path: Path) -> None:
    for bands, refused in ((16, False), (17, True)):
        path, image = tmp_path / f"{bands}.tif", scene("uint8", bands)
        tifffile.imwrite(path, image, photometric="minisblack", planarconfig="contig")
        if refused:
            with pytest.raises(DataLayoutError, match=r"17\.tif: 17 bands, expected at most 16"):
                read_header(path)
        else:
            assert read_header(path).bands == 16
            np.testing.assert_array_equal(read_image(path, bands=16), image)


def test_a_nodata_tag_that_is_no_number_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", scene("uint8", 1)[..., 0], extratags=[(42113, "s", 0, "none", True)])
    with pytest.raises(DataLayoutError, match=r"the tag of the value without data \(42113\) holds 'none'"):
        read_image(tmp_path / "a.tif", bands=1)


@pytest.mark.parametrize(
    ("suffix", "dtype"), [(".png", "uint8"), (".png", "uint16"), (".tif", "uint8"), (".tif", "uint16")]
)
def test_transparent_pixels_are_undefined_where_alpha_says_so(tmp_path: Path, suffix: str, dtype: str) -> None:
    image, path = scene(dtype, 3), tmp_path / f"a{suffix}"
    alpha = np.full((*SIZE, 1), np.iinfo(dtype).max, dtype)
    for clear in (0, 10):
        alpha[:clear] = 1
        rgba = np.concatenate([image, alpha], axis=-1)
        if suffix == ".png":
            path.write_bytes(imagecodecs.png_encode(rgba))
        else:
            tifffile.imwrite(path, rgba, photometric="rgb", extrasamples=["unassalpha"])
        header, files = read_header(path), ImageFiles([path], nodata="alpha")
        assert (header.bands, header.dtype) == (3, np.dtype(dtype))
        opaque = np.arange(SIZE[0])[:, None] >= clear
        np.testing.assert_array_equal(files.defined(0), np.broadcast_to(opaque, SIZE))
        np.testing.assert_array_equal(files[0], np.where(opaque[..., None], image, 0))
        if clear:
            with pytest.raises(DataLayoutError, match=r"25\.0% of the pixels are transparent"):
                read_image(path)
        else:
            np.testing.assert_array_equal(read_image(path), image)


def test_a_fourth_band_that_is_no_alpha_is_a_band(tmp_path: Path) -> None:
    image = scene("uint16", 4)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", extrasamples=["unspecified"])
    assert read_header(tmp_path / "a.tif").bands == 4
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", bands=4), image)


def test_files_with_a_band_of_one_value_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flat = scene("uint16", 4)
    flat[..., 2] = 9
    tifffile.imwrite(tmp_path / "a.tif", flat, photometric="minisblack", planarconfig="contig")
    tifffile.imwrite(tmp_path / "b.tif", scene("uint16", 4), photometric="minisblack", planarconfig="contig")
    assert len(check_images([tmp_path / "a.tif", tmp_path / "b.tif"], Problems(), bands=4)) == 2
    assert (
        f"1 files have a band of one value throughout, or no data: {tmp_path / 'a.tif'} (band 3)."
        in capsys.readouterr().err
    )
    empty = np.zeros((*SIZE, 3), np.uint8)
    empty[..., 0] = scene("uint8", 1)[..., 0]
    Image.fromarray(empty).save(tmp_path / "c.png")
    Image.fromarray(np.full((*SIZE, 3), 200, np.uint8)).save(tmp_path / "d.jpg")
    check_images([tmp_path / "c.png", tmp_path / "d.jpg"], Problems())
    said = capsys.readouterr().err
    assert "c.png (band 2, 3)" in said
    assert "d.jpg (band 1, 2, 3)" in said


# --- One file a band -------------------------------------------------------------------------------------------------


def test_bands_of_files_of_their_own_are_put_together(tmp_path: Path) -> None:
    image = scene("uint16", 3)
    image[5, 6, 1] = 0
    paths = [tmp_path / f"{band}.tif" for band in ("B02", "B03", "B8A")]
    for path, band in zip(paths, np.moveaxis(image, -1, 0), strict=True):
        tifffile.imwrite(path, band)
    files = BandFiles([tuple(paths)])
    np.testing.assert_array_equal(files[0], image)
    assert files.defined(0) is None
    assert files.sources(0) == (*paths, "nodata None")
    assert files.resized(0, (20, 28)).shape == (20, 28, 3)
    filled = BandFiles([tuple(paths)], nodata=0)
    assert np.argwhere(~filled.defined(0)).tolist() == [[5, 6]]
    assert files.fingerprint() != filled.fingerprint()
    tifffile.imwrite(paths[2], image[:20, :, 2])
    with pytest.raises(DataLayoutError, match=r"B8A\.tif: uint16 of 20x56 pixels, .*B02\.tif has uint16 of 40x56"):
        files[0]


# --- Masks -----------------------------------------------------------------------------------------------------------


def test_codes_of_masks_reach_65535_in_every_format(tmp_path: Path) -> None:
    codes = np.array([[0, 256, 65535], [1, 2, 3]])
    cv2.imwrite(str(tmp_path / "a.png"), codes.astype(np.uint16))
    tifffile.imwrite(tmp_path / "a.tif", codes.astype(np.int32))
    np.save(tmp_path / "a.npy", codes)
    for suffix in (".png", ".tif", ".npy"):
        np.testing.assert_array_equal(read_plane(tmp_path / f"a{suffix}", colours=False), codes)
    np.save(tmp_path / "a.npy", codes + 1)
    with pytest.raises(DataLayoutError, match="int64 values from 1 to 65536, expected 0 to 65535"):
        read_plane(tmp_path / "a.npy", colours=False)
    with pytest.raises(DataLayoutError, match=r"a\.png: colours of 16 bits, expected '#rrggbb', 8 each"):
        read_plane(tmp_path / "a.png", colours=True)
    small = (codes % 256).astype(np.uint8)
    Image.fromarray(small).save(tmp_path / "b.bmp")
    Image.fromarray(small).save(tmp_path / "b.webp", lossless=True)
    for suffix in (".bmp", ".webp"):
        np.testing.assert_array_equal(read_plane(tmp_path / f"b{suffix}", colours=False), small)
