"""A process of its own that has a network, and works with it when it is asked: one line a question, one an answer."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence


class Worker:
    """weights: how many numbers it trains, which it says first, when it is ready. environment: as it is, if None."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.weights = int(self._answer())

    def ask(self, question: str) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{question}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(map(str, self._process.args))} ended early; its error stands above")  # type: ignore[arg-type]
        return line
