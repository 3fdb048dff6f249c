"""A folder of results holds a run, a blend or a forecast; a command of another kind never takes it over."""

import pytest

from skyfold.errors import ConfigError, DamagedFile
from skyfold.store.records import RunRecord, read_record, write_record
from skyfold.store.runs import read_info, require_kind


def named(tiny, config, name):
    """A copy of a config under another name."""
    text = tiny.config(config).read_text().replace(f"name: {config}\n", f"name: {name}\n")
    return tiny.write_config("taken", text)


def forecast_in(tiny, name):
    """A folder that holds a forecast."""
    folder = tiny.oof / name
    path = folder / "run.json"
    folder.mkdir()
    run = read_record(tiny.oof / "bright" / "run.json", RunRecord, remedy="")
    write_record(path, {**run, "kind": "forecast"})
    return folder


@pytest.mark.parametrize("restart", [[], ["--restart"]])
@pytest.mark.parametrize("config", ["bright", "network"])
def test_a_run_does_not_take_over_a_blend(tiny, config, restart):
    path = named(tiny, config, "blend")
    before = tiny.files()
    code, _, err = tiny.run("train", path, *restart)
    assert code == 2
    assert f"{tiny.oof / 'blend'}: holds the blend 'blend', which this run would overwrite" in err
    assert "Give the run another name" in err
    assert tiny.files() == before


@pytest.mark.parametrize("taken", ["network", "a_forecast"])
def test_a_blend_does_not_take_over_a_run_or_a_forecast(tiny, taken):
    forecast_in(tiny, "a_forecast")
    path = named(tiny, "blend", taken)
    before = tiny.files()
    code, _, err = tiny.run("blend", path)
    kind = "forecast" if taken == "a_forecast" else "run"
    assert code == 2
    assert f"{tiny.oof / taken}: holds the {kind} '{taken}', which this blend would overwrite" in err
    assert "Give the blend another name" in err
    assert tiny.files() == before


@pytest.mark.parametrize("command", [["train"], ["train", "--restart"]])
def test_a_run_does_not_take_over_a_forecast(tiny, command):
    forecast_in(tiny, "a_forecast")
    path = named(tiny, "bright", "a_forecast")
    before = tiny.files()
    code, _, err = tiny.run(command[0], path, *command[1:])
    assert (code, "holds the forecast 'a_forecast'" in err, "another name" in err) == (2, True, True)
    assert tiny.files() == before


@pytest.mark.parametrize("holder", ["bright", "blend"])
def test_a_forecast_does_not_take_over_a_run_or_a_blend(tiny, holder):
    """Forecasts are begun where runs and blends are."""
    with pytest.raises(ConfigError, match=f"holds the {read_info(tiny.oof / holder).kind}.*Give the forecast another"):
        require_kind(tiny.oof / holder, "forecast")


def test_a_folder_without_its_record_is_told_by_what_else_lies_there(tiny):
    (tiny.oof / "blend" / "run.json").unlink()
    (tiny.oof / "network" / "run.json").unlink()
    before = tiny.files()
    for config, name in (("bright", "blend"), ("blend", "network")):
        command = ["blend"] if config == "blend" else ["train"]
        code, _, err = tiny.run(*command, named(tiny, config, name), *(["--restart"] if config == "bright" else []))
        assert (code, f"which this {'run' if config == 'bright' else 'blend'} would overwrite" in err) == (2, True)
    tiny.config("taken").unlink()
    assert tiny.files() == before


def test_a_folder_whose_record_is_damaged_is_not_started_over(tiny):
    (tiny.oof / "blend" / "run.json").write_text("{}")
    path = named(tiny, "bright", "blend")
    before = tiny.files()
    code, _, err = tiny.run("train", path, "--restart")
    assert code == 3
    assert f"delete {tiny.oof / 'blend'} and make it again" in err
    assert tiny.files() == before
    with pytest.raises(DamagedFile):
        require_kind(tiny.oof / "blend", "blend")


def test_the_same_kind_goes_on(tiny):
    before = tiny.files()
    assert tiny.run("train", "bright", "--restart")[0] == 0
    assert tiny.run("blend", "blend")[0] == 0
    assert tiny.files() == before


def test_a_blend_that_replaces_another_of_its_name_says_so(tiny):
    assert "replaced" not in tiny.run("blend", "blend")[2]
    another = tiny.config("blend").read_text().replace("[bright.yaml, dark.yaml]", "[bright.yaml]")
    code, _, err = tiny.run("blend", tiny.write_config("another", another))
    assert (code, "'blend' was blended with another config, and is replaced (changed: runs)" in err) == (0, True), err
