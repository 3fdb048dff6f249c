"""Each notebook in `examples` runs from its first cell to its last, in an empty folder, and shows what it ends with."""

import ast
import json
from pathlib import Path

import pandas as pd
import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.ipynb"))
SUBMISSIONS = {
    "from_folder_to_submission": "sky_project/submissions/sky/blend.csv",
    "oof_arrays_to_honest_blend": "sky_project/submission.csv",
}


def run_cell(source, names):
    """Execute a cell, and show the value of its last line as a notebook does."""
    code = ast.parse(source)
    last = code.body.pop() if isinstance(code.body[-1], ast.Expr) else None
    exec(compile(code, "cell", "exec"), names)
    if last is None:
        return None
    value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    for show in ("_repr_html_", "_repr_png_"):
        if hasattr(value, show):
            return getattr(value, show)()
    return repr(value)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_cell_runs(path, own_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    notebook, names, shown = json.loads(path.read_text()), {"__name__": "__main__"}, []
    assert notebook["nbformat"] == 4
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
            shown.append(run_cell("".join(cell["source"]), names))
    assert any(isinstance(one, bytes) and one.startswith(b"\x89PNG") for one in shown)
    assert any(isinstance(one, str) and "cross_fitted" in one for one in shown)
    table = pd.read_csv(tmp_path / SUBMISSIONS[path.stem], keep_default_na=False)
    assert len(table) == 6
