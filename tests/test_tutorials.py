"""Every code block of a tutorial runs, page by page, in a project folder with a copy of the source.

A block with a title is written to that file, or appended to it where it exists; bash and Python blocks are executed;
text blocks show output. `<!-- no-run: reason -->` before a block leaves it out.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
FENCE = "`" * 3
BLOCK = re.compile(
    rf'^(?P<skip><!-- no-run: .+ -->\n)?^{FENCE}(?P<language>\w+)(?: title="(?P<file>[^"]+)")?\n(?P<code>.*?)^{FENCE}$',
    re.MULTILINE | re.DOTALL,
)
INTERPRETERS = {"bash": ["bash", "-e"], "python": [sys.executable]}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy, since tutorials add files to it."""
    return Path(shutil.copytree(ROOT / "src", tmp_path_factory.mktemp("checkout") / "src"))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_code_block_runs(page, source, tmp_path):
    text = page.read_text()
    blocks = list(BLOCK.finditer(text))
    assert 2 * len(blocks) == len(re.findall(f"^{FENCE}", text, re.MULTILINE)), "a fence that is not read as a block"
    (tmp_path / "src").symlink_to(source)
    for block in blocks:
        if not block["skip"] and block["language"] != "text":
            line = text.count("\n", 0, block.start()) + 1
            run_block(block["language"], block["file"], block["code"], tmp_path, f"{page.name}, line {line}")


def run_block(language, file, code, folder, where):
    """Append to `file`, or execute; `skyfold` is that of the copy, whatever is installed."""
    if file is not None:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        with open(folder / file, "a") as opened:
            opened.write(code)
        return
    command = folder / "bin" / "skyfold"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m skyfold "$@"\n')
    command.chmod(0o755)
    env = {key: value for key, value in os.environ.items() if key != "SKYFOLD_DATA"}
    env |= {"PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(folder / "src")}
    given = {"input": code, "cwd": folder, "env": env, "capture_output": True, "text": True}
    done = subprocess.run(INTERPRETERS[language], check=False, **given)
    assert done.returncode == 0, f"{where}:\n{done.stdout}\n{done.stderr}"
