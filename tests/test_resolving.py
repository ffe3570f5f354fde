"""What a person says of a create whose answer was lost, in a client and in the next one."""

from __future__ import annotations

from contextlib import nullcontext

import anyio
import attrs
import httpx
import pytest

from callsheet import (
    ClosedError,
    ConfigurationError,
    NotFoundError,
    RetryPolicy,
    SpendLimit,
    SubmissionUncertainError,
    TaskSpec,
)
from callsheet.events import DuplicateTask
from emulation import ARK, COMET, Wire, client, is_list, refusal


BOAT = TaskSpec("a paper boat", duration=5, ratio="16:9")
NO_LIST = attrs.evolve(ARK, lists=False, token=True)
"""A provider that is sent tokens, and whose list does not exist."""


class LossyWire(Wire):
    """Loses the answers to the first *lost* creates, after their tasks were *made*, or before."""

    def __init__(self, *, lost: int = 1, made: bool = True, **settings: object) -> None:
        super().__init__(**settings)
        self.left, self.made = lost, made
        self.fault = self._before
        self.lose = self._after

    def _hits(self, request: httpx.Request) -> bool:
        hit = request.method == "POST" and self.left > 0
        self.left -= hit
        return hit

    async def _before(self, request: httpx.Request) -> httpx.Response | None:
        if not self.made and self._hits(request):
            raise httpx.ReadError("reset")
        return refusal(404, "") if is_list(request) else None

    def _after(self, request: httpx.Request) -> Exception | None:
        return httpx.ReadError("reset") if self.made and self._hits(request) else None

    @property
    def ids(self) -> list[str]:
        """The ids of all tasks at the provider."""
        return [task.id for task in self.emulator.ledger.tasks]


@pytest.mark.parametrize("provider", [COMET, NO_LIST], ids=["without a token", "with a token"])
async def test_a_task_that_is_named_by_hand_is_fetched_by_the_next_client(tmp_path, provider):
    """Its money is reserved at once, the next client watches it, and nothing is bought again."""
    wire, options = LossyWire(), {"provider": provider, "api_key": "k", "journal": tmp_path / "j"}
    async with client(wire, **options) as c:
        (handle,) = await c.submit_many([BOAT])
        assert isinstance((await handle.outcome()).error, SubmissionUncertainError)
        (attempt,) = handle.uncertain_attempts
        assert attempt.attempt == 1
        assert (attempt.token is not None) == provider.token
        assert c.spend.uncertain.tasks == 1
        snapshot = await handle.resolve(wire.ids[0])
        assert snapshot is not None
        assert snapshot.task_id == wire.ids[0]
        assert handle.uncertain_attempts == ()
        assert (c.spend.uncertain.tasks, c.spend.reserved.tasks) == (0, 1)
    async with client(wire, spend=SpendLimit(tasks=1), **options) as c:
        (handle,) = await c.resume()
        assert (await handle).task_id == wire.ids[0]
        assert c.spend.spent.tasks == wire.emulator.ledger.billed == 1
    assert wire.emulator.ledger.created == 1


async def test_a_create_that_made_nothing_by_hand_is_sent_by_the_next_client(tmp_path):
    """Its money is free at once, and the next client sends the spec again."""
    wire = LossyWire(made=False)
    options = {"provider": COMET, "api_key": "k", "journal": tmp_path / "j"}
    async with client(wire, **options) as c:
        (handle,) = await c.submit_many([BOAT])
        await handle.outcome()
        assert await handle.resolve(None) is None
        assert c.spend.committed.tasks == 0
        with pytest.raises(ConfigurationError, match="is not uncertain"):
            await handle.resolve(None)
    async with client(wire, **options) as c:
        (handle,) = await c.resume()
        assert (await handle).url
    assert wire.emulator.ledger.created == 1


@pytest.mark.parametrize("made", [True, False])
async def test_a_key_may_be_corrected_once_every_create_is_said_to_have_made_nothing(
    tmp_path, made
):
    """A journal belongs to the account of its tasks, and what a person says of them counts."""
    wire, options = LossyWire(), {"provider": COMET, "journal": tmp_path / "j"}
    async with client(wire, api_key="one", **options) as c:
        (handle,) = await c.submit_many([BOAT])
        await handle.outcome()
        await handle.resolve(wire.ids[0] if made else None)
    kept = pytest.raises(ConfigurationError, match="another API key") if made else nullcontext()
    with kept:
        async with client(wire, api_key="two", **options):
            pass


@pytest.mark.parametrize("resubmit", ["if-absent", "never", "always"])
async def test_a_create_that_is_looked_for_is_resolved_at_once(resubmit):
    """While a list is asked for it, a person may be faster, and is believed whatever the policy."""
    for made in (True, False):
        wire = LossyWire(made=made)
        wire.fault, retry = wire._before, RetryPolicy(resubmit=resubmit)
        provider = attrs.evolve(ARK, lists=True)
        async with client(wire, provider=provider, retry=retry) as c:
            (handle,) = await c.submit_many([BOAT])
            await anyio.sleep(1)
            assert not handle.done
            await handle.resolve(wire.ids[0] if made else None)
            assert (await handle).task_id == wire.ids[0]
            assert c.spend.committed.tasks == 1
        assert wire.emulator.ledger.created == 1


