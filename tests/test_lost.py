"""A create whose answer is lost: its task is found by a token, or it provably made no task."""

from __future__ import annotations

import gc
import json
import weakref
from collections import Counter
from itertools import pairwise

import anyio
import attrs
import httpx
import pytest

from callsheet import (
    InvalidRequestError,
    Limits,
    NotSubmittedError,
    RetryPolicy,
    SpendLimit,
    SpendLimitError,
    SubmissionUncertainError,
    TaskSpec,
)
from callsheet.emulator import Fault
from callsheet.events import SubmissionLost, TaskSettled, TaskSubmitted
from emulation import (
    ARK,
    COMET,
    ManyTasksWire,
    Wire,
    body_of,
    client,
    first,
    is_list,
    listed_ids,
    prompt_of,
    refusal,
)


BOAT = TaskSpec("a paper boat", duration=5)


def boats(count: int) -> list[TaskSpec]:
    """*count* different specs."""
    return [TaskSpec(f"boat {i}") for i in range(count)]


def lose_answers(count: int):
    """Lose the answers to the first *count* creates, which the provider accepts."""
    left = count

    def lose(request: httpx.Request) -> Exception | None:
        nonlocal left
        if request.method != "POST" or left == 0:
            return None
        left -= 1
        return httpx.ReadError("reset")

    return lose


def identifiers(wire: Wire) -> list[str]:
    """The ``safety_identifier`` of each create that was sent."""
    return [json.loads(post.content)["safety_identifier"] for post in wire.sent("POST")]


async def test_an_accepted_create_is_found_and_not_sent_again():
    """The handle gets the id and the video of the task that the lost create made."""
    wire = Wire()
    wire.lose = lose_answers(1)
    events: list[object] = []
    async with client(wire, observer=events.append) as c:
        handle = await c.submit(BOAT)
        assert handle.task_id == wire.emulator.ledger.tasks[0].id
        assert (await handle).url
        assert c.spend.uncertain.tasks == 0
        assert c.spend.spent.tasks == 1
    assert len(wire.sent("POST")) == 1
    assert wire.emulator.ledger.billed == 1
    assert [type(e) for e in events][:2] == [SubmissionLost, TaskSubmitted]


async def test_a_create_that_never_arrived_is_sent_again_after_the_window():
    """If no list shows its task for five minutes, it is sent again with another token."""
    wire = Wire()
    wire.fault = first(1, lambda: httpx.Response(502))
    async with client(wire) as c:
        started = anyio.current_time()
        handle = await c.submit(BOAT)
        assert 300 <= anyio.current_time() - started <= 400
        assert (await handle).url
    assert len(set(identifiers(wire))) == len(identifiers(wire)) == 2
    assert wire.emulator.ledger.billed == 1


async def test_a_task_that_appears_late_is_found():
    """A create that is accepted two minutes after its answer was lost is not sent again."""
    wire = Wire(faults=(Fault(verbs=("create",), request="late", delay=120.0, answer="reset"),))
    async with client(wire) as c:
        handle = await c.submit(BOAT)
        assert anyio.current_time() < 200
        assert (await handle).url
    assert len(wire.sent("POST")) == 1
    assert wire.emulator.ledger.billed == 1


@pytest.mark.parametrize("kind", ["before", "after", "late", "all"])
async def test_each_spec_is_billed_once(kind):
    """If a tenth of the creates is lost, in any way, 200 specs still make 200 billed tasks."""
    faults = {
        "before": [Fault(verbs=("create",), share=0.1, request="lost", answer="reset")],
        "after": [Fault(verbs=("create",), share=0.1, answer="reset")],
        "late": [Fault(verbs=("create",), share=0.1, request="late", delay=120.0, answer="reset")],
    }
    chosen = [f for name, each in faults.items() if kind in {name, "all"} for f in each]
    wire = Wire(concurrency=50, faults=tuple(chosen), seed=5)
    async with client(wire) as c:
        result = await (await c.submit_many(boats(200))).result()
        assert len(result.urls()) == 200
        assert c.spend.spent.tasks == 200
    ledger = wire.emulator.ledger
    assert ledger.billed == ledger.created == 200
    assert len(set(identifiers(wire))) == len(identifiers(wire))
    lists = [at for at, request in zip(wire.times, wire.seen, strict=True) if is_list(request)]
    assert all(later - earlier > 0.9 for earlier, later in pairwise(lists))


