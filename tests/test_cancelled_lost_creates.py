"""Creates that were cancelled while their answer was lost, and what later clients do with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from callsheet import (
    Client,
    NotSubmittedError,
    RetryPolicy,
    SubmissionUncertainError,
    TaskCancelledError,
    TaskSpec,
)
from disks import slow_disk
from emulation import COMET, Wire, client, first, is_list, refusal


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from callsheet import Batch


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "shoot.db"


def blind(request: httpx.Request) -> httpx.Response | None:
    """The answer of a provider whose lists fail."""
    return refusal(503, "ServiceUnavailable") if is_list(request) else None


async def cancel_a_handle(batch: Batch) -> None:
    """Cancel the one task."""
    await batch[0].cancel()


async def cancel_the_batch(batch: Batch) -> None:
    """Cancel all."""
    await batch.cancel()


async def cancel_nothing(_batch: Batch) -> None:
    """Cancel nothing here; the client cancels when it is closed."""


WAYS: dict[str, tuple[Callable[[Batch], Awaitable[None]], bool]] = {
    "handle": (cancel_a_handle, False),
    "batch": (cancel_the_batch, False),
    "exit": (cancel_nothing, True),
}


async def leave_one_cancelled(wire: Wire, path: Path, way: str = "handle") -> None:
    """Submit a spec whose create is lost, cancel it, and close the client during the search."""
    cancel, on_exit = WAYS[way]
    async with client(wire, journal=path, cancel_on_exit=on_exit) as c:
        batch = await c.submit_many([TaskSpec("boat")])
        await anyio.sleep(3)
        with anyio.move_on_after(20):
            await cancel(batch)
        assert not batch[0].done


async def resumed(c: Client) -> Exception | None:
    """Resume the one spec of the journal; return its error."""
    (outcome,) = await (await c.resume()).result()
    return outcome.error


@pytest.mark.parametrize("way", WAYS)
async def test_a_cancelled_create_that_made_no_task_is_not_sent_again(path: Path, way: str):
    """The next client completes the search, and the spec ends as not submitted."""
    wire = Wire()
    wire.fault = first(1, lambda: httpx.Response(502))
    await leave_one_cancelled(wire, path, way)
    async with client(wire, journal=path) as c:
        batch = await c.resume()
        await anyio.sleep(100)
        assert not batch[0].done
    async with client(wire, journal=path) as c:
        error = await resumed(c)
        assert isinstance(error, NotSubmittedError)
        assert c.spend.committed.tasks == 0
    seen = len(wire.seen)
    async with client(wire, journal=path) as c:
        assert str(await resumed(c)) == str(error)
    assert len(wire.seen) == seen
    assert len(wire.sent("POST")) == 1


async def test_a_cancelled_create_in_flight_at_the_exit_is_not_sent_again(path: Path):
    """A create that is cancelled on exit before its answer counts as lost is not sent again."""
    wire = Wire()

    async def silence(request: httpx.Request) -> httpx.Response | None:
        return await anyio.sleep_forever() if request.method == "POST" else None

    wire.fault = silence
    async with client(wire, journal=path, cancel_on_exit=True) as c:
        await c.submit_many([TaskSpec("boat")])
        await anyio.sleep(1)
    wire.fault = None
    async with client(wire, journal=path) as c:
        assert isinstance(await resumed(c), NotSubmittedError)
    assert len(wire.sent("POST")) == 1


async def test_a_cancelled_create_with_a_refused_key_is_not_sent_again(path: Path):
    """The next client repeats a create with a refused key only if it was not cancelled."""
    wire = Wire(latency=2.0)
    wire.fault = first(1, lambda: refusal(401, "AuthenticationError"))
    async with client(wire, journal=path) as c:
        (handle,) = await c.submit_many([TaskSpec("boat")])
        await anyio.sleep(0.5)
        assert not await handle.cancel()
    async with client(wire, journal=path) as c:
        assert isinstance(await resumed(c), NotSubmittedError)
    assert len(wire.sent("POST")) == 1


@pytest.mark.parametrize("known", [False, True])
async def test_a_queued_task_is_cancelled_by_the_next_client(path: Path, known: bool):  # noqa: FBT001
    """A queued task is cancelled, even if it was found earlier and could not be cancelled then."""
    wire = Wire(concurrency=1, render_seconds=1000.0)
    async with client(wire) as c:
        await c.submit(TaskSpec("runs"))
        wire.fault, wire.lose = _answer(blind), _once(httpx.ReadError("reset"))
        await leave_one_cancelled(wire, path)
        if known:
            wire.fault = _answer(lambda request: None if is_list(request) else httpx.Response(503))
            async with client(wire, journal=path) as again:
                batch = await again.resume()
                await anyio.sleep(10)
                assert batch[0].task_id
        wire.fault = None
        async with client(wire, journal=path) as again:
            assert isinstance(await resumed(again), TaskCancelledError)
    assert [task.status for task in wire.emulator.ledger.tasks] == ["running", "cancelled"]


async def test_a_running_task_is_watched_by_the_next_client(path: Path):
    """A running task is billed, so it is not cancelled and its video is delivered."""
    wire = Wire(render_seconds=100.0)
    wire.fault, wire.lose = _answer(blind), _once(httpx.ReadError("reset"))
    await leave_one_cancelled(wire, path)
    wire.fault = None
    async with client(wire, journal=path) as c:
        assert await resumed(c) is None
    assert not wire.sent("DELETE")
    assert len(wire.sent("POST")) == 1


async def test_an_uncertain_create_is_not_repeated_after_a_cancel(path: Path):
    """If it is cancelled before its next attempt, it ends as uncertain."""
    wire = Wire()
    wire.lose = _once(httpx.ReadError("reset"))
    wire.fault = _answer(
        lambda request: refusal(429, "ServerOverloaded") if len(wire.sent("POST")) > 1 else None
    )
    retry = RetryPolicy(resubmit="always")
    async with client(wire, provider=COMET, api_key="k", retry=retry, journal=path) as c:
        (handle,) = await c.submit_many([TaskSpec("boat")])
        await anyio.sleep(5)
        sent = len(wire.sent("POST"))
        wire.fault = None
        assert not await handle.cancel()
        assert isinstance((await handle.outcome()).error, SubmissionUncertainError)
        assert c.spend.uncertain.tasks == 1
    assert len(wire.sent("POST")) == sent > 1


def _answer(fault: Callable[[httpx.Request], httpx.Response | None]):
    async def answer(request: httpx.Request) -> httpx.Response | None:
        return fault(request)

    return answer


def _once(error: Exception):
    left = [error]
    return lambda request: left.pop() if request.method == "POST" and left else None


async def test_a_create_that_is_cancelled_during_its_journal_write_is_not_sent(
    path: Path, monkeypatch
):
    """An uncertain create is not repeated if it is cancelled while the repetition is written."""
    wire = Wire(render_seconds=50.0)
    wire.lose = lambda request: httpx.ReadError("reset") if request.method == "POST" else None
    written: list[float] = []
    retry = RetryPolicy(resubmit="always")
    async with client(wire, provider=COMET, api_key="k", retry=retry, journal=path) as c:

        def cancel_meanwhile():
            if (
                wire.seen and not written
            ):  # a lost answer is not written, so this is the next attempt
                written.append(anyio.current_time())
                cancelling.start_soon(batch[0].cancel)
            return 1.0

        slow_disk(monkeypatch, cancel_meanwhile)
        async with anyio.create_task_group() as cancelling:
            batch = await c.submit_many([TaskSpec("boat")])
            outcome = await batch[0].outcome()
            assert written
    assert len(wire.sent("POST")) == 1
    assert isinstance(outcome.error, SubmissionUncertainError)
