"""`pack` and `predict` on a full disk, and killed at any moment: nothing half-made is taken for whole."""

import errno
import os
import shutil
import signal
from pathlib import Path

import pytest

from bundles.conftest import predict
from skyfold.files import read_json
from skyfold.store.bundle import open_bundle

pytestmark = [
    pytest.mark.usefixtures("own_data", "tiny_families"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork"),
]


@pytest.fixture(scope="module")
def ruled(project, tmp_path_factory):
    """A bundle of the member of `clouds` that is not trained, so that no network need be built."""
    out = tmp_path_factory.mktemp("ruled") / "bundle"
    assert project.run("pack", project.trained("clouds"), "--out", out, "--members", "bright") == 0
    return out


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device", "somewhere/file")


@pytest.mark.parametrize("name", ["bundle", "bundle.zip"])
def test_pack_on_a_full_disk_ends_in_one_line_and_leaves_nothing(project, tmp_path, monkeypatch, capsys, name):
    path = project.trained("deep")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full_disk)
        assert project.run("pack", path, "--out", tmp_path / name) == 2
    assert "No space left on device. Free disk space, then run the same command again." in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]
    assert project.run("pack", path, "--out", tmp_path / name) == 0


@pytest.mark.parametrize("written", ["_create", "write_csv"])
def test_predict_on_a_full_disk_ends_in_one_line_and_goes_on(ruled, images, tmp_path, monkeypatch, capsys, written):
    import skyfold.store.rows
    import skyfold.submission.formats

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        if written == "_create":
            patch.setattr(skyfold.store.rows, "_create", full_disk)
        else:
            patch.setattr(Path, "replace", full_disk)
            patch.setattr(os, "replace", full_disk)
        assert predict(ruled, images, out) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert not (out / "submission.csv").exists()
    assert predict(ruled, images, out) == 0
    assert (out / "submission.csv").is_file()


def killed_at(moment, command):
    """Run `command` in a child that SIGKILL ends at the given write; whether it was ended, and not done before."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    count = 0

    def counted(act):
        def counting(*given, **named):
            nonlocal count
            count += 1
            if count == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return act(*given, **named)

        return counting

    try:
        shutil.copyfile, os.replace = counted(shutil.copyfile), counted(os.replace)
        Path.rename, Path.write_bytes = counted(Path.rename), counted(Path.write_bytes)
        Path.replace = counted(Path.replace)
        command()
    finally:
        os._exit(0)


def test_pack_that_was_killed_at_any_write_packs_the_same_again(project, ruled, tmp_path):
    path, out, moment = project.trained("clouds"), tmp_path / "bundle", 0
    options = ["--out", out, "--members", "bright"]
    while killed_at(moment := moment + 1, lambda: project.run("pack", path, *options)):
        assert not out.exists()
        assert moment < 50
    assert moment > 5
    open_bundle(out, tmp_path / "unpacked")
    assert [each.name for each in tmp_path.iterdir()] == ["bundle"]
    made, expected = (read_json(folder / "manifest.json") for folder in (out, ruled))
    assert made["files"].keys() == expected["files"].keys()


def test_predict_that_was_killed_at_any_write_predicts_the_same_again(ruled, images, tmp_path):
    whole, out, moment = tmp_path / "whole", tmp_path / "out", 0
    assert predict(ruled, images, whole) == 0
    while killed_at(moment := moment + 1, lambda: predict(ruled, images, out)):
        assert moment < 100
    assert moment > 5
    for name in ("submission.csv", "submission.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
