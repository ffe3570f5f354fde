"""Creates that got no answer and whose lines were removed, and the runs after that."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import attrs
import httpx
import pytest

from callsheet import (
    NotSubmittedError,
    Provider,
    RetryPolicy,
    Spend,
    SubmissionUncertainError,
    TaskSpec,
)
from callsheet._cli.job_runner import JobRunner
from callsheet._cli.plan import Job
from callsheet._cli.progress import display_for
from callsheet._cli.results import Ending, Results, Row
from disks import quick_disk
from emulation import ARK, COMET, Wire, client, is_list, prompt_of, refusal


if TYPE_CHECKING:
    from callsheet import Client, Video


class Fetcher:
    """Makes an empty file for every video."""

    async def fetch(self, video: Video, path: Path) -> None:
        """Make the file."""
        assert video.url
        await anyio.Path(path).touch()


@attrs.define
class Workspace:
    """One folder and one provider, for any number of runs."""

    wire: Wire
    folder: Path
    provider: Provider = ARK
    retry: RetryPolicy = attrs.field(factory=RetryPolicy)
    spend: Spend | None = None

    async def run(self, *prompts: str, seconds: float | None = None) -> dict[str, Row]:
        """Run these prompts, stop after *seconds*, and return all rows by prompt."""
        jobs = [
            Job(index=i, line=i + 1, spec=TaskSpec(prompt), names={i: f"{prompt}.mp4"})
            for i, prompt in enumerate(prompts)
        ]
        with Results(self.folder) as results:
            crew = JobRunner(
                jobs=jobs,
                results=results,
                display=display_for("boats", quiet=True, events=False),
                folder=self.folder,
                source=Path("boats.txt"),
                provider="ark",
                tasks_live=True,
                had_journal=(self.folder / "journal.db").exists(),
                resubmit=self.retry.resubmit == "always",
            )
            async with self._client(crew) as c:
                with anyio.move_on_after(seconds):
                    await crew.run(c, Fetcher(), parallel=1)
            await crew.stop("it was over")
            assert results.finish() == []
            self.spend = c.spend
        with Results(self.folder) as results:
            return {row.spec["prompt"]: row for row in results.rows.values()}

    async def kept(self) -> dict[str, Exception | None]:
        """The errors of all submissions in the journal that have an outcome, by prompt."""
        async with self._client(None) as c:
            batch = await c.resume()
            found = [handle for handle in batch if handle.done and handle.spec is not None]
            return {str(h.spec and h.spec.prompt): (await h.outcome()).error for h in found}

    def _client(self, crew: JobRunner | None) -> Client:
        return client(
            self.wire,
            provider=self.provider,
            api_key="key",
            retry=self.retry,
            journal=self.folder / "journal.db",
            observer=None if crew is None else crew.observe,
        )

    def creates(self, prompt: str) -> int:
        """How many creates were sent for a prompt."""
        return sum(text.startswith(prompt) for text in self.wire.prompts)


def service_losing(prompt: str, *, made: bool, lists_fail: bool = False) -> Wire:
    """A service that resets creates of *prompt*.

    Args:
        prompt: How the prompts of these creates begin.
        made: Whether the service makes their tasks nevertheless.
        lists_fail: Whether list calls fail.
    """
    wire = Wire(render_seconds=3000.0, render_sigma=0.0)

    def reset(request: httpx.Request) -> httpx.ReadError | None:
        hit = request.method == "POST" and prompt_of(request).startswith(prompt)
        return httpx.ReadError("reset") if hit else None

    async def fault(request: httpx.Request) -> httpx.Response | None:
        error = None if made else reset(request)
        if error is not None:
            raise error
        return refusal(503, "ServiceUnavailable") if lists_fail and is_list(request) else None

    wire.fault = fault
    if made:
        wire.lose = reset
    return wire


def clear_faults(wire: Wire) -> None:
    """Let all requests work from now on."""
    wire.fault, wire.lose = None, lambda _: None


@pytest.mark.parametrize("results", ["kept", "removed"])
async def test_a_create_that_made_no_task_is_not_sent_until_its_line_is_back(tmp_path, results):
    """Its look-up continues without its line and frees its spend, and the line can come back."""
    workspace = Workspace(service_losing("ship", made=False), tmp_path)
    rows = await workspace.run("boat", "ship", seconds=20)
    assert rows["ship"].status is Ending.UNCERTAIN
    clear_faults(workspace.wire)
    if results == "removed":  # as after kill -9
        (tmp_path / "results.jsonl").unlink()
    rows = await workspace.run("boat")
    assert workspace.spend is not None
    assert (workspace.spend.committed.tasks, workspace.spend.uncertain.tasks) == (1, 0)
    assert workspace.creates("ship") == 1
    assert results == "removed" or rows["ship"].status is Ending.NOT_SUBMITTED
    assert isinstance((await workspace.kept())["ship"], NotSubmittedError)
    rows = await workspace.run("boat", "ship")
    assert {row.status for row in rows.values()} == {Ending.SUCCEEDED}
    assert (workspace.creates("boat"), workspace.creates("ship")) == (1, 2)


async def test_an_unresolved_create_is_looked_up_once_its_line_is_back(tmp_path):
    """If a line is back before its create is resolved, the run resolves it, then submits it."""
    workspace = Workspace(service_losing("ship", made=False), tmp_path)
    await workspace.run("boat", "ship", seconds=20)
    clear_faults(workspace.wire)
    rows = await workspace.run("boat", seconds=20)
    assert rows["ship"].status is Ending.UNCERTAIN
    assert workspace.creates("ship") == 1
    rows = await workspace.run("boat", "ship")
    assert {row.status for row in rows.values()} == {Ending.SUCCEEDED}
    assert workspace.creates("ship") == 2


async def test_a_task_that_was_made_is_found_without_its_line(tmp_path):
    """It is neither cancelled nor bought again, and it is downloaded once its line is back."""
    workspace = Workspace(service_losing("ship", made=True, lists_fail=True), tmp_path)
    await workspace.run("boat", "ship", seconds=20)
    clear_faults(workspace.wire)
    await workspace.run("boat")
    assert workspace.spend is not None
    assert workspace.spend.uncertain.tasks == 0
    rows = await workspace.run("boat", "ship")
    assert {row.status for row in rows.values()} == {Ending.SUCCEEDED}
    assert not workspace.wire.sent("DELETE")
    assert workspace.creates("ship") == 1


@pytest.mark.parametrize("provider", [ARK, COMET])
async def test_an_uncertain_create_without_a_line_is_not_sent_again(tmp_path, provider):
    """It stays uncertain until its line is back, even if uncertain creates are to be sent again.

    CometAPI has no list call, and the list call of Ark fails here.
    """
    retry = RetryPolicy(resubmit="always")
    workspace = Workspace(service_losing("ship", made=False), tmp_path, provider, RetryPolicy())
    await workspace.run("boat", "ship", seconds=20)
    workspace.wire.fault = service_losing("none", made=False, lists_fail=True).fault
    workspace.retry = retry
    await workspace.run("boat")
    assert workspace.spend is not None
    assert workspace.spend.uncertain.tasks == 1
    assert workspace.creates("ship") == 1
    clear_faults(workspace.wire)
    rows = await workspace.run("boat", "ship")
    assert rows["ship"].status is Ending.SUCCEEDED
    assert workspace.creates("ship") == 2


async def test_a_handle_that_is_withdrawn_after_its_create_was_lost_may_still_be_cancelled(
    tmp_path,
):
    """A withdrawal holds for one client only; a cancellation also holds for later clients."""
    wire = service_losing("ship", made=False)
    journal = tmp_path / "journal.db"
    async with client(wire, journal=journal) as c:
        (handle,) = await c.submit_many([TaskSpec("ship")])
        await anyio.sleep(3)
        handle.withdraw()
        with anyio.move_on_after(3):
            await handle.cancel()
    clear_faults(wire)
    async with client(wire, journal=journal) as c:
        (outcome,) = await (await c.resume()).result()
        assert isinstance(outcome.error, NotSubmittedError)
    assert len(wire.sent("POST")) == 1


async def test_nothing_is_sent_again_before_the_whole_journal_is_resumed(tmp_path, monkeypatch):
    """A program that resumes a long journal can withdraw uncertain specs before any is sent."""
    wire = service_losing("ship", made=False)
    options = {"provider": COMET, "api_key": "key", "journal": tmp_path / "journal.db"}
    async with client(wire, **options) as c:
        await (await c.submit_many([TaskSpec("ship")])).result()
    async with client(wire, **options) as c:
        await c.submit_many([TaskSpec("boat")] * 300)
    clear_faults(wire)
    wire.seen.clear()
    quick_disk(monkeypatch)
    async with client(wire, retry=RetryPolicy(resubmit="always"), **options) as c:
        for handle in await c.resume():
            handle.withdraw()
        await anyio.sleep(100)
    assert not wire.seen


async def test_a_handle_is_withdrawn_at_any_time():
    """Before it is sent, a withdrawn spec stays unsent; a task with an id still gets its video."""
    wire = Wire(render_seconds=50.0)
    async with client(wire) as c:
        batch = await c.submit_many([TaskSpec("boat"), TaskSpec("ship")])
        batch[1].withdraw()
        await batch.submitted()
        batch[0].withdraw()
        boat, ship = await batch.result()
        batch[1].withdraw()
    assert boat.video is not None
    assert isinstance(ship.error, NotSubmittedError)
    assert not isinstance(ship.error, SubmissionUncertainError)
    assert len(wire.sent("POST")) == 1
    assert not wire.sent("DELETE")
