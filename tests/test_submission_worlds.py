"""What a provider, a gateway and a caller can do to a create, and its cost; in virtual time."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx
import pytest

from callsheet import (
    Client,
    Limits,
    NotSubmittedError,
    RetryPolicy,
    SubmissionUncertainError,
    TaskHandle,
    TaskSpec,
)
from callsheet.emulator import Fault
from callsheet.events import TaskSettled
from disks import slow_disk
from emulation import COMET, Wire, client, is_list, refusal


if TYPE_CHECKING:
    from collections.abc import Callable


HOOK = "http://127.0.0.1:9/hook?token={token}"
BOAT = TaskSpec("boat", callback_url=HOOK)

ALWAYS = RetryPolicy(resubmit="always", lookup=20.0)
BY_HAND = {"provider": COMET, "api_key": "k", "retry": ALWAYS}
"""A provider without a list, and a caller who would rather pay twice than not at all."""

DAYS = 86_400.0


class World(Wire):
    """An emulator whose creates end as they are told to, and whose callbacks the test sends.

    The ends, one for each create, the rest pass: ``passes``, ``lost`` (the task is made and the
    answer lost), ``dropped`` (nothing is made, and the answer is lost), ``busy`` (refused, and
    nothing is made), ``made and busy`` and ``made and rejected`` (refused by a gateway after the
    task was made), ``held`` (the answer comes when `answer` is set), and with ``twice`` before it
    the gateway repeats the create.
    """

    def __init__(self, *ends: str, **settings: object) -> None:
        super().__init__(**{"concurrency": 9, "render_seconds": 100.0} | settings)
        self.ends = list(ends)
        self.answer = anyio.Event()
        self.lists_fail = False

    async def _ask(self, request: httpx.Request) -> httpx.Response:
        if request.method != "POST":
            failing = self.lists_fail and is_list(request)
            return httpx.Response(503) if failing else await super()._ask(request)
        end = self.ends.pop(0) if self.ends else "passes"
        if end == "busy":
            return refusal(429, "RequestBurstTooFast")
        if end == "dropped":
            raise httpx.ReadError("reset")
        if end.startswith("twice"):
            await super()._ask(request)
        answer = await super()._ask(request)
        if "held" in end:
            await self.answer.wait()
        if "lost" in end:
            raise httpx.ReadError("reset")
        if "busy" in end:
            return refusal(429, "RequestBurstTooFast")
        return refusal(400, "InputTextSensitiveContentDetected") if "rejected" in end else answer

    @property
    def billable(self) -> int:
        """Tasks that are billed, or may be billed later."""
        open_ones = {"succeeded", "queued", "running"}
        return sum(task.status in open_ones for task in self.emulator.ledger.tasks)

    @property
    def tokens(self) -> list[str]:
        """The token of each create that was sent."""
        urls = [json.loads(request.content)["callback_url"] for request in self.sent("POST")]
        return [parse_qs(urlsplit(url).query)["token"][0] for url in urls]

    def ids(self, create: int) -> list[str]:
        """The ids of the tasks that a create has made; creates are counted from 0."""
        tasks, token = self.emulator.ledger.tasks, self.tokens[create]
        return [task.id for task in tasks if token in task.order.callback_url]

    def call(self, c: Client, create: int, *, which: int = 0) -> bool:
        """Send a callback for a task of a create; return whether the client knows it."""
        body = json.dumps({"id": self.ids(create)[which], "status": "running"})
        return c.take_callback(body.encode(), token=self.tokens[create])

    async def creates(self, count: int) -> None:
        """Wait until so many creates have reached the provider, and a little longer."""
        await until(lambda: len(self.sent("POST")) >= count)
        await anyio.sleep(0.5)


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, for two hours at most."""
    for _ in range(72_000):
        if holds():
            return
        await anyio.sleep(0.1)
    pytest.fail("it never held")


def money(c: Client) -> tuple[int, int, int]:
    """How many tasks are spent, reserved and uncertain."""
    return (c.spend.spent.tasks, c.spend.reserved.tasks, c.spend.uncertain.tasks)


async def resumed_money(world: World, **options: object) -> tuple[int, int, int]:
    """What the next client counts after all tasks have ended."""
    async with client(world, **options) as c:
        await (await c.resume()).result()
        await all_spent(c)
        assert c.spend.committed.unmeasured == 0
        assert c.spend.committed.tokens >= world.emulator.ledger.tokens
        return money(c)


