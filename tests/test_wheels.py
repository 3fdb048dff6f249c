"""Wheels are made of installed distributions, without a network."""

import base64
import csv
import hashlib
import io
import subprocess
import sys
import zipfile

import pytest

from skyfold import plugins
from skyfold.errors import ConfigError
from skyfold.models import _sm_compat
from skyfold.store.wheels import wheel

NAMES = ("skyfold", *_sm_compat.SEGMENTATION_MODELS)


def test_pip_installs_them_with_the_same_code(tmp_path):
    for name in NAMES:
        file, content = wheel(name)
        assert wheel(name) == (file, content)
        (tmp_path / file).write_bytes(content)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", tmp_path / "there"]
    subprocess.run([*pip, *tmp_path.glob("*.whl")], check=True)
    for path in plugins.OWN.rglob("*.py"):
        assert (tmp_path / "there" / path.relative_to(plugins.OWN.parent)).read_bytes() == path.read_bytes()
    for name in ("skyfold", "segmentation_models", "classification_models", "keras_applications", "efficientnet"):
        assert (tmp_path / "there" / name / "__init__.py").is_file()
    assert (tmp_path / "there" / "bin" / "skyfold").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_listed_with_its_checksum(name):
    with zipfile.ZipFile(io.BytesIO(wheel(name)[1])) as file:
        (record,) = [path for path in file.namelist() if path.endswith(".dist-info/RECORD")]
        rows = {path: (digest, size) for path, digest, size in csv.reader(io.TextIOWrapper(file.open(record)))}
        assert sorted(rows) == sorted(file.namelist())
        assert rows.pop(record) == ("", "")
        assert not any("direct_url" in path or "__pycache__" in path for path in rows)  # of this machine only
        for path, (digest, size) in rows.items():
            content = file.read(path)
            expected = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
            assert (digest, int(size)) == (f"sha256={expected}", len(content))


def test_what_has_no_wheel_for_every_machine_is_refused_by_name(tmp_path, monkeypatch):
    about = tmp_path / "linked-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: linked\nVersion: 1.0\n")
    (about / "WHEEL").write_text("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    (about / "RECORD").write_text("linked.pth,,\nlinked-1.0.dist-info/METADATA,,\n")
    (tmp_path / "linked.pth").write_text("/somewhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    reasons = {"numpy": "not pure Python", "nowhere": "not installed by pip", "linked": "link to its source"}
    for name, why in reasons.items():
        with pytest.raises(ConfigError, match=f"^{name}: .*{why}"):
            wheel(name)
