"""Several processes want one journal, and whoever holds it is killed again and again."""

from __future__ import annotations

import os
import queue
import random
import threading
import time
from typing import TYPE_CHECKING

import pytest

from cli.running import serving
from processes import files, started


if TYPE_CHECKING:
    import subprocess


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="locks of another kind"),
]

CONTENDERS = 3
KILLS = 12
COUNT = 60
WAITERS = 0.3
"""Share of the turns in which one that waits may be killed, too."""

FAULTS = [{"share": 0.1, "request": "lost"}, {"share": 0.1, "request": "taken"}]


def test_killed_holders_of_one_journal_follow_each_other_and_buy_once(tmp_path):
    """At any time one process holds it, the next one goes on, and each video is paid for once."""
    rng = random.Random(int(os.environ.get("CALLSHEET_KILL_SEED", "0")))
    said: queue.Queue[tuple[subprocess.Popen[str], str]] = queue.Queue()
    everyone: list[subprocess.Popen[str]] = []
    readers: list[threading.Thread] = []

    def read(process: subprocess.Popen[str]) -> None:
        with process.stdout:
            for line in process.stdout:
                said.put((process, line.rstrip("\n")))

    def start() -> None:
        process = started("processes", "contend", *paths, service.base_url, COUNT)
        everyone.append(process)
        readers.append(threading.Thread(target=read, args=(process,)))
        readers[-1].start()

    def alive() -> list[subprocess.Popen[str]]:
        return [each for each in everyone if each.poll() is None]

    with serving(concurrency=10, render_seconds=20.0, faults=FAULTS) as service:
        paths = str(tmp_path / "shoot.db"), str(tmp_path / "witness")
        for _ in range(KILLS):
            while len(alive()) < CONTENDERS:
                start()
            holder, words = said.get(timeout=60)
            assert words == "held"
            time.sleep(rng.uniform(0.0, 0.4))
            assert said.empty(), "another one holds it, too, or it has ended"
            if rng.random() < WAITERS:
                rng.choice(alive()).kill()
            holder.kill()
            holder.wait()
        assert said.get(timeout=60)[1] == "held"
        assert said.get(timeout=120)[1] == f"done {COUNT}"
        for process in everyone:
            process.kill()
            process.wait()
            process.stdin.close()
        for reader in readers:
            reader.join()
        state = service.state
    assert state["created_twice"] == {}
    assert state["created"] == state["billed"] == COUNT
    assert set(files(tmp_path)) <= {"shoot.db", "shoot.db-lock", "shoot.db-wal", "witness"}
