"""A Kaggle kernel that predicts with a bundle where there is no internet: a notebook, and its metadata."""

from __future__ import annotations

import json
import re

from skyfold.types import JsonDict

NOTEBOOK, METADATA = "kernel.ipynb", "kernel-metadata.json"
USER = "USERNAME"  # of Kaggle, to be replaced
LONGEST = 50  # name of a data set or kernel, in characters
CODE = "skyfold-plugins"  # data set with the code outside skyfold

FIND = """\
import json, os, shutil, subprocess, sys, tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

INPUT = Path("/kaggle/input")


def attached(name):
    for pattern in (name, f"competitions/{{name}}", f"datasets/*/{{name}}"):
        for path in INPUT.glob(pattern):
            return path
    raise FileNotFoundError(f"{{name}} is not attached to this notebook. Add it: Add Input.")


def files(folder):
    return sorted(path for path in folder.iterdir() if path.is_file())


def run(*command):
    told = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    done = subprocess.run([sys.executable, "-m", *map(str, command)], **told)
    print(done.stdout[-3000:])
    done.check_returncode()


BUNDLE = attached({bundle})
# What is predicted: --data and the contest's own folder, --images and a folder of images and nothing else, or --frames
# and files of frames.
OPTIONS = {options}"""
NEEDS = """\
for name, packed in json.loads((BUNDLE / "manifest.json").read_text())["needs"].items():
    try:
        here = sys.version.split()[0] if name == "python" else version(name)
    except PackageNotFoundError:
        here = "missing"
    print(f"{name}: {here} (packed with {packed})")"""
INSTALL = """\
place = Path(tempfile.mkdtemp())
packages = place / "packages"
run("pip", "install", "--no-index", "--no-deps", "--target", packages, *sorted((BUNDLE / "wheels").glob("*.whl")))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(packages), os.environ.get("PYTHONPATH"))))"""
PREDICT = 'run("skyfold", "predict", BUNDLE, *OPTIONS, "--out", place / "predictions")'
SUBMIT = 'print(shutil.copy(place / "predictions" / "submission.csv", "/kaggle/working"))'


def kernel_files(manifest: JsonDict, contest: str | None, given: str) -> dict[str, str]:
    """The text of `kernel.ipynb` (nbformat 4) and `kernel-metadata.json`, by name.

    contest: its name on Kaggle; None where it is not known, and what is predicted is attached as a data set of the name
    of the option `given`, see `Competition.given`
    """
    slug = re.sub("[^a-z0-9]+", "-", f"skyfold-{manifest['name']}".lower())[:LONGEST].strip("-")
    option = "--data" if contest else given.split()[0]
    place = f'attached("{contest or option.strip("-")}")'
    options = f'"{option}", *files({place})' if option == "--frames" else f'"{option}", {place}'
    sources = [slug]
    if manifest["plugins"]:
        options += f', "--plugins", attached("{CODE}")'
        sources.append(CODE)
    found = FIND.format(bundle=f'"{slug}"', options=f"[{options}]")
    metadata = {
        "id": f"{USER}/{slug}",
        "title": slug,
        "code_file": NOTEBOOK,
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": True,
        "enable_internet": False,
        "dataset_sources": [f"{USER}/{name}" for name in sources],
        "competition_sources": [contest] if contest else [],
        "kernel_sources": [],
        "model_sources": [],
    }
    about = (
        f"# {manifest['name']}\n\nWrites `submission.csv` with the data set `{slug}`, made by `skyfold pack --kernel`."
    )
    cells = [_cell(0, "markdown", about)]
    cells += [_cell(number, "code", text) for number, text in enumerate((found, NEEDS, INSTALL, PREDICT, SUBMIT), 1)]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return {name: json.dumps(value, indent=1) + "\n" for name, value in ((NOTEBOOK, notebook), (METADATA, metadata))}


def _cell(number: int, kind: str, text: str) -> JsonDict:
    of_code: JsonDict = {"execution_count": None, "outputs": []} if kind == "code" else {}
    return {"id": str(number), "cell_type": kind, "metadata": {}, "source": text.splitlines(keepends=True), **of_code}
