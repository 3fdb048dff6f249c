"""The documentation site: built without a warning, one API page a package, nothing loaded from elsewhere."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Addresses that a browser fetches by itself; hyperlinks are not among them.
LOADED = re.compile(r"""<(?:link|script|img|iframe|source|object)\b[^>]*?\s(?:href|src|data)=["']?([^"'\s>]*)""")
ELSEWHERE = re.compile(r"(https?:)?//")


def test_every_package_has_an_api_page():
    packages = {path.parent.name for path in (ROOT / "src" / "skyfold").glob("*/__init__.py")}
    pages = {path.stem: path.read_text() for path in (ROOT / "docs" / "reference").glob("*.md") if path.stem != "index"}
    assert pages.keys() == packages | {"api"}
    assert all(f"::: skyfold.{name}\n" in page for name, page in pages.items())


def test_source_files_named_in_the_docs_exist():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    named = {(page.name, name) for page in pages for name in re.findall(r"`([a-z_/]+/[\w/]+\.py)`", page.read_text())}
    named = {(page, name) for page, name in named if not name.startswith("plugins/")}  # of the reader's own project
    assert ("code_map.md", "store/folds.py") in named
    folders = (ROOT, ROOT / "src" / "skyfold")
    assert [(page, name) for page, name in named if not any((folder / name).is_file() for folder in folders)] == []


@pytest.mark.skipif(
    find_spec("mkdocs") is None or find_spec("mkdocstrings") is None, reason="needs the extra: pip install -e .[docs]"
)
def test_the_site_is_built_strictly_and_loads_nothing_from_elsewhere(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pages = [path.read_text() for path in tmp_path.rglob("*.html")]
    addresses = {address for page in pages for address in LOADED.findall(page)}
    assert any(address.endswith(".css") for address in addresses)
    assert [address for address in addresses if ELSEWHERE.match(address)] == []
    assert not any('class="mermaid"' in page for page in pages)  # the theme fetches its renderer from a CDN
    styles = "".join(path.read_text() for path in tmp_path.rglob("*.css"))
    assert re.findall(r"url\([\"']?(?:https?:)?//|@import", styles) == []
