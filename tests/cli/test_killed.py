"""A run that is killed again and again makes every video, and pays for each once."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys

from cli.running import CODE, Workspace, serving


COUNT = 40
LIVES = 6
FAULTS = [
    {"share": 0.05, "request": "lost"},
    {"share": 0.05, "request": "taken"},
]


def test_the_same_command_ends_with_every_video_paid_once(tmp_path):
    """A run that is killed early, during creates and between videos loses and repeats none."""
    rng = random.Random(7)
    with serving(concurrency=8, render_seconds=20.0, faults=FAULTS) as service:
        workspace = Workspace(service, tmp_path / "prompts.txt", tmp_path / "videos")
        workspace.write(*(f"boat {i}" for i in range(COUNT)))
        command = [sys.executable, "-c", CODE, *workspace.arguments("--quiet")]
        for _ in range(LIVES // 2):
            run_and_kill(command, rng.uniform(0.3, 1.2))
        workspace.kill_after("row", status="succeeded")
        assert 0 < len(workspace.videos) < COUNT
        for _ in range(LIVES // 2):
            run_and_kill(command, rng.uniform(0.3, 1.2))
        assert workspace.run() == 0
        state = service.state
    assert len(workspace.videos) == COUNT
    assert not list(workspace.out.glob(".*.part*"))
    assert sorted(row["index"] for row in workspace.rows) == list(range(COUNT))
    assert state["billed"] == state["created"] == COUNT
    assert set(workspace.ids.values()) == {task["id"] for task in state["tasks"]}
    assert state["created_twice"] == {}


def run_and_kill(command: list[str], life: float) -> None:
    """Run for *life* seconds at most, then kill the process."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(command, timeout=life, capture_output=True, check=False)
