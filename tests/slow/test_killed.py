"""A process that is killed again and again makes each video once, and pays for it once."""

from __future__ import annotations

import json
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import httpx
import pytest


if TYPE_CHECKING:
    from collections.abc import Iterator


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked"),
]

COUNT = 100
KILLS = [pytest.param(100, marks=pytest.mark.full), 10]
"""How often: a hundred times before an issue is closed, a few times always."""

SEED = int(os.environ.get("CALLSHEET_KILL_SEED", "0"))

SPEED = 60.0
LOOKUP = 240.0
"""Seconds at the provider: a lost create is looked for during four seconds here."""

SHORTEST, LONGEST = 0.015, 2.0
"""Seconds that a process may live, from before it has opened the journal to well after its end."""

FAULTS = [
    {"share": 0.05, "request": "lost"},
    {"share": 0.05, "request": "taken"},
    {"share": 0.02, "request": "late", "delay": 60.0},
    {"share": 0.02, "request": "taken", "answer": 502},
    {"verbs": ["list", "get"], "share": 0.05, "request": "lost", "answer": 503},
]


@contextmanager
def emulator() -> Iterator[str]:
    """The service, in a process of its own."""
    settings = {
        "speed": SPEED,
        "seed": SEED,
        "concurrency": 40,
        "render_seconds": 30.0,
        "creates_per_minute": 6000,
    }
    command = [sys.executable, "-m", "callsheet.emulator", "--port", "0", "--until-stdin-closes"]
    command += ["--settings", json.dumps(settings)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
        process.stdin.close()


@attrs.define
class Life:
    """What a process said before it ended.

    Attributes:
        killed: Whether it was killed; otherwise it ended by itself.
        said: Its words, line by line.
    """

    killed: bool
    said: list[list[str]]

    def all(self, word: str) -> list[list[str]]:
        """What it said after a word."""
        return [rest for first, *rest in self.said if first == word]


class Crew:
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

    def live(self, seconds: float | None, **how: object) -> Life:
        """Start a process and kill it after some seconds, if it lives so long."""
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
                return Life(killed=False, said=said)
            said.append(words)
        with suppress(ProcessLookupError):  # it may be over this very moment
            os.kill(int(pid), signal.SIGKILL)
        while (words := self._next().split())[0] != "over":
            said.append(words)
        killed = words[1] == str(int(signal.SIGKILL))
        assert killed or words[1] == "0"
        assert seconds is not None, "it did not end"
        return Life(killed=killed, said=said)

    def _next(self, until: float | None = None) -> str | None:
        """The next line, or nothing when the time is up."""
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


@pytest.fixture
def crew() -> Iterator[Crew]:
    """A process that starts others."""
    made = Crew()
    yield made
    made.close()


def bookkeeping(origin: str) -> dict[str, object]:
    """What the service has made and billed."""
    return httpx.get(f"{origin}/_emulator/state", params={"rows": "false"}).json()


def run(crew: Crew, rng: random.Random, kills: int, **how: object) -> int:
    """Make a hundred videos with at most so many kills; return how many there were."""
    ids: dict[int, str] = {}
    spent = 0
    while True:
        # small lives as often as long ones: the first instants are as dangerous as the rest
        seconds = SHORTEST * (LONGEST / SHORTEST) ** rng.random() if spent < kills else None
        life = crew.live(seconds, **how)
        for index, task_id in life.all("id"):
            assert ids.setdefault(int(index), task_id) == task_id, "a spec has two tasks"
        assert not life.all("error")
        if not life.killed:
            break
        spent += 1
    ends = {int(index): task_id for index, task_id in life.all("end")}
    assert list(ends) == list(range(COUNT))
    assert len(life.all("video")) == COUNT
    assert len(set(ends.values())) == COUNT
    assert all(ends[index] == task_id for index, task_id in ids.items())
    assert life.all("left") == [["0"]]
    return spent


@pytest.mark.parametrize("wanted", KILLS)
@pytest.mark.parametrize("faults", [[], FAULTS], ids=["calm", "faults"])
def test_a_hundred_videos_are_a_hundred_billed_however_often_the_process_is_killed(
    tmp_path: Path, crew: Crew, faults: list[dict[str, object]], wanted: int
):
    """Killed at so many random moments of several runs, each run ends with what was wanted."""
    rng = random.Random(SEED)
    kills = runs = 0
    with emulator() as origin:
        while kills < wanted:
            httpx.put(f"{origin}/_emulator/faults", json=faults).raise_for_status()
            how = {"journal": str(tmp_path / f"{runs}.db"), "base_url": f"{origin}/api/v3"}
            how |= {"key": f"key-{runs}", "speed": SPEED, "lookup": LOOKUP}
            kills += run(crew, rng, wanted - kills, **how)
            runs += 1
            state = bookkeeping(origin)
            assert state["billed"] == state["created"] == COUNT * runs
            assert state["created_twice"] == {}
            again = crew.live(None, **how)
            assert again.all("spent")[0][0] == str(COUNT)
            assert bookkeeping(origin)["created"] == COUNT * runs
    assert kills == wanted
