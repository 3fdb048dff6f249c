"""Projects whose blends are packed: each is trained when the first test asks for it, once in a process of tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from skyfold.cli.main import main
from skyfold.store.rows import RowStore

SIZES = ((40, 48), (32, 64), (56, 40), (48, 48), (64, 32), (40, 40))
CONFIGS = {
    # Two members, a stack of them and a gate.
    "clouds": """
data:
  competition: understanding_clouds
  name: tiny
  folds: {k: 2, seed: 0}
  sample: {train: 12, test: 5, seed: 0, height: 64}
image: {size: [16, 24]}
name: both
model: {family: tiny_net}
training: {epochs: 1, batch_size: 4}
runs:
  - {name: turned, tta: [hflip], training: {seeds: [0, 1]}}
  - {name: bright, model: {family: colour_threshold, options: {feature: brightness}}}
combine: stack
classifier_gate:
  name: gate
  task: classification
  model: {family: tiny_net, options: {pooled: true}}
  loss: {name: bce}
postprocess: {thresholds: 17, min_areas: [0, 20]}
bootstrap: 20
""",
    # Images of four bands in 16 bits, of six sizes; see `write_deep`.
    "deep": """
data:
  competition: mask_folder
  name: deep
  options: {classes: {field: 1}, grid: own, test_images: test}
  folds: {k: 2, seed: 0}
image: {size: [32, 32], rescale: {kind: percentile}}
name: deep_blend
model: {family: tiny_net}
training: {epochs: 1, batch_size: 2}
runs: [{name: deep}]
postprocess: {thresholds: 9}
bootstrap: 20
""",
    "chips": """
data: {competition: on_cloud_n, name: chips, folds: {k: 2, phash_max_distance: -1}, sample: {train: 4, test: 2}}
image: {size: [32, 32], rescale: {kind: percentile}}
name: chips_blend
model: {family: plain_unet, options: {filters: [2, 4]}}
training: {epochs: 1, batch_size: 2}
runs: [{name: chips}]
postprocess: {thresholds: 9}
bootstrap: 20
""",
    "scenes": """
data:
  competition: cloud_cover
  name: scenes
  options: {grid: [20, 24]}
  folds: {k: 2, phash_max_distance: -1}
  sample: {train: 4, validation: 1, test: 2, side: 80}
image: {size: [32, 32], crop: {crops_per_image: 2}}
name: scenes
model: {family: tiny_net}
training: {epochs: 1, batch_size: 2}
""",
}


@dataclass(frozen=True)
class Project:
    """A project folder with the configs of CONFIGS, whose results are below `root`, but for those of other projects."""

    root: Path

    def config(self, name: str) -> Path:
        return self.root / "configs" / f"{name}.yaml"

    def run(self, command: str, *arguments: object) -> int:
        return main([command, *map(str, arguments), "--root", str(self.root)])

    def trained(self, name: str) -> Path:
        """The config `name`, after `skyfold run` on it."""
        path = self.config(name)
        if not path.is_file():
            if name == "deep":
                write_deep(self.root / "data" / "deep")
            path.write_text(CONFIGS[name])
            assert self.run("run", path) == 0
        return path

    def bundle(self, name: str) -> Path:
        """The bundle of the config `name`."""
        path = self.root / name
        if not path.exists():
            kernel = ["--kernel"] if name == "clouds" else []
            assert self.run("pack", self.trained(name), "--out", path, "--licence", "CC0", *kernel) == 0
        return path

    def submission(self, name: str) -> bytes:
        """What the submission `name` of training holds."""
        return (self.root / "submissions" / f"{name}.csv").read_bytes()

    def data(self, name: str) -> Path:
        """The folder of the files of the config `name`."""
        return self.root / "data" / yaml.safe_load(self.trained(name).read_text())["data"]["name"]


def write_deep(folder: Path) -> None:
    """Images of four bands in 16 bits, of SIZES: six with masks, six to predict."""
    for name in ("images", "masks", "test"):
        (folder / name).mkdir(parents=True)
    for number, size in enumerate(SIZES * 2):
        rng = np.random.default_rng(number)
        image = rng.integers(500, 4000, (*size, 4)).astype(np.uint16)
        part = "test" if number >= len(SIZES) else "images"
        options = {"photometric": "minisblack", "planarconfig": "contig"}
        tifffile.imwrite(folder / part / f"i{number:02}.tif", image, **options)
        if part == "images":
            tifffile.imwrite(folder / "masks" / f"i{number:02}.tif", (image[..., 0] > 2500).astype(np.uint8))


@pytest.fixture(scope="session")
def bundles_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bundles")
    (root / "configs").mkdir()
    return root


@pytest.fixture(scope="module")
def project(bundles_root: Path, own_data, tiny_families) -> Project:
    """The projects of CONFIGS, which tests read and do not change."""
    return Project(bundles_root)


@pytest.fixture
def images(project: Project, tmp_path: Path) -> Path:
    """A copy of the test images of `clouds`."""
    return Path(shutil.copytree(project.data("clouds") / "test_images", tmp_path / "images"))


@pytest.fixture
def bundle(project: Project, tmp_path: Path) -> Path:
    """A copy of the bundle `deep`."""
    return Path(shutil.copytree(project.bundle("deep"), tmp_path / "bundle"))


def predict(bundle: Path, images: Path, out: Path, *more: object) -> int:
    return main(["predict", str(bundle), "--images", str(images), "--out", str(out), *map(str, more)])


def rows_by_id(folder: Path) -> dict[str, np.ndarray]:
    store = RowStore.open(folder)
    return {name: store[row] for row, name in enumerate(store.ids.tolist())}


def assert_as_trained(project: Project, data: str, out: Path, runs: tuple[str, ...]) -> None:
    """Rows below `out` are those that training stored, whichever of them there are."""
    for run in runs:
        trained = rows_by_id(project.root / "oof" / data / run / "test")
        for name, values in rows_by_id(out / ".work" / "rows" / run).items():
            np.testing.assert_array_equal(values, trained[name])


def dependencies(names: Iterable[str]) -> set[str]:
    """Names of the distributions `names` and of all that they require here, but of those that are not installed."""
    found: set[str] = set()
    rest: set[str] = {canonicalize_name(name) for name in names}
    while rest:
        name = rest.pop()
        try:
            lines = [Requirement(line) for line in distribution(name).requires or ()]
        except PackageNotFoundError:
            continue
        found.add(name)
        rest |= {canonicalize_name(one.name) for one in lines if not one.marker or one.marker.evaluate()} - found
    return found


def link_packages(names: Iterable[str], folder: Path) -> Path:
    """Make `folder` a place of packages that holds those of the distributions `names` and no other."""
    folder.mkdir(exist_ok=True)
    for name in names:
        parts = {file.parts[0]: file for file in distribution(name).files if file.parts[0] not in ("..", "__pycache__")}
        for part, file in parts.items():
            if not (folder / part).exists():
                (folder / part).symlink_to(Path(*file.locate().parts[: len(file.locate().parts) - len(file.parts) + 1]))
    return folder
