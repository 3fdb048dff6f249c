"""Imports go down the layers only, and TensorFlow stays in its three files."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "skyfold"
FOUNDATION = ["errors", "types", "files", "plugins", "progress", "workspace", "row_store", "compiled"]
NUMPY = [
    "config",
    "folds",
    "metrics",
    "submission",
    "ensemble",
    "postprocess",
    "oof_store",
    "oof_align",
    "fold_files",
]
IMAGES = [
    "data.images",
    "data.masks",
    "data.cache",
    "data.duplicates",
    "data.cloud_sample",
    "data.colour",
    "data.windows",
    "data.crops",
    "data.scene_sample",
    "data.seeding",
    "data.tiff",
    "data.vis_sar",
    "data.sea_ice_sample",
    "data.sample_folder",
    "data.radar_files",
    "data.rain_sample",
    "data.rain_units",
    "data.shared_frames",
    "motion",
    "data.history",
    "data.known_outcome",
    "data.ice_files",
    "data.ice_frames",
    "data.ice_sample",
    "forecasts",
    "views",
    "data.some_classes",
    "competition",
    "competitions",
]
KERAS = ["data", "models", "training", "inference"]
TOP = ["tuning", "leaderboard", "pipeline", "cli"]
LAYERS = [FOUNDATION, NUMPY, IMAGES, KERAS, TOP]
TENSORFLOW = {"training/backend.py", "training/fused.py", "models/_framework.py"}
KERAS_LIBRARIES = {"keras", "tensorflow", "segmentation_models", "efficientnet"}


def layer(module: str) -> int:
    """Index of the layer that names `module` most exactly."""
    named = [
        (len(name), index)
        for index, names in enumerate(LAYERS)
        for name in names
        if f"{module}.".startswith(f"{name}.")
    ]
    assert named, f"{module} is in no layer of this test: put it into one"
    return max(named)[1]


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def modules() -> list[Path]:
    return [path for path in sorted(SOURCE.rglob("*.py")) if path.name != "__init__.py"]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down_the_layers(path):
    own = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
    for name in imports(path):
        if not name.startswith("skyfold."):
            continue
        target = name.removeprefix("skyfold.")
        while target and not ((SOURCE / Path(*target.split("."))).with_suffix(".py").is_file()):
            target = target.rpartition(".")[0]  # a name inside a module, not a module
        if target and not target.startswith(own):
            assert layer(target) <= layer(own), f"{own} imports {target}, which lies above it"


def test_tensorflow_is_imported_in_its_files_alone():
    for path in modules():
        used = {name.split(".")[0] for name in imports(path)} & {"tensorflow", "segmentation_models", "efficientnet"}
        if str(path.relative_to(SOURCE)) not in TENSORFLOW:
            assert not used, f"{path} imports {used}"


def test_numpy_layers_import_no_keras():
    for path in modules():
        own = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        if layer(own) < LAYERS.index(KERAS):
            assert not {name.split(".")[0] for name in imports(path)} & KERAS_LIBRARIES, path


SCRIPTS = sorted(path.stem for path in (ROOT / "scripts").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_loads_no_framework_and_says_what_the_script_does(script):
    """Run in a process of its own, since other tests have loaded everything here."""
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['{script}', '--help']\n"
        "try:\n"
        f"    runpy.run_path(r'{ROOT / 'scripts' / script}.py', run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0\n"
        "heavy = {'tensorflow', 'keras', 'numba', 'cv2', 'matplotlib', 'sklearn', 'optuna'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout
