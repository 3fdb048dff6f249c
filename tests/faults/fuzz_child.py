"""Reads damaged files in a process of its own, in batches; only a SkyfoldError may leave a reader.

    cd tests; python -m faults.fuzz_child PROJECT WORK FIRST COUNT AFTER [READER ...]

PROJECT: a project that the commands have made (see conftest.py), of which copies are damaged. WORK: an empty folder;
`WORK/at` says which file of which reader is being read. Each file is one version of a whole file that `mutate` damages,
the same for the same reader and number, FIRST to FIRST + COUNT - 1; before them the files in regressions/READER are
read. AFTER: what `at` held when an earlier process died, to go on behind it; [] at first. A line of JSON is printed for
each file that something else than a SkyfoldError left, and the file is kept in WORK/failed. The process ends itself
where one file takes more than SECONDS, and may use SPARE bytes of address space beyond what it has once every reader
has read its whole file.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gzip
import io
import json
import os
import resource
import shutil
import sys
import traceback
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import h5netcdf
import h5py
import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from faults.mutations import mutate
from skyfold.competition import build
from skyfold.competitions.arctic_sea_ice.cadence import MONTHLY
from skyfold.competitions.arctic_sea_ice.ice_files import read_contest
from skyfold.competitions.arctic_sea_ice.netcdf_files import read_netcdf
from skyfold.competitions.hydro_rain import composite_files
from skyfold.competitions.hydro_rain.composite_files import read_rain
from skyfold.competitions.hydro_rain.radar_files import read_patches, read_raw
from skyfold.competitions.hydro_rain.reflectivity_table import ReflectivityTable
from skyfold.competitions.hydro_rain.shared_frames import shared_frame_groups
from skyfold.competitions.leeds_sea_ice.vis_sar import read_band_image
from skyfold.config.files import load_config, load_packable
from skyfold.data.images import ImageFiles, read_header, read_image
from skyfold.data.mask_planes import read_plane
from skyfold.data.masks import ClassTable
from skyfold.data.sample_folder import write_whole
from skyfold.data.windows import open_labels, open_windows
from skyfold.errors import SkyfoldError
from skyfold.forecasting.rain_units import GREATEST_RAW
from skyfold.metrics.forecast_sums import CONTESTS, SUMS, ForecastSums, read_sums, write_sums
from skyfold.metrics.forecast_sums import FILE as SUMS_FILE
from skyfold.pipeline.compare import compare
from skyfold.pipeline.leaderboard import leaderboard
from skyfold.pipeline.pack import pack
from skyfold.rle.coco import decode_coco
from skyfold.rle.codec import DIALECTS, decode_many
from skyfold.store.bundle import open_bundle
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.fits import FitFiles, summary_of_fits
from skyfold.store.folds import load_folds, read_folds
from skyfold.store.rows import RowStore
from skyfold.store.runs import read_info, read_run
from skyfold.tasks.stored_blend import read_blend
from skyfold.training.checkpoint import Checkpoint, CheckpointFile
from skyfold.tuning.search_space import load_study
from skyfold.types import Samples
from skyfold.workspace import Workspace

SECONDS = 10
SPARE = 1 << 30
SIZE = (16, 24)  # of images and masks
CLASSES = {"classes": {"cloud": 255, "haze": [100, 101]}, "ignore_value": 7}
REPOSITORY = Path(__file__).parents[2]
REGRESSIONS = Path(__file__).with_name("regressions")
MOST_BYTES = 2048  # of a file in there


@dataclass(frozen=True)
class Reader:
    """One file that is damaged, and what reads it.

    kind      of `mutations.DAMAGES`
    file      its path in the reader's folder; a name ending in * takes the suffix of the whole file
    begin     begin(folder) writes what lies beside it; returns whole versions of the file, by suffix
    read      read(folder, path of the file)
    """

    kind: str
    file: str
    begin: Callable[[Path], dict[str, bytes]]
    read: Callable[[Path, Path], object]


def png(image: np.ndarray, suffix: str = ".png", *options: int) -> bytes:
    done, data = cv2.imencode(suffix, image, options)
    assert done
    return data.tobytes()


def by_pillow(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def tiff(image: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, image, **options)  # type: ignore[arg-type]
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def colours(seed: int = 0) -> np.ndarray:
    """Four flat colours: uint8 (H, W, 3), so that files are small."""
    blocks = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    return np.repeat(np.repeat(blocks, SIZE[0] // 2, axis=0), SIZE[1] // 2, axis=1)


def codes() -> np.ndarray:
    """A mask of every code of CLASSES: uint8 (H, W)."""
    return np.repeat(np.repeat(np.array([[0, 255], [100, 7]], np.uint8), SIZE[0] // 2, axis=0), SIZE[1] // 2, axis=1)


def palette() -> bytes:
    image = Image.fromarray(np.minimum(codes(), 101)).convert("P")
    image.putpalette(list(range(256)) * 3)
    return by_pillow(image, "PNG")


def pngs(_: Path) -> dict[str, bytes]:
    grey, alpha = codes(), np.dstack([colours(), np.full(SIZE, 255, np.uint8)])
    return {
        **{".png": png(colours()), ".PNG": png(grey), " .png": png(alpha)},
        **{"-palette.png": palette(), "-bits.png": by_pillow(Image.fromarray(codes() > 9), "PNG")},
        **{"-deep.png": png(colours().astype(np.uint16) * 257)},
        **{"-laced.png": by_pillow(Image.fromarray(colours()), "PNG", interlace=1)},
    }


def jpegs(_: Path) -> dict[str, bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(colours())
    return {
        **{".jpg": png(colours(), ".jpg"), ".jpeg": png(codes(), ".jpg"), ".JPG": by_pillow(image, "JPEG", exif=exif)},
        **{"-stepwise.jpg": by_pillow(image, "JPEG", progressive=True)},
    }


def tiffs(_: Path) -> dict[str, bytes]:
    image, plane = colours(), codes()
    return {
        **{".tif": tiff(image, photometric="rgb"), ".tiff": tiff(plane), ".TIF": tiff(plane, compression="zlib")},
        **{"-tiled.tif": tiff(image, tile=(16, 16), photometric="rgb", compression="zlib", predictor=2)},
        **{"-planes.tif": tiff(np.moveaxis(image, -1, 0), photometric="rgb", planarconfig="separate", rowsperstrip=4)},
        **{"-big.tif": tiff(plane, bigtiff=True), "-float.tif": tiff(plane.astype(np.float32))},
        **{"-lzw.tif": by_pillow(Image.fromarray(image), "TIFF", compression="tiff_lzw")},
        **{"-jpeg.tif": by_pillow(Image.fromarray(image), "TIFF", compression="jpeg")},
        **{"-pages.tif": tiff(np.stack([plane, plane]))},
    }


def webps(_: Path) -> dict[str, bytes]:
    image, exif = Image.fromarray(colours()), Image.Exif()
    exif[0x0112] = 6
    clear = Image.fromarray(np.dstack([colours(), codes()]))
    return {
        **{".webp": by_pillow(image, "WEBP", lossless=True), ".WEBP": by_pillow(image, "WEBP", exif=exif)},
        **{"-alpha.webp": by_pillow(clear, "WEBP", lossless=True)},
    }


def bmps(_: Path) -> dict[str, bytes]:
    image = Image.fromarray(colours())
    kinds = {mode: by_pillow(image.convert(mode), "BMP") for mode in ("RGB", "L", "1")}
    return {
        ".bmp": kinds["RGB"],
        ".BMP": kinds["L"],
        "-bits.bmp": kinds["1"],
        "-p.bmp": by_pillow(image.quantize(4), "BMP"),
    }


def npys(_: Path) -> dict[str, bytes]:
    floats = colours().astype(np.float32)
    floats[3, 3] = np.nan
    return {
        ".npy": npy(codes()),
        "-rgb.npy": npy(colours()),
        "-deep.npy": npy(colours().astype(">u2")),
        "-f.npy": npy(floats),
    }


def jp2s(_: Path) -> dict[str, bytes]:
    deep = colours().astype(np.uint16) * 99
    return {
        ".jp2": imagecodecs.jpeg2k_encode(colours(), codecformat="jp2", reversible=True),
        ".j2k": imagecodecs.jpeg2k_encode(deep, codecformat="j2k", reversible=True),
        "-grey.jp2": imagecodecs.jpeg2k_encode(codes(), codecformat="jp2", level=30),
    }


def tiff_codecs(_: Path) -> dict[str, bytes]:
    """One of each compression that imagecodecs decodes, in tiles, and of several number types."""
    image, deep = colours(), np.dstack([colours(), codes()]).astype(np.int16) - 99
    tags = [(42113, "s", 0, "-99", True)]
    bands = {"photometric": "minisblack", "planarconfig": "contig", "tile": (16, 16)}
    return {
        **{f"-{how}.tif": tiff(image, photometric="rgb", tile=(16, 16), compression=how) for how in ("lzw", "jpeg")},
        **{f"-{how}.tif": tiff(deep, compression=how, **bands) for how in ("zstd", "lerc", "jpeg2000", "lzma")},
        **{"-nodata.tif": tiff(deep, compression="packbits", extratags=tags, **bands)},
        **{"-f.tif": tiff(image.astype(np.float32), photometric="rgb", compression="zlib", predictor=True)},
    }


def read_every_way(folder: Path, path: Path) -> None:
    """As an image of 1, 3 and 4 bands, of those it has, and as a mask of grey values and of colours."""
    for read in (
        *[lambda bands=bands: read_image(path, bands=bands) for bands in (1, 3, 4)],
        lambda: ImageFiles([path], bands=read_header(path).bands, nodata="alpha").defined(0),
        lambda: ImageFiles([path], bands=read_header(path).bands, nodata=7).resized(0, (8, 12)),
        *[lambda colours=colours: read_plane(path, colours=colours) for colours in (True, False)],
        lambda: ClassTable.parse(CLASSES["classes"], 0, 7).read(path),
    ):
        refused_or(read)


def read_tiff_every_way(folder: Path, path: Path) -> None:
    read_every_way(folder, path)
    refused_or(lambda: read_band_image(path, "vis"))
    refused_or(lambda: read_band_image(path, "sar"))
    read_scene(folder, path)


def read_scene(folder: Path, path: Path) -> None:
    cache = folder / ".cache"
    for bands in (1, 3):
        refused_or(lambda bands=bands: corners(open_windows(path, cache=cache, bands=bands)))
    table = ClassTable.parse(CLASSES["classes"], 0, 7)
    refused_or(lambda: corners(open_labels(path, table, cache=cache)))
    shutil.rmtree(cache, ignore_errors=True)


def corners(scene) -> None:  # type: ignore[no-untyped-def]
    height, width, _ = scene.shape
    high, wide = min(height, 9), min(width, 9)
    scene.read(0, 0, high, wide)
    scene.read(height - high, width - wide, high, wide)


def refused_or(read: Callable[[], object]) -> None:
    with contextlib.suppress(SkyfoldError):
        read()


def mask_folder(folder: Path) -> Path:
    for name in ("a", "b", "c"):
        write(folder / "images" / f"{name}.png", png(colours(ord(name))))
        write(folder / "masks" / f"{name}.png", png(codes()))
    write(folder / "test_images" / "t.png", png(colours()))
    write(folder / "groups.csv", b"id,scene\na,1\nb,1\nc,2\n")
    return folder


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def samples_of(name: str, options: dict, one: str = "", *, check: bool = False) -> Callable[[Path, Path], None]:
    """The samples of a part of a contest's folder, or of all parts; with `check`, after that of the whole folder."""

    def read(folder: Path, _: Path) -> None:
        contest = build(name, options, folder)
        if check:
            refused_or(lambda: contest.check(folder))
        for part in [one] if one else contest.parts:
            samples = contest.load(folder, part)
            arrays = [samples.inputs, samples.targets, samples.valid]
            for each in arrays:
                for i in range(len(samples) if each is not None else 0):
                    each[i]

    return read


