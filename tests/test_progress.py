"""Progress on a terminal, and in a log."""

import io
import re
import time

import pytest

from skyfold import progress
from skyfold.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def lines_of(log, until):
    """Lines of `log` once one of them holds `until`."""
    deadline = time.time() + 30
    while until not in log.getvalue():
        assert time.time() < deadline, log.getvalue()
        time.sleep(0.01)
    return log.getvalue().splitlines()


def test_a_log_gets_one_line_at_the_end_of_short_work():
    log = io.StringIO()
    with Progress("predicting", 3, stream=log) as work:
        for _ in range(3):
            work.advance(note="loss 0.5")
    assert re.fullmatch(r"predicting: 3/3 images, .*/s, 00:00, loss 0\.5\n", log.getvalue())


def test_the_first_line_comes_within_ten_seconds_and_later_ones_give_the_time_left(monkeypatch):
    assert progress.FIRST_LINE < 10
    monkeypatch.setattr(progress, "FIRST_LINE", 0.01)
    monkeypatch.setattr(progress, "NEXT_LINES", 0.01)
    now, log = [0.0], io.StringIO()
    monkeypatch.setattr("skyfold.progress.time.monotonic", lambda: now[0])
    with Progress("fitting", 4, unit="steps", stream=log) as work:
        work.advance(0, note="epoch 1/2")
        assert lines_of(log, "left")[0].startswith("fitting: 0/4 steps, 0/s, ? left")
        now[0] = 80.0
        work.advance(2, note="epoch 1/2, loss 0.5")
        assert lines_of(log, "loss")[-1] == "fitting: 2/4 steps, 0.025/s, 01:20 left, epoch 1/2, loss 0.5"
    assert log.getvalue().splitlines()[-1] == "fitting: 2/4 steps, 0.025/s, 01:20, epoch 1/2, loss 0.5"


def test_a_terminal_gets_a_bar():
    screen = Terminal()
    with Progress("fitting", 2, stream=screen) as work:
        work.advance(2, note="loss 0.5")
    assert "fitting:   0%|" in screen.getvalue()
    assert "2/2 [00:00<00:00" in screen.getvalue().splitlines()[-1]
    assert "images/s, loss 0.5]" in screen.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["log", "terminal"])
def test_no_work_shows_nothing_and_an_error_reports_no_end(stream):
    with Progress("fitting", 0, stream=stream):
        pass
    assert stream.getvalue() == ""
    with pytest.raises(KeyError), Progress("fitting", 2, stream=stream):
        raise KeyError
    *_, last = stream.getvalue().splitlines() or [""]
    assert ("0/2" in last, stream.getvalue()[-1:]) == ((True, "\n") if stream.isatty() else (False, ""))