async def all_spent(c: Client) -> None:
    """Wait until no task is reserved any longer."""
    await until(lambda: not c.spend.reserved.tasks)


# D1
@pytest.mark.parametrize("second", ["held", "held and lost", "held and made and rejected"])
async def test_a_callback_for_an_earlier_create_counts_while_another_is_in_flight(tmp_path, second):
    """The told task is the caller's, and the one that is in flight is counted to its own end."""
    world = World("lost", second)
    kept = {**BY_HAND, "journal": tmp_path / "shoot.db"}
    async with client(world, **kept) as c:
        handle = await submit(c)
        await world.creates(2)
        assert world.call(c, 0)
        assert handle.task_id == world.ids(0)[0]
        assert c.spend.committed.tasks == world.billable == 2
        world.answer.set()
        assert (await handle).task_id == world.ids(0)[0]
        rejected = second.endswith("rejected")
        await all_spent(c)
        lost = second == "held and lost"
        assert money(c) == ((1, 0, 0) if rejected else (2 - lost, 0, int(lost)))
        if lost:
            assert world.call(c, 1)
            await all_spent(c)
            assert money(c) == (2, 0, 0)
    assert len(world.sent("POST")) == 2
    if not rejected:  # nobody was told of the task of the rejected create
        assert await resumed_money(world, **kept) == (2, 0, 0)


async def submit(c: Client, *specs: TaskSpec) -> TaskHandle:
    """Hand specs over without waiting for an id; return the handle of the first."""
    return (await c.submit_many(list(specs) or [BOAT]))[0]


# D2
async def test_an_id_that_is_told_between_two_tries_is_used(tmp_path):
    """A create that a gateway refuses after its task was made is not sent again."""
    world = World("made and busy")
    async with client(world, journal=tmp_path / "shoot.db") as c:
        handle = await submit(c)
        await world.creates(1)
        assert world.call(c, 0)
        assert (await handle).task_id == world.ids(0)[0]
        assert money(c) == (1, 0, 0)
    assert len(world.sent("POST")) == world.emulator.ledger.billed == 1
    assert await resumed_money(world, journal=tmp_path / "shoot.db") == (1, 0, 0)


async def test_the_answer_to_a_second_try_does_not_hide_the_task_of_the_first():
    """If a callback tells of the first try during the second, both tasks are counted."""
    world = World("made and busy", "held")
    async with client(world) as c:
        handle = await submit(c)
        await world.creates(2)
        assert world.call(c, 0)
        world.answer.set()
        assert (await handle).task_id == world.ids(0)[0]
        await all_spent(c)
        assert money(c) == (2, 0, 0)
    assert world.emulator.ledger.billed == 2


# D3
async def test_an_id_that_is_told_before_a_refusal_is_used(tmp_path):
    """A callback outweighs the refusal of a gateway: the task exists, and is watched."""
    world = World("held and made and rejected")
    async with client(world, journal=tmp_path / "shoot.db") as c:
        handle = await submit(c)
        await world.creates(1)
        assert world.call(c, 0)
        world.answer.set()
        assert (await handle).task_id == world.ids(0)[0]
        assert money(c) == (1, 0, 0)
    assert len(world.sent("POST")) == 1
    assert await resumed_money(world, journal=tmp_path / "shoot.db") == (1, 0, 0)


# D4
async def test_a_task_that_is_told_after_the_end_of_its_spec_is_counted(tmp_path):
    """A late callback of an uncertain spec is taken, and the next client delivers the video."""
    world = World("lost")
    careful = {"provider": COMET, "api_key": "k", "journal": tmp_path / "shoot.db"}
    async with client(world, retry=RetryPolicy(lookup=20.0), **careful) as c:
        handle = await submit(c)
        assert isinstance((await handle.outcome()).error, SubmissionUncertainError)
        assert money(c) == (0, 0, 1)
        assert world.call(c, 0)
        await all_spent(c)
        assert money(c) == (1, 0, 0)
    async with client(world, **careful) as c:
        (outcome,) = await (await c.resume()).result()
        assert outcome.task_id == world.ids(0)[0]
        assert outcome.ok
        assert money(c) == (1, 0, 0)
    assert len(world.sent("POST")) == 1


