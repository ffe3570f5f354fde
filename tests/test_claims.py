"""Lists and answers about wrong ids, in virtual time: what one of them shows of another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import attrs
import httpx
import pytest

from callsheet import RetryPolicy, SubmissionUncertainError, TaskSpec
from emulation import ARK, Wire, body_of, client, first, is_list, listed_ids, prompt_of, refusal


if TYPE_CHECKING:
    from collections.abc import Callable


BOAT, KITE, STAR = (TaskSpec(prompt, duration=5) for prompt in ("a boat", "a kite", "a star"))
RETRY = RetryPolicy(lookup=60.0)


def lose_answers(wire: Wire, *numbers: int) -> None:
    """Lose the answers to the creates with these numbers, from 1, after their tasks were made."""

    def lose(request: httpx.Request) -> Exception | None:
        lost = request.method == "POST" and len(wire.sent("POST")) in numbers
        return httpx.ReadError("reset") if lost else None

    wire.lose = lose


@pytest.mark.parametrize("how", ["cancelled", "found"])
async def test_the_first_one_that_is_bought_again_holds_up_no_other_for_ever(how):
    """If its task can tell nothing of the list, another lost create is sent again after a window.

    It cannot if it was cancelled, or if it is known from the list alone.
    """
    wire = Wire(concurrency=1, render_seconds=90_000.0, render_sigma=0.0)
    async with client(wire, retry=RETRY) as c:
        await c.submit(STAR)
        await anyio.sleep(200)
        wire.fault = first(1, lambda: httpx.Response(502))
        if how == "found":
            lose_answers(wire, 3)
        boat = await c.submit(BOAT)
        if how == "cancelled":
            assert await boat.cancel()
        await anyio.sleep(200)
        wire.fault = first(1, lambda: httpx.Response(502))
        assert (await c.submit(KITE)).task_id
    assert wire.prompts.count("a kite") == 2


async def test_a_look_that_shows_a_task_too_late_proves_nothing_about_another():
    """The list had not shown the one after its window, so the other may come as late."""
    wire = Wire(concurrency=10, render_seconds=9000.0, render_sigma=0.0)
    start = anyio.current_time()
    lose_answers(wire, 1, 3)
    shown_from = {0: 110.0, 2: 140.0}

    def late(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if not is_list(request) or listed_ids(request):
            return None
        now, made = anyio.current_time() - start, wire.emulator.ledger.tasks
        hidden = {made[i].id for i, at in shown_from.items() if i < len(made) and now < at}
        items = [each for each in body_of(response)["items"] if each["id"] not in hidden]
        return httpx.Response(200, json={"items": items, "total": len(items)})

    wire.change = late
    async with client(wire, retry=RETRY) as c:
        await c.submit(BOAT)
        assert wire.prompts == ["a boat"] * 2  # its first task comes too late
        await anyio.sleep(start + 70.0 - anyio.current_time())
        kite = await c.submit(KITE)
        assert kite.task_id == wire.emulator.ledger.tasks[2].id
    assert wire.prompts.count("a kite") == 1


@pytest.mark.parametrize(
    "refused", [lambda: refusal(404, "ResourceNotFound"), lambda: httpx.Response(503)]
)
async def test_a_claim_that_cannot_be_asked_about_does_not_stop_the_use_of_lists(
    refused: Callable[[], httpx.Response],
):
    """An error about one task says nothing about the list, where lists are not documented."""
    wire = Wire(concurrency=10, render_seconds=9000.0, render_sigma=0.0)
    lose_answers(wire, 1)

    def wrong(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        made = wire.emulator.ledger.tasks
        if request.method == "POST" and len(wire.sent("POST")) == 2:
            return httpx.Response(200, json={"id": made[0].id})  # the lost one's
        if made and request.method == "GET" and request.url.path.endswith(made[0].id):
            return refused()
        return None

    wire.change = wrong
    provider = attrs.evolve(ARK, lists=None)
    async with client(wire, provider=provider, retry=RETRY) as c:
        batch = await c.submit_many([BOAT, KITE])
        await anyio.sleep(200)
        assert [each.task_id for each in batch] == [each.id for each in wire.emulator.ledger.tasks]
        lose_answers(wire, 3)
        assert (await c.submit(STAR)).task_id == wire.emulator.ledger.tasks[2].id
    assert len(wire.sent("POST")) == 3


async def test_a_cancel_of_a_wrong_id_stops_no_task_of_another_spec():
    """A status answer with the mark of another client shows whose task the id is."""
    wire = Wire(concurrency=1, render_seconds=9000.0, render_sigma=0.0)

    def wrong(request: httpx.Request, _: httpx.Response) -> httpx.Response | None:
        if request.method == "POST" and prompt_of(request) == "a kite":
            return httpx.Response(200, json={"id": theirs.task_id})
        return None

    async with client(wire) as other, client(wire) as c:
        await c.submit(STAR)
        await anyio.sleep(60)  # its answers have shown that marks are ours
        theirs = await other.submit(BOAT)
        wire.change = wrong
        kite = await c.submit(KITE)
        assert not await kite.cancel()
        await anyio.sleep(60)
        assert kite.task_id == wire.emulator.ledger.tasks[2].id
        assert not wire.sent("DELETE")
        assert await kite.cancel()


async def test_the_task_that_is_named_by_hand_takes_the_place_of_a_wrong_id(tmp_path):
    """The next client goes by the id that a person has named, and not by the answer's."""
    wire = Wire(concurrency=3, render_seconds=900.0, render_sigma=0.0)
    hidden: set[str] = set()

    def wrong(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if request.method == "POST" and prompt_of(request) == "a kite":
            hidden.add(wire.emulator.ledger.tasks[-1].id)
            return httpx.Response(200, json={"id": theirs.task_id})
        if is_list(request) and not listed_ids(request):
            items = [each for each in body_of(response)["items"] if each["id"] not in hidden]
            return httpx.Response(200, json={"items": items, "total": len(items)})
        return None

    options = {"retry": RETRY, "journal": tmp_path / "shoot.db"}
    async with client(wire) as other:
        async with client(wire, **options) as c:
            await c.submit(STAR)
            await anyio.sleep(60)  # its answers have shown that marks are ours
            theirs = await other.submit(BOAT)
            wire.change = wrong
            (kite,) = await c.submit_many([KITE])
            assert isinstance((await kite.outcome()).error, SubmissionUncertainError)
            (own,) = hidden
            await kite.resolve(own)
        async with client(wire, **options) as c:
            _, kite = await c.resume()
            assert (await kite).task_id == own
    assert wire.prompts.count("a kite") == 1