def tables_of(name: str, options: dict, ids: list[str]) -> Callable[[Path, Path], None]:
    """A table as a submission, as truth, and as the contest's own sample."""

    def read(folder: Path, path: Path) -> None:
        contest = build(name, options, None)
        refused_or(lambda: list(contest.read_pred(path, np.array(ids))))
        refused_or(lambda: contest.submission.check_sample(path, np.array(ids)))
        truth = contest.read_truth(path)
        for i in range(len(truth.ids)):
            truth.targets[i]

    return read


def packed(text: bytes) -> dict[str, bytes]:
    return {".csv": text, ".csv.gz": gzip.compress(text, mtime=0)}


MASK_OPTIONS = {**CLASSES, "test_images": "test_images", "group": {"file": "groups.csv", "id": "id", "column": "scene"}}
read_mask_folder = samples_of("mask_folder", MASK_OPTIONS, check=True)
read_groups = samples_of("mask_folder", MASK_OPTIONS, "train")
BANDS = {"images": {"files": "{id}/{band}.tif", "bands": ["B2", "B8"], "nodata": 9}, "classes": {"cloud": 255}}
read_bands = samples_of("mask_folder", BANDS, check=True)


def band_folder(folder: Path) -> Path:
    for name in ("a", "b"):
        for band in ("B2", "B8"):
            deep = tiff(codes().astype(np.uint16) + ord(name), compression="zlib", predictor=True)
            write(folder / "images" / name / f"{band}.tif", deep)
        write(folder / "masks" / f"{name}.png", png(np.minimum(codes(), 255) // 255 * 255))
    return folder


def truth_folder(file: str, data: bytes) -> Callable[[Path], dict[str, bytes]]:
    """Two images, and ground truth that is no mask image."""

    def begin(folder: Path) -> dict[str, bytes]:
        for name in ("a", "b"):
            write(folder / "images" / f"{name}.png", png(colours(ord(name))))
        if file == "a.json":
            write(folder / "b.json", b'{"shapes": []}')
        write(folder / file, data)
        return {"": data}

    return begin


def truth_reader(file: str, kind: str, data: bytes, **truth: str) -> Reader:
    options = {"classes": {"cloud": "cu", "haze": ["ci", 7]}, "truth": truth}
    read_samples = samples_of("mask_folder", options, "train", check=True)

    def read(folder: Path, path: Path) -> None:
        refused_or(lambda: read_samples(folder, path))
        truth = build("mask_folder", options, folder).read_truth(path)
        for i in range(len(truth.ids)):
            truth.targets[i]

    return Reader(kind, file, truth_folder(file, data), read)


COCO = {
    "images": [
        {"id": i, "file_name": f"{name}.png", "height": SIZE[0], "width": SIZE[1]} for i, name in enumerate("ab")
    ],
    "categories": [{"id": 1, "name": "cu"}, {"id": 2, "name": "ci"}],
    "annotations": [
        {"image_id": 0, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9.5, 7, 1, 7]]},
        {"image_id": 1, "category_id": 2, "segmentation": {"size": list(SIZE), "counts": [0, 5, 379]}},
    ],
}
LABELME = {
    "imageHeight": SIZE[0],
    "imageWidth": SIZE[1],
    "shapes": [
        {"label": "cu", "points": [[1, 1], [9, 1], [4.5, 9]], "shape_type": "polygon"},
        {"label": "ci", "points": [[1, 1], [9, 3]], "shape_type": "rectangle"},
    ],
}
GEOJSON = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "properties": {"label": "cu"},
            "geometry": {"type": "Polygon", "coordinates": [[[1, 1], [9, 1], [9, 9]], [[2, 2], [3, 2], [3, 3]]]},
        }
    ],
}
TRUTH_TABLE = b"id,rle,label\na,1 3 9 2,cu\na,30 2,cu\nb.png,384 1,7\nb,,ci\n"


