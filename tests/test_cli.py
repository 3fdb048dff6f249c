"""The command `skyfold`: its version, its project folder, and how errors end."""

import tomllib
from pathlib import Path

import pytest

import skyfold
from skyfold.cli import commands
from skyfold.cli.main import main
from skyfold.errors import ConfigError

PYPROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())


def test_version(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"skyfold {skyfold.__version__}\n"
    assert PYPROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "skyfold.__version__"}


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ConfigError("no such key"), 2, "error: no such key\n"),
        (FileNotFoundError(2, "No such file or directory", "a.csv"), 2, "error: a.csv: No such file or directory\n"),
        (KeyboardInterrupt(), 130, "Interrupted. Run the same command again to resume.\n"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_ends_with_one_line_and_its_exit_code(monkeypatch, capsys, error, code, message):
    monkeypatch.setattr(commands, "workspace", raises(error))
    assert main(["prepare", "cloud_cover"]) == code
    assert capsys.readouterr().err == message


def test_a_bug_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(commands, "workspace", raises(OSError("no file is named")))
    with pytest.raises(OSError, match="no file is named"):
        main(["prepare", "cloud_cover"])


def raises(error):
    def call(given):
        raise error

    return call


def test_the_project_is_the_nearest_parent_with_configs(tmp_path, monkeypatch, capsys):
    (tmp_path / "outer" / "configs").mkdir(parents=True)
    inner = tmp_path / "outer" / "inner" / "deep"
    inner.mkdir(parents=True)
    monkeypatch.delenv("SKYFOLD_DATA", raising=False)
    monkeypatch.chdir(inner)
    assert main(["prepare", "understanding_clouds"]) == 2
    assert f"{tmp_path / 'outer' / 'data' / 'understanding_clouds'}" in capsys.readouterr().err


def test_outside_a_project_the_message_names_the_remedy(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "understanding_clouds"]) == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path} and its parents hold no folder configs/, so this is no skyfold project. "
        "Change to the project's folder, or name it: --root DIR.\n"
    )


@pytest.mark.parametrize("before", [True, False])
def test_root_may_stand_before_or_after_the_subcommand(tmp_path, monkeypatch, capsys, before):
    monkeypatch.delenv("SKYFOLD_DATA", raising=False)
    root, command = ["--root", str(tmp_path)], ["prepare", "understanding_clouds"]
    assert main([*root, *command] if before else [*command, *root]) == 2
    assert f"{tmp_path / 'data' / 'understanding_clouds'}" in capsys.readouterr().err
    assert main([*command, "--root", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err == f"error: --root {tmp_path / 'nowhere'}: no such folder.\n"


def test_score_needs_no_project(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("truth.csv").write_text(
        "Image_Label,EncodedPixels\n"
        + "".join(f"a.jpg_{name},1 10\n" for name in ("Fish", "Flower", "Gravel", "Sugar"))
    )
    assert main(["score", "understanding_clouds", "truth.csv", "--truth", "truth.csv"]) == 0
    assert "mean_dice: 1.000000 (1 sample)" in capsys.readouterr().out
