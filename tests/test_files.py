"""A file is the old one or the new one, never half."""

import json
import os

import imagecodecs
import pytest

from skyfold.files import crc32, digest, file_digest, read_json, write_atomic, write_json, write_text


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "scores.json"
    write_text(path, "old")

    def half(beside):
        assert beside.suffix == ".json"
        beside.write_text("ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, half)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["scores.json"]


def test_json_round_trip_and_nan_refused(tmp_path):
    path = tmp_path / "deep" / "a.json"
    write_json(path, {"b": [1, 2.5], "a": None})
    assert read_json(path) == {"b": [1, 2.5], "a": None}
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"score": float("nan")})
    assert json.loads(path.read_text())["b"] == [1, 2.5]


def test_digests_tell_where_one_part_ends_and_those_of_files_are_sha256(tmp_path):
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("ab") == digest(b"ab")
    assert len(digest("ab")) == 16
    (tmp_path / "empty").write_bytes(b"")
    assert file_digest(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("built", [True, False], ids=["libdeflate", "zlib"])
def test_checksums_are_those_of_zip_files(monkeypatch, built):
    if not built:
        monkeypatch.setattr(imagecodecs, "DEFLATE", type("Unavailable", (), {"available": False}))
    assert crc32(b"123456789") == 0xCBF43926  # the check value of CRC-32 in the catalogue of parametrised CRCs
    assert crc32(memoryview(b"6789"), crc32(b"12345")) == crc32(b"123456789")
