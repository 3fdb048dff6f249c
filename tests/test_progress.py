"""What progress looks like on a terminal, and in a log."""

import io

import pytest

from skyfold.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_log_gets_one_line_at_the_end():
    log = io.StringIO()
    with Progress("predicting", 3, stream=log) as progress:
        for _ in range(3):
            progress.advance(note="loss 0.5")
    assert log.getvalue().startswith("predicting: 3/3 images")
    assert log.getvalue().count("\n") == 1
    assert "loss 0.5" in log.getvalue()


def test_a_log_gets_a_line_a_minute_with_the_time_left(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("skyfold.progress.time.monotonic", lambda: now[0])
    log = io.StringIO()
    with Progress("fitting", 4, unit="steps", stream=log) as progress:
        for _ in range(3):
            now[0] += 40.0
            progress.advance()
        # lines so far: at 80 s (2 of 4 done, as long again to go); 120 s is only 40 s later
        assert log.getvalue() == "fitting: 2/4 steps, 0.025/s, 1 min 20 s left\n"


def test_a_terminal_line_is_rewritten(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("skyfold.progress.time.monotonic", lambda: now[0])
    screen = Terminal()
    with Progress("fitting", 2, stream=screen) as progress:
        now[0] = 1.0
        progress.advance()
        now[0] = 2.0
        progress.advance()
    assert screen.getvalue().count("\r\x1b[K") == 3
    assert screen.getvalue().endswith("2/2 images, 1/s, 2 s\n")


def test_an_error_leaves_the_terminal_on_a_new_line_and_claims_no_end():
    screen = Terminal()
    with pytest.raises(KeyError), Progress("fitting", 2, stream=screen):
        raise KeyError
    assert screen.getvalue() == "\n"
