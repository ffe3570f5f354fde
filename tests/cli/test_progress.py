"""What ``callsheet run`` says while it runs."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from callsheet._cli import main
from callsheet._cli.progress import Counts
from callsheet._cli.results import Ending
from cli.running import Service, Shoot, serving


if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def service():
    """A quick emulator."""
    with serving(render_seconds=20.0) as service:
        yield service


def shoot_of(service: Service, folder: Path, count: int, **fields: object) -> Shoot:
    """An input of so many boats."""
    shoot = Shoot(service, folder / "boats.jsonl", folder / "videos")
    shoot.write(*({"prompt": f"boat {i}", **fields} for i in range(count)))
    return shoot


def fill(shoot: Shoot, *numbers: int) -> None:
    """Let there be no room for these videos."""
    shoot.out.mkdir()
    for number in numbers:
        (shoot.out / f".boat {number}.mp4.part").symlink_to("/dev/full")


def counts(**numbers: object) -> Counts:
    """Ten videos after a minute."""
    nothing = dict.fromkeys(("submitted", "kept", "waiting", "queued", "running", "rendered"), 0)
    rest = {"total": 10, "endings": Counter(), "settled": 0, "elapsed": 60.0}
    return Counts(**{**nothing, **rest, **numbers})


def test_every_video_counts_under_one_word_and_in_the_end_under_that_of_its_row(
    service, tmp_path, capfd
):
    """Of what is rendered and finds no room, nothing counts as succeeded or twice."""
    shoot = shoot_of(service, tmp_path, 4)
    fill(shoot, 1, 2)
    assert shoot.run("--json") == 1
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    shown = [event for event in events if event["event"] == "progress"]
    for each in shown:
        words = each.keys() - {"event", "time", "total", "submitted", "elapsed"}
        assert sum(each[word] for word in words) == each["total"] == 4
    assert {ending: shown[-1][ending] for ending in Ending} == {
        ending: events[-1][ending] for ending in Ending
    }
    assert shown[-1]["download_failed"] == shown[-1]["succeeded"] == 2


def test_what_was_not_sent_is_called_so_and_feeds_no_pace(service, tmp_path, capfd, monkeypatch):
    """A limit that lets nothing pass leaves no failures, and no rate."""
    monkeypatch.setenv("BYTEPLUS_API_KEY", "key")
    shoot = shoot_of(service, tmp_path, 3)
    at = ["--provider", "byteplus", "--base-url", service.base_url, "--max-usd", "0"]
    assert main(["run", str(shoot.source), "--out", str(shoot.out), *at, "--json"]) == 1
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    last = [event for event in events if event["event"] == "progress"][-1]
    assert (last["not_submitted"], last["failed"]) == (3, 0)
    unsent = counts(endings={Ending.FAILED: 1, Ending.NOT_SUBMITTED: 7}, waiting=2)
    assert unsent.words() == "2 waiting, 1 failed, 7 not submitted"
    assert unsent.pace() == "1:00"


def test_the_pace_is_that_of_the_tasks_that_ended():
    """It foretells how long the others take, until none is left."""
    half = counts(kept=2, running=4, endings={Ending.SUCCEEDED: 4}, settled=4)
    assert half.pace() == "1:00, 4 a minute, about 1:00 to go"
    assert counts(kept=2, endings={Ending.SUCCEEDED: 8}, settled=8).pace() == "1:00, 8 a minute"
