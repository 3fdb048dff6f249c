"""The command `skyfold`: its version, its project folder, and how errors end."""

import tomllib
from pathlib import Path

import pytest

import skyfold
from skyfold.cli import commands
from skyfold.cli.main import main
from skyfold.errors import ConfigError
from skyfold.files import write_json

PYPROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())


def test_version(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"skyfold {skyfold.__version__}\n"
    assert PYPROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "skyfold.version.__version__"}


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ConfigError("no such key"), 2, "error: no such key\n"),
        (FileNotFoundError(2, "No such file or directory", "a.csv"), 2, "error: a.csv: No such file or directory\n"),
        (
            ImportError("cannot import name 'X' from 'optuna.storages'", name="optuna.storages"),
            2,
            "error: cannot import name 'X' from 'optuna.storages'. Install what skyfold needs: pip install 'optuna"
            "<5.1,>=5.0'\n",
        ),
        (KeyboardInterrupt(), 130, "Interrupted. Run the same command again to resume.\n"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_ends_with_one_line_and_its_exit_code(monkeypatch, capsys, error, code, message):
    monkeypatch.setattr(commands, "workspace", raises(error))
    assert main(["prepare", "cloud_cover"]) == code
    assert capsys.readouterr().err == message


def raises(error):
    def call(given):
        raise error

    return call


OUTSIDE = (
    "error: {tmp} and its parents hold no folder configs/, so this is no skyfold project. "
    "Change to the project's folder, or name it: --root DIR.\n"
)


@pytest.mark.parametrize(
    ("folder", "before", "after", "message"),
    [
        ("outer/inner", [], [], "{tmp}/outer/data/understanding_clouds: "),  # below the nearest parent with configs/
        (".", [], [], OUTSIDE),
        (".", ["--root", "{tmp}"], [], "{tmp}/data/understanding_clouds: "),
        (".", [], ["--root", "{tmp}"], "{tmp}/data/understanding_clouds: "),
        (".", [], ["--root", "{tmp}/nowhere"], "error: --root {tmp}/nowhere: no such folder.\n"),
    ],
)
def test_the_project_folder(tmp_path, monkeypatch, capsys, folder, before, after, message):
    for path in ("outer/configs", "outer/inner"):
        (tmp_path / path).mkdir(parents=True)
    monkeypatch.delenv("SKYFOLD_DATA", raising=False)
    monkeypatch.chdir(tmp_path / folder)
    arguments = [*before, "prepare", "understanding_clouds", *after]
    assert main([text.format(tmp=tmp_path) for text in arguments]) == 2
    assert message.format(tmp=tmp_path) in capsys.readouterr().err


def test_a_data_set_with_runs_is_found_in_the_folder_that_root_names(tmp_path, monkeypatch, capsys):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    data = {"competition": "mask_folder", "name": "sky", "options": {"classes": {"cloud": 1}, "grid": [2, 3]}}
    write_json(tmp_path / "oof" / "sky" / "unet" / "run.json", {"config": {"data": data}})
    truth = Path("truth.csv")
    truth.write_text("id_class,EncodedPixels\na_cloud,1 2\n")
    command = ["score", "sky", str(truth), "--truth", str(truth)]
    assert main(command) == 2
    assert "no competition 'sky'" in capsys.readouterr().err
    assert main([*command, "--root", str(tmp_path)]) == 0
    assert "mean_dice: 1.000000" in capsys.readouterr().out


def test_score_needs_no_project(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("truth.csv").write_text(
        "Image_Label,EncodedPixels\n"
        + "".join(f"a.jpg_{name},1 10\n" for name in ("Fish", "Flower", "Gravel", "Sugar"))
    )
    assert main(["score", "understanding_clouds", "truth.csv", "--truth", "truth.csv"]) == 0
    assert "mean_dice: 1.000000 (1 sample)" in capsys.readouterr().out
