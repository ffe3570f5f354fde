"""The submitter alone: in order, within the quota, each at most once."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from callsheet import RetryPolicy, TaskSpec
from callsheet._core.admission import Admission
from callsheet._core.budget import Budget
from callsheet._core.gate import Gate
from callsheet._core.groups import Group
from callsheet._core.ledger import Ledger
from callsheet._core.lookups import Lookups
from callsheet._core.planner import Lists, Planner
from callsheet._core.record import Record
from callsheet._core.registry import Registry
from callsheet._core.schedule import Schedule
from callsheet._io.books import Books
from callsheet._io.calls import Calls
from callsheet._io.clock import Clock
from callsheet._io.door import Door
from callsheet._io.finder import Finder
from callsheet._io.submitter import Submitter
from callsheet._io.transport import Transport
from callsheet._wire import dialect_of
from callsheet.errors import (
    AuthenticationError,
    ConnectFailedError,
    NotSubmittedError,
    SubmissionUncertainError,
)
from callsheet.events import GateOpened, GateShut
from emulation import ARK, prompt_of, refusal


if TYPE_CHECKING:
    from collections.abc import Callable


class Desk(httpx.AsyncBaseTransport):
    """Takes creates, and answers with an id unless it is told otherwise."""

    def __init__(
        self, fault: Callable[[int], httpx.Response | None], seconds: Callable[[int], float]
    ) -> None:
        self.fault, self.seconds = fault, seconds
        self.prompts: list[str] = []
        self.times: list[float] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.prompts.append(prompt_of(request))
        self.times.append(anyio.current_time())
        number = len(self.times)
        await anyio.sleep(self.seconds(number))
        return self.fault(number) or httpx.Response(200, json={"id": f"cgt-{number}"})


class Stage:
    """A submitter with everything around it that it needs."""

    def __init__(
        self,
        fault: Callable[[int], httpx.Response | None] = lambda _: None,
        *,
        seconds: float | Callable[[int], float] = 0.1,
        width: int = 4,
        per_minute: float = 6000,
        policy: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
    ) -> None:
        self.desk = Desk(fault, seconds if callable(seconds) else lambda _: seconds)
        self.created: list[Record] = []
        self.ended: list[Record] = []
        self.events: list[object] = []
        self.registry = Registry()
        wire = Transport(base_url="http://a.test", api_key="k", connections=width, custom=self.desk)
        gate = Gate(width=width, rng=random.Random(1))
        budget = Budget(limit=per_minute, period=60.0)
        calls, clock = Calls(wire, dialect_of("ark"), ARK, 60.0), Clock()
        books = Books(ledger=Ledger())
        planner = Planner(
            schedule=Schedule(delay=5.0, prior=lambda _: (60.0, 0.3)),
            gate=gate,
            gets=Budget(limit=20),
            lists=Budget(limit=1),
            support=Lists.NO,
            id_cost=len,
        )
        self.submitter = Submitter(
            door=Door(
                calls=calls,
                admission=Admission(budget=budget, gate=gate, width=width),
                registry=self.registry,
                books=books,
                clock=clock,
                policy=policy,
                created=self.created.append,
                emit=self.events.append,
                rng=random.Random(1),
            ),
            finder=Finder(
                calls=calls,
                lookups=Lookups(300.0),
                lists=planner.lists,
                planner=planner,
                registry=self.registry,
                clock=clock,
            ),
            books=books,
            policy=policy,
            width=width,
            found=lambda record, _: self.created.append(record),
            ended=self.ended.append,
            emit=self.events.append,
        )

    async def put(self, records: list[Record], *, seconds: float = 10_000.0) -> None:
        """Submit records and give the submitter some time."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.submitter.run)
            self.submitter.put(records)
            await anyio.sleep(seconds)
            group.cancel_scope.cancel()


def records(count: int, group: Group | None = None) -> list[Record]:
    """Records of that many specs."""
    if group is not None:
        group.total += count
    return [Record(TaskSpec(f"boat {i}"), index=i, model="m", group=group) for i in range(count)]


async def test_records_become_tasks_in_order():
    """Creates leave in the order of the records, and each id is in the registry."""
    stage = Stage()
    every = records(50)
    await stage.put(every)
    assert stage.desk.prompts == [f"boat {i}" for i in range(50)]
    assert sorted(stage.created, key=lambda record: record.index) == every
    assert len(stage.registry) == 50
    assert not stage.ended