read_leeds = samples_of("leeds_sea_ice", {}, "train", check=True)
RLE_OPTIONS = {"classes": {"cloud": 255, "haze": 100}, "grid": list(SIZE)}
RLE_TABLE = b"id_class,EncodedPixels\na_cloud,1 3 9 2\na_haze,\nb_cloud,384 1\nb_haze,20 5\n"
ICE = {"grid": [4, 3]}


def begin_clouds(folder: Path) -> dict[str, bytes]:
    for part, names in (("train", "ab"), ("test", "t")):
        for name in names:
            write(folder / f"{part}_images" / f"{name}.jpg", png(colours(), ".jpg"))
    kinds = ("Fish", "Flower", "Gravel", "Sugar")
    for table, names in (("train", "ab"), ("sample_submission", "t")):
        lines = [f"{name}.jpg_{kind},{'1 3 9 2' if kind == 'Fish' else ''}\n" for name in names for kind in kinds]
        write(folder / f"{table}.csv", f"Image_Label,EncodedPixels\n{''.join(lines)}".encode())
    return {"": (folder / "train.csv").read_bytes()}


def begin_leeds(folder: Path) -> dict[str, bytes]:
    mask = (codes() == 255).astype(np.uint8)
    for part, names in (("train", "ab"), ("test", "t")):
        for name in names:
            write(folder / part / f"{name}_vis.tiff", tiff(colours(), photometric="rgb"))
            write(folder / part / f"{name}_sar.tiff", tiff(np.repeat(np.repeat(mask, 3, 0), 3, 1), compression="zlib"))
            write(folder / part / f"{name}_ref.tiff", tiff(mask)) if part == "train" else None
    write(folder / "sample_submission.csv", b"id,rle\nt,1 4\n")
    return {"": (folder / "sample_submission.csv").read_bytes()}


