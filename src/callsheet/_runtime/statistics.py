"""What a client is doing at one moment."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import anyio.lowlevel

from callsheet._models.outcome import Stats
from callsheet._models.snapshot import Status
from callsheet._submission.states import State


if TYPE_CHECKING:
    from callsheet._runtime.engine import Engine


TASKS_PER_TURN = 10_000
"""Tasks that are counted before other coroutines run."""


async def stats_of(engine: Engine) -> Stats:
    """Count what a client does. There may be a million tasks, so it is not done in one stretch."""
    watched: Counter[Status | None] = Counter()
    for number, record in enumerate(list(engine.registry), start=1):
        watched[record.status] += not record.settled
        if number % TASKS_PER_TURN == 0:
            await anyio.lowlevel.checkpoint()
    submissions = engine.submitter.count()
    return Stats(
        backlog=sum(submissions[each] for each in (State.QUEUED, State.WAITING, State.NOTING)),
        in_flight=submissions[State.IN_FLIGHT],
        uncertain=engine.bookkeeping.ledger.spend.uncertain.tasks,
        queued=watched[Status.QUEUED],
        running=watched[Status.RUNNING] + watched[Status.UNKNOWN],
        service_up=not engine.poller.planner.breaker.tripped,
        doubted_lists=tuple(engine.submitter.reconciler.doubts()),
    )