@pytest.mark.parametrize("process", ["same", "next"])
@pytest.mark.parametrize("attempts", [1, 2])
async def test_a_task_that_was_called_absent_is_counted_when_it_is_told(
    tmp_path, attempts, process
):
    """A create that arrives after its window was proven to have made nothing, and is billed."""
    late = Fault(request="late", delay=400.0, times=1)
    world = World(faults=(late,))
    kept = {"journal": tmp_path / "shoot.db"}
    kept["retry"] = RetryPolicy(attempts=attempts, lookup=20.0)
    async with client(world, **kept) as c:
        error = (await (await submit(c)).outcome()).error
        assert isinstance(error, NotSubmittedError) == (attempts == 1)
        await until(lambda: world.emulator.ledger.created == attempts)
        if process == "same":
            assert world.call(c, 0)
            await all_spent(c)
            assert money(c) == (attempts, 0, 0)
    async with client(world, **kept) as c:
        await c.resume()
        assert world.call(c, 0)
        await all_spent(c)
        assert money(c) == (attempts, 0, 0)
    assert await resumed_money(world, **kept) == (attempts, 0, 0)
    assert len(world.sent("POST")) == attempts


# D5
async def test_a_doubted_create_is_settled_by_a_later_callback(tmp_path):
    """Under ``"always"`` the first task is counted as soon as it is told, and only once."""
    world = World("lost", render_seconds=300.0)
    kept = {**BY_HAND, "journal": tmp_path / "shoot.db"}
    async with client(world, **kept) as c:
        handle = await submit(c)
        await world.creates(2)
        assert (await handle).task_id == world.ids(1)[0]
        assert money(c) == (1, 0, 1)
        assert world.call(c, 0)
        await all_spent(c)
        assert money(c) == (2, 0, 0)
        assert c.spend.spent.tokens >= world.emulator.ledger.tokens
    assert await resumed_money(world, **kept) == (2, 0, 0)


async def test_a_doubted_create_is_settled_by_a_later_look(tmp_path):
    """A look for the second create also finds the task of the first one, which was given up."""
    world = World("lost", "lost", render_seconds=9000.0)
    world.lists_fail = True
    kept = {"retry": ALWAYS, "journal": tmp_path / "shoot.db"}
    async with client(world, **kept) as c:
        handle = await submit(c)
        await world.creates(2)
        assert money(c) == (0, 0, 2)
        world.lists_fail = False
        await until(lambda: not c.spend.uncertain.tasks)
        assert c.spend.committed.tasks == 2
        assert (await handle).task_id in {*world.ids(0), *world.ids(1)}
        await all_spent(c)
        assert money(c) == (2, 0, 0)
    assert len(world.sent("POST")) == 2
    assert await resumed_money(world, **kept) == (2, 0, 0)


@pytest.mark.parametrize("accepted", [False, True])
async def test_a_doubted_create_is_looked_for_by_the_next_client(tmp_path, accepted):
    """What one client could not know the next one finds, although the spec has its end."""
    world = World("lost", "passes" if accepted else "busy", render_seconds=100.0)
    world.lists_fail = True
    path = tmp_path / "shoot.db"
    async with client(world, retry=ALWAYS, journal=path) as c:
        await submit(c)
        await world.creates(2)
        await anyio.sleep(200 if accepted else 0.1)
    world.lists_fail = False
    async with client(world, journal=path) as c:
        # What the spec may cost is known in each process.
        before = c.spend
        batch = await c.resume()
        assert c.spend.committed.tokens > before.committed.tokens
        (outcome,) = await batch.result()
        assert outcome.ok
        await until(lambda: not c.spend.reserved.tasks and not c.spend.uncertain.tasks)
        assert money(c) == (1 + accepted, 0, 0)
    assert world.emulator.ledger.billed == 1 + accepted


async def test_a_doubt_costs_as_much_in_a_later_process_as_in_its_own(tmp_path):
    """Tokens of an uncertain create are counted in full after a resume, also beside a video."""
    world = World("lost")
    kept = {**BY_HAND, "journal": tmp_path / "shoot.db"}
    async with client(world, **kept) as c:
        assert (await (await submit(c))).url
        before = c.spend
    assert before.uncertain.tokens > 0
    async with client(world, **kept) as c:
        assert (await (await c.resume()).result())[0].ok
        assert (c.spend.uncertain, c.spend.spent) == (before.uncertain, before.spent)