def ice_frames() -> np.ndarray:
    frames = np.random.default_rng(0).integers(0, 251, (26, 4, 3), dtype=np.uint8)
    frames[:, 0, 0], frames[3, 1, 1], frames[:, 2, 2] = 254, 255, 251
    return frames


def months() -> list[str]:
    return [f"{2000 + i // 12}{i % 12 + 1:02d}" for i in range(26)]


def nsidc(frame: np.ndarray) -> bytes:
    header = bytearray(300)
    header[:18] = b"00255     3     4 "
    return bytes(header) + frame.tobytes()


def begin_bins(folder: Path) -> dict[str, bytes]:
    for month, frame in zip(months(), ice_frames(), strict=True):
        write(folder / f"nt_{month}_f17_v1.1_n.bin", nsidc(frame))
    return {"": nsidc(ice_frames()[3])}


def hdf5(make: Callable[[h5py.File], None], version: str) -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w", libver=version) as made:
        make(made)
    return file.getvalue()


def fill(group: h5py.Group, name: str, data: np.ndarray | None = None, **attributes: object) -> None:
    target = group.require_group(name) if data is None else group.create_dataset(name, data=data)
    for key, value in attributes.items():
        target.attrs[key] = np.bytes_(value) if isinstance(value, str) else value


def ice_variables(file: h5py.File, name: str) -> None:
    fill(file, "time", np.array([10957.0, 10988.0]), units="days since 1970-01-01", calendar="standard")
    flags = {"flag_values": np.arange(251, 256, dtype=np.uint8), "flag_meanings": "pole_hole unused coast land missing"}
    scale = np.float32(0.01) if name.startswith("cdr") else 0.004
    fill(file, name, ice_frames()[4:6] % 100, scale_factor=scale, add_offset=0.0, **flags)


def cdr_variables(file: h5py.File) -> None:
    ice_variables(file, "cdr_seaice_conc_monthly")
    mask = np.full((2, 4, 3), 50, np.uint8)
    meanings = {"flag_values": np.array([50, 100, 250], np.uint8), "flag_meanings": "ocean polehole_mask land"}
    fill(file, "cdr_supplementary/surface_type_mask", mask, **meanings)


def netcdf_ice(_: Path) -> dict[str, bytes]:
    """NSIDC-0051 as two versions of HDF5 have it, as a NetCDF library writes it, and G02202 version 5."""
    file = io.BytesIO()
    with h5netcdf.File(file, "w") as made:
        made.dimensions = {"time": 2, "y": 4, "x": 3}
        time = made.create_variable("time", ("time",), "f8", data=np.array([10957.0, 10988.0]))
        time.attrs["units"] = "days since 1970-01-01"
        packing = {"compression": "gzip", "shuffle": True, "fletcher32": True}
        ice = made.create_variable("F17_ICECON", ("time", "y", "x"), "u1", data=ice_frames()[4:6] % 100, **packing)
        ice.attrs["scale_factor"] = 0.004
    return {
        "-old.nc": hdf5(lambda made: ice_variables(made, "N07_ICECON"), "earliest"),
        "-new.nc": hdf5(lambda made: ice_variables(made, "N07_ICECON"), "latest"),
        "-packed.nc": file.getvalue(),
        "-cdr.nc": hdf5(cdr_variables, "latest"),
    }


