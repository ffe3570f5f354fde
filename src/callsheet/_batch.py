"""Many tasks in the caller's hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self, overload

import anyio.lowlevel

from callsheet._handle import TaskHandle
from callsheet._io.turns import gathered
from callsheet._models.outcome import BatchResult, Outcome, Progress


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from callsheet._core.groups import Group
    from callsheet._core.record import Record
    from callsheet._io.engine import Engine
    from callsheet.errors import CallsheetError


AT_A_STRETCH = 100
"""Outcomes that are there already handed out before others get a turn."""

NAMED = 20
"""Most places that a note names."""


class Batch(Sequence[TaskHandle]):
    """Specs that were handed in together: a sequence of their handles in input order.

    Attributes:
        name: What the caller called it.
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
        """How far the batch is, now."""
        return self._group.progress

    async def submitted(self) -> tuple[str | None, ...]:
        """Wait until every spec has an id or is known to get none; return the ids in input order.

        ``None`` stands for a spec whose submission failed; its outcome says why.

        Raises:
            ClosedError: The client was closed first.
        """
        await self._engine.waiting.wait(self._group, lambda: self._group.unsubmitted == 0)
        return tuple(await gathered(record.task_id for record in self._records))

    def as_completed(self) -> AsyncIterator[Outcome]:
        """Iterate over the outcomes in the order in which they come, from the first one on.

        No outcome raises. Leaving the loop changes nothing: all tasks stay watched, and another
        iteration starts from the first outcome again.

        Raises:
            ClosedError: While iterating: the client was closed first.
        """
        return _Completed(self._engine, self._group)

    async def result(self) -> BatchResult:
        """Wait for all outcomes and return them in input order.

        Nothing is raised for tasks that failed: ``urls()``, ``videos()`` and
        ``raise_for_failures()`` of the result do that.

        Raises:
            ClosedError: The client was closed first.
        """
        await self._engine.waiting.wait(self._group, lambda: self._group.unfinished == 0)
        return BatchResult(await gathered(record.outcome for record in self._records))

    async def cancel(self) -> int:
        """Cancel what has not started yet; return how many tasks were stopped in time.

        Specs that were not sent yet are never sent. The others go on and are billed. All are tried,
        whatever becomes of some; called again, it tries again what could not be stopped.

        Raises:
            CallsheetError: The provider could not be asked about at least one of them, or refuses.
                It is the first such error in input order, with a note that tells how many were
                stopped in time and which were not asked.
        """
        stopped, failures = await self._engine.canceller.cancel_many(self._records)
        if failures:
            raise _first(failures, stopped)
        return stopped


class _Completed:
    """An iteration over a group's outcomes; it holds a place in a list and needs no closing."""

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
        if self._given % AT_A_STRETCH == AT_A_STRETCH - 1:
            await anyio.lowlevel.checkpoint()
        await self._engine.waiting.wait(group, lambda: len(group.finished) > self._given)
        self._given += 1
        return group.finished[self._given - 1].outcome


def _first(failures: dict[int, CallsheetError], stopped: int) -> CallsheetError:
    """The first failure in input order, which tells of the others."""
    places = sorted(failures)
    named = ", ".join(map(str, places[:NAMED])) + (", …" if len(places) > NAMED else "")
    failure = failures[places[0]]
    failure.add_note(f"{stopped} tasks were stopped in time; {len(places)} could not be: {named}")
    return failure
