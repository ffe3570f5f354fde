"""No video is paid twice, whatever is lost, stopped or resumed; in virtual time."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

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
    Provider,
    RetryPolicy,
    SpendLimit,
    SpendLimitError,
    SubmissionUncertainError,
    TaskCancelledError,
    TaskFailedError,
    TaskHandle,
    TaskSpec,
)
from callsheet.emulator import Fault
from conftest import BACKENDS, run
from emulation import ARK, COMET, Wire, client, prompt_of, refusal


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
UNKNOWN = {"lost before", "lost after", "late", "502 before", "502 after", "silence"}
"""Fates after which no answer says whether a task was made."""

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
HOOK = "http://127.0.0.1:9/hook?token={token}"
DELIVERIES = ("at once", "at once", "late", "twice", "never")
PAUSES = st.sampled_from([0.0, 30.0, 1000.0])
EXAMPLES = 60


class FaultyWire(Wire):
    """A transport that gives each create the next prepared fault, and later creates none.

    It does the same with callbacks, and later ones arrive at once if a client is open.
    """

    def __init__(self, fates: list[str], polls_fail: list[bool], deliveries: list[str]) -> None:
        super().__init__(post=self.call_back, concurrency=2, queue_limit=3, render_seconds=60.0)
        self.fates, self.polls_fail = iter(fates), iter(polls_fail)
        self.deliveries = iter(deliveries)
        self.after: dict[int, str] = {}
        self.unanswered: list[tuple[str, str | None]] = []
        self.told: set[str] = set()
        self.client: Client | None = None
        self.fault, self.change, self.lose = self.before, self.replace_answer, self.lose_answer

    @property
    def unknown(self) -> list[str]:
        """The prompts of creates of which no answer and no callback has told anything."""
        return [prompt for prompt, token in self.unanswered if token not in self.told]

    async def call_back(self, url: str, body: bytes) -> int:
        """Bring a callback to the client that is open, or lose it."""
        how = next(self.deliveries, "at once")
        if how == "never":
            return 500
        if how == "late":
            await anyio.sleep(4.0)
        (token,) = parse_qs(urlsplit(url).query)["token"]
        for _ in range(2 if how == "twice" else 1):
            if self.client is not None and self.client.take_callback(body, token=token):
                self.told.add(token)
        return 204

    async def before(self, request: httpx.Request) -> httpx.Response | None:
        """The fault of a request before it arrives at the service."""
        if request.method == "GET" and next(self.polls_fail, False):
            return httpx.Response(503)
        fate = next(self.fates, "passes") if request.method == "POST" else "passes"
        self.after[id(request)] = fate
        if fate in UNKNOWN:
            self.unanswered.append((prompt_of(request), token_of(request)))
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
        lost = self.after.get(id(request)) == "lost after"
        return httpx.ReadError("reset") if lost else None

    def replace_answer(self, request: httpx.Request, _: httpx.Response) -> httpx.Response | None:
        """The answer of a proxy, which replaces that of the service."""
        return httpx.Response(502) if self.after.get(id(request)) == "502 after" else None

    @property
    def billable(self) -> int:
        """Tasks that are billed, or may be billed later."""
        open_ones = {"succeeded", "queued", "running"}
        return sum(task.status in open_ones for task in self.emulator.ledger.tasks)


def token_of(request: httpx.Request) -> str | None:
    """The token in the callback URL of a create."""
    url = json.loads(request.content).get("callback_url")
    return None if url is None else parse_qs(urlsplit(url).query)["token"][0]


@attrs.define
class ClientSeries:
    """Clients that follow each other with one journal, and what they were asked to do."""

    wire: FaultyWire
    journal: Path
    limit: SpendLimit
    provider: Provider = ARK
    resubmit: str = "if-absent"
    made: int = 0

    @property
    def leaves_doubts(self) -> bool:
        """Whether a spec may end without anybody knowing what its creates have made."""
        return self.provider is COMET or self.resubmit == "never"

    @property
    def pays_twice(self) -> bool:
        """Whether the caller has asked for a video even if it is then paid twice."""
        return self.provider is COMET and self.resubmit == "always"

    @asynccontextmanager
    async def working(self) -> AsyncGenerator[tuple[Client, Batch]]:
        """Open a client that resumes the journal of the last one."""
        options = {
            "provider": self.provider,
            "api_key": "k",
            "journal": self.journal,
            "spend": self.limit,
            "retry": RetryPolicy(lookup=200.0, resubmit=self.resubmit),
        }
        async with client(self.wire, **options) as c:
            batch = await c.resume()
            self.wire.client = c
            assert [handle.spec.prompt.split()[1] for handle in batch] == [
                str(number) for number in range(self.made)
            ]
            try:
                yield c, batch
            finally:
                self.wire.client = None

    async def run_client(self, steps: list[tuple[str, object]]) -> None:
        """Run one client with *steps*, and check what it reports."""
        async with self.working() as (c, batch), anyio.create_task_group() as cancels:
            handles = list(batch)
            for step in steps:
                match step:
                    case "submit", list() as marks:
                        specs = [self.spec(self.made + i, mark) for i, mark in enumerate(marks)]
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

    def spec(self, number: int, mark: str) -> TaskSpec:
        """One spec; every other one asks for callbacks."""
        hook = HOOK if number % 2 else None
        return TaskSpec(f"boat {number} {mark}", callback_url=hook)

    async def cancel(self, handle: TaskHandle) -> None:
        """Cancel one spec, if that is still possible."""
        with contextlib.suppress(CallsheetError):
            await handle.cancel()

    def check_spend(self, c: Client, handles: Sequence[TaskHandle]) -> None:
        """All that may be billed is counted, nothing else is, and the limit is kept."""
        unfinished = sum(not handle.done for handle in handles)
        beside = len(self.wire.unanswered) if self.leaves_doubts else 0
        assert c.spend.reserved.tasks + c.spend.uncertain.tasks <= unfinished + beside
        assert c.spend.committed.tasks >= self.wire.billable
        cap = self.limit.tasks
        assert cap is None or c.spend.committed.tasks <= cap

    async def finish(self) -> None:
        """Let all specs end, and compare them with the provider's bill."""
        async with self.working() as (c, batch):
            outcomes = await batch.result()
            for _ in range(2000):  # a task that no spec waits for may end later
                if c.spend.reserved.tasks == 0:
                    break
                await anyio.sleep(1.0)
            self.check_spend(c, batch)
            spend = c.spend
        assert len(outcomes) == self.made
        for outcome in outcomes:
            expected = (TaskFailedError, TaskCancelledError, NotSubmittedError, SpendLimitError)
            if self.leaves_doubts:
                expected = (*expected, SubmissionUncertainError)
            assert outcome.ok or isinstance(outcome.error, expected), outcome
        ledger = self.wire.emulator.ledger
        billed = Counter(task.order.prompt for task in ledger.tasks if task.status == "succeeded")
        delivered = Counter(outcome.spec.prompt for outcome in outcomes if outcome.ok)
        assert spend.reserved.tasks == 0
        assert ledger.created_twice == {}
        assert self.pays_twice or set(billed.values()) <= {1}
        # What is billed and was not delivered is a doubt that nobody could resolve.
        assert delivered <= billed
        if self.provider is COMET:
            assert spend.uncertain.tasks == len(self.wire.unknown)
            assert spend.spent.tasks <= ledger.billed <= spend.committed.tasks
            assert spend.spent.tasks >= delivered.total()
            return
        uncertain = [each for each in outcomes if isinstance(each.error, SubmissionUncertainError)]
        assert billed == delivered
        assert (spend.spent.tasks, spend.spent.tokens) == (ledger.billed, ledger.tokens)
        assert spend.uncertain.tasks == len(uncertain)