def odim(file: h5py.File) -> None:
    fill(file, "what", object="COMP", date="20100826", time="001000")
    fill(file, "where", xsize=5, ysize=4)
    fill(file, "dataset1/data1/what", quantity="DBZH", gain=0.5, offset=-32.0, nodata=255.0, undetect=0.0)
    fill(file, "dataset1/data1/data", np.arange(20, dtype=np.uint8).reshape(RAIN_GRID))


def cf_radar(file: h5py.File) -> None:
    fill(file, "time", np.array([10.0]), units="minutes since 2010-08-26 00:00:00")
    rain = np.arange(20, dtype=np.float32).reshape(1, *RAIN_GRID)
    fill(file, "rain", rain, units="mm/h", _FillValue=np.float32(-9999), _Undetect=np.float32(-8888))


def composites(_: Path) -> dict[str, bytes]:
    kinds = {"odim.h5": odim, "cf.nc": cf_radar}
    return {f"-{version}-{kind}": hdf5(make, version) for kind, make in kinds.items() for version in VERSIONS}


def read_composite(_: Path, path: Path) -> None:
    for frame in range(len(composite_files.read_header(path).times[:3])):
        read_rain(path, frame, (1, 1), (3, 4))


def begin_contest_ice(folder: Path) -> dict[str, bytes]:
    for month, frame in zip(months(), ice_frames(), strict=True):
        planes = np.stack([np.where(frame > 250, 0, frame), *[frame == code for code in (251, 253, 254, 255)]], -1)
        write(folder / "monthly_train" / f"{month}.npy", npy(planes.astype(np.float32)))
    lines = "".join(f"{month[:4]}-{month[4:]},{month}.npy\n" for month in months())
    write(folder / "monthly_train.csv", f"month,month_file_nm\n{lines}".encode())
    return {"": (folder / "monthly_train.csv").read_bytes()}


def of_file(begin: Callable[[Path], object], file: str) -> Callable[[Path], dict[str, bytes]]:
    def start(folder: Path) -> dict[str, bytes]:
        begin(folder)
        return {"": (folder / file).read_bytes()}

    return start


def ice_table() -> bytes:
    lines = [f"2015-{month:02d},{','.join(str(float(i * month % 250)) for i in range(12))}\n" for month in range(1, 13)]
    return f"month,{','.join(map(str, range(12)))}\n{''.join(lines)}".encode()


VERSIONS = ("earliest", "latest")  # of the layout of HDF5 files
RAIN_GRID = (4, 5)
RAIN = ReflectivityTable("file_name", lambda name: [name], RAIN_GRID, GREATEST_RAW)


def rain_table() -> bytes:
    lines = [f"{name}.npy,{','.join(str(i * 150) for i in range(20))}\n" for name in "ab"]
    return f"file_name,{','.join(map(str, range(20)))}\n{''.join(lines)}".encode()


def read_rain_table(_: Path, path: Path) -> None:
    ids = np.array(["a.npy", "b.npy"])
    refused_or(lambda: RAIN.read_values(path, ids))
    refused_or(lambda: RAIN.check_sample(path, ids))
    RAIN.read_truth(path)


def radar(dtype: str) -> np.ndarray:
    frames = np.random.default_rng(0).integers(0, 9000, (*RAIN_GRID, 5))
    frames[0, 0] = -9999
    return frames.astype(dtype)


def begin_radar(folder: Path) -> dict[str, bytes]:
    write(folder / "other.npy", npy(radar("<i2")))
    return {".npy": npy(radar("<i2")), "-float.npy": npy(radar("<f4"))}


def read_radar(folder: Path, path: Path) -> None:
    refused_or(lambda: read_raw(path, RAIN_GRID, 5))
    shared_frame_groups([folder / "other.npy", path])


def patches(_: Path) -> dict[str, bytes]:
    x = np.random.default_rng(0).integers(0, 255, (3, *RAIN_GRID, 4), dtype=np.uint8)
    events = np.array(["e1", "e1", "e2"])
    return {".npz": npz(x=x, event=events), "-float.npz": npz(x=x.astype(np.float32) / 9, event=np.arange(3))}


def rle_texts(_: Path) -> dict[str, bytes]:
    return {"": b"1 3 9 2\n\n-1\n-\n1 0\n384 1\n0 2 5 1\n17 1 18 4\n"}


def read_rle(_: Path, path: Path) -> None:
    texts: list[object] = list(path.read_bytes().decode("utf-8", "surrogateescape").split("\n"))
    for dialect in DIALECTS.values():
        for some in (texts, *[[text] for text in texts[:9]]):
            refused_or(lambda some=some, dialect=dialect: decode_many(some, SIZE, dialect))


def read_coco(_: Path, path: Path) -> None:
    for line in path.read_bytes().decode("utf-8", "replace").split("\n"):
        try:
            coded = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(coded, dict):
            refused_or(lambda coded=coded: decode_coco(coded))