async def test_with_resubmit_never_a_lost_create_is_not_sent_again():
    """With ``resubmit="never"`` a create that made no task is reported with its token."""
    wire = Wire()
    wire.fault = first(1, lambda: httpx.Response(502))
    async with client(wire, retry=RetryPolicy(resubmit="never", lookup=60)) as c:
        with pytest.raises(SubmissionUncertainError) as caught:
            await c.submit(BOAT)
        assert c.spend.uncertain.tasks == 1
    assert caught.value.token == identifiers(wire)[0]
    assert len(wire.sent("POST")) == 1


@pytest.mark.parametrize("provider", [COMET, attrs.evolve(ARK, lists=False)])
async def test_without_lists_the_policy_decides_whether_to_send_again(provider):
    """Without lists or tokens a lost create is sent again only with ``resubmit="always"``."""
    for resubmit, posts in (("if-absent", 1), ("always", 2)):
        wire = Wire()
        wire.lose = lose_answers(1)
        retry = RetryPolicy(resubmit=resubmit)
        async with client(wire, provider=provider, api_key="k", retry=retry) as c:
            (outcome,) = await (await c.submit_many([BOAT])).result()
            assert c.spend.uncertain.tasks == 1  # the lost create may be billed, sent again or not
            assert c.spend.spent.tasks == outcome.ok
        assert outcome.ok == (resubmit == "always")
        assert len(wire.sent("POST")) == posts


async def test_resubmit_always_stops_after_the_last_attempt():
    """If every answer is lost, as many creates are sent as ``attempts`` allows."""
    wire = Wire()
    wire.lose = lose_answers(99)
    retry = RetryPolicy(resubmit="always", attempts=3)
    async with client(wire, provider=COMET, api_key="k", retry=retry) as c:
        with pytest.raises(SubmissionUncertainError):
            await c.submit(BOAT)
    assert len(wire.sent("POST")) == 3


async def test_a_spec_whose_creates_all_made_no_task_is_not_submitted():
    """If no create of a spec arrived, it ends as not submitted, and no spend is kept for it."""
    wire = Wire()
    wire.fault = first(99, lambda: httpx.Response(502))
    async with client(wire, retry=RetryPolicy(attempts=3)) as c:
        with pytest.raises(NotSubmittedError, match="made nothing") as caught:
            await c.submit(BOAT)
        assert c.spend.committed.tasks == 0
    assert isinstance(caught.value.__cause__, SubmissionUncertainError)
    assert len(wire.sent("POST")) == 3


