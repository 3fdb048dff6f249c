"""How a command ends: by what the user mends, by what skyfold made, or by a bug of its own."""

from __future__ import annotations

import pytest

from skyfold.cli import commands
from skyfold.errors import ConfigError, DamagedFile, DataLayoutError, InvalidSubmission, Locked, OofMismatch, OtherRows

CODES = {ConfigError: 2, DataLayoutError: 2, InvalidSubmission: 2, OtherRows: 2}
CODES |= {DamagedFile: 3, OofMismatch: 3, Locked: 4}
BUG = "This is a bug in skyfold. Please report it as CONTRIBUTING.md says, with the command and these lines.\n"


@pytest.mark.parametrize(("error", "code"), CODES.items())
def test_each_kind_of_error_has_its_exit_code_and_one_line(tiny, monkeypatch, error, code):
    monkeypatch.setattr(commands, "workspace", raises(error("what is wrong. What to do.")))
    assert tiny.run("train", "bright") == (code, "", "error: what is wrong. What to do.\n")


NOT_WHOLE = ("\N{FULLWIDTH DIGIT ONE}", "\N{ARABIC-INDIC DIGIT ONE}", "1_0", " 1", "1.")


@pytest.mark.parametrize("given", [("--epochs", "3"), *(("--fold", fold) for fold in NOT_WHOLE)])
def test_a_wrong_argument_is_2_and_names_it(tiny, capsys, given):
    with pytest.raises(SystemExit) as ended:
        tiny.run("train", "bright", *given)
    assert ended.value.code == 2
    assert given[0] in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyError("fold"), OSError("no file is named"), ZeroDivisionError()])
def test_a_bug_is_1_with_a_traceback_and_where_to_report_it(tiny, monkeypatch, error):
    monkeypatch.setattr(commands, "workspace", raises(error))
    code, out, err = tiny.run("train", "bright")
    assert (code, out) == (1, "")
    assert err.startswith("Traceback")
    assert type(error).__name__ in err
    assert err.endswith(BUG)


def test_a_config_that_is_not_there_is_2_and_a_record_of_skyfolds_own_that_is_cut_is_3(tiny):
    assert tiny.run("train", tiny.root / "nowhere.yaml")[0] == 2
    record = tiny.oof / "bright" / "run.json"
    record.write_bytes(record.read_bytes()[:40])
    code, _, err = tiny.run("blend", "blend")
    assert code == 3
    assert str(record) in err


def test_rows_that_no_longer_fit_what_they_were_made_from_are_3(tiny):
    code, _, err = tiny.run("train", "bright", "--set", "model.options.feature=local_contrast")
    assert code == 3
    assert "--restart" in err


def raises(error):
    def call(given):
        raise error

    return call