def coco_texts(_: Path) -> dict[str, bytes]:
    return {".plain": b'{"size": [16, 24], "counts": [0, 5, 379]}', ".packed": b'{"size": [2, 3], "counts": "0124"}'}


class Stored:
    """A copy of the project that the commands made, and readers of one of its files."""

    def __init__(self, project: Path) -> None:
        self.project = project

    def reader(self, file: str, read: Callable[[Path, Path], object], kind: str = "json") -> Reader:
        others = {"bright", "dark", "network", "blend"} - {"bright", "blend", *Path(file).parts}

        def begin(folder: Path) -> dict[str, bytes]:
            shutil.copytree(self.project, folder, ignore=shutil.ignore_patterns(*others), dirs_exist_ok=True)
            write(folder / "submissions/tiny/blend.test_scores.json", b'{"truth": "t.csv", "scores": {"final": 0.5}}')
            return {"": (folder / file).read_bytes()}

        return Reader(kind, file, begin, read)

    def bundle(self, folder: Path) -> dict[str, bytes]:
        """That of the blend, whose members are not trained."""
        own = Workspace(self.project, self.project / "data" / "tiny")
        if not (folder / "bundle").exists():
            pack(load_packable(self.project / "configs/blend.yaml"), own, folder / "bundle", log=lambda _: None)
        return {"": (folder / "bundle/manifest.json").read_bytes()}

    def zipped_bundle(self, folder: Path) -> dict[str, bytes]:
        self.bundle(folder)
        with zipfile.ZipFile(folder / "whole.zip", "w") as file:
            for name in ("manifest.json", "README.md"):
                file.write(folder / "bundle" / name, name)
        return {"": (folder / "whole.zip").read_bytes()}

    def readers(self) -> dict[str, Reader]:
        found = {
            "folds table": self.reader("oof/tiny/folds.csv", read_all_folds, "csv"),
            "folds record": self.reader("oof/tiny/folds.json", read_all_folds),
            "run record": self.reader("oof/tiny/bright/run.json", read_entries),
            "blend's run record": self.reader("oof/tiny/blend/run.json", read_entries),
            "blend record": self.reader("oof/tiny/blend/blend.json", read_entries),
            "submission record": self.reader("submissions/tiny/blend.json", read_board),
            "test scores": self.reader("submissions/tiny/blend.test_scores.json", read_board),
            "rows record": self.reader("oof/tiny/bright/oof/rows.json", read_rows),
            "stored config": self.reader("configs/blend.yaml", read_config, "yaml"),
            "sample record": Reader(
                "json", "sample.json", lambda _: {"": b'{"train": 4, "test": 2, "seed": 0}\n'}, read_sample
            ),
        }
        for name in ("values", "crc32", "complete"):
            found[f"rows {name}"] = self.reader(f"oof/tiny/bright/oof/{name}.npy", read_rows, "npy")
        found["bundle manifest"] = Reader("json", "bundle/manifest.json", self.bundle, read_bundle)
        found["bundle packed"] = Reader("bytes", "x.zip", self.zipped_bundle, read_zipped_bundle)
        fit = next((self.project / "oof" / "tiny" / "network").rglob("fold0_seed0.json")).relative_to(self.project)
        found["fit record"] = self.reader(str(fit), read_fits)
        found["fit history"] = self.reader(str(fit.with_suffix(".csv")), read_fits, "csv")
        return found


def read_bundle(folder: Path, path: Path) -> None:
    opened = open_bundle(path.parent, folder / "unpacked")
    for run in opened.members():
        opened.fits(run)


def read_zipped_bundle(folder: Path, path: Path) -> None:
    """Its wheels are missing, so that a whole one is refused, too."""
    open_bundle(path, folder / "unpacked")


@cache
def stored_config(root: Path, name: str):  # type: ignore[no-untyped-def]
    return load_config(root / "configs" / f"{name}.yaml")


def read_all_folds(root: Path, path: Path) -> None:
    ids = np.array([f"i{i:02d}" for i in range(12)])
    load_folds(stored_config(root, "bright").data, Samples(ids, np.zeros(12)), Workspace(root))


def read_board(root: Path, path: Path) -> None:
    leaderboard("tiny", Workspace(root))


def read_entries(root: Path, path: Path) -> None:
    """The leaderboard never fails; what else reads a record may refuse it."""
    oof, workspace = root / "oof" / "tiny", Workspace(root)
    leaderboard("tiny", workspace)
    for name in ("bright", "blend"):
        refused_or(lambda name=name: read_info(oof / name))
    refused_or(lambda: compare(oof / "bright", oof / "blend"))
    refused_or(lambda: read_run(oof / "blend", read_folds(oof / "folds.csv")))
    refused_or(lambda: read_blend(stored_config(root, "blend"), workspace))


def read_rows(root: Path, path: Path) -> None:
    folds = read_folds(root / "oof" / "tiny" / "folds.csv")
    refused_or(lambda: np.asarray(read_run(root / "oof" / "tiny" / "bright", folds).oof.values))
    resumed = root / "resumed"
    shutil.copytree(path.parent, resumed)
    try:
        ids = [f"i{i:02d}" for i in range(12)]
        RowStore.open_or_create(resumed, ids=ids, shape=(40, 48, 1), dtype="uint8", fingerprint="x")
    finally:
        shutil.rmtree(resumed)