async def test_a_list_without_tokens_proves_nothing():
    """If the list shows our other tasks without their tokens, no lost create is sent again."""
    wire = Wire(concurrency=10, render_seconds=2000.0)

    def without_tokens(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if not is_list(request):
            return None
        page = json.loads(b"".join(response.stream._body))
        for item in page["items"]:
            item.pop("safety_identifier")
        return httpx.Response(200, json=page)

    wire.change = without_tokens
    async with client(wire) as c:
        await c.submit(TaskSpec("another"))
        wire.fault = first(1, lambda: httpx.Response(502))
        with pytest.raises(SubmissionUncertainError):
            await c.submit(BOAT)
    assert len(wire.sent("POST")) == 2


async def test_the_tokens_of_one_model_prove_nothing_for_another():
    """If lists show tokens for one model only, a lost create of another is not sent again."""
    wire = Wire(concurrency=10, render_seconds=2000.0)
    model_without_tokens = "doubao-seedance-1-0-pro-250528"

    def drop_tokens(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if not is_list(request):
            return None
        page = body_of(response)
        for item in page["items"]:
            if item["model"] == model_without_tokens:
                item.pop("safety_identifier")
        return httpx.Response(200, json=page)

    wire.change = drop_tokens
    async with client(wire) as c:
        await c.submit(TaskSpec("another"))
        wire.lose = lose_answers(1)
        with pytest.raises(SubmissionUncertainError):
            await c.submit(TaskSpec("boat", model=model_without_tokens))
        wire.fault = first(1, lambda: httpx.Response(502))
        assert (await c.submit(BOAT)).task_id  # lists show tokens of this model: it is sent again
    assert wire.emulator.ledger.created == 3


@pytest.mark.parametrize("shown", [True, False])
async def test_an_undocumented_list_must_show_a_token_first(shown):
    """An undocumented list proves absence only if it shows the token of another task."""
    provider = attrs.evolve(ARK, lists=None)
    wire = Wire(concurrency=10, render_seconds=2000.0)
    async with client(wire, provider=provider) as c:
        if shown:
            await c.submit(TaskSpec("another"))
        wire.fault = first(1, lambda: httpx.Response(502))
        batch = await c.submit_many([BOAT])
        with anyio.move_on_after(1000):
            await batch.submitted()
        assert (batch[0].task_id is not None) == shown
        assert batch[0].done == (not shown)


async def test_a_task_with_the_callers_identifier_is_named_but_not_taken():
    """A task with this identifier may be of another create, so the error only names its id."""
    wire = Wire()
    mine = TaskSpec("boat", extra={"safety_identifier": "user-1"})
    wire.lose = lose_answers(1)
    async with client(wire) as c:
        with pytest.raises(SubmissionUncertainError) as caught:
            await c.submit(mine)
        assert wire.emulator.ledger.tasks[0].id in str(caught.value)
        wire.fault = first(1, lambda: httpx.Response(502))
        other = TaskSpec("boat", extra={"safety_identifier": "user-2"})
        assert (await c.submit(other)).task_id
    assert identifiers(wire) == ["user-1", "user-2", "user-2"]


@pytest.mark.parametrize("mark", [None, "", " "])
@pytest.mark.parametrize("made", [True, False])
async def test_a_create_without_identifier_is_searched_by_model_and_time(mark, made):
    """The error names tasks that may be its own. If there are none, that proves nothing."""
    wire = Wire(concurrency=20, render_seconds=2000.0)
    bare = TaskSpec("boat", extra={"safety_identifier": mark})
    async with client(wire) as c:
        await c.submit(bare)
        await c.submit(TaskSpec("boat", model="doubao-seedance-1-0-pro-250528", extra=bare.extra))
        if made:
            wire.lose = lose_answers(1)
        else:
            wire.fault = first(1, lambda: httpx.Response(502))
        with pytest.raises(SubmissionUncertainError) as caught:
            await c.submit(bare)
        assert caught.value.token is None
        assert c.spend.uncertain.tasks == 1
    assert len(wire.sent("POST")) == 3
    ids = [task.id for task in wire.emulator.ledger.tasks]
    assert [task_id in str(caught.value) for task_id in ids] == [False, False, True][: len(ids)]
    assert ("ambiguous" in str(caught.value)) == made


async def test_a_task_of_the_journal_is_never_named_as_the_lost_one(tmp_path, monkeypatch):
    """Only a task that the journal does not know may be the lost one, however many it knows."""
    monkeypatch.setattr("callsheet._state.registry.MOST_MADE", 3)
    wire = Wire(concurrency=20)
    bare = TaskSpec("boat", extra={"safety_identifier": None})
    async with client(wire, journal=tmp_path / "shoot.db") as c:
        await (await c.submit_many([bare] * 8)).result()
        wire.lose = lose_answers(1)
        await c.submit_many([bare])
        await anyio.sleep(1)
    async with client(wire, journal=tmp_path / "shoot.db") as c:
        result = await (await c.resume()).result()
    *known, lost = wire.emulator.ledger.tasks
    assert [outcome.ok for outcome in result] == [True] * 8 + [False]
    assert lost.id in str(result[8].error)
    assert not any(each.id in str(result[8].error) for each in known)


async def test_a_create_without_identifier_does_not_make_others_uncertain():
    """A task that was created without an identifier does not show that lists omit them."""
    wire = Wire(concurrency=20, render_seconds=2000.0)
    async with client(wire) as c:
        await c.submit(TaskSpec("boat", extra={"safety_identifier": None}))
        wire.fault = first(1, lambda: httpx.Response(502))
        assert (await c.submit(BOAT)).task_id
    assert wire.prompts == ["boat"] + [BOAT.prompt] * 2


@pytest.mark.parametrize(
    ("dialect", "flex"),
    [
        ("ark", {"service_tier": "flex"}),
        ("ark", {"extra": {"service_tier": "flex"}}),
        ("comet", {"extra": {"service_tier": "flex"}}),
    ],
)
async def test_flex_tasks_are_found_in_their_own_list(dialect, flex):
    """Plain lists do not show a lost flex create, but it is found, also if a raw key sets flex."""
    wire = Wire()
    wire.lose = lose_answers(2)
    specs = [BOAT, TaskSpec("cheap boat", **flex)]
    async with client(wire, provider=attrs.evolve(ARK, dialect=dialect)) as c:
        result = await (await c.submit_many(specs)).result()
        assert len(result.urls()) == 2
    assert len(wire.sent("POST")) == 2


async def test_lists_that_fail_prove_nothing():
    """While lists fail for ten minutes nothing is sent again; then the task is found."""
    wire = Wire()
    wire.lose = lose_answers(1)

    async def lists_fail(request: httpx.Request) -> httpx.Response | None:
        failing = request.method == "GET" and anyio.current_time() < 600
        return refusal(503, "ServiceUnavailable") if failing else None

    wire.fault = lists_fail
    async with client(wire) as c:
        handle = await c.submit(BOAT)
        assert anyio.current_time() >= 600
        assert (await handle).url
    assert len(wire.sent("POST")) == 1


async def test_a_create_is_found_among_thousands_of_others():
    """The search reads further pages, and stops where all tasks are older than the create."""
    wire = ManyTasksWire(concurrency=10, render_seconds=5000.0)
    async with client(wire) as c:
        wire.add_tasks(1700)
        wire.lose = lose_answers(1)
        lost = await c.submit_many([BOAT])
        await anyio.sleep(1)
        wire.add_tasks(700)
        await lost.submitted()
        pages = [request.url.params["page_num"] for request in wire.seen if is_list(request)]
    assert pages == ["1", "2"]
    assert wire.prompts.count("a paper boat") == 1


async def test_closing_ends_the_search_and_reports_the_token():
    """If the client closes while it looks for a create, the error holds the token."""
    wire = Wire()
    wire.fault = first(1, lambda: httpx.Response(502))
    events: list[object] = []
    async with client(wire, observer=events.append) as c:
        batch = await c.submit_many([BOAT])
        await anyio.sleep(30)
        assert not batch[0].done
    assert batch[0].done
    settled = next(e for e in events if isinstance(e, TaskSettled))
    assert isinstance(settled.outcome.error, SubmissionUncertainError)
    assert settled.outcome.error.token == identifiers(wire)[0]


async def test_cancelling_a_lost_create_cancels_its_task():
    """A cancel waits until the task of the lost create is found, and then cancels the task."""
    wire = Wire(concurrency=1, render_seconds=500.0)
    async with client(wire) as c:
        await c.submit(TaskSpec("first"))
        wire.lose = lose_answers(1)
        batch = await c.submit_many([BOAT])
        await anyio.sleep(0.5)
        assert await batch[0].cancel()
    assert wire.emulator.ledger.created == 2


async def test_a_spec_that_is_cancelled_between_two_attempts_reserves_nothing():
    """A spec that is cancelled while it waits to be sent again is not sent and reserves nothing."""
    wire = Wire(concurrency=1, queue_limit=1, render_seconds=500.0)
    async with client(wire) as c:
        batch = await c.submit_many(boats(3))
        await anyio.sleep(100)
        assert await batch[2].cancel()  # it was refused because the queue was full
        assert c.spend.reserved.tasks == 2
    wire = Wire(concurrency=1, render_seconds=2000.0)
    wire.fault = first(1, lambda: httpx.Response(502))
    async with client(wire, limits=Limits(unfinished=1), retry=RetryPolicy(lookup=30)) as c:
        lost = await c.submit_many([BOAT])
        await anyio.sleep(5)
        await c.submit(TaskSpec("another"))
        assert c.spend.uncertain.tasks == 1
        await anyio.sleep(100)  # it made no task, and waits until another one ends
        assert c.spend.uncertain.tasks == 0
        assert await lost[0].cancel()
        assert c.spend.reserved.tasks == 1
    assert len(wire.sent("POST")) == 2


@pytest.mark.parametrize("counted", [True, False])
async def test_a_short_page_is_not_the_end_of_the_list(counted):
    """The search reads on after a page that holds fewer tasks than it asked for."""
    wire = Wire(concurrency=50, render_seconds=5000.0)

    async def small_pages(request: httpx.Request) -> httpx.Response | None:
        if not is_list(request) or listed_ids(request):
            return None
        size = min(int(request.url.params["page_size"]), 10)
        url = request.url.copy_merge_params({"page_size": str(size)})
        small = httpx.Request("GET", url, headers=request.headers)
        body = body_of(await wire._asgi.handle_async_request(small))
        return httpx.Response(200, json=body if counted else {"items": body["items"]})

    async with client(wire, retry=RetryPolicy(lookup=30)) as c:
        wire.lose = lose_answers(1)
        lost = await c.submit_many([BOAT])
        await anyio.sleep(0.5)
        wire.fault = small_pages
        others = await c.submit_many(boats(45))
        await others.submitted()
        assert (await lost[0]).url
    assert wire.prompts.count("a paper boat") == 1


async def test_a_list_with_unreadable_tasks_proves_nothing():
    """The lost task may be the one that cannot be read, on any page."""
    wire = ManyTasksWire(concurrency=10, render_seconds=5000.0)

    def damaged(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        first_page = is_list(request) and request.url.params["page_num"] == "1"
        if not first_page or request.url.params["page_size"] != "500":
            return None
        page = response.json()
        page["items"][3] = "?"
        return httpx.Response(200, json=page)

    wire.change = damaged
    async with client(wire, retry=RetryPolicy(lookup=30)) as c:
        wire.add_tasks(600)
        wire.fault = first(1, lambda: httpx.Response(502))
        with pytest.raises(SubmissionUncertainError):
            await c.submit(BOAT)


async def test_a_lost_create_does_not_delay_other_specs():
    """While the client looks for the first create of a batch, it sends the others."""
    wire = Wire()
    wire.fault = first(1, lambda: httpx.Response(502))
    async with client(wire) as c:
        batch = await c.submit_many(boats(20))
        async for outcome in batch.as_completed():
            assert outcome.ok
            break
        assert anyio.current_time() < 250
        assert Counter(map(prompt_of, wire.sent("POST")))["boat 0"] == 1
        assert len((await batch.result()).urls()) == 20


async def test_a_cancelled_create_that_made_nothing_is_not_sent_again():
    """A cancel during the search returns ``True``, and the spec ends as not submitted."""
    wire = Wire()
    wire.fault = first(1, lambda: httpx.Response(502))
    async with client(wire) as c:
        (handle,) = await c.submit_many([BOAT])
        await anyio.sleep(10)
        assert await handle.cancel()
        assert isinstance((await handle.outcome()).error, NotSubmittedError)
    assert len(wire.sent("POST")) == 1


async def test_the_window_begins_at_the_latest_time_the_create_can_arrive():
    """A create that timed out may still arrive, so the window begins at the timeout."""
    wire = Wire(render_seconds=500.0)
    lost: list[httpx.Request] = []

    async def silence(request: httpx.Request) -> httpx.Response | None:
        if request.method == "POST" and not lost:
            lost.append(request)
            await anyio.sleep_forever()
        return None

    wire.fault = silence
    async with client(wire, retry=RetryPolicy(timeout=400)) as c:
        batch = await c.submit_many([BOAT])
        await anyio.sleep(500)
        await wire._asgi.handle_async_request(lost[0])
        assert (await batch[0]).url
    assert len(wire.sent("POST")) == wire.emulator.ledger.created == 1


async def test_a_cancelled_create_that_made_nothing_is_not_sent_by_the_next_client(tmp_path):
    """The journal keeps the cancel, so the next client ends the spec with the same error."""
    wire = Wire()
    wire.fault = first(1, lambda: httpx.Response(502))
    async with client(wire, journal=tmp_path / "shoot.db") as c:
        (handle,) = await c.submit_many([BOAT])
        await anyio.sleep(10)
        assert await handle.cancel()
        message = str((await handle.outcome()).error)
    async with client(wire, journal=tmp_path / "shoot.db") as c:
        (again,) = await (await c.resume()).result()
        assert isinstance(again.error, NotSubmittedError)
        assert str(again.error) == message
    assert len(wire.sent("POST")) == 1


async def test_polls_without_lists_do_not_shorten_the_search():
    """If polls stop using lists, the search for a lost create still lasts the whole window."""
    wire = Wire(concurrency=10, render_seconds=2000.0)
    refused = [httpx.Response(502)]

    async def only_pages(request: httpx.Request) -> httpx.Response | None:
        if request.method == "POST" and prompt_of(request) == BOAT.prompt and refused:
            return refused.pop()
        return refusal(503, "ServiceUnavailable") if listed_ids(request) else None

    wire.fault = only_pages
    async with client(wire, provider=attrs.evolve(ARK, lists=None)) as c:
        await c.submit(TaskSpec("another"))
        await c.submit(BOAT)
        assert 300 <= anyio.current_time() <= 400
    assert wire.prompts == ["another", BOAT.prompt, BOAT.prompt]


async def test_a_task_that_is_attached_before_the_resume_gets_its_spec(tmp_path):
    """The resumed task keeps its spec, and gets the same video as the attached one."""
    wire = Wire()
    async with client(wire, journal=tmp_path / "shoot.db") as c:
        task_id = (await c.submit(BOAT)).task_id
    async with client(wire, journal=tmp_path / "shoot.db") as c:
        attached = c.attach(task_id)
        (outcome,) = await (await c.resume()).result()
        assert outcome.spec == BOAT
        assert (await attached).url == outcome.url
        assert c.spend.spent.tasks == 1


async def test_ended_specs_are_not_kept_in_memory():
    """An open client keeps no records of ended specs that were lost, cancelled or saved."""
    wire = Wire(concurrency=1, render_seconds=20.0)
    wire.fault = first(1, lambda: httpx.Response(502))
    async with client(wire, retry=RetryPolicy(lookup=30)) as c:
        batch = await c.submit_many(boats(4))
        await batch.submitted()
        await batch.cancel()
        await batch.result()
        batch[0].saved("boat.mp4")
        assert batch[0].file is not None
        records = [weakref.ref(handle._record) for handle in batch]
        del batch
        await anyio.sleep(100)
        gc.collect()
        assert not any(record() for record in records)


@pytest.mark.parametrize("ended", [False, True])
async def test_an_id_that_is_attached_during_the_search_is_the_same_task(ended):
    """An id that is attached during the search is the task of the lost create, billed once."""
    wire = Wire(render_seconds=100.0 if not ended else 0.1)
    wire.lose = lose_answers(1)
    async with client(wire) as c:
        batch = await c.submit_many([BOAT])
        await anyio.sleep(0.5)
        attached = c.attach(wire.emulator.ledger.tasks[0].id)
        if ended:
            await attached
        assert (await batch[0]).url == (await attached).url
        assert c.spend.committed.tasks == c.spend.spent.tasks == 1
    assert len(wire.sent("POST")) == wire.emulator.ledger.billed == 1


async def test_an_id_that_is_attached_before_the_answer_is_the_same_task():
    """Both handles share one task, and none is uncertain. A callback can give the id so early."""
    wire = Wire(render_seconds=100.0)

    async def slow(request: httpx.Request) -> httpx.Response | None:
        if request.method != "POST":
            return None
        answer = await wire._asgi.handle_async_request(request)
        await anyio.sleep(5)
        return answer

    wire.fault = slow
    async with client(wire) as c, anyio.create_task_group() as waiters:
        waiters.start_soon(c.tasks.create, TaskSpec("another"))
        await anyio.sleep(1)
        batch = await c.submit_many([BOAT])
        await anyio.sleep(1)
        other, attached = c.attach_many(task.id for task in wire.emulator.ledger.tasks)
        assert (await batch[0]).url == (await attached).url
        assert (await other).url
        assert c.spend.committed.tasks == c.spend.spent.tasks == 2
    assert wire.emulator.ledger.billed == 2


@pytest.mark.parametrize("end", ["refused", "cancelled", "closed", "limited", "judged"])
async def test_an_uncertain_attempt_stays_uncertain_after_the_next_attempt(end):
    """Unless the spec is invalid, it ends as uncertain; the first attempt stays in the spend."""
    wire = Wire(concurrency=1, render_seconds=500.0)
    answers = {
        "refused": refusal(402, ""),
        "judged": refusal(400, "InvalidParameter"),  # the spec itself is wrong
        "limited": None,
        "cancelled": refusal(429, "ServerOverloaded"),
        "closed": refusal(429, "ServerOverloaded"),
    }

    async def later(request: httpx.Request) -> httpx.Response | None:
        return answers[end] if request.method == "POST" and len(wire.sent("POST")) > 1 else None

    wire.lose = lose_answers(1)
    wire.fault = later
    retry = RetryPolicy(resubmit="always")
    limit = SpendLimit(tasks=1 if end == "limited" else 5)
    async with client(wire, provider=COMET, api_key="k", retry=retry, spend=limit) as c:
        (handle,) = await c.submit_many([BOAT])
        await anyio.sleep(5)
        if end == "cancelled":
            assert not await handle.cancel()
    (spend, error) = (c.spend, handle._record.error)
    kind = InvalidRequestError if end == "judged" else SubmissionUncertainError
    assert isinstance(error, kind)
    assert spend.committed.tasks == spend.uncertain.tasks == 1
    assert wire.emulator.ledger.created == 1


async def test_an_uncertain_create_is_not_sent_again_after_a_cancel():
    """After a cancel no second create is sent, even with ``resubmit="always"``."""
    wire = Wire()
    wire.lose = lose_answers(1)
    provider = attrs.evolve(ARK, lists=None)
    async with client(wire, provider=provider, retry=RetryPolicy(resubmit="always")) as c:
        wire.fault = first(999, lambda: refusal(503, "ServiceUnavailable"), method="GET")
        (handle,) = await c.submit_many([BOAT])
        await anyio.sleep(5)
        assert not await handle.cancel()
        assert isinstance((await handle.outcome()).error, SubmissionUncertainError)
    assert len(wire.sent("POST")) == 1


async def test_the_journal_does_not_keep_an_uncertain_create_as_unsent(tmp_path):
    """The next client may not send the create again, so it reports the spec as uncertain."""
    wire = Wire(concurrency=1, render_seconds=500.0)
    path = tmp_path / "shoot.db"
    wire.lose = lose_answers(1)
    provider = {"provider": COMET, "api_key": "k", "journal": path}

    async def later(request: httpx.Request) -> httpx.Response | None:
        busy = request.method == "POST" and len(wire.sent("POST")) > 1
        return refusal(429, "ServerOverloaded") if busy else None

    wire.fault = later
    async with client(wire, retry=RetryPolicy(resubmit="always"), **provider) as c:
        await c.submit_many([BOAT])
        await anyio.sleep(5)
    wire.fault = None
    async with client(wire, **provider) as c:
        (outcome,) = await (await c.resume()).result()
        assert isinstance(outcome.error, SubmissionUncertainError)
    assert wire.emulator.ledger.created == 1


@pytest.mark.parametrize("wait", [5, 2000])
async def test_uncertain_attempts_count_in_the_spend_of_later_processes(tmp_path, wait):
    """An attempt that may be billed counts against the spend limit of each later client."""
    wire = Wire(render_seconds=500.0)
    wire.lose = lose_answers(1)
    retry, limit = RetryPolicy(resubmit="always"), SpendLimit(tasks=2)
    provider = {"provider": COMET, "api_key": "k", "journal": tmp_path / "shoot.db"}
    async with client(wire, retry=retry, spend=limit, **provider) as c:
        await c.submit_many([BOAT])
        await anyio.sleep(wait)
        before = c.spend
    assert (before.uncertain.tasks, before.committed.tasks) == (1, 2)
    for _ in range(2):
        async with client(wire, retry=retry, spend=limit, **provider) as c:
            outcome, *_ = await (await c.resume()).result()
            assert outcome.ok
            assert (c.spend.uncertain.tasks, c.spend.spent.tasks) == (1, 1)
            with pytest.raises(SpendLimitError):
                await c.submit(BOAT)
    assert wire.emulator.ledger.created == 2


async def test_an_empty_page_that_counts_a_task_proves_nothing():
    """A list that counts a task but does not show it does not prove that it is absent."""
    wire = Wire(render_seconds=2000.0)
    wire.lose = lambda request: httpx.ReadError("reset") if request.method == "POST" else None

    def hide(request: httpx.Request, _: httpx.Response) -> httpx.Response | None:
        counted = {"items": [], "total": 1}
        return httpx.Response(200, json=counted) if is_list(request) else None

    wire.change = hide
    async with client(wire) as c:
        outcome = await (await c.submit_many([TaskSpec("boat")]))[0].outcome()
    assert isinstance(outcome.error, SubmissionUncertainError)
    assert wire.emulator.ledger.created == 1
