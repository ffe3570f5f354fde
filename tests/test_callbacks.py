"""The provider's callbacks cause a poll at once, and their token finds a lost task."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import anyio
import attrs
import httpx
import pytest

from callsheet import ClosedError, Limits, Polling, RetryPolicy, TaskSpec, WebhookError
from callsheet.emulator import Fault
from callsheet.events import DuplicateTask, TaskSettled
from disks import slow_disk
from emulation import ARK, COMET, Wire, client, is_list, refusal


if TYPE_CHECKING:
    from pathlib import Path

    from callsheet import Provider


HOOK = "http://127.0.0.1:9/hook?token={token}"


class Hook:
    """A web service that passes every callback to its client."""

    def __init__(self, **settings: object) -> None:
        self.client = self.spend = None
        self.taken: list[bool] = []
        self.deaf_until = 0.0
        self.wire = Wire(post=self.post, **settings)

    async def post(self, url: str, body: bytes) -> int:
        """Receive one callback."""
        (token,) = parse_qs(urlsplit(url).query).get("token", [None])
        if self.client is not None and anyio.current_time() >= self.deaf_until:
            self.taken.append(self.client.take_callback(body, token=token))
        return 204

    async def run(self, specs: list[TaskSpec], **options: object):
        """Submit specs and wait until they have ended."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.wire.emulator.send_callbacks)
            async with client(self.wire, **options) as self.client:
                result = await (await self.client.submit_many(specs)).result()
                self.spend = self.client.spend
            self.client = None
            group.cancel_scope.cancel()
        return result


@pytest.mark.parametrize("settings", [{}, {"callbacks_doubled": 1.0}, {"callbacks_held": 0.5}])
async def test_callbacks_make_ends_known_at_once(settings):
    """Even with a delay of ten minutes, every end is known as soon as its callback arrives."""
    hook = Hook(concurrency=10, render_seconds=60.0, **settings)
    specs = [TaskSpec(f"boat {i}", callback_url=HOOK) for i in range(10)]
    started = anyio.current_time()
    result = await hook.run(specs, polling=Polling(delay=600))
    assert len(result.urls()) == 10
    assert anyio.current_time() - started < 300
    assert any(hook.taken)
    assert hook.wire.emulator.ledger.billed == 10


@pytest.mark.parametrize("provider", [ARK, COMET])
async def test_a_callback_gives_the_id_of_a_lost_create(provider):
    """A create whose answer was lost gets its id by the token in the callback URL."""
    hook = Hook()
    hook.wire.lose = lambda r: httpx.ReadError("reset") if r.method == "POST" else None
    (outcome,) = await hook.run(
        [TaskSpec("boat", callback_url=HOOK)], provider=provider, api_key="k"
    )
    assert outcome.ok
    assert anyio.current_time() < 250
    assert len(hook.wire.sent("POST")) == 1
    body = json.loads(hook.wire.sent("POST")[0].content)
    assert "{token}" not in body["callback_url"]
    assert ("safety_identifier" in body) == (provider is ARK)


async def test_a_callback_during_a_create_is_remembered():
    """A callback that comes before its create times out gives the id after the timeout."""
    hook = Hook(render_seconds=500.0)

    async def silence(request: httpx.Request) -> httpx.Response | None:
        if request.method == "POST":
            await hook.wire._asgi.handle_async_request(request)
            await anyio.sleep_forever()
        return None

    hook.wire.fault = silence
    spec = TaskSpec("boat", callback_url=HOOK)
    retry = RetryPolicy(timeout=20)
    (outcome,) = await hook.run([spec], provider=COMET, api_key="k", retry=retry)
    assert outcome.ok
    assert len(hook.wire.sent("POST")) == 1


@pytest.mark.parametrize(("provider", "extra"), [(COMET, None), (ARK, {"safety_identifier": None})])
async def test_without_a_callback_a_lost_create_stays_uncertain(provider, extra):
    """If only the callback URL has the token, the wait ends with the window for lost creates."""
    wire = Wire()
    spec = TaskSpec("boat", callback_url=HOOK, extra=extra)
    async with client(wire, provider=provider, api_key="k") as c:
        await c.submit(TaskSpec("another"))
        wire.lose = lambda r: httpx.ReadError("reset") if r.method == "POST" else None
        (outcome,) = await (await c.submit_many([spec])).result()
    assert outcome.error.token
    assert 300 <= anyio.current_time() < 400
    assert wire.prompts == ["another", "boat"]