def read_config(root: Path, path: Path) -> None:
    load_config(path)


def read_sample(folder: Path, path: Path) -> None:
    write_whole(folder, {"train": 4, "test": 2, "seed": 0}, lambda _: None)


def read_fits(root: Path, path: Path) -> None:
    folds = read_folds(root / "oof" / "tiny" / "folds.csv")
    refused_or(lambda: FitFiles(path.parent, 0, 0).result(Fingerprint(folds=folds.hash())))
    summary_of_fits(path.parent, folds=folds)


def begin_checkpoint(folder: Path) -> dict[str, bytes]:
    file = CheckpointFile(folder / "fold0.npz", "own")
    row = {"epoch": 1.0, "loss": 0.5}
    file.write(Checkpoint([row], {"weights": np.zeros((2, 3), np.float32)}, [[np.zeros(3, np.float32)]], ""))
    return {"": (folder / "fold0.npz").read_bytes()}


def read_checkpoint(folder: Path, path: Path) -> None:
    CheckpointFile(path, "own").read()


def sums(folder: Path) -> dict[str, bytes]:
    stats = np.random.default_rng(0).uniform(1, 9, (2, 2 * SUMS))
    write_sums(folder, ForecastSums(np.array(["2014-12", "2015-12"]), ("+1", "+2"), {next(iter(CONTESTS)): stats}))
    return {"": (folder / SUMS_FILE).read_bytes()}


def configs(name: str) -> Callable[[Path], dict[str, bytes]]:
    def begin(folder: Path) -> dict[str, bytes]:
        shutil.copytree(REPOSITORY / "configs", folder / "configs", dirs_exist_ok=True)
        return {"": (folder / "configs" / name).read_bytes()}

    return begin


def read_study(folder: Path, path: Path) -> None:
    load_study(path)


def readers(project: Path) -> dict[str, Reader]:
    ice_npz = {"": npz(sic=ice_frames(), yyyymm=np.array(months()))}
    return {
        "images png": Reader("png", "x*", pngs, read_every_way),
        "images jpeg": Reader("bytes", "x*", jpegs, read_every_way),
        "images tiff": Reader("bytes", "x*", tiffs, read_tiff_every_way),
        "images webp": Reader("bytes", "x*", webps, read_every_way),
        "images bmp": Reader("bytes", "x*", bmps, read_every_way),
        "images jp2": Reader("bytes", "x*", jp2s, read_every_way),
        "images npy": Reader("npy", "x*", npys, read_every_way),
        "images tiff codecs": Reader("bytes", "x*", tiff_codecs, read_tiff_every_way),
        "folder band": Reader("bytes", "images/b/B8.tif", of_file(band_folder, "images/b/B8.tif"), read_bands),
        "truth rle": truth_reader("t.csv", "csv", TRUTH_TABLE, csv="t.csv", category="label"),
        "truth coco": truth_reader("t.json", "json", json.dumps(COCO).encode(), coco="t.json"),
        "truth labelme": truth_reader("a.json", "json", json.dumps(LABELME).encode(), polygons="{id}.json"),
        "truth geojson": truth_reader("a.json", "json", json.dumps(GEOJSON).encode(), polygons="{id}.json"),
        "scenes png": Reader("png", "x*", pngs, read_scene),
        "scenes npy": Reader("npy", "x*", lambda _: {".npy": npy(colours()), "-1.npy": npy(codes())}, read_scene),
        "folder image": Reader("png", "images/b.png", of_file(mask_folder, "images/b.png"), read_mask_folder),
        "folder mask": Reader("png", "masks/b.png", of_file(mask_folder, "masks/b.png"), read_mask_folder),
        "groups": Reader("csv", "groups.csv", of_file(mask_folder, "groups.csv"), read_groups),
        "clouds truth": Reader("csv", "train.csv", begin_clouds, samples_of("understanding_clouds", {}, "train")),
        "clouds sample": Reader(
            "csv",
            "sample_submission.csv",
            of_file(begin_clouds, "sample_submission.csv"),
            samples_of("understanding_clouds", {}, "test"),
        ),
        "leeds sample": Reader("csv", "sample_submission.csv", begin_leeds, samples_of("leeds_sea_ice", {}, "test")),
        "leeds mask": Reader(
            "bytes",
            "train/a_ref.tiff",
            of_file(begin_leeds, "train/a_ref.tiff"),
            read_leeds,
        ),
        "masks table": Reader(
            "csv", "x.csv", lambda _: {"": RLE_TABLE}, tables_of("mask_folder", RLE_OPTIONS, ["a", "b"])
        ),
        "masks table packed": Reader(
            "csv.gz",
            "x.csv.gz",
            lambda _: {"": gzip.compress(RLE_TABLE, mtime=0)},
            tables_of("mask_folder", RLE_OPTIONS, ["a", "b"]),
        ),
        "ice table": Reader("csv", "x.csv", lambda _: {"": ice_table()}, tables_of("arctic_sea_ice", ICE, ["2014-12"])),
        "rain table": Reader("csv", "x.csv", lambda _: {"": rain_table()}, read_rain_table),
        "ice bin": Reader("bytes", "nt_200004_f17_v1.1_n.bin", begin_bins, samples_of("arctic_sea_ice", ICE, "test")),
        "ice index": Reader("csv", "monthly_train.csv", begin_contest_ice, samples_of("arctic_sea_ice", ICE, "test")),
        "ice npy": Reader(
            "npy",
            "monthly_train/200004.npy",
            of_file(begin_contest_ice, "monthly_train/200004.npy"),
            lambda _, path: read_contest(path, (4, 3)),
        ),
        "ice npz": Reader("npz", "monthly_x.npz", lambda _: ice_npz, samples_of("arctic_sea_ice", ICE, "train")),
        "ice netcdf": Reader("hdf5", "x*", netcdf_ice, lambda _, path: read_netcdf(path, MONTHLY, (4, 3))),
        "radar composites": Reader("hdf5", "x*", composites, read_composite),
        "radar npy": Reader("npy", "x*", begin_radar, read_radar),
        "radar npz": Reader("npz", "x*", patches, lambda _, path: read_patches(path, RAIN_GRID)),
        "rle": Reader("csv", "x.txt", rle_texts, read_rle),
        "coco": Reader("json", "x*", coco_texts, read_coco),
        "checkpoint": Reader("npz", "fold0.npz", begin_checkpoint, read_checkpoint),
        "forecast sums": Reader("csv", SUMS_FILE, sums, lambda folder, _: read_sums(folder)),
        **{
            f"config {Path(name).stem}": Reader("yaml", f"configs/{name}", configs(name), read_config)
            for name in (
                "understanding_clouds/blend.yaml",
                "hydro_rain/demo.yaml",
                "wsiseg/local_contrast.yaml",
            )
        },
        "study": Reader(
            "yaml", "configs/leeds_sea_ice/tune_demo.yaml", configs("leeds_sea_ice/tune_demo.yaml"), read_study
        ),
        **Stored(project).readers(),
    }


