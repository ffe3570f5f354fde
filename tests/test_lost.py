"""Creates whose answer was lost: found by their token, or proven never to have been."""

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
    """That many specs."""
    return [TaskSpec(f"boat {i}") for i in range(count)]


def loses(count: int):
    """Lose the answers of the first creates, which the provider has accepted."""
    left = count

    def lose(request: httpx.Request) -> Exception | None:
        nonlocal left
        if request.method != "POST" or left == 0:
            return None
        left -= 1
        return httpx.ReadError("reset")

    return lose


def marks(wire: Wire) -> list[str]:
    """The identifiers of all creates that left."""
    return [json.loads(post.content)["safety_identifier"] for post in wire.sent("POST")]


async def test_an_accepted_create_is_found_and_not_sent_again():
    """The handle gets the id of the task that was made, and its video."""
    wire = Wire()
    wire.lose = loses(1)
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


async def test_a_create_that_never_arrived_is_sent_again_when_the_window_is_over():
    """After five minutes in which no list shows it, it is sent with another token."""
    wire = Wire()
    wire.fault = first(1, lambda: httpx.Response(502))
    async with client(wire) as c:
        started = anyio.current_time()
        handle = await c.submit(BOAT)
        assert 300 <= anyio.current_time() - started <= 400
        assert (await handle).url
    assert len(set(marks(wire))) == len(marks(wire)) == 2
    assert wire.emulator.ledger.billed == 1


async def test_a_task_that_surfaces_late_is_found():
    """A create that is accepted two minutes after its answer was lost is not sent again."""
    wire = Wire(faults=(Fault(verbs=("create",), request="late", delay=120.0, answer="reset"),))
    async with client(wire) as c:
        handle = await c.submit(BOAT)
        assert anyio.current_time() < 200
        assert (await handle).url
    assert len(wire.sent("POST")) == 1
    assert wire.emulator.ledger.billed == 1


@pytest.mark.parametrize("kind", ["before", "after", "late", "all"])
async def test_exactly_what_was_wanted_is_paid(kind):
    """With a tenth of the creates lost in any way, 200 specs are 200 billed tasks."""
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
    assert len(set(marks(wire))) == len(marks(wire))
    lists = [at for at, request in zip(wire.times, wire.seen, strict=True) if is_list(request)]
    assert all(later - earlier > 0.9 for earlier, later in pairwise(lists))


async def test_the_policy_may_forbid_sending_again():
    """With ``resubmit="never"`` what provably made nothing is reported with its token."""
    wire = Wire()
    wire.fault = first(1, lambda: httpx.Response(502))
    async with client(wire, retry=RetryPolicy(resubmit="never", lookup=60)) as c:
        with pytest.raises(SubmissionUncertainError) as caught:
            await c.submit(BOAT)
        assert c.spend.uncertain.tasks == 1
    assert caught.value.token == marks(wire)[0]
    assert len(wire.sent("POST")) == 1


@pytest.mark.parametrize("provider", [COMET, attrs.evolve(ARK, lists=False)])
async def test_where_nobody_can_look_the_caller_decides(provider):
    """Without lists or tokens a loss is final, unless the policy says to send it again always."""
    for resubmit, posts in (("if-absent", 1), ("always", 2)):
        wire = Wire()
        wire.lose = loses(1)
        retry = RetryPolicy(resubmit=resubmit)
        async with client(wire, provider=provider, api_key="k", retry=retry) as c:
            (outcome,) = await (await c.submit_many([BOAT])).result()
            assert c.spend.uncertain.tasks == 1  # also when another was sent: it may be billed
            assert c.spend.spent.tasks == outcome.ok
        assert outcome.ok == (resubmit == "always")
        assert len(wire.sent("POST")) == posts


async def test_always_ends_with_its_attempts():
    """A provider that loses every create is sent one as often as the policy says."""
    wire = Wire()
    wire.lose = loses(99)
    retry = RetryPolicy(resubmit="always", attempts=3)
    async with client(wire, provider=COMET, api_key="k", retry=retry) as c:
        with pytest.raises(SubmissionUncertainError):
            await c.submit(BOAT)
    assert len(wire.sent("POST")) == 3


async def test_what_provably_made_nothing_is_not_uncertain_after_its_last_attempt():
    """A spec whose creates were all lost on their way was not submitted, and may cost nothing."""
    wire = Wire()
    wire.fault = first(99, lambda: httpx.Response(502))
    async with client(wire, retry=RetryPolicy(attempts=3)) as c:
        with pytest.raises(NotSubmittedError, match="made nothing") as caught:
            await c.submit(BOAT)
        assert c.spend.committed.tasks == 0
    assert isinstance(caught.value.__cause__, SubmissionUncertainError)
    assert len(wire.sent("POST")) == 3