@pytest.mark.parametrize("room", [1, 2, 5])
async def test_what_was_refused_for_room_keeps_its_place(room):
    """Nothing overtakes a record that waits for room, in whatever order refusals come back."""
    taken: list[int] = []

    def full(number: int) -> httpx.Response | None:
        if len(stage.registry) >= room:
            return refusal(429, "QuotaExceeded", "The request has exceeded the quota")
        taken.append(int(stage.desk.prompts[number - 1].removeprefix("boat ")))
        return None

    stage = Stage(full, seconds=lambda number: 0.1 * (7 - number % 8), width=8)
    every = records(20)
    async with anyio.create_task_group() as group:
        group.start_soon(stage.submitter.run)
        stage.submitter.put(every)
        while len(taken) < len(every):
            await anyio.sleep(10)
            stage.registry.forget(next(iter(stage.registry)))
            stage.submitter.room_made()
        group.cancel_scope.cancel()
    assert len(taken) == len(every)
    assert taken[room:] == sorted(taken[room:])


async def test_creates_keep_to_their_quota():
    """No minute holds more creates than the quota allows."""
    stage = Stage(per_minute=60)
    await stage.put(records(200))
    times = stage.desk.times
    assert len(times) == 200
    for i, start in enumerate(times):
        assert sum(start <= at < start + 60 for at in times[i:]) <= 60


async def test_only_one_create_tries_while_nothing_is_proven():
    """The first create of a group is alone until it has brought an id."""
    stage = Stage(seconds=5.0)
    await stage.put(records(9, Group()))
    times = stage.desk.times
    assert times[1] - times[0] >= 5.0
    assert times[4] - times[1] < 1.0


async def test_a_group_that_is_condemned_sends_no_more():
    """After a refused key the rest of the group is not sent, and knows why."""
    stage = Stage(lambda _: refusal(401, "AuthenticationError"))
    group = Group()
    every = records(9, group)
    await stage.put(every)
    assert len(stage.desk.prompts) == 1
    assert isinstance(every[0].error, AuthenticationError)
    assert all(isinstance(record.error, NotSubmittedError) for record in every[1:])
    assert all(record.error.__cause__ is every[0].error for record in every[1:])
    assert group.unfinished == 0


async def test_a_withdrawn_record_is_not_sent():
    """What settles before its turn leaves the queue unsent, also between two attempts."""
    stage = Stage(lambda _: refusal(429, "ServerOverloaded"), seconds=0.0)
    every = records(3)
    async with anyio.create_task_group() as group:
        group.start_soon(stage.submitter.run)
        stage.submitter.put(every)
        await anyio.sleep(30)
        sent = len(stage.desk.prompts)
        for record in every:
            assert stage.submitter.withdrawn(record)
            record.settle(NotSubmittedError("cancelled"))
        await anyio.sleep(1000)
        group.cancel_scope.cancel()
    assert len(stage.desk.prompts) == sent
    assert not stage.submitter.active()


async def test_a_record_whose_create_has_left_cannot_be_withdrawn():
    """While its request is on the way, a record belongs to the provider."""
    stage = Stage(seconds=10.0)
    (record,) = records(1)
    async with anyio.create_task_group() as group:
        group.start_soon(stage.submitter.run)
        assert stage.submitter.withdrawn(record)
        stage.submitter.put([record])
        await anyio.sleep(5)
        assert not stage.submitter.withdrawn(record)
        assert stage.submitter.active() == [record]
        await anyio.sleep(6)
        assert record.task_id == "cgt-1"
        assert not stage.submitter.withdrawn(record)
        group.cancel_scope.cancel()


async def test_nothing_connects_and_the_gate_shuts():
    """Failed connections shut the gate, once, and the first success opens it."""

    def refused(number: int) -> httpx.Response | None:
        if number <= 3:
            raise httpx.ConnectError("refused")
        return None

    stage = Stage(refused)
    every = records(8)
    await stage.put(every)
    kinds = [type(e) for e in stage.events if isinstance(e, (GateShut, GateOpened))]
    assert kinds == [GateShut, GateOpened]
    assert all(record.task_id for record in every)


async def test_closing_ends_what_is_not_on_its_way():
    """Closing returns what waits, cuts short what is on its way, and settles the rest."""
    stage = Stage(seconds=1000.0, width=2)
    every = records(6)
    async with anyio.create_task_group() as group:
        group.start_soon(stage.submitter.run)
        stage.submitter.put(every)
        await anyio.sleep(1)
        left = stage.submitter.close()
        group.cancel_scope.cancel()
        started = anyio.current_time()
    assert anyio.current_time() - started == pytest.approx(5.0)
    assert left == every[2:]
    assert all(isinstance(record.error, SubmissionUncertainError) for record in every[:2])


async def test_a_create_that_never_connects_ends_after_its_attempts():
    """A single record uses exactly the attempts of its policy."""

    def refused(_: int) -> httpx.Response | None:
        raise httpx.ConnectError("refused")

    stage = Stage(refused, policy=RetryPolicy(attempts=3))
    (record,) = records(1)
    await stage.put([record])
    assert isinstance(record.error, ConnectFailedError)
    assert len(stage.desk.times) == 3
