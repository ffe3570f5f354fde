"""`Batch`: the specs of one call, as a sequence of handles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self, overload

import anyio.lowlevel

from callsheet._handle import TaskHandle
from callsheet._models.outcome import BatchResult, Outcome, Progress
from callsheet._state.cooperative import gathered


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from callsheet._runtime.engine import Engine
    from callsheet._state.group import Group
    from callsheet._state.record import Record
    from callsheet.errors import CallsheetError


OUTCOMES_PER_TURN = 100
"""Ready outcomes that are returned in a row before the event loop runs other tasks."""

NAMED = 20
"""Most positions that a note lists."""


class Batch(Sequence[TaskHandle]):
    """The specs, or the task ids, of one call: a sequence of their handles in input order.

    Attributes:
        name: The name that the caller gave; ``None`` for none.
    """

    def __init__(
        self, engine: Engine, group: Group, records: Sequence[Record], name: str | None
    ) -> None:
        self.name = name
        self._engine = engine
        self._group = group
        self._records = records

    def __repr__(self) -> str:
        return f"<Batch {self.name or ''} {self.progress}>"

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> TaskHandle: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[TaskHandle]: ...
    def __getitem__(self, index: int | slice) -> TaskHandle | Sequence[TaskHandle]:
        if isinstance(index, slice):
            return [TaskHandle(self._engine, record) for record in self._records[index]]
        return TaskHandle(self._engine, self._records[index])

    def __iter__(self) -> Iterator[TaskHandle]:
        return (TaskHandle(self._engine, record) for record in self._records)

    @property
    def progress(self) -> Progress:
        """The progress of the batch at this moment."""
        return self._group.progress

    async def submitted(self) -> tuple[str | None, ...]:
        """Wait until each spec has an id or an outcome; return the ids in input order.

        The id is ``None`` if the submission failed; the outcome of the spec says why. Cancelling
        this call only ends the waiting.

        Raises:
            ClosedError: The client was closed first.
        """
        await self._engine.waiting.wait(self._group, lambda: self._group.unsubmitted == 0)
        return tuple(await gathered(record.task_id for record in self._records))

    def as_completed(self) -> AsyncIterator[Outcome]:
        """Iterate over the outcomes in the order in which the specs end.

        A failed task does not raise; its outcome holds the error. If you leave the loop, all tasks
        stay watched. Each call iterates from the first outcome on.

        Raises:
            ClosedError: While iterating: the client was closed first.
        """
        return _Completed(self._engine, self._group)

    async def result(self) -> BatchResult:
        """Wait for all outcomes and return them in input order.

        A failed task does not raise here. ``urls()``, ``videos()`` and ``raise_for_failures()`` of
        the result raise for it. Cancelling this call only ends the waiting.

        Raises:
            ClosedError: The client was closed first.
        """
        await self._engine.waiting.wait(self._group, lambda: self._group.unfinished == 0)
        return BatchResult(await gathered(record.outcome for record in self._records))

    async def cancel(self) -> int:
        """Cancel all tasks that have not started yet; return how many were stopped in time.

        Specs that were not sent yet are never sent; with a journal, no later process sends them
        either once this has returned. Tasks that already run continue and are billed.
        An error of one task does not keep the others from being cancelled. You can call this again
        to try again.

        Raises:
            CallsheetError: For at least one task, the provider could not be asked or refused. It is
                the first such error in input order. Its note says how many tasks were stopped in
                time, and which could not be.
            JournalError: It could not be written down, so a later process may send what this one
                has not sent.
        """
        stopped, failures = await self._engine.canceller.cancel_many(self._records)
        if failures:
            raise _first(failures, stopped)
        return stopped


class _Completed:
    """Iterates over a group's outcomes. It is only a position in a list, so it needs no close."""

    def __init__(self, engine: Engine, group: Group) -> None:
        self._engine = engine
        self._group = group
        self._given = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome:
        group = self._group
        if self._given == group.total:
            raise StopAsyncIteration
        if self._given % OUTCOMES_PER_TURN == OUTCOMES_PER_TURN - 1:
            await anyio.lowlevel.checkpoint()
        await self._engine.waiting.wait(group, lambda: len(group.finished) > self._given)
        self._given += 1
        return group.finished[self._given - 1].outcome


def _first(failures: dict[int, CallsheetError], stopped: int) -> CallsheetError:
    """The first failure in input order, with a note about the others."""
    places = sorted(failures)
    named = ", ".join(map(str, places[:NAMED])) + (", …" if len(places) > NAMED else "")
    failure = failures[places[0]]
    failure.add_note(f"{stopped} tasks were stopped in time; {len(places)} could not be: {named}")
    return failure
