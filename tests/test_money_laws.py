"""No video is paid twice, whatever is lost, stopped or resumed; in virtual time."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import attrs
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet import (
    Batch,
    CallsheetError,
    Client,
    NotSubmittedError,
    RetryPolicy,
    SpendLimit,
    SpendLimitError,
    TaskCancelledError,
    TaskFailedError,
    TaskHandle,
    TaskSpec,
)
from callsheet.emulator import Fault
from conftest import BACKENDS, run
from emulation import Wire, client, refusal


if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence


FATES = (
    "passes",
    "passes",
    "lost before",
    "lost after",
    "late",
    "502 before",
    "502 after",
    "rate limit",
    "queue full",
    "refused connection",
    "silence",
)
ANSWERS = {
    "502 before": lambda: httpx.Response(502),
    "rate limit": lambda: refusal(429, "RequestBurstTooFast"),
    "queue full": lambda: refusal(429, "QuotaExceeded", "the task queue is full"),
}

SHOTS = st.lists(st.sampled_from(["", "", "[fail]"]), min_size=1, max_size=5)
STEPS = st.one_of(
    st.tuples(st.just("submit"), SHOTS),
    st.tuples(st.just("wait"), st.sampled_from([0.02, 0.3, 3.0, 100.0, 400.0])),
    st.tuples(st.just("cancel"), st.integers(0, 5)),
)
PAUSES = st.sampled_from([0.0, 30.0, 1000.0])
EXAMPLES = 60


class FaultyWire(Wire):
    """A transport that gives each create the next prepared fault, and later creates none."""

    def __init__(self, fates: list[str], polls_fail: list[bool]) -> None:
        super().__init__(concurrency=2, queue_limit=3, render_seconds=60.0)
        self.fates, self.polls_fail = iter(fates), iter(polls_fail)
        self.after: dict[int, str] = {}
        self.fault, self.change, self.lose = self.before, self.replace_answer, self.lose_answer

    async def before(self, request: httpx.Request) -> httpx.Response | None:
        """The fault of a request before it arrives at the service."""
        if request.method == "GET" and next(self.polls_fail, False):
            return httpx.Response(503)
        fate = next(self.fates, "passes") if request.method == "POST" else "passes"
        self.after[id(request)] = fate
        match fate:
            case "lost before":
                raise httpx.ReadError("reset")
            case "refused connection":
                raise httpx.ConnectError("refused")
            case "silence":
                await anyio.sleep(50)
                raise httpx.ReadTimeout("nothing came")
            case "late":
                late = Fault(times=1, request="late", delay=100.0)
                self.emulator.set_faults(late)
        return ANSWERS[fate]() if fate in ANSWERS else None

    def lose_answer(self, request: httpx.Request) -> Exception | None:
        """The error that replaces an answer which is lost."""
        lost = self.after.pop(id(request), None) == "lost after"
        return httpx.ReadError("reset") if lost else None

    def replace_answer(self, request: httpx.Request, _: httpx.Response) -> httpx.Response | None:
        """The answer of a proxy, which replaces that of the service."""
        return httpx.Response(502) if self.after.get(id(request)) == "502 after" else None

    @property
    def billable(self) -> int:
        """Tasks that are billed, or may be billed later."""
        open_ones = {"succeeded", "queued", "running"}
        return sum(task.status in open_ones for task in self.emulator.ledger.tasks)


@attrs.define
class ClientSeries:
    """Clients that follow each other with one journal, and what they were asked to do."""

    wire: FaultyWire
    journal: Path
    limit: SpendLimit
    made: int = 0

    @asynccontextmanager
    async def working(self) -> AsyncGenerator[tuple[Client, Batch]]:
        """Open a client that resumes the journal of the last one."""
        retry = RetryPolicy(lookup=200.0)
        async with client(self.wire, journal=self.journal, spend=self.limit, retry=retry) as c:
            batch = await c.resume()
            assert [handle.spec.prompt.split()[1] for handle in batch] == [
                str(number) for number in range(self.made)
            ]
            yield c, batch

    async def run_client(self, steps: list[tuple[str, object]]) -> None:
        """Run one client with *steps*, and check what it reports."""
        async with self.working() as (c, batch), anyio.create_task_group() as cancels:
            handles = list(batch)
            for step in steps:
                match step:
                    case "submit", list() as marks:
                        specs = [TaskSpec(f"boat {self.made + i} {m}") for i, m in enumerate(marks)]
                        self.made += len(specs)
                        handles += await c.submit_many(specs)
                    case "wait", float() as seconds:
                        await anyio.sleep(seconds)
                    case "cancel", int() as which:
                        unfinished = [handle for handle in handles if not handle.done]
                        for handle in unfinished[which : which + 1]:
                            cancels.start_soon(self.cancel, handle)
                            await anyio.sleep(0.1)
                self.check_spend(c, handles)
            cancels.cancel_scope.cancel()

    async def cancel(self, handle: TaskHandle) -> None:
        """Cancel one spec, if that is still possible."""
        with contextlib.suppress(CallsheetError):
            await handle.cancel()

    def check_spend(self, c: Client, handles: Sequence[TaskHandle]) -> None:
        """Reserved and uncertain costs belong to unfinished tasks, and the limit is kept."""
        unfinished = sum(not handle.done for handle in handles)
        assert c.spend.reserved.tasks + c.spend.uncertain.tasks <= unfinished
        cap = self.limit.tasks
        assert cap is None or c.spend.committed.tasks <= cap
        assert cap is None or self.wire.billable <= cap

    async def finish(self) -> None:
        """Let all specs end, and compare them with the provider's bill."""
        async with self.working() as (c, batch):
            outcomes = await batch.result()
            self.check_spend(c, batch)
            spend = c.spend
        assert len(outcomes) == self.made
        for outcome in outcomes:
            expected = (TaskFailedError, TaskCancelledError, NotSubmittedError, SpendLimitError)
            assert outcome.ok or isinstance(outcome.error, expected), outcome
        ledger = self.wire.emulator.ledger
        billed = Counter(task.order.prompt for task in ledger.tasks if task.status == "succeeded")
        assert billed == Counter(outcome.spec.prompt for outcome in outcomes if outcome.ok)
        assert set(billed.values()) <= {1}
        assert ledger.created_twice == {}
        assert (spend.spent.tasks, spend.spent.tokens) == (ledger.billed, ledger.tokens)
        assert spend.reserved.tasks == spend.uncertain.tasks == 0


@pytest.mark.parametrize("backend", sorted(BACKENDS))
@settings(max_examples=EXAMPLES, deadline=None)
@given(
    runs=st.lists(st.tuples(st.lists(STEPS, max_size=8), PAUSES), min_size=1, max_size=3),
    fates=st.lists(st.sampled_from(FATES), max_size=15),
    polls_fail=st.lists(st.booleans(), max_size=20),
    cap=st.none() | st.integers(1, 8),
)
def test_exactly_the_delivered_videos_are_billed(backend, runs, fates, polls_fail, cap):
    """However creates are lost, specs cancelled and clients closed, each video is paid once."""

    async def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            wire = FaultyWire(fates, polls_fail)
            series = ClientSeries(wire, Path(folder) / "shoot.db", SpendLimit(tasks=cap))
            for steps, pause in runs:
                await series.run_client(steps)
                await anyio.sleep(pause)
            await series.finish()

    run(work, backend=backend)