async def test_invalid_callbacks_change_nothing():
    """A body without a task is an error, an unknown task gives false, and no task is settled."""
    wire = Wire()
    async with client(wire) as c:
        handle = await c.submit(TaskSpec("boat"))
        for body in (b"", b"<html>", b"[]", b'{"status": "succeeded"}', b"\xff"):
            with pytest.raises(WebhookError):
                c.take_callback(body)
        assert not c.take_callback(b'{"id": "cgt-of-another", "status": "succeeded"}')
        lie = json.dumps({"id": handle.task_id, "status": "failed", "error": {"code": "x"}})
        assert c.take_callback(lie.encode(), token="callsheet-made-up")
        assert (await handle).url
    with pytest.raises(ClosedError):
        c.take_callback(lie.encode())


async def assert_settled_by_callback(hook: Hook, spec: TaskSpec, **options: object) -> None:
    """Check that a later callback finds the task of a create whose answer was lost."""
    hook.deaf_until = 5.0
    hook.wire.lose = lambda r: httpx.ReadError("reset") if r.method == "POST" else None
    (outcome,) = await hook.run([spec], api_key="k", **options)
    assert outcome.ok
    assert len(hook.wire.sent("POST")) == 1


@pytest.mark.parametrize("mark", ["user-1", None])
async def test_a_callback_settles_a_spec_with_its_own_identifier(mark):
    """The token in the URL is certain, whereas the list only gives candidates."""
    own = {"safety_identifier": mark}
    await assert_settled_by_callback(
        Hook(render_seconds=100.0), TaskSpec("boat", callback_url=HOOK, extra=own)
    )


async def test_a_callback_settles_a_spec_of_a_provider_without_lists():
    """If the provider turns out to have no lists, the client still waits for the callback."""
    hook = Hook(concurrency=1, render_seconds=100.0)

    async def without_lists(request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(404) if is_list(request) else None

    hook.wire.fault = without_lists
    await assert_settled_by_callback(
        hook, TaskSpec("boat", callback_url=HOOK), provider=attrs.evolve(ARK, lists=None)
    )


async def test_a_callback_before_the_client_closes_is_remembered():
    """A create that is interrupted on leaving has the id from its callback."""
    hook = Hook(render_seconds=500.0)

    async def silence(request: httpx.Request) -> httpx.Response | None:
        if request.method == "POST":
            await hook.wire._asgi.handle_async_request(request)
            await anyio.sleep_forever()
        return None

    hook.wire.fault = silence
    async with anyio.create_task_group() as group:
        group.start_soon(hook.wire.emulator.send_callbacks)
        async with client(hook.wire) as hook.client:
            batch = await hook.client.submit_many([TaskSpec("boat", callback_url=HOOK)])
            await anyio.sleep(10)
            assert hook.taken
            assert batch[0].task_id is None
        hook.client = None
        group.cancel_scope.cancel()
    assert batch[0].task_id == hook.wire.emulator.ledger.tasks[0].id


@pytest.mark.parametrize("why", ["quota", "line", "refused", "full", "journal"])
@pytest.mark.parametrize("provider", [ARK, COMET])
async def test_a_callback_counts_until_the_create_is_sent_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, provider: Provider, why: str
):
    """A lost task that appears while its next create waits is not paid twice."""
    late = Fault(verbs=("create",), request="late", delay=330.0, answer="reset", times=1)
    hook = Hook(concurrency=20, faults=(late,))
    refusals = {"refused": refusal(429, "RateLimit"), "full": refusal(429, "QuotaExceeded")}

    async def no_more(request: httpx.Request) -> httpx.Response | None:
        again = request.method == "POST" and 1 < anyio.current_time() < 400
        return refusals.get(why) if again else None

    slow_disk(monkeypatch, lambda: 100.0 if why == "journal" and anyio.current_time() > 1 else 0.0)
    hook.wire.fault = no_more
    kept = {"provider": provider, "api_key": "k", "journal": tmp_path / "shoot.db"}
    count, seldom = (6 if why == "line" else 1), why in {"quota", "line"}
    result = await hook.run(
        [TaskSpec(f"boat {i}", callback_url=HOOK) for i in range(count)],
        limits=Limits(creates_per_minute=60 / 400 if seldom else 600, connections=1),
        retry=RetryPolicy(resubmit="always" if provider is COMET else "if-absent"),
        **kept,
    )
    assert len(result.urls()) == hook.wire.emulator.ledger.created == count
    assert (hook.spend.spent.tasks, hook.spend.committed.tasks) == (count, count)
    async with client(hook.wire, **kept) as c:
        assert len((await (await c.resume()).result()).urls()) == count
        # The journal knows that the attempt after the doubted one made nothing.
        assert (c.spend.spent.tasks, c.spend.committed.tasks) == (count, count)