async def test_an_id_that_the_provider_does_not_know_changes_nothing(tmp_path):
    """A misspelt id is refused before anything is written."""
    wire = LossyWire()
    options = {"provider": COMET, "api_key": "k", "journal": tmp_path / "j"}
    async with client(wire, **options) as c:
        (handle,) = await c.submit_many([BOAT])
        await handle.outcome()
        for wrong, kind in (("cgt-0", NotFoundError), (" ", ConfigurationError)):
            with pytest.raises(kind):
                await handle.resolve(wrong)
        assert len(handle.uncertain_attempts) == c.spend.uncertain.tasks == 1
    async with client(wire, **options) as c:
        (handle,) = await c.resume()
        assert isinstance((await handle.outcome()).error, SubmissionUncertainError)


async def test_an_id_of_another_spec_is_refused(tmp_path):
    """A task is that of one spec, pending or ended, also after a resume."""
    wire = LossyWire()
    options = {"provider": COMET, "api_key": "k", "journal": tmp_path / "j"}
    async with client(wire, **options) as c:
        lost, other = await c.submit_many([BOAT, BOAT])
        await lost.outcome()
        for ended in (False, True):
            assert (await other.outcome()).ok or not ended
            with pytest.raises(ConfigurationError, match="another spec"):
                await lost.resolve(other.task_id)
    async with client(wire, **options) as c:
        lost, other = await c.resume()
        with pytest.raises(ConfigurationError, match="another spec"):
            await lost.resolve(other.task_id)
        await lost.resolve(wire.ids[0])
        assert c.spend.committed.tasks == 2


async def test_a_task_that_carries_the_token_of_another_spec_is_refused():
    """Two lost creates cannot be mixed up where the provider shows their tokens."""
    wire = LossyWire(lost=2)
    async with client(wire, provider=NO_LIST) as c:
        first, second = await c.submit_many([BOAT, BOAT])
        tokens = []
        for handle in (first, second):
            await handle.outcome()
            tokens.append(handle.uncertain_attempts[0].token)
        by_token = {t.order.safety_identifier: t.id for t in wire.emulator.ledger.tasks}
        with pytest.raises(ConfigurationError, match="carries the token of another spec"):
            await first.resolve(by_token[tokens[1]])
        await first.resolve(by_token[tokens[0]])
        assert c.spend.uncertain.tasks == 1


async def test_several_uncertain_attempts_are_told_apart():
    """With several lost creates it must be said which, unless the task carries the token of one."""
    events: list[object] = []
    wire = LossyWire(lost=2)
    always = RetryPolicy(resubmit="always", attempts=2)
    for provider in (COMET, NO_LIST):
        wire = LossyWire(lost=2)
        options = {"provider": provider, "api_key": "k", "observer": events.append}
        async with client(wire, retry=always, **options) as c:
            (handle,) = await c.submit_many([BOAT])
            await handle.outcome()
            assert [each.attempt for each in handle.uncertain_attempts] == [1, 2]
            with pytest.raises(ConfigurationError, match=r"2 uncertain attempts.* one of 1, 2"):
                await handle.resolve(None)
            with pytest.raises(ConfigurationError, match="attempt 3 is not uncertain"):
                await handle.resolve(None, attempt=3)
            if not provider.token:
                with pytest.raises(ConfigurationError, match="say which"):
                    await handle.resolve(wire.ids[1])
                await handle.resolve(wire.ids[1], attempt=2)
            else:
                with pytest.raises(ConfigurationError, match="the token of attempt 2"):
                    await handle.resolve(wire.ids[1], attempt=1)
                await handle.resolve(wire.ids[1])
            assert [each.attempt for each in handle.uncertain_attempts] == [1]
            with pytest.raises(
                ConfigurationError, match=r"another spec or attempt|attempt 2 is not"
            ):
                await handle.resolve(wire.ids[1])
            await handle.resolve(wire.ids[0])
            assert c.spend.reserved.tasks == 2
    assert len([event for event in events if isinstance(event, DuplicateTask)]) == 2


async def test_the_doubt_of_a_spec_that_has_a_video_can_be_settled(tmp_path):
    """A create that was sent again by "always" costs nothing more once it is said to have failed.

    Its money would stay uncertain in every later client otherwise.
    """
    wire = LossyWire(made=False)
    options = {"provider": COMET, "api_key": "k", "journal": tmp_path / "j"}
    async with client(wire, retry=RetryPolicy(resubmit="always"), **options) as c:
        (handle,) = await c.submit_many([BOAT])
        await handle
        assert c.spend.committed.tasks == 2
    async with client(wire, **options) as c:
        (handle,) = await c.resume()
        assert c.spend.uncertain.tasks == 1
        await handle.resolve(None)
        assert (c.spend.uncertain.tasks, c.spend.spent.tasks) == (0, 1)
    async with client(wire, **options) as c:
        await c.resume()
        assert c.spend.committed.tasks == 1


async def test_what_is_not_uncertain_is_not_resolved():
    """A spec that is queued, under way, ended or attached has nothing that a person could say."""
    wire = Wire()
    async with client(wire) as c:
        queued, running, failed = await c.submit_many([BOAT, BOAT, TaskSpec("[refuse] boat")])
        for handle in (queued, c.attach(await c.tasks.create(BOAT))):
            with pytest.raises(ConfigurationError, match="is not uncertain"):
                await handle.resolve(None)
        await failed.outcome()
        await running
        for handle in (failed, running):
            assert handle.uncertain_attempts == ()
            with pytest.raises(ConfigurationError, match="is not uncertain"):
                await handle.resolve(wire.emulator.ledger.tasks[0].id)
    with pytest.raises(ClosedError):
        await queued.resolve(None)
