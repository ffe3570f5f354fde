"""A process that is killed again and again makes each video once, and pays for it once."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from slow.killing import ProcessStarter, process_starter, until_kill


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked"),
]

COUNT = 100
KILLS = [pytest.param(100, marks=pytest.mark.full), 10]
"""How often: a hundred times in the full suite, else ten times."""

SEED = int(os.environ.get("CALLSHEET_KILL_SEED", "0"))

SPEED = 60.0
LOOKUP = 240.0
"""Seconds at the provider; lost creates are looked up for four seconds of real time."""

FAULTS = [
    {"share": 0.05, "request": "lost"},
    {"share": 0.05, "request": "taken"},
    {"share": 0.02, "request": "late", "delay": 60.0},
    {"share": 0.02, "request": "taken", "answer": 502},
    {"verbs": ["list", "get"], "share": 0.05, "request": "lost", "answer": 503},
]


@contextmanager
def emulator() -> Iterator[str]:
    """Run an emulator in a separate process."""
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


@pytest.fixture
def starter() -> Iterator[ProcessStarter]:
    """Starts and kills processes."""
    with process_starter() as made:
        yield made


def state_of(origin: str) -> dict[str, object]:
    """How many tasks the emulator has made and billed."""
    return httpx.get(f"{origin}/_emulator/state", params={"rows": "false"}).json()


def run(starter: ProcessStarter, rng: random.Random, kills: int, **how: object) -> int:
    """Make a hundred videos with at most *kills* kills; return the number of kills."""
    ids: dict[int, str] = {}
    spent = 0
    while True:
        seconds = until_kill(rng) if spent < kills else None
        life = starter.start(seconds, **how)
        for index, task_id in life.lines("id"):
            assert ids.setdefault(int(index), task_id) == task_id, "a spec has two tasks"
        assert not life.lines("error")
        if not life.killed:
            break
        spent += 1
    ends = {int(index): task_id for index, task_id in life.lines("end")}
    assert list(ends) == list(range(COUNT))
    assert len(life.lines("video")) == COUNT
    assert len(set(ends.values())) == COUNT
    assert all(ends[index] == task_id for index, task_id in ids.items())
    assert life.lines("left") == [["0"]]
    return spent


@pytest.mark.parametrize("wanted", KILLS)
@pytest.mark.parametrize("faults", [[], FAULTS], ids=["calm", "faults"])
def test_killed_runs_make_and_pay_for_each_video_once(
    tmp_path: Path, starter: ProcessStarter, faults: list[dict[str, object]], wanted: int
):
    """However often its process is killed, each run ends with every video billed once."""
    rng = random.Random(SEED)
    kills = runs = 0
    with emulator() as origin:
        while kills < wanted:
            httpx.put(f"{origin}/_emulator/faults", json=faults).raise_for_status()
            how = {"journal": str(tmp_path / f"{runs}.db"), "base_url": f"{origin}/api/v3"}
            how |= {"key": f"key-{runs}", "speed": SPEED, "lookup": LOOKUP}
            kills += run(starter, rng, wanted - kills, **how)
            runs += 1
            state = state_of(origin)
            assert state["billed"] == state["created"] == COUNT * runs
            assert state["created_twice"] == {}
            again = starter.start(None, **how)
            assert again.lines("spent")[0][0] == str(COUNT)
            assert state_of(origin)["created"] == COUNT * runs
    assert kills == wanted
