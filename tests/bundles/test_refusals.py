"""A bundle that is damaged, newer or of other images is refused by name, and nothing is predicted with it."""

import zipfile

import pytest

from bundles.conftest import predict
from skyfold.cli.main import main
from skyfold.errors import DamagedFile, SkyfoldError
from skyfold.files import read_json
from skyfold.store.bundle import open_bundle
from skyfold.store.records import write_record

pytestmark = pytest.mark.usefixtures("own_data", "tiny_families")


def test_what_does_not_fit_is_refused_before_anything_is_predicted(project, images, tmp_path, capsys):
    def refused(*arguments, says):
        assert main(["predict", *map(str, arguments), "--out", str(tmp_path / "out")]) == 2
        assert says in capsys.readouterr().err
        assert not any((tmp_path / "out").glob("*.csv"))

    (tmp_path / "none").mkdir()
    refused(project.bundle("clouds"), "--images", tmp_path / "none", says="no images")
    refused(project.bundle("clouds"), "--images", tmp_path / "nowhere", says="no such folder")
    refused(project.bundle("clouds"), says="--images DIR")
    refused(tmp_path / "none", "--images", images, says="no bundle here")
    refused(project.bundle("clouds"), "--images", project.data("deep") / "test", says="bands")
    refused(project.bundle("deep"), "--images", images, says="was trained on 4 bands of uint16")
    sample = project.data("clouds") / "sample_submission.csv"
    gone = sorted(images.iterdir())[0]
    gone.unlink()
    says = f"no image for 1 of the 5 ids of {sample}"
    refused(project.bundle("clouds"), "--images", images, "--sample", sample, says=says)
    empty = tmp_path / "empty.csv"
    empty.write_text("Image_Label,EncodedPixels\n")
    refused(project.bundle("clouds"), "--images", images, "--sample", empty, says="empty.csv: names no id")
    assert predict(project.bundle("clouds"), images, empty) == 2
    assert "empty.csv: a file, expected a folder. Name another --out." in capsys.readouterr().err
    chips = project.bundle("chips")
    refused(chips, "--images", images, says="reads no folder of images. Name what it reads: --data DIR")
    refused(chips, says="name what to predict: the contest's own folder: --data DIR")
    assert project.run("pack", project.trained("deep"), "--out", project.bundle("deep")) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_bundle_that_was_changed_or_is_newer_is_refused(bundle, images, tmp_path, capsys):
    def refused(says, code):
        assert predict(bundle, images, tmp_path / "out") == code
        assert says in capsys.readouterr().err

    manifest = bundle / "manifest.json"
    values = read_json(manifest)
    del values["format"], values["checksum"]
    weights = bundle / values["runs"][0]["fits"][0]["weights"]
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused("not the file that was packed", 3)
    weights.unlink()
    refused("missing from the bundle", 3)
    weights.write_bytes(whole)
    text = manifest.read_text()
    manifest.write_text(text.replace('"deep_blend"', '"other"'))
    refused("edited since it was written", 3)
    write_record(manifest, {**values, "bundle": 2})
    refused("a bundle of format 2", 3)
    write_record(manifest, {**values, "requires": ["telepathy"]})
    refused("requires 'telepathy'", 3)
    outside = {**values["runs"][0]["fits"][0], "weights": "../weights.h5"}
    write_record(manifest, {**values, "runs": [{**values["runs"][0], "fits": [outside]}]})
    refused("no path inside the bundle", 3)


def test_a_bundle_that_was_zipped_with_its_folder_is_named(bundle, images, tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "b.ZIP", "w") as file:
        file.write(bundle / "manifest.json", "clouds/manifest.json")
    assert predict(tmp_path / "b.ZIP", images, tmp_path / "out") == 2
    assert "It lies deeper, at clouds/manifest.json: unzip the file" in capsys.readouterr().err


WRONG = [None, True, -1, 0.5, "text", "", [], [[]], {}, {"": None}, [{"name": 1}]]


def test_a_damaged_manifest_is_named_whatever_stands_in_it(bundle, tmp_path):
    path = bundle / "manifest.json"
    values = read_json(path)
    del values["format"], values["checksum"]
    accepted, refusals = [], []
    for key, value in [(key, value) for key in values for value in WRONG]:
        write_record(path, {**values, key: value})
        try:
            opened = open_bundle(bundle, tmp_path / "unpacked")
            assert [opened.fits(run) for run in opened.members()]
            accepted.append(value)
        except SkyfoldError as error:
            refusals.append(str(error))
    assert all(str(path) in refusal for refusal in refusals)
    assert all(isinstance(value, str | dict | None) or not value for value in accepted)  # another name, other figures
    assert len(accepted) < len(values) * len(WRONG) / 3
    for content in (b"", b"[]", b"{}", b'{"bundle": 1', b"[" * 100_000, b'{"bundle": NaN}', b"9" * 10_000):
        path.write_bytes(content)
        with pytest.raises(DamagedFile, match="manifest"):
            open_bundle(bundle, tmp_path / "unpacked")


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil.txt", "runs/../../evil.txt"])
def test_a_zip_file_never_writes_outside_its_folder(bundle, tmp_path, name):
    path = tmp_path / "b.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.write(bundle / "manifest.json", "manifest.json")
        file.writestr(name, "evil")
    with pytest.raises(DamagedFile, match="no path inside the bundle"):
        open_bundle(path, tmp_path / "out" / "unpacked")
    assert not list(tmp_path.rglob("evil.txt"))