async def call_back_for_first_create(
    wire: Wire, *, at: float, **options: object
) -> list[tuple[int, int]]:
    """Send a callback for the first of several lost creates, *at* seconds after the start.

    Returns the numbers of paid and of uncertain tasks, now and after a `resume()`.
    """
    wire.lose = lambda r: httpx.ReadError("reset") if r.method == "POST" else None
    bookkeeping = []
    async with client(wire, api_key="k", **options) as c:
        batch = await c.submit_many([TaskSpec("boat", callback_url=HOOK)])
        await anyio.sleep(at)
        url = json.loads(wire.sent("POST")[0].content)["callback_url"]
        (task_id,) = (t.id for t in wire.emulator.ledger.tasks if t.order.callback_url == url)
        body = json.dumps({"id": task_id, "status": "running"}).encode()
        assert c.take_callback(body, token=parse_qs(urlsplit(url).query)["token"][0])
        assert (await batch[0]).task_id == task_id
        bookkeeping.append((c.spend.spent.tasks, c.spend.uncertain.tasks))
    async with client(wire, api_key="k", **options) as c:
        assert (await (await c.resume()).result())[0].video.task_id == task_id
        bookkeeping.append((c.spend.spent.tasks, c.spend.uncertain.tasks))
    return bookkeeping


async def test_a_callback_for_an_earlier_attempt_counts_during_a_later_look_up(tmp_path):
    """The task is known, nothing more is sent, and the later attempt stays uncertain."""
    late = Fault(verbs=("create",), request="late", delay=330.0, answer="reset", times=2)
    wire = Wire(render_seconds=100.0, concurrency=2, faults=(late,))
    bookkeeping = await call_back_for_first_create(wire, at=340.0, journal=tmp_path / "shoot.db")
    assert bookkeeping == [(1, 1)] * 2
    assert len(wire.sent("POST")) == 2


async def test_with_resubmit_always_a_callback_makes_its_attempt_certain(tmp_path):
    """Only the later attempt stays uncertain, and no third create is sent."""
    wire = Wire(render_seconds=100.0, concurrency=2)
    always = {"provider": COMET, "retry": RetryPolicy(resubmit="always")}
    bookkeeping = await call_back_for_first_create(
        wire, at=350.0, journal=tmp_path / "shoot.db", **always
    )
    assert bookkeeping == [(1, 1)] * 2
    assert len(wire.sent("POST")) == wire.emulator.ledger.created == 2


async def test_a_task_too_many_is_told_and_counted():
    """The caller learns its id once; the spec has one outcome, and both tasks are spent."""
    wire = Wire(render_seconds=100.0)
    events: list[object] = []
    always = RetryPolicy(resubmit="always")

    def lose_the_first(request: httpx.Request) -> Exception | None:
        lost = request.method == "POST" and len(wire.sent("POST")) == 1
        return httpx.ReadError("reset") if lost else None

    wire.lose = lose_the_first
    async with client(wire, provider=COMET, api_key="k", retry=always, observer=events.append) as c:
        batch = await c.submit_many([TaskSpec("boat", callback_url=HOOK)])
        await batch.submitted()
        (outcome,) = await batch.result()
        lost, watched = wire.emulator.ledger.tasks
        assert outcome.video.task_id == watched.id
        token = parse_qs(urlsplit(lost.order.callback_url).query)["token"][0]
        for _ in range(2):
            body = json.dumps({"id": lost.id, "status": "running"}).encode()
            assert c.take_callback(body, token=token)
        await anyio.sleep(300)
        assert (c.spend.spent.tasks, c.spend.uncertain.tasks) == (2, 0)
    told = [each for each in events if isinstance(each, DuplicateTask)]
    assert told == [DuplicateTask(task_id=lost.id, index=0)]
    assert len([each for each in events if isinstance(each, TaskSettled)]) == 1
    assert wire.emulator.ledger.billed == 2


async def test_a_task_that_a_list_did_not_show_is_counted_when_a_callback_tells_of_it():
    """Its create was proven to have made nothing, and another one has made the spec's task."""
    late = Fault(verbs=("create",), request="late", delay=400.0, answer="reset", times=1)
    wire = Wire(render_seconds=50.0, faults=(late,))
    events: list[object] = []
    async with client(wire, observer=events.append) as c:
        batch = await c.submit_many([TaskSpec("boat", callback_url=HOOK)])
        (outcome,) = await batch.result()
        assert outcome.ok
        assert c.spend.committed.tasks == 1
        await anyio.sleep(500)
        url = json.loads(wire.sent("POST")[0].content)["callback_url"]
        (task_id,) = (t.id for t in wire.emulator.ledger.tasks if t.order.callback_url == url)
        body = json.dumps({"id": task_id, "status": "succeeded"}).encode()
        for _ in range(2):
            assert c.take_callback(body, token=parse_qs(urlsplit(url).query)["token"][0])
        await anyio.sleep(100)
        assert c.spend.spent.tasks == c.spend.committed.tasks == 2
    assert DuplicateTask(task_id=task_id, index=0) in events
    assert wire.emulator.ledger.billed == 2