# D6
@pytest.mark.parametrize("second", ["noted", "refused"])
async def test_no_money_is_kept_twice_for_one_doubt(tmp_path, monkeypatch, second):
    """A second create that never left, or was refused, costs nothing beside the doubted one."""
    world = World("lost")
    kept = {**BY_HAND, "journal": tmp_path / "shoot.db"}
    slow_from = 10.0 if second == "noted" else float("inf")
    start = anyio.current_time()
    slow_disk(monkeypatch, lambda: 60.0 if anyio.current_time() - start > slow_from else 0.0)
    if second == "refused":
        world.ends.append("busy")
    async with client(world, **kept) as c:
        handle = await submit(c)
        if second == "refused":
            await world.creates(2)
        else:
            await anyio.sleep(40)
        assert c.spend.committed.tasks == 2
        assert not await handle.cancel()
        assert c.spend.committed.tasks == 1
    assert await resumed_money(world, **kept | {"retry": RetryPolicy(lookup=20.0)}) == (0, 0, 1)


# D7, D8
async def test_a_doubt_of_an_earlier_process_keeps_a_spec_from_being_sent_again(
    tmp_path, monkeypatch
):
    """That the last create made nothing is no ground to send again beside one in doubt."""
    world = World("dropped", "dropped", "dropped")
    now = time.time
    kept = {"journal": tmp_path / "shoot.db"}
    with monkeypatch.context() as earlier:
        earlier.setattr("time.time", lambda: now() - 10 * DAYS)
        async with client(world, **kept) as c:
            await submit(c)
            await world.creates(1)
    async with client(world, retry=ALWAYS, **kept) as c:
        await c.resume()  # too old for the list, so nobody can tell, and it is sent again
        await world.creates(2)
    async with client(world, retry=RetryPolicy(lookup=20.0), **kept) as c:
        (outcome,) = await (await c.resume()).result()
        assert isinstance(outcome.error, SubmissionUncertainError)
        assert outcome.error.token == world.tokens[0]
        assert money(c) == (0, 0, 1)
    assert len(world.sent("POST")) == 2


async def test_the_error_of_a_resumed_doubt_names_the_create_in_doubt(tmp_path):
    """Its token finds the task, whereas that of the refused create after it is on no task."""
    world = World("lost", *["busy"] * 9)
    kept = {**BY_HAND, "journal": tmp_path / "shoot.db"}
    async with client(world, **kept) as c:
        await submit(c)
        await world.creates(2)
    async with client(world, **kept | {"retry": RetryPolicy(lookup=20.0)}) as c:
        (outcome,) = await (await c.resume()).result()
        assert isinstance(outcome.error, SubmissionUncertainError)
        assert outcome.error.token == world.tokens[0] != world.tokens[1]


# D9
async def test_cancelling_a_doubted_spec_in_line_ends_it_at_once():
    """It does not wait for a turn, which may come hours later, to learn that it is not wanted."""
    world = World("lost", render_seconds=50_000.0)
    async with client(world, limits=Limits(unfinished=1), **BY_HAND) as c:
        handle = await submit(c)
        await world.creates(1)
        await c.submit(TaskSpec("another"))
        await anyio.sleep(60)
        assert not handle.done
        before = anyio.current_time()
        assert not await handle.cancel()
        assert anyio.current_time() - before < 1
        error = (await handle.outcome()).error
        assert isinstance(error, SubmissionUncertainError)
        assert error.token in json.loads(world.sent("POST")[0].content)["callback_url"]
        assert money(c) == (0, 1, 1)
    assert len(world.sent("POST")) == 2


# D10
async def test_attempts_are_counted_over_processes(tmp_path):
    """A spec whose creates are all lost is not sent again and again by each new client."""
    world = World("dropped", "dropped", "dropped")
    kept = {"journal": tmp_path / "shoot.db", "retry": RetryPolicy(attempts=2, lookup=20.0)}
    async with client(world, **kept) as c:
        await submit(c)
        await world.creates(2)
    async with client(world, **kept) as c:
        (outcome,) = await (await c.resume()).result()
        assert isinstance(outcome.error, NotSubmittedError)
        assert money(c) == (0, 0, 0)
    assert len(world.sent("POST")) == 2


# D11
@pytest.mark.parametrize("first", ["pending", "ended", "resumed", "bare"])
async def test_one_id_for_two_creates_gives_nobody_the_video_of_another(tmp_path, first):
    """The second task is found by its token, also when the first one has ended already."""
    world = World()
    kept = {"journal": tmp_path / "shoot.db"}

    def same(request: httpx.Request, _: httpx.Response) -> httpx.Response | None:
        answer = {"id": world.emulator.ledger.tasks[0].id}
        return httpx.Response(200, json=answer) if request.method == "POST" else None

    world.change = same
    if first == "resumed":
        async with client(world, **kept) as c:
            await (await submit(c, TaskSpec("one")))
    async with client(world, **kept) as c:
        if first == "bare":
            await c.tasks.create(TaskSpec("one"))
        elif first == "resumed":
            await c.resume()
        else:
            one = await submit(c, TaskSpec("one"))
            await world.creates(1)
            if first == "ended":
                assert (await one).url
        two = await submit(c, TaskSpec("two"))
        assert (await two).task_id == world.emulator.ledger.tasks[1].id
        if first != "bare":  # nobody watches that one
            await all_spent(c)
            assert money(c) == (2, 0, 0)
    assert len(world.sent("POST")) == 2


