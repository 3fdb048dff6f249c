"""Rows that know whether they were written, and whether they still hold what was written."""

import errno
import os
import zlib

import numpy as np
import pytest

from skyfold.errors import DamagedFile, OofMismatch
from skyfold.store.rows import RowStore, release_pages, rows_checksum


def make(folder, ids=("a", "b", "c"), shape=(2, 2), dtype="uint8", fingerprint="one"):
    return RowStore.open_or_create(folder, ids=list(ids), shape=shape, dtype=dtype, fingerprint=fingerprint)


@pytest.fixture
def full(tmp_path):
    """A store whose three rows are written."""
    store = make(tmp_path)
    store.write(np.arange(3), np.arange(12).reshape(3, 2, 2))
    store.flush()
    return store


def edit(store):
    """Change row 1 by way of another memory map."""
    values = np.load(store.folder / "values.npy", mmap_mode="r+", allow_pickle=False)
    values[1, 0, 0] += 1
    values.flush()


def test_opening_again_keeps_complete_rows(tmp_path):
    store = make(tmp_path)
    assert not store.complete.any()
    store.write(np.array([2]), np.full((1, 2, 2), 9))
    again = make(tmp_path)
    assert again.complete.tolist() == [False, False, True]
    assert again[2].tolist() == [[9, 9], [9, 9]]
    RowStore.open(tmp_path).checked[:]


@pytest.mark.parametrize("index", [2, [2, 0], np.array([True, False, True])], ids=str)
@pytest.mark.parametrize("shape", [(2, 3), (), (0,), [(2, 3), (1, 3), (2, 3)]], ids=str)
def test_a_row_is_the_same_from_the_file_and_from_the_map(tmp_path, shape, index):
    """Those that this process has not verified are read from the file; after a foreign touch that is all."""
    rng = np.random.default_rng(0)
    rows = [np.asarray(rng.random(one, np.float32)) for one in (shape if isinstance(shape, list) else [shape] * 3)]
    store = make(tmp_path, shape=shape, dtype="float32")
    store.write(np.arange(3), rows)
    os.utime(tmp_path / "values.npy")
    checked = RowStore.open(tmp_path).checked
    assert not checked.store.verified().any()
    wanted = rows[2] if isinstance(index, int) else np.stack([rows[row] for row in np.arange(3)[index]])
    for _ in ("the file", "the map"):
        np.testing.assert_array_equal(checked[index], wanted)


def test_rows_that_differ_in_shape_are_not_read_at_once(tmp_path):
    store = make(tmp_path, shape=[(2, 3), (1, 3), (2, 3)])
    with pytest.raises(ValueError, match=r"row 1 has shape \(1, 3\), not \(2, 3\)"):
        store.read(np.arange(3))


def test_a_row_beyond_the_end_of_the_file_is_named(full):
    with open(full.folder / "values.npy", "r+b") as file:
        file.truncate(file.seek(0, os.SEEK_END) - 1)
    with pytest.raises(OofMismatch, match=r"row 2 \('c'\) differs from what was written"):
        full.read(np.array([1, 2]))


def test_the_checksum_of_a_store_is_known_without_its_ids(full):
    before = rows_checksum(full.folder)
    assert before == full.checksum()
    assert full.row_checksum(1) == f"{zlib.crc32(full.values[1].tobytes()):08x}"
    full.write(np.array([1]), np.full((1, 2, 2), 9))
    assert rows_checksum(full.folder) == full.checksum() != before
    (full.folder / "crc32.npy").write_bytes(b"")
    with pytest.raises(DamagedFile, match="cut off"):
        rows_checksum(full.folder)


def test_a_row_written_again_is_incomplete_until_it_is_whole(full, monkeypatch):
    def stopped(values):
        raise KeyboardInterrupt

    monkeypatch.setattr("skyfold.store.rows.crc32", stopped)
    with pytest.raises(KeyboardInterrupt):
        full.write(np.array([1]), np.zeros((1, 2, 2)))
    assert full.complete.tolist() == [True, False, True]


def test_rows_of_another_shape_are_not_written(full):
    with pytest.raises(ValueError, match=r"row 1 has shape \(2, 2\), got values \(4,\)"):
        full.write(np.array([1]), np.zeros((1, 4)))
    full[0], full[2]


@pytest.mark.parametrize(
    "other", [{"fingerprint": "two"}, {"ids": ("a", "c", "b")}, {"shape": (2, 3)}, {"dtype": "float32"}], ids=str
)
def test_rows_made_from_something_else_are_discarded(tmp_path, other):
    make(tmp_path).write(np.array([0]), np.ones((1, 2, 2)))
    assert not make(tmp_path, **other).complete.any()


def test_a_changed_row_is_found_and_named_and_not_complete_when_opened_to_write(full):
    edit(full)
    for index in (slice(None), 1, np.array([0, 1]), (slice(None), 0)):
        with pytest.raises(OofMismatch, match="row 1 \\('b'\\)"):
            RowStore.open(full.folder)[index]
    assert RowStore.open(full.folder)[0].tolist() == [[0, 1], [2, 3]]
    assert make(full.folder).complete.tolist() == [True, False, True]


@pytest.mark.parametrize("name", ["values.npy", "crc32.npy", "complete.npy", "rows.json"])
def test_a_file_cut_off_is_never_filled_with_zeros(full, name):
    with open(full.folder / name, "r+b") as file:
        file.truncate((full.folder / name).stat().st_size - 2)
    with pytest.raises(DamagedFile, match=rf"{name}: (missing|cut off|not whole JSON)"):
        RowStore.open(full.folder)
    assert not make(full.folder).complete.any()  # begun anew


def test_nan_is_refused_by_id_and_an_id_listed_twice_and_nothing_is_written(tmp_path):
    store = make(tmp_path, shape=(2,), dtype="float32")
    with pytest.raises(OofMismatch, match="'b' are NaN"):
        store.write(np.array([0, 1]), np.array([[1, 2], [np.nan, 0]]))
    assert not store.complete.any()
    assert not store.values.any()
    with pytest.raises(OofMismatch, match="twice"):
        make(tmp_path, ids=("a", "a"))


def test_a_store_without_its_meta_file_counts_as_empty(full):
    (full.folder / "rows.json").unlink()
    with pytest.raises(OofMismatch, match="Run `skyfold train` or `skyfold prepare`"):
        RowStore.open(full.folder)
    assert not make(full.folder).complete.any()


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


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot reserve space")
def test_the_space_of_all_rows_is_reserved_before_a_row_is_written(tmp_path, monkeypatch):
    """Else the process would be killed by a signal when a page finds no room on a full disk."""

    def full(descriptor, offset, size):
        raise OSError(errno.ENOSPC, "No space left on device")

    make(tmp_path / "reserved", shape=(1 << 17,), dtype="float64")
    assert (tmp_path / "reserved" / "values.npy").stat().st_blocks * 512 >= 3 << 20
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left on device; it takes 24 MB") as error:
        make(tmp_path / "store", shape=(1 << 20,), dtype="float64")
    assert error.value.filename == tmp_path / "store" / "values.npy"
    assert not list((tmp_path / "store").iterdir())


def test_checksums_are_verified_once_per_process_and_again_after_a_foreign_edit(full, monkeypatch):
    sums, crc32 = [], zlib.crc32
    monkeypatch.setattr("skyfold.store.rows.crc32", lambda data: sums.append(1) or crc32(data))
    for _ in range(2):
        RowStore.open(full.folder).checked[:]
    assert not sums
    edit(full)
    with pytest.raises(OofMismatch, match="row 1"):
        RowStore.open(full.folder).checked[:]
    assert sums