async def test_a_list_that_drops_the_mark_proves_nothing():
    """Where our other tasks are listed without their tokens, nothing is sent again."""
    wire = Wire(concurrency=10, render_seconds=2000.0)

    def without_marks(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if not is_list(request):
            return None
        page = json.loads(b"".join(response.stream._body))
        for item in page["items"]:
            item.pop("safety_identifier")
        return httpx.Response(200, json=page)

    wire.change = without_marks
    async with client(wire) as c:
        await c.submit(TaskSpec("another"))
        wire.fault = first(1, lambda: httpx.Response(502))
        with pytest.raises(SubmissionUncertainError):
            await c.submit(BOAT)
    assert len(wire.sent("POST")) == 2


async def test_the_marks_of_one_model_prove_nothing_for_another():
    """Where lists show tokens of one model alone, a lost task of another is not bought twice."""
    wire = Wire(concurrency=10, render_seconds=2000.0)
    silent = "doubao-seedance-1-0-pro-250528"

    def by_model(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if not is_list(request):
            return None
        page = body_of(response)
        for item in page["items"]:
            if item["model"] == silent:
                item.pop("safety_identifier")
        return httpx.Response(200, json=page)

    wire.change = by_model
    async with client(wire) as c:
        await c.submit(TaskSpec("another"))
        wire.lose = loses(1)
        with pytest.raises(SubmissionUncertainError):
            await c.submit(TaskSpec("boat", model=silent))
        wire.fault = first(1, lambda: httpx.Response(502))
        assert (await c.submit(BOAT)).task_id  # of the first model, it is sent again
    assert wire.emulator.ledger.created == 3


@pytest.mark.parametrize("shown", [True, False])
async def test_a_provider_of_unknown_lists_must_show_a_mark_first(shown):
    """Where lists are not documented, absence is believed only beside a mark that is echoed."""
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


async def test_the_callers_own_identifier_is_searched_and_never_guessed_by():
    """A task with the same identifier may be another's: its id is named, not taken."""
    wire = Wire()
    mine = TaskSpec("boat", extra={"safety_identifier": "user-1"})
    wire.lose = loses(1)
    async with client(wire) as c:
        with pytest.raises(SubmissionUncertainError) as caught:
            await c.submit(mine)
        assert wire.emulator.ledger.tasks[0].id in str(caught.value)
        wire.fault = first(1, lambda: httpx.Response(502))
        other = TaskSpec("boat", extra={"safety_identifier": "user-2"})
        assert (await c.submit(other)).task_id
    assert marks(wire) == ["user-1", "user-2", "user-2"]


@pytest.mark.parametrize("mark", [None, "", " "])
@pytest.mark.parametrize("made", [True, False])
async def test_a_create_without_a_mark_is_searched_by_model_and_time(mark, made):
    """Tasks that may be its own are named as ambiguous; that there are none proves nothing."""
    wire = Wire(concurrency=20, render_seconds=2000.0)
    bare = TaskSpec("boat", extra={"safety_identifier": mark})
    async with client(wire) as c:
        await c.submit(bare)
        await c.submit(TaskSpec("boat", model="doubao-seedance-1-0-pro-250528", extra=bare.extra))
        if made:
            wire.lose = loses(1)
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


async def test_no_task_of_the_journal_is_taken_for_one_without_a_mark(tmp_path, monkeypatch):
    """However many there are, only a task that nobody knows may be the lost one."""
    monkeypatch.setattr("callsheet._submission.reconciler.MOST_KNOWN", 3)
    wire = Wire(concurrency=20)
    bare = TaskSpec("boat", extra={"safety_identifier": None})
    async with client(wire, journal=tmp_path / "shoot.db") as c:
        await (await c.submit_many([bare] * 8)).result()
        wire.lose = loses(1)
        await c.submit_many([bare])
        await anyio.sleep(1)
    async with client(wire, journal=tmp_path / "shoot.db") as c:
        result = await (await c.resume()).result()
    *known, lost = wire.emulator.ledger.tasks
    assert [outcome.ok for outcome in result] == [True] * 8 + [False]
    assert lost.id in str(result[8].error)
    assert not any(each.id in str(result[8].error) for each in known)


async def test_a_create_without_a_mark_casts_no_doubt_on_others():
    """What is listed without an identifier because it has none says nothing about lists."""
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
    """A lost flex create, which plain lists do not show, is found, be it flex by a raw key."""
    wire = Wire()
    wire.lose = loses(2)
    specs = [BOAT, TaskSpec("cheap boat", **flex)]
    async with client(wire, provider=attrs.evolve(ARK, dialect=dialect)) as c:
        result = await (await c.submit_many(specs)).result()
        assert len(result.urls()) == 2
    assert len(wire.sent("POST")) == 2


async def test_a_service_that_is_away_proves_nothing():
    """While the list is down for ten minutes nothing is sent again; then the task is found."""
    wire = Wire()
    wire.lose = loses(1)

    async def away(request: httpx.Request) -> httpx.Response | None:
        down = request.method == "GET" and anyio.current_time() < 600
        return refusal(503, "ServiceUnavailable") if down else None

    wire.fault = away
    async with client(wire) as c:
        handle = await c.submit(BOAT)
        assert anyio.current_time() >= 600
        assert (await handle).url
    assert len(wire.sent("POST")) == 1


async def test_a_create_is_found_among_thousands_of_others():
    """The search reads on to further pages, and no further than the create can be."""
    wire = ManyTasksWire(concurrency=10, render_seconds=5000.0)
    async with client(wire) as c:
        wire.add_tasks(1700)
        wire.lose = loses(1)
        lost = await c.submit_many([BOAT])
        await anyio.sleep(1)
        wire.add_tasks(700)
        await lost.submitted()
        pages = [request.url.params["page_num"] for request in wire.seen if is_list(request)]
    assert pages == ["1", "2"]
    assert wire.prompts.count("a paper boat") == 1


async def test_closing_ends_the_search_with_the_token():
    """Whoever leaves while a create is looked for is told by what to find it."""
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
    assert settled.outcome.error.token == marks(wire)[0]


async def test_a_lost_create_cannot_be_withdrawn():
    """Cancelling a spec that may be a task waits for what became of it, and then cancels that."""
    wire = Wire(concurrency=1, render_seconds=500.0)
    async with client(wire) as c:
        await c.submit(TaskSpec("first"))
        wire.lose = loses(1)
        batch = await c.submit_many([BOAT])
        await anyio.sleep(0.5)
        assert await batch[0].cancel()
    assert wire.emulator.ledger.created == 2


async def test_a_spec_withdrawn_between_two_attempts_is_out_of_the_books():
    """What is cancelled while it waits to be sent again costs nothing, and stays unsent."""
    wire = Wire(concurrency=1, queue_limit=1, render_seconds=500.0)
    async with client(wire) as c:
        batch = await c.submit_many(boats(3))
        await anyio.sleep(100)
        assert await batch[2].cancel()  # it was refused for room
        assert c.spend.reserved.tasks == 2
    wire = Wire(concurrency=1, render_seconds=2000.0)
    wire.fault = first(1, lambda: httpx.Response(502))
    async with client(wire, limits=Limits(unfinished=1), retry=RetryPolicy(lookup=30)) as c:
        lost = await c.submit_many([BOAT])
        await anyio.sleep(5)
        await c.submit(TaskSpec("another"))
        assert c.spend.uncertain.tasks == 1
        await anyio.sleep(100)  # it made nothing, and waits for room
        assert c.spend.uncertain.tasks == 0
        assert await lost[0].cancel()
        assert c.spend.reserved.tasks == 1
    assert len(wire.sent("POST")) == 2


@pytest.mark.parametrize("counted", [True, False])
async def test_a_list_that_ends_early_is_read_on(counted):
    """Pages that hold fewer tasks than were asked for are not taken for the end of the list."""
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
        wire.lose = loses(1)
        lost = await c.submit_many([BOAT])
        await anyio.sleep(0.5)
        wire.fault = small_pages
        others = await c.submit_many(boats(45))
        await others.submitted()
        assert (await lost[0]).url
    assert wire.prompts.count("a paper boat") == 1


async def test_a_list_with_unreadable_tasks_proves_nothing():
    """The task may be the one that cannot be read, on whatever page that stands."""
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


async def test_nobody_waits_for_a_lost_create_of_another_spec():
    """While the first create of a batch is looked for, the next one is sent."""
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
    """Whoever cancels while it is looked for is told that it was stopped in time."""
    wire = Wire()
    wire.fault = first(1, lambda: httpx.Response(502))
    async with client(wire) as c:
        (handle,) = await c.submit_many([BOAT])
        await anyio.sleep(10)
        assert await handle.cancel()
        assert isinstance((await handle.outcome()).error, NotSubmittedError)
    assert len(wire.sent("POST")) == 1


async def test_the_window_begins_when_the_create_can_have_arrived_last():
    """A create that was given up after a long silence may surface minutes after that."""
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
    """The journal keeps that it is not wanted any more."""
    wire = Wire()
    wire.fault = first(1, lambda: httpx.Response(502))
    async with client(wire, journal=tmp_path / "shoot.db") as c:
        (handle,) = await c.submit_many([BOAT])
        await anyio.sleep(10)
        assert await handle.cancel()
        said = str((await handle.outcome()).error)
    async with client(wire, journal=tmp_path / "shoot.db") as c:
        (again,) = await (await c.resume()).result()
        assert isinstance(again.error, NotSubmittedError)
        assert str(again.error) == said
    assert len(wire.sent("POST")) == 1


async def test_polls_that_find_no_lists_do_not_shorten_the_search():
    """Where polling by list is given up, a lost create is still looked for to the end."""
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


async def test_a_task_that_was_attached_before_the_journal_is_resumed_has_its_spec(tmp_path):
    """Its record shares the polls of the other, and keeps what it knew itself."""
    wire = Wire()
    async with client(wire, journal=tmp_path / "shoot.db") as c:
        task_id = (await c.submit(BOAT)).task_id
    async with client(wire, journal=tmp_path / "shoot.db") as c:
        attached = c.attach(task_id)
        (outcome,) = await (await c.resume()).result()
        assert outcome.spec == BOAT
        assert (await attached).url == outcome.url
        assert c.spend.spent.tasks == 1


async def test_what_has_ended_leaves_nothing_behind():
    """A client that lives for long does not hold what was lost, cancelled or saved."""
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
async def test_an_id_that_was_attached_meanwhile_is_the_same_task(ended):
    """Whoever attaches the id of a create that is looked for shares its task: it is paid once."""
    wire = Wire(render_seconds=100.0 if not ended else 0.1)
    wire.lose = loses(1)
    async with client(wire) as c:
        batch = await c.submit_many([BOAT])
        await anyio.sleep(0.5)
        attached = c.attach(wire.emulator.ledger.tasks[0].id)
        if ended:
            await attached
        assert (await batch[0]).url == (await attached).url
        assert c.spend.committed.tasks == c.spend.spent.tasks == 1
    assert len(wire.sent("POST")) == wire.emulator.ledger.billed == 1


async def test_an_id_that_is_attached_before_its_create_is_answered_is_the_same_task():
    """As by a callback that overtakes the answer: nothing is uncertain, and one of them polls."""
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
async def test_what_was_sent_again_in_doubt_stays_in_doubt(end):
    """Unless the spec itself is refused, the first attempt may be a task; it is in the books."""
    wire = Wire(concurrency=1, render_seconds=500.0)
    answers = {
        "refused": refusal(402, ""),
        "judged": refusal(400, "InvalidParameter"),  # as it would have been the first time
        "limited": None,
        "cancelled": refusal(429, "ServerOverloaded"),
        "closed": refusal(429, "ServerOverloaded"),
    }

    async def later(request: httpx.Request) -> httpx.Response | None:
        return answers[end] if request.method == "POST" and len(wire.sent("POST")) > 1 else None

    wire.lose = loses(1)
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


async def test_a_create_that_was_cancelled_is_not_sent_again_in_doubt():
    """Whoever cancels what is looked for is not billed twice for it, whatever the policy says."""
    wire = Wire()
    wire.lose = loses(1)
    provider = attrs.evolve(ARK, lists=None)
    async with client(wire, provider=provider, retry=RetryPolicy(resubmit="always")) as c:
        wire.fault = first(999, lambda: refusal(503, "ServiceUnavailable"), method="GET")
        (handle,) = await c.submit_many([BOAT])
        await anyio.sleep(5)
        assert not await handle.cancel()
        assert isinstance((await handle.outcome()).error, SubmissionUncertainError)
    assert len(wire.sent("POST")) == 1


async def test_an_attempt_in_doubt_is_no_unsent_row_of_the_journal(tmp_path):
    """The next client, which may send nothing again in doubt, does not."""
    wire = Wire(concurrency=1, render_seconds=500.0)
    path = tmp_path / "shoot.db"
    wire.lose = loses(1)
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
async def test_attempts_left_in_doubt_are_in_the_books_of_later_processes(tmp_path, wait):
    """What may be billed counts against the limit of the next client, beside what runs or ended."""
    wire = Wire(render_seconds=500.0)
    wire.lose = loses(1)
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
    """A list that says that there is a task, and does not show it, is no proof of absence."""
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
