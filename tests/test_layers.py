"""Imports go down the layers only, and TensorFlow stays in its three files."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from skyfold.cli import main

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "skyfold"
# From the bottom up; a module imports its own package and the layers below it.
LAYERS = [
    ["errors", "types", "files", "memory", "plugins", "progress", "version", "workspace", "compiled", "tables"],
    ["config", "rle"],
    ["competition"],
    ["metrics", "submission"],
    ["store"],
    ["data", "blending"],
    ["models", "postprocess"],
    ["forecasting", "loggers", "reports"],
    ["api"],
    ["competitions", "training"],
    ["tasks"],
    ["tuning"],
    ["pipeline"],
    ["cli", "notebook"],
    ["__main__"],
]
KERAS = {"models", "training"}
TENSORFLOW = {"training/backend.py", "training/fused.py", "models/_sm_compat.py"}
KERAS_LIBRARIES = {"keras", "tensorflow", "segmentation_models", "efficientnet"}


def package(module):
    return module.partition(".")[0]


def layer(module):
    """Index of the layer that lists the package of `module`."""
    found = [index for index, packages in enumerate(LAYERS) if package(module) in packages]
    assert found, f"{module} is in no layer of this test: put its package into one"
    return found[0]


def imports(path):
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def modules():
    return [path for path in sorted(SOURCE.rglob("*.py")) if path.name != "__init__.py"]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down_the_layers(path):
    own = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
    for name in imports(path):
        target = name.removeprefix("skyfold.")
        if not name.startswith("skyfold.") or package(target) == package(own):
            continue
        if not (SOURCE / package(target)).is_dir() and not (SOURCE / f"{package(target)}.py").is_file():
            continue  # a name of skyfold/__init__.py
        lowest = layer(target) == layer(own) == 0
        assert layer(target) < layer(own) or lowest, f"{own} imports {target}, which is not below it"


def test_frameworks_are_imported_in_their_places_only():
    for path in modules():
        used = {package(name) for name in imports(path)} & KERAS_LIBRARIES
        allowed = KERAS_LIBRARIES if str(path.relative_to(SOURCE)) in TENSORFLOW else {"keras"}
        assert used <= (allowed if path.relative_to(SOURCE).parts[0] in KERAS else set()), path


COMMANDS = [command.__name__.rstrip("_") for command in main.COMMANDS]


def test_every_command_has_a_script():
    assert sorted(path.stem for path in (ROOT / "scripts").glob("*.py")) == sorted(COMMANDS)


@pytest.mark.parametrize("command", ["", *COMMANDS, *[f"{name}.py" for name in COMMANDS]])
def test_help_loads_no_framework_and_names_the_command(command):
    """Run in a separate process, since other tests have loaded everything here."""
    script = command.endswith(".py")
    run = f"run_path(r'{ROOT / 'scripts' / command}'" if script else "run_module('skyfold'"
    usage = f"skyfold {command.removesuffix('.py')}".strip()
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['skyfold', *{['--help'] if script or not command else [command, '--help']}]\n"
        "try:\n"
        f"    runpy.{run}, run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0\n"
        "heavy = {'tensorflow', 'keras', 'numba', 'cv2', 'matplotlib', 'numpy', 'optuna'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert f"usage: {usage} [-h]" in done.stdout
