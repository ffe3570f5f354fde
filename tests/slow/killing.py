"""Start processes that use a journal, and kill them."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import attrs


if TYPE_CHECKING:
    import random
    from collections.abc import Iterator


SHORTEST, LONGEST = 0.015, 2.0
"""Seconds until a kill: before the journal is opened, and after the process has ended."""


def until_kill(rng: random.Random, longest: float = LONGEST) -> float:
    """Seconds until the next kill; log-uniform, as an early one is as dangerous as a late one."""
    return SHORTEST * (longest / SHORTEST) ** rng.random()


@attrs.define
class ProcessResult:
    """What a process printed before it ended.

    Attributes:
        killed: Whether it was killed; otherwise it ended by itself.
        said: The words of each line.
    """

    killed: bool
    said: list[list[str]]

    def lines(self, word: str) -> list[list[str]]:
        """The lines that begin with *word*, without it."""
        return [rest for first, *rest in self.said if first == word]


class ProcessStarter:
    """Starts processes and kills them."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("shoot.py")
        self._server = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self._server.stdout:
            self._lines.put(line)

    def start(self, seconds: float | None, **how: object) -> ProcessResult:
        """Start a process and kill it after *seconds* if it still runs."""
        self._server.stdin.write(f"{json.dumps(how)}\n".encode())
        self._server.stdin.flush()
        word, pid = self._next().split()
        assert word == "pid"
        ends = time.monotonic() + (60.0 if seconds is None else seconds)
        said: list[list[str]] = []
        while (line := self._next(ends)) is not None:
            words = line.split()
            if words[0] == "over":
                assert words[1] == "0", said
                return ProcessResult(killed=False, said=said)
            said.append(words)
        with suppress(ProcessLookupError):  # it may have just ended
            os.kill(int(pid), signal.SIGKILL)
        while (words := self._next().split())[0] != "over":
            said.append(words)
        killed = words[1] == str(int(signal.SIGKILL))
        assert killed or words[1] == "0"
        assert seconds is not None, "it did not end"
        return ProcessResult(killed=killed, said=said)

    def _next(self, until: float | None = None) -> str | None:
        """The next line, or ``None`` when the time is over."""
        left = 30.0 if until is None else until - time.monotonic()
        try:
            return self._lines.get(timeout=max(0.0, left)).decode()
        except queue.Empty:
            assert until is not None, "the process says nothing"
            return None

    def close(self) -> None:
        """End the process that starts the others."""
        self._server.stdin.close()
        self._reader.join()
        self._server.stdout.close()
        self._server.wait()


@contextmanager
def process_starter() -> Iterator[ProcessStarter]:
    """Start processes until the block ends."""
    made = ProcessStarter()
    yield made
    made.close()
