"""Runs that give up tasks which go on at the provider, and the runs after them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from callsheet import TaskSpec
from callsheet._cli.crew import Crew
from callsheet._cli.plan import Job
from callsheet._cli.progress import display_for
from callsheet._cli.results import Ending, Results, Row
from emulation import Wire, body_of, client, is_list, refusal


if TYPE_CHECKING:
    from callsheet import Spend, Video
    from emulation import Change


def unknown_task() -> httpx.Response:
    """An id that the provider does not know now."""
    return refusal(404, "NotFound")


def wrong_key() -> httpx.Response:
    """A key that it does not take now."""
    return refusal(401, "AuthenticationError")


def overdue() -> httpx.Response:
    """An account that owes."""
    return refusal(403, "AccountOverdueError")


def firewall_page() -> httpx.Response:
    """A page that stands before it."""
    return httpx.Response(403, text="<html><title>Access denied</title></html>")


def always_answering(answer: object) -> Change:
    """Give *answer* to every get, and show nothing in lists."""

    def change(request: httpx.Request, _: httpx.Response) -> httpx.Response | None:
        if request.method != "GET":
            return None
        if is_list(request) and answer is unknown_task:
            return httpx.Response(200, json={"items": [], "total": 0})
        return answer()

    return change


def without_video(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
    """Show no video of any success."""
    if request.method != "GET":
        return None
    body = body_of(response)
    for row in body.get("items", [body]):
        if row.get("status") == "succeeded":
            row.pop("content", None)
    return httpx.Response(response.status_code, json=body)


class Fetcher:
    """Brings an empty film for every video."""

    async def fetch(self, video: Video, path: Path) -> None:
        """Make the file."""
        assert video.url
        await anyio.Path(path).touch()


async def run(wire: Wire, folder: Path) -> tuple[Row, Spend]:
    """One run for one boat; gives its row and the books."""
    job = Job(index=0, line=1, spec=TaskSpec("boat"), file="boat.mp4")
    with Results(folder) as results:
        crew = Crew(
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
    """As long as nobody says that it has failed, each run goes on with the id that there is."""
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
    """It is billed, so the row says that its video is missing, and later runs ask for it."""
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
    """What the provider says has failed is not billed, and the next run tries it again."""
    wire = Wire(failure_rate=1.0)
    for sent in (1, 2):
        row, _ = await run(wire, tmp_path)
        assert row.status is Ending.FAILED
        assert len(wire.sent("POST")) == sent
