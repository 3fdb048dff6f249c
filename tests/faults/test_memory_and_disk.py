"""What does not fit in memory or on disk, and what was damaged there."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from numba.core.caching import IndexDataCacheFile

from skyfold.compiled import compiled

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
