"""Runs that stop waiting for tasks which continue at the provider, and the runs after them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from callsheet import TaskSpec
from callsheet._cli.job_runner import JobRunner
from callsheet._cli.plan import Job
from callsheet._cli.progress import display_for
from callsheet._cli.results import Ending, Results, Row
from emulation import Wire, body_of, client, is_list, refusal


if TYPE_CHECKING:
    from callsheet import Spend, Video
    from emulation import Change


def unknown_task() -> httpx.Response:
    """The provider does not know the task id for now."""
    return refusal(404, "NotFound")


def wrong_key() -> httpx.Response:
    """The provider does not accept the key for now."""
    return refusal(401, "AuthenticationError")


def overdue() -> httpx.Response:
    """The account has not paid its bill."""
    return refusal(403, "AccountOverdueError")


def firewall_page() -> httpx.Response:
    """A firewall answers with a page."""
    return httpx.Response(403, text="<html><title>Access denied</title></html>")


def always_answering(answer: object) -> Change:
    """Answer every GET with *answer*; for an unknown task, answer lists with no tasks."""

    def change(request: httpx.Request, _: httpx.Response) -> httpx.Response | None:
        if request.method != "GET":
            return None
        if is_list(request) and answer is unknown_task:
            return httpx.Response(200, json={"items": [], "total": 0})
        return answer()

    return change


def without_video(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
    """Remove the video from every task that succeeded."""
    if request.method != "GET":
        return None
    body = body_of(response)
    for row in body.get("items", [body]):
        if row.get("status") == "succeeded":
            row.pop("content", None)
    return httpx.Response(response.status_code, json=body)


class Fetcher:
    """Makes an empty file for every video."""

    async def fetch(self, video: Video, path: Path) -> None:
        """Make the file."""
        assert video.url
        await anyio.Path(path).touch()


async def run(wire: Wire, folder: Path) -> tuple[Row, Spend]:
    """Run one job; return its row and the spend."""
    job = Job(index=0, line=1, spec=TaskSpec("boat"), names=["boat.mp4"])
    with Results(folder) as results:
        crew = JobRunner(
            jobs=[job],
            results=results,
            display=display_for("boats", quiet=True, events=False),
            folder=folder,
            source=Path("boats.txt"),
            provider="ark",
            tasks_live=True,
            had_journal=(folder / "journal.db").exists(),
            resubmit=False,
        )
        async with client(wire, journal=folder / "journal.db") as c:
            await crew.run(c, Fetcher(), parallel=1)
        await crew.stop("it was over")
        return results.rows[0], c.spend


@pytest.mark.parametrize("journal", ["kept", "removed"])
@pytest.mark.parametrize("answer", [unknown_task, wrong_key, overdue, firewall_page])
async def test_a_task_that_is_given_up_is_asked_for_again_and_not_bought_again(
    tmp_path, answer, journal
):
    """Unless the provider says that the task has failed, each run continues with the known id."""
    wire = Wire(render_seconds=300.0)
    wire.change = always_answering(answer)
    rows = []
    for _ in range(2):
        row, spend = await run(wire, tmp_path)
        rows.append(row)
        assert row.status is Ending.TIMEOUT
        assert row.error["type"] != "TaskTimeoutError"
        if journal == "removed":
            (tmp_path / "journal.db").unlink()
        else:
            assert spend.uncertain.tasks == 1
    wire.change = lambda _request, _response: None
    row, _ = await run(wire, tmp_path)
    assert row.status is Ending.SUCCEEDED
    assert {each.task_id for each in [*rows, row]} == {row.task_id}
    assert len(wire.sent("POST")) == 1


@pytest.mark.parametrize("journal", ["kept", "removed"])
async def test_a_success_without_a_url_is_asked_for_again_and_not_bought_again(tmp_path, journal):
    """It is billed, so the row says that its video is missing, and later runs request it again."""
    wire = Wire(render_seconds=60.0)
    wire.change = without_video
    for _ in range(2):
        row, spend = await run(wire, tmp_path)
        assert row.status is Ending.DOWNLOAD_FAILED
        assert row.error["type"] == "TaskFailedError"
        assert row.usage["total_tokens"] > 0
        if journal == "removed":
            (tmp_path / "journal.db").unlink()
        else:
            assert spend.spent.tasks == 1
    wire.change = lambda _request, _response: None
    row, _ = await run(wire, tmp_path)
    assert row.status is Ending.SUCCEEDED
    assert len(wire.sent("POST")) == 1


async def test_a_task_that_failed_is_bought_again(tmp_path):
    """The provider does not bill a failed task, and the next run submits it again."""
    wire = Wire(failure_rate=1.0)
    for sent in (1, 2):
        row, _ = await run(wire, tmp_path)
        assert row.status is Ending.FAILED
        assert len(wire.sent("POST")) == sent
