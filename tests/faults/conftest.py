"""A tiny project, made whole: what each test of a fault starts from, in a copy of its own.

12 training images of 40x48 and 4 test images in a `mask_folder`, two runs of a family without training, their blend,
and one small network.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from faults.fault_table import (  # noqa: F401  # hooks of pytest
    note_seen,
    pytest_addoption,
    pytest_runtest_makereport,
    pytest_terminal_summary,
)
from skyfold.cli.main import main

DATA = """
data:
  competition: mask_folder
  name: tiny
  options: {classes: {blob: 255}, test_images: test_images}
  folds: {k: 2}
"""
RUN = f"{DATA}image: {{size: [40, 48]}}\n"
CONFIGS = {
    "bright": f"{RUN}name: bright\nmodel: {{family: colour_threshold, options: {{feature: brightness}}}}\n",
    "dark": f"{RUN}name: dark\nmodel: {{family: colour_threshold, options: {{feature: local_contrast}}}}\n",
    "network": f"{RUN}name: network\nmodel: {{family: plain_unet, options: {{filters: [4, 8]}}}}\n"
    "training: {epochs: 1, batch_size: 4, seeds: [0]}\n",
    "blend": f"{DATA}name: blend\nruns: [bright.yaml, dark.yaml]\npostprocess: {{min_areas: [0, 20]}}\n",
}


@dataclass(frozen=True)
class Project:
    """A project folder, and what a command did in it."""

    root: Path
    capsys: pytest.CaptureFixture[str]

    @property
    def images(self) -> Path:
        return self.root / "data" / "tiny"

    @property
    def oof(self) -> Path:
        return self.root / "oof" / "tiny"

    def config(self, name: str) -> Path:
        return self.root / "configs" / f"{name}.yaml"

    def write_config(self, name: str, text: str) -> Path:
        self.config(name).write_text(text, encoding="utf-8")
        return self.config(name)

    def run(self, command: str, *arguments: object) -> tuple[int, str, str]:
        """Exit code, output and errors of a command; the name of a config stands for its file."""
        texts = [str(self.config(a)) if a in CONFIGS else str(a) for a in arguments]
        self.capsys.readouterr()
        code = main([command, *texts, "--root", str(self.root)])
        out, err = self.capsys.readouterr()
        note_seen(code, out, err)
        return code, out, err

    def files(self) -> dict[str, str]:
        """SHA-256 of every file below the project, but of what is decoded and counted anew where files were copied."""
        return {
            str(path.relative_to(self.root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and not {".cache", "threshold_sweep"} & {*path.parts}
        }


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, prepared, trained, blended and submitted."""
    root = tmp_path_factory.mktemp("made") / "project"
    (root / "configs").mkdir(parents=True)
    for name, text in CONFIGS.items():
        (root / "configs" / f"{name}.yaml").write_text(text)
    write_images(root / "data" / "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SKYFOLD_DATA", raising=False)
        for command, *names in [("prepare", "bright"), ("train", "bright", "dark", "network"), ("blend", "blend")]:
            for name in names:
                assert main([command, str(root / "configs" / f"{name}.yaml"), "--root", str(root)]) == 0
        assert main(["submit", str(root / "configs" / "blend.yaml"), "--root", str(root)]) == 0
    return root


@pytest.fixture
def tiny(made_once: Path, tmp_path: Path, monkeypatch, capsys) -> Project:
    """A copy of the project that a test may break, with the times of its files."""
    monkeypatch.delenv("SKYFOLD_DATA", raising=False)
    root = tmp_path / "project"
    shutil.copytree(made_once, root, copy_function=shutil.copy2)
    return Project(root, capsys)


def write_images(folder: Path, train: int = 12, test: int = 4) -> None:
    """Bright blobs on noise and their masks, 40x48, as `images`, `masks` and `test_images`."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:40, :48]
    for part, count in [("images", train), ("test_images", test)]:
        for i in range(count):
            centre, radius = rng.uniform(10, 30, 2), rng.uniform(6, 12)
            blob = np.hypot(rows - centre[0], columns - centre[1]) < radius
            image = rng.integers(0, 110, (40, 48, 3), dtype=np.uint8) + 100 * blob[..., None].astype(np.uint8)
            write_png(folder / part / f"{part[0]}{i:02d}.png", image)
            if part == "images":
                write_png(folder / "masks" / f"{part[0]}{i:02d}.png", 255 * blob.astype(np.uint8))


def write_png(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