async def test_one_id_for_two_creates_of_one_spec_is_one_task():
    """A gateway that answers a second create with the first task leaves the second in doubt."""
    world = World("lost")

    def same(request: httpx.Request, _: httpx.Response) -> httpx.Response | None:
        answer = {"id": world.emulator.ledger.tasks[0].id}
        return httpx.Response(200, json=answer) if request.method == "POST" else None

    world.change = same
    world.ends.append("held")
    async with client(world, **BY_HAND) as c:
        handle = await submit(c)
        await world.creates(2)
        assert world.call(c, 0)
        world.answer.set()
        assert (await handle).task_id == world.ids(0)[0]
        await all_spent(c)
        assert money(c) == (1, 0, 1)
        assert world.call(c, 1)
        await all_spent(c)
        assert money(c) == (2, 0, 0)


# D14
@pytest.mark.parametrize("shown", ["list", "callbacks", "answer and callback"])
async def test_two_tasks_with_one_token_are_both_counted(tmp_path, shown):
    """A gateway that repeats a create makes a second task, and it is billed, too."""
    kept = {"journal": tmp_path / "shoot.db"}
    world = World("twice lost" if shown == "list" else "twice held")
    async with client(world, **kept) as c:
        handle = await submit(c)
        await world.creates(1)
        match shown:
            case "callbacks":
                assert world.call(c, 0)
                assert world.call(c, 0, which=1)
            case "answer and callback":
                assert world.call(c, 0)
        world.answer.set()
        assert (await handle).url
        await all_spent(c)
        assert money(c) == (2, 0, 0)
        assert c.spend.spent.tokens == world.emulator.ledger.tokens
    assert len(world.sent("POST")) == 1
    assert world.emulator.ledger.billed == 2
    assert await resumed_money(world, **kept) == (2, 0, 0)


async def test_a_spec_settles_once_however_many_tasks_it_has():
    """The end of a task that nobody waits for is no second outcome of its spec."""
    world, events = World("twice lost"), []
    async with client(world, observer=events.append) as c:
        handle = await submit(c)
        await handle
        await all_spent(c)
        assert money(c) == (2, 0, 0)
    settled = [each.outcome.task_id for each in events if isinstance(each, TaskSettled)]
    assert settled == [handle.task_id]


async def test_an_answer_after_a_look_does_not_lose_its_task():
    """A create whose task is shown by a look while its answer is awaited may bring another task."""
    world = World("dropped", "twice held")

    def hide(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if not is_list(request) or world.answer.is_set():
            return None
        page = json.loads(b"".join(response.stream._body))
        page["items"] = page["items"][-1:]  # the second task is not in the list yet
        page["total"] = len(page["items"])
        return httpx.Response(200, json=page)

    world.change = hide
    async with client(world) as c:
        lost = await submit(c, TaskSpec("lost", callback_url=HOOK))
        await world.creates(1)
        handle = await submit(c)
        await world.creates(2)
        await anyio.sleep(20)
        world.answer.set()
        assert (await handle).url
        await anyio.sleep(400)
        assert world.billable == 3
        assert (await lost).url
        await all_spent(c)
        assert c.spend.committed.tasks == 3


async def test_a_second_task_that_is_told_after_the_answer_is_counted():
    """A gateway repeats a create, one id is answered, and a callback brings the other one."""
    world = World("twice")
    async with client(world) as c:
        handle = await submit(c)
        await world.creates(1)
        assert world.call(c, 0)  # the answer brought the second task; this is the first
        await handle
        await all_spent(c)
        assert money(c) == (2, 0, 0)


async def test_a_task_that_is_told_after_a_final_refusal_is_counted():
    """A gateway refuses a create whose task exists, and the callback comes after the refusal."""
    world = World("made and rejected")
    async with client(world) as c:
        handle = await submit(c)
        await handle.outcome()
        assert world.call(c, 0)
        await all_spent(c)
        assert money(c) == (1, 0, 0)
