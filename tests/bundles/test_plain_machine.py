"""A bundle predicts on a machine that has Python and what the manifest names, and nothing of this environment."""

import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from bundles.conftest import dependencies, link_packages

pytestmark = pytest.mark.usefixtures("own_data", "tiny_families")


def test_main_py_of_the_page_writes_a_tiff_for_each_chip_on_a_plain_machine(project, tmp_path):
    """DrivenData's container: `needs` and pip are installed, skyfold comes from the bundle, HOME stays empty."""
    bundle, here, home = project.bundle("chips"), tmp_path / "here", tmp_path / "home"
    needs = dependencies(json.loads((bundle / "manifest.json").read_text())["needs"])
    assert not needs & {"skyfold", "optuna", "albumentations", "segmentation-models"}
    venv.create(tmp_path / "machine", symlinks=True)
    (packages,) = (tmp_path / "machine" / "lib").glob("python*/site-packages")
    link_packages({*needs, "pip"}, packages)
    python = tmp_path / "machine" / "bin" / "python"
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env = {**env, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    for name in ("KERAS_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR"):
        env.pop(name, None)
    for folder in (home, here / "data"):
        folder.mkdir(parents=True)
    page = (Path(__file__).parents[2] / "docs" / "predict.md").read_text()
    (here / "main.py").write_text(re.search('title="main.py"\n(.*?)```', page, re.DOTALL)[1])
    (here / "bundle").symlink_to(bundle)
    (here / "data" / "test_features").symlink_to(project.data("chips") / "test_features")
    before = sorted(bundle.rglob("*"))
    assert subprocess.run([python, "-c", "import skyfold"], env=env, cwd=here, capture_output=True).returncode
    done = subprocess.run([python, "main.py"], cwd=here, env=env, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    written = {path.name for path in here.iterdir()} - {"bundle", "data", "main.py"}
    assert written == {"out", "packages", "predictions"}
    assert {path.name for path in home.iterdir()} <= {".rustup"}  # pip asks rustc for its version
    assert sorted(bundle.rglob("*")) == before
    submitted = {path.name: path.read_bytes() for path in (project.root / "submissions/chips/chips_blend").iterdir()}
    assert {path.name: path.read_bytes() for path in (here / "predictions").iterdir()} == submitted
    assert len(submitted) == 2


def test_packing_prints_what_it_wrote_and_nothing_of_tensorflow(project, tmp_path):
    """In a process of its own: TensorFlow says once that a CPU has no bfloat16, which packing compares masks in."""
    out = tmp_path / "bundle"
    command = [sys.executable, "-m", "skyfold", "pack", project.trained("chips"), "--out", out, "--root", project.root]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = f"skyfold predict {out} --data DIR --out PREDICTIONS"  # a chip is a file a band
    assert done.stdout.splitlines() == [f"written: {out}", f"Try it: {told}"]
    assert told.replace(str(out), "chips_blend") in (out / "README.md").read_text()
    progress = "reading files: "  # is told where the command takes longer than usual
    assert all(line.startswith(progress) for line in done.stderr.splitlines()), done.stderr
