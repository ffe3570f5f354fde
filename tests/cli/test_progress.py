"""What ``callsheet run`` prints while it runs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import anyio
import httpx
import pytest

from callsheet import TaskSpec
from callsheet._cli import main
from callsheet._cli.job_runner import JobRunner
from callsheet._cli.plan import Job
from callsheet._cli.progress import Counts, LineDisplay
from callsheet._cli.results import Ending, Results
from cli.running import Service, Workspace, serving
from emulation import Wire, client, refusal


@pytest.fixture
def service():
    """A quick emulator."""
    with serving(render_seconds=20.0) as service:
        yield service


def workspace_with(service: Service, folder: Path, count: int, **fields: object) -> Workspace:
    """An input of *count* specs."""
    workspace = Workspace(service, folder / "boats.jsonl", folder / "videos")
    workspace.write(*({"prompt": f"boat {i}", **fields} for i in range(count)))
    return workspace


def fill_disk(workspace: Workspace, *numbers: int) -> None:
    """Make writes of these videos fail, as on a full disk."""
    workspace.out.mkdir()
    for number in numbers:
        (workspace.out / f".boat {number}.mp4.part").symlink_to("/dev/full")


def counts(**numbers: object) -> Counts:
    """The counts of ten videos after a minute."""
    nothing = dict.fromkeys(("submitted", "kept", "waiting", "queued", "running", "rendered"), 0)
    rest = {"total": 10, "endings": Counter(), "settled": 0, "elapsed": 60.0}
    return Counts(**{**nothing, **rest, **numbers})


def test_every_video_counts_under_one_state_and_at_the_end_under_its_status(
    service, tmp_path, capfd
):
    """A video that is rendered and cannot be saved counts once, and not as succeeded."""
    workspace = workspace_with(service, tmp_path, 4)
    fill_disk(workspace, 1, 2)
    assert workspace.run("--json") == 1
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    shown = [event for event in events if event["event"] == "progress"]
    for each in shown:
        words = each.keys() - {"event", "time", "total", "submitted", "elapsed"}
        assert sum(each[word] for word in words) == each["total"] == 4
    assert {ending: shown[-1][ending] for ending in Ending} == {
        ending: events[-1][ending] for ending in Ending
    }
    assert shown[-1]["download_failed"] == shown[-1]["succeeded"] == 2


def test_unsent_specs_are_called_not_submitted_and_do_not_count_for_the_rate(
    service, tmp_path, capfd, monkeypatch
):
    """If the spend limit stops every spec, no failure and no rate is shown."""
    monkeypatch.setenv("BYTEPLUS_API_KEY", "key")
    workspace = workspace_with(service, tmp_path, 3)
    at = ["--provider", "byteplus", "--base-url", service.base_url, "--max-usd", "0"]
    assert main(["run", str(workspace.source), "--out", str(workspace.out), *at, "--json"]) == 1
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    last = [event for event in events if event["event"] == "progress"][-1]
    assert (last["not_submitted"], last["failed"]) == (3, 0)
    unsent = counts(endings={Ending.FAILED: 1, Ending.NOT_SUBMITTED: 7}, waiting=2)
    assert unsent.words() == "2 waiting, 1 failed, 7 not submitted"
    assert unsent.pace() == "1:00"


def test_the_rate_counts_tasks_that_ended():
    """The rate gives the time left, until no task is left."""
    half = counts(kept=2, running=4, endings={Ending.SUCCEEDED: 4}, settled=4)
    assert half.pace() == "1:00, 4 a minute, about 1:00 to go"
    assert counts(kept=2, endings={Ending.SUCCEEDED: 8}, settled=8).pace() == "1:00, 8 a minute"


def unavailable() -> httpx.Response:
    """A service that is down."""
    return refusal(503, "ServiceUnavailable")


def page() -> httpx.Response:
    """Another server answers with a page."""
    return httpx.Response(405, text="<html><title>Not Allowed</title></html>")


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        (unavailable, "HTTP 503 ServiceUnavailable: no"),
        (page, "an HTML page: Not Allowed; the address may be wrong"),
    ],
)
async def test_an_outage_is_reported_again_each_minute(tmp_path, capsys, answer, end):
    """Plain lines say how long the provider has been down, and what it answers."""
    wire = Wire(render_seconds=60.0)
    wire.change = lambda request, _: answer() if request.method == "GET" else None
    job = Job(index=0, line=1, spec=TaskSpec("boat"), names=["boat.mp4"])
    with Results(tmp_path) as results:
        crew = JobRunner(
            jobs=[job],
            results=results,
            display=LineDisplay(),
            folder=tmp_path,
            source=Path("boats.txt"),
            provider="ark",
            tasks_live=True,
            had_journal=False,
            resubmit=False,
        )
        options = {"journal": tmp_path / "journal.db", "observer": crew.observe}
        async with client(wire, **options) as c:
            with anyio.move_on_after(300):
                await crew.run(c, None, parallel=1)
    lines = [line for line in capsys.readouterr().out.splitlines() if "not serve" in line]
    assert 3 <= len(lines) <= 6
    assert lines[0].startswith("the provider does not serve, waiting: HTTP ")
    assert lines[1].startswith("the provider does not serve for 1:0")
    assert all(line.endswith(end) for line in lines)
