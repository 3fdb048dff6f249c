"""The project that the tests of faults break works as long as nobody breaks it."""

from __future__ import annotations


def test_every_command_goes_on_from_what_is_made_and_changes_nothing(tiny):
    before = tiny.files()
    for command, name in [("train", "bright"), ("train", "network"), ("submit", "blend")]:
        code, _, err = tiny.run(command, name)
        assert code == 0, err
        assert "error" not in err
    assert tiny.files() == before