def regressions() -> dict[str, list[Path]]:
    """Files that once broke a reader, by its name; what follows a file's last '@' is the suffix that it had."""
    return {folder.name: sorted(folder.iterdir()) for folder in sorted(REGRESSIONS.iterdir())}


def versions(name: str, reader: Reader, whole: dict[str, bytes], first: int, count: int) -> Iterator[tuple]:
    """Number or name, suffix and bytes of each damaged file."""
    for path in regressions().get(name, []):
        yield path.name, path.name.rpartition("@")[2], path.read_bytes()
    for number in range(first, first + count):
        rng = np.random.default_rng([zlib.crc32(name.encode()), number])
        suffix = list(whole)[number % len(whole)]
        yield number, suffix, mutate(whole[suffix], reader.kind, rng)


def main(project: Path, work: Path, first: int, count: int, after: list, *names: str) -> None:
    table = readers(project)
    chosen = {name: table[name] for name in names or table}
    begun: dict[str, dict[str, bytes]] = {}
    for name, reader in chosen.items():
        folder = work / name
        folder.mkdir(parents=True)
        begun[name] = reader.begin(folder)
        for suffix, data in begun[name].items():
            failure = attempt(reader, folder, suffix, data)
            assert not failure, f"{name}: a whole file is not read: {failure}"
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + SPARE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    skip = bool(after)
    for name, reader in chosen.items():
        if skip and name != after[0]:
            continue
        for number, suffix, data in versions(name, reader, begun[name], first, count):
            if skip:
                skip = number != after[1]
                continue
            (work / "at").write_text(json.dumps([name, number]))
            faulthandler.dump_traceback_later(SECONDS, exit=True, file=sys.__stderr__)
            failure = attempt(reader, work / name, suffix, data)
            faulthandler.cancel_dump_traceback_later()
            if failure:
                write(work / "failed" / name / f"{number}@{suffix}", data)
                print(json.dumps({"reader": name, "number": number, "failure": failure}), flush=True)


def attempt(reader: Reader, folder: Path, suffix: str, data: bytes) -> str:
    """What left the reader, besides a SkyfoldError; the file is whole again afterwards."""
    path = folder / (f"{reader.file[:-1]}{suffix}" if reader.file.endswith("*") else reader.file)
    before = path.read_bytes() if path.is_file() else None
    write(path, data)
    try:
        reader.read(folder, path)
    except SkyfoldError:
        return ""
    except BaseException as error:
        frames = [
            f"{Path(one.filename).name}:{one.lineno} {one.name}" for one in traceback.extract_tb(error.__traceback__)
        ]
        return f"{type(error).__name__}: {str(error)[:200]} at {' < '.join(reversed(frames[-4:]))}"
    finally:
        path.unlink() if before is None else path.write_bytes(before)
    return ""


if __name__ == "__main__":
    sys.stderr = io.StringIO()  # progress
    sys.excepthook = lambda *error: traceback.print_exception(*error, file=sys.__stderr__)
    main(*map(Path, sys.argv[1:3]), *map(int, sys.argv[3:5]), json.loads(sys.argv[5]), *sys.argv[6:])
