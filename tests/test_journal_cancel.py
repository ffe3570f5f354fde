"""What was cancelled for good is on disk when `cancel` has returned."""

from __future__ import annotations

import sys

import anyio
import anyio.to_thread
import pytest

from callsheet import JournalError, NotSubmittedError, TaskSpec
from disks import full_disk, slow_disk
from emulation import Wire, client, first, refusal
from processes import started


@pytest.fixture
def path(tmp_path):
    """The path of a new journal."""
    return tmp_path / "shoot.db"


def boats(count):
    """That many specs."""
    return [TaskSpec(f"boat {n}") for n in range(count)]


def overloaded():
    """A provider that accepts nothing."""
    wire = Wire()
    wire.fault = first(10**6, lambda: refusal(429, "ServerOverloaded"))
    return wire


async def withdrawn(path):
    """The specs that the next client never sends."""
    async with client(Wire(render_seconds=1e5), journal=path) as c:
        batch = await c.resume()
        ended = [await handle.outcome() for handle in batch if handle.done]
        return {outcome.spec.prompt for outcome in ended if _is_not_submitted(outcome)}


def _is_not_submitted(outcome):
    return isinstance(outcome.error, NotSubmittedError)


@pytest.mark.skipif(sys.platform == "win32", reason="no process is killed like that")
@pytest.mark.parametrize("what", ["batch", "handles"])
def test_no_process_sends_what_was_cancelled_before_a_kill(path, what):
    """A process that is killed as soon as `cancel` has returned leaves nothing of it to send."""
    with started("processes", "cancel_and_wait", str(path), what) as process:
        assert process.wait() == -9
    cancelled = {spec.prompt for spec in boats(40)[2 if what == "batch" else 5 :]}
    assert cancelled <= anyio.run(withdrawn, path)


@pytest.mark.parametrize("what", ["batch", "handle"])
async def test_cancelling_waits_for_the_disk(path, monkeypatch, what):
    """On a slow disk `cancel` returns when it is written, and a batch waits for it once."""
    async with client(overloaded(), journal=path) as c:
        batch = await c.submit_many(boats(50))
        await anyio.sleep(1)
        slow_disk(monkeypatch, lambda: 7.0)
        begun = anyio.current_time()
        assert await (batch if what == "batch" else batch[40]).cancel()
        assert 7 <= anyio.current_time() - begun < 22


@pytest.mark.parametrize("what", ["batch", "handle"])
async def test_a_cancel_that_cannot_be_written_is_an_error(path, what):
    """On a full disk `cancel` raises, since a later process would send the specs."""
    async with client(overloaded(), journal=path) as c:
        batch = await c.submit_many(boats(5))
        await anyio.sleep(1)
        with full_disk(path), pytest.raises(JournalError, match="cannot be written"):
            await (batch if what == "batch" else batch[4]).cancel()
        assert isinstance((await batch[4].outcome()).error, NotSubmittedError)
    assert "boat 4" in await withdrawn(path)


async def test_cancelling_after_the_end_is_no_error(path):
    """Once the client is left, all is written, and there is nothing to wait for."""
    async with client(overloaded(), journal=path) as c:
        batch = await c.submit_many(boats(2))
        await batch.cancel()
    assert await batch[0].cancel()
