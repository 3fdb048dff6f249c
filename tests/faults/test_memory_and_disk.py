"""What does not fit in memory or on disk, and what was damaged there."""

from __future__ import annotations

import errno
import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import tifffile
from numba.core.caching import IndexDataCacheFile

from skyfold.compiled import compiled
from skyfold.data.array_files import read_arrays
from skyfold.data.images import read_image
from skyfold.data.tiff import read_tiff
from skyfold.errors import DataLayoutError

KERNELS = """
def doubled(x):
    return 2 * x

def squared(x):
    return x * x
"""


@pytest.fixture
def kernels(tmp_path, monkeypatch) -> ModuleType:
    """A module of two functions in `tmp_path`, where numba keeps their machine code, too."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    (tmp_path / "kernels.py").write_text(KERNELS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "kernels", raising=False)
    return importlib.import_module("kernels")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


def make_foreign(path: Path) -> None:
    path.write_bytes(b"not machine code\n" * 9)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def take_anothers(path: Path) -> None:
    """That of the other function, whole."""
    other = path.name.replace("doubled", "squared").replace("-2.", "-5.")
    shutil.copyfile(path.with_name(other), path)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [cut, flip, make_foreign, empty, take_anothers, Path.unlink, replace_by_folder])
@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_damaged_compiled_code_is_compiled_again(tmp_path, kernels, damage: Callable[[Path], None], suffix):
    assert (compiled(kernels.doubled)(3), compiled(kernels.squared)(3)) == (6, 9)
    again = compiled(kernels.doubled)
    assert again(3) == 6
    assert sum(again.stats.cache_hits.values()) == 1
    files = list(tmp_path.rglob(f"*doubled*{suffix}"))
    assert len(files) == 1
    damage(files[0])
    anew = compiled(kernels.doubled)
    assert anew(3) == 6
    assert sum(anew.stats.cache_hits.values()) == 0
    if damage is not replace_by_folder:
        after = compiled(kernels.doubled)
        assert after(3) == 6
        assert sum(after.stats.cache_hits.values()) == 1


def test_a_function_works_where_its_compiled_code_cannot_be_kept(kernels, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(IndexDataCacheFile, "save", full)
    assert compiled(kernels.doubled)(3) == 6


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("image.size=[600000, 600000]", "image.size: an image of 600000 x 600000 pixels: it takes"),
        ("data.options.grid=[600000, 600000]", "data.options.grid: a sample on 600000 x 600000: it takes"),
    ],
)
def test_a_config_that_needs_more_memory_than_there_is_is_refused_with_the_figure(tiny, change, expected):
    before = tiny.files()
    code, _, err = tiny.run("train", "bright", "--restart", "--set", change)
    assert code == 2
    assert expected in err
    assert "GB of memory are free. " in err
    assert tiny.files() == before


def test_a_batch_that_needs_more_memory_than_there_is_is_refused_before_anything_is_lost(tiny):
    before = tiny.files()
    code, _, err = tiny.run("train", "network", "--restart", "--set", "training.batch_size=1000000")
    assert code == 2
    assert "image.size: a batch of 1000000 images of 40 x 48 pixels: it takes 30.7 GB" in err
    assert "Set image.size or training.batch_size lower" in err
    assert tiny.files() == before


def test_rows_larger_than_the_free_disk_are_refused_with_file_and_figures(tiny, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    shutil.rmtree(tiny.oof / "bright")
    code, _, err = tiny.run("train", "bright")
    assert code == 2
    assert re.search(r"values\.npy: it takes [\d.]+ MB, and 0\.0 MB of disk space are free\. Free some, or", err)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
def test_a_full_or_failing_disk_ends_in_one_line_with_the_file(tiny, monkeypatch, number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    before = tiny.files()
    monkeypatch.setattr(os, "fsync", fail)
    code, _, err = tiny.run("blend", "blend")
    monkeypatch.undo()
    assert code == 2
    last = err.strip().splitlines()[-1]
    assert last.startswith(f"error: {tiny.root}/")
    assert os.strerror(number) in last
    assert "then run the same command again" in last
    assert not list(tiny.root.rglob(".writing-*"))
    assert {path for path in before if not path.startswith("oof/tiny/blend")} <= set(tiny.files())


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 74.5 GiB for an array"),
        type("ResourceExhaustedError", (Exception,), {})("OOM when allocating tensor"),
        cv2.error("OpenCV(4): Insufficient memory"),
    ],
)
def test_a_command_that_runs_out_of_memory_ends_in_one_line(tiny, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("skyfold.pipeline.train.train", fail)
    code, _, err = tiny.run("train", "bright")
    assert code == 2
    assert err.startswith(f"error: {tiny.config('bright')}: out of memory. {error}")
    assert "Free some, or make image.size, batch_size or the model smaller" in err
    assert "Traceback" not in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_standard_output_that_takes_nothing_is_named(tiny):
    command = [sys.executable, "-m", "skyfold", "leaderboard", "tiny", "--root", str(tiny.root)]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == (
        "error: standard output: No space left on device. Free disk space, then run the same command again."
    )


@pytest.mark.parametrize("name", ["tensorflw", "numpy"])
def test_an_unknown_backend_is_refused_before_anything_is_lost(tiny, monkeypatch, name):
    monkeypatch.setenv("KERAS_BACKEND", name)
    before = tiny.files()
    code, _, err = tiny.run("train", "network", "--restart")
    assert (code, err) == (
        2,
        f"error: KERAS_BACKEND={name}: networks are trained with tensorflow, jax, torch. Set one of them.\n",
    )
    assert tiny.files() == before


def test_an_archive_that_unpacks_to_more_than_memory_is_refused_with_the_figure(tmp_path, monkeypatch):
    archive = tmp_path / "bomb.npz"
    np.savez_compressed(archive, x=np.zeros(20_000_000, np.uint8))
    assert archive.stat().st_size < 100_000
    monkeypatch.setattr("skyfold.memory.free_memory", lambda: 10_000_000)
    expected = r"bomb\.npz, x\.npy: .*it takes 20\.0 MB, and 10\.0 MB of memory are free\. Free memory, or cut"
    with pytest.raises(DataLayoutError, match=expected):
        read_arrays(archive, ["x"])


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_an_image_that_needs_more_memory_than_there_is_is_refused_undecoded(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"scene{suffix}"
    image = np.zeros((300, 200, 3), np.uint8)
    tifffile.imwrite(path, image) if suffix == ".tif" else cv2.imwrite(str(path), image)
    read = read_tiff if suffix == ".tif" else read_image
    assert np.array_equal(read(path), image)
    monkeypatch.setattr("skyfold.memory.free_memory", lambda: 100_000)
    assert np.array_equal(read(path), image)  # so small a one is not asked for
    monkeypatch.setattr(f"skyfold.data.{'tiff' if suffix == '.tif' else 'decode'}.SMALL", 0)
    monkeypatch.setattr("cv2.imdecode", None)
    with pytest.raises(DataLayoutError, match=r"scene.*it takes 0\.\d MB, and 0\.1 MB of memory are free.*Free memory"):
        read(path)
