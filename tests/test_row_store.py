"""Rows that know whether they were written, and whether they still hold what was written."""

import errno
import os
import zlib

import numpy as np
import pytest

from skyfold.errors import DamagedFile, OofMismatch
from skyfold.store.rows import RowStore, release_pages


def make(folder, ids=("a", "b", "c"), shape=(2, 2), dtype="uint8", fingerprint="one"):
    return RowStore.open_or_create(folder, ids=list(ids), shape=shape, dtype=dtype, fingerprint=fingerprint)


def test_a_row_never_written_is_not_done(tmp_path):
    store = make(tmp_path)
    store.write(np.array([1]), np.full((1, 2, 2), 7))
    assert store.complete.tolist() == [False, True, False]


def test_opening_again_keeps_done_rows(tmp_path):
    make(tmp_path).write(np.array([2]), np.full((1, 2, 2), 9))
    again = make(tmp_path)
    assert again.complete.tolist() == [False, False, True]
    assert again[2].tolist() == [[9, 9], [9, 9]]
    RowStore.open(tmp_path).verify()


@pytest.mark.parametrize(
    "other", [{"fingerprint": "two"}, {"ids": ("a", "c", "b")}, {"shape": (2, 3)}, {"dtype": "float32"}], ids=str
)
def test_rows_made_from_something_else_are_begun_afresh(tmp_path, other):
    make(tmp_path).write(np.array([0]), np.ones((1, 2, 2)))
    assert not make(tmp_path, **other).complete.any()


def test_a_changed_byte_is_found_and_named(tmp_path):
    store = make(tmp_path)
    store.write(np.arange(3), np.arange(12).reshape(3, 2, 2))
    store.flush()
    raw = bytearray((tmp_path / "values.npy").read_bytes())
    raw[-5] ^= 1  # the last byte of row 1
    (tmp_path / "values.npy").write_bytes(raw)
    with pytest.raises(OofMismatch, match="row 1 \\('b'\\)"):
        RowStore.open(tmp_path).verify()


def test_a_changed_row_is_not_done_when_opened_to_write(tmp_path):
    store = make(tmp_path)
    store.write(np.arange(3), np.arange(12).reshape(3, 2, 2))
    store.flush()
    values = np.load(tmp_path / "values.npy", mmap_mode="r+", allow_pickle=False)
    values[1, 0, 0] += 1
    values.flush()
    assert make(tmp_path).complete.tolist() == [True, False, True]


@pytest.mark.parametrize("name", ["values.npy", "crc32.npy", "complete.npy", "rows.json"])
def test_a_file_cut_off_is_never_filled_with_zeros(tmp_path, name):
    make(tmp_path).write(np.arange(3), np.arange(12).reshape(3, 2, 2))
    with open(tmp_path / name, "r+b") as file:
        file.truncate((tmp_path / name).stat().st_size - 2)
    with pytest.raises(DamagedFile, match=rf"{name}: (missing or cut off|not whole JSON)"):
        RowStore.open(tmp_path)
    assert not make(tmp_path).complete.any()  # begun afresh


def test_nan_is_refused_by_id_and_nothing_is_written(tmp_path):
    store = make(tmp_path, shape=(2,), dtype="float32")
    with pytest.raises(OofMismatch, match="'b' are NaN"):
        store.write(np.array([0, 1]), np.array([[1, 2], [np.nan, 0]]))
    assert not store.complete.any()
    assert not store.values.any()


def test_an_id_listed_twice_is_refused(tmp_path):
    with pytest.raises(OofMismatch, match="twice"):
        make(tmp_path, ids=("a", "a"))


def test_an_empty_folder_says_what_to_run(tmp_path):
    with pytest.raises(OofMismatch, match="Run `skyfold train` or `skyfold prepare`"):
        RowStore.open(tmp_path)


def test_a_store_without_its_meta_file_counts_as_empty(tmp_path):
    make(tmp_path).write(np.arange(3), np.ones((3, 2, 2)))
    (tmp_path / "rows.json").unlink()
    assert not make(tmp_path).complete.any()


def test_chunks_cover_the_rows_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr("skyfold.store.rows.CHUNK_BYTES", 8)
    chunks = list(make(tmp_path).chunks(np.array([0, 1, 2])))
    assert [chunk.tolist() for chunk in chunks] == [[0, 1], [2]]


def test_pages_that_are_handed_back_keep_what_was_written(tmp_path):
    path = tmp_path / "values.npy"
    written = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(4, 5000))
    written[1] = 7
    release_pages(written)
    assert (written[1] == 7).all()
    written[2] = 9
    assert np.load(path)[:, 0].tolist() == [0, 7, 9, 0]
    array = np.ones(3)
    release_pages(array)
    assert array.tolist() == [1.0, 1.0, 1.0]


def test_a_full_disk_is_told_before_a_row_is_made(tmp_path, monkeypatch):
    """Else the process would be killed by a signal when a page finds no room."""

    def full(descriptor, offset, size):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match="No space left on device; it takes 8 MB") as error:
        RowStore.open_or_create(tmp_path / "store", ids=["a"], shape=(1 << 20,), dtype="float64", fingerprint="s")
    assert error.value.filename == tmp_path / "store" / "values.npy"
    assert not list((tmp_path / "store").iterdir())


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot reserve space")
def test_the_space_of_all_rows_is_taken_at_once(tmp_path):
    RowStore.open_or_create(tmp_path / "store", ids=["a", "b"], shape=(1 << 17,), dtype="float64", fingerprint="s")
    assert (tmp_path / "store" / "values.npy").stat().st_blocks * 512 >= 2 << 20


def test_checksums_are_verified_once_per_process_and_again_after_a_foreign_edit(tmp_path, monkeypatch):
    store = make(tmp_path)
    store.write(np.arange(3), np.ones((3, 2, 2)))
    store.flush()
    sums, crc32 = [], zlib.crc32
    monkeypatch.setattr("skyfold.store.rows.zlib.crc32", lambda data: sums.append(1) or crc32(data))
    for _ in range(2):
        RowStore.open(store.folder).verify()
    assert not sums
    values = np.load(store.folder / "values.npy", mmap_mode="r+", allow_pickle=False)
    values[1] = 9
    values.flush()
    with pytest.raises(OofMismatch, match="row 1"):
        RowStore.open(store.folder).verify()
    assert sums