@pytest.mark.parametrize("backend", sorted(BACKENDS))
@settings(max_examples=EXAMPLES, deadline=None)
@given(
    runs=st.lists(st.tuples(st.lists(STEPS, max_size=8), PAUSES), min_size=1, max_size=3),
    fates=st.lists(st.sampled_from(FATES), max_size=15),
    polls_fail=st.lists(st.booleans(), max_size=20),
    cap=st.none() | st.integers(1, 8),
    deliveries=st.lists(st.sampled_from(DELIVERIES), max_size=15),
    provider=st.sampled_from([ARK, ARK, COMET]),
    resubmit=st.sampled_from(["if-absent", "if-absent", "never", "always"]),
)
def test_exactly_the_delivered_videos_are_billed(
    *, backend, runs, fates, polls_fail, cap, deliveries, provider, resubmit
):
    """However creates are lost, specs cancelled and clients closed, each video is paid once."""

    async def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            wire = FaultyWire(fates, polls_fail, deliveries)
            path, limit = Path(folder) / "shoot.db", SpendLimit(tasks=cap)
            series = ClientSeries(wire, path, limit, provider, resubmit)
            async with anyio.create_task_group() as callbacks:
                callbacks.start_soon(wire.emulator.send_callbacks)
                for steps, pause in runs:
                    await series.run_client(steps)
                    await anyio.sleep(pause)
                await series.finish()
                callbacks.cancel_scope.cancel()

    run(work, backend=backend)
