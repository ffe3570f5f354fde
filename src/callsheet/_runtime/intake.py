"""Takes specs: checks and prices them, makes their records, writes them down, and queues them.

The check is the preflight: it finds all problems of all specs before anything is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import attrs

from callsheet._catalog import estimates, spec_check
from callsheet._models.provider import Provider
from callsheet._models.spec import TaskSpec
from callsheet._state.clock import Waiters
from callsheet._state.cooperative import gathered
from callsheet._state.group import Group
from callsheet._state.lifecycle import Lifecycle
from callsheet._state.record import Record
from callsheet._submission.bookkeeping import Bookkeeping
from callsheet._submission.media_files import inspect_all
from callsheet._submission.submitter import Submitter
from callsheet.errors import CallsheetError, ClosedError, Problem, SpecError


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from callsheet._models.media import Media, MediaFacts


SPECS_PER_TURN = 50
"""Specs that are checked or priced before other tasks get a turn: a large batch must not block the
loop."""


@attrs.frozen(kw_only=True)
class Intake:
    """Takes the specs of one client.

    Attributes:
        provider: The provider that they are for.
        bookkeeping: Writes them into the journal before they are queued.
        submitter: Sends them.
        lifecycle: Is told of specs that are refused here.
        waiting: The waiters of the client.
    """

    provider: Provider
    bookkeeping: Bookkeeping
    submitter: Submitter
    lifecycle: Lifecycle
    waiting: Waiters

    async def check(self, specs: Sequence[Any]) -> None:
        """Find every problem of every spec, including those of local media.

        Raises:
            SpecError: It holds all problems. Each has the index of its spec if there are several
                specs.
            TypeError: One of them is not a `TaskSpec`.
        """
        facts: dict[Media, MediaFacts | str] = {}
        for start in range(0, len(specs), SPECS_PER_TURN):
            some = specs[start : start + SPECS_PER_TURN]
            for index, spec in enumerate(some, start=start):
                if not isinstance(spec, TaskSpec):
                    raise TypeError(f"item {index} is a {type(spec).__name__}, not a TaskSpec")
            unread = [spec for spec in some if _has_unread_media(spec, facts)]
            if unread:
                facts |= await inspect_all(unread)
            if len(some) == SPECS_PER_TURN:
                await anyio.lowlevel.checkpoint()
        problems: list[Problem] = []
        for index, spec in enumerate(specs):
            found = spec_check.check(spec, provider=self.provider, facts=facts)
            problems += found if len(specs) == 1 else [attrs.evolve(p, index=index) for p in found]
            if index % SPECS_PER_TURN == SPECS_PER_TURN - 1:
                await anyio.lowlevel.checkpoint()
        if problems:
            raise SpecError(problems)

    def record(
        self, spec: TaskSpec | None, *, index: int = 0, group: Group | None = None
    ) -> Record:
        """A new record: of a spec that is going to be submitted, or of an attached task.

        The price of a spec is computed here, once. Between the turn of a create and its request
        nothing can be cancelled, so nothing that takes time may run there.
        """
        if spec is None:
            return Record(None, index=index, group=group)
        model = getattr(spec, "model", None) or self.provider.default_model
        record = Record(spec, index=index, model=model, group=group)
        record.estimate = estimates.try_estimate(spec, self.provider)
        return record

    async def submit_one(self, spec: TaskSpec, *, priority: int = 0) -> Record:
        """Check a spec and submit it; return its record.

        Raises:
            SpecError: As for `check` and `submit`.
            TypeError: As for `check`.
            JournalError: As for `submit`.
        """
        await self.check([spec])
        record = self.record(spec)
        await self.submit([record], priority=priority)
        return record

    async def submit_many(
        self, specs: Iterable[TaskSpec], *, name: str | None = None, priority: int = 0
    ) -> tuple[Group, list[Record]]:
        """Check the specs of any iterable and submit them; return their records, in order.

        Raises:
            SpecError: As for `check` and `submit`.
            TypeError: As for `check`.
            JournalError: As for `submit`.
        """
        every = list(specs) if isinstance(specs, (list, tuple)) else await gathered(specs)
        await self.check(every)
        group = Group(total=len(every))
        records: list[Record] = []
        for start in range(0, len(every), SPECS_PER_TURN):
            some = every[start : start + SPECS_PER_TURN]
            records += [
                self.record(spec, index=index, group=group)
                for index, spec in enumerate(some, start=start)
            ]
            await anyio.lowlevel.checkpoint()
        await self.submit(records, name=name, priority=priority)
        return group, records

    async def submit(
        self, records: Sequence[Record], *, name: str | None = None, priority: int = 0
    ) -> None:
        """Write records into the journal and queue them; a higher priority is sent first.

        Raises:
            SpecError: A spec cannot be written; nothing is queued.
            JournalError: The journal cannot be written; nothing is queued.
        """
        # The plan is on disk before a create can be sent, so each paid request has a row.
        await self.bookkeeping.plan(records, name)
        if self.waiting.closed:
            raise ClosedError("the client was closed; nothing was sent")
        self.submitter.put(records, priority=priority)

    async def create(self, spec: TaskSpec) -> str:
        """Create a task without watching it; return its id."""
        record = self.record(spec)
        self.submitter.put_unwatched(record)
        try:
            await self.submitter.wait_for_id(record)
        finally:
            self.submitter.watch(record)
        return record.task_id or ""

    def refuse(self, record: Record, error: CallsheetError) -> None:
        """End a record that is never queued, unless it has ended already."""
        if record.settle(error):
            self.lifecycle.ended(record)


def _has_unread_media(spec: TaskSpec, facts: Mapping[Media, MediaFacts | str]) -> bool:
    """Whether a local medium of the spec was not read yet."""
    media = [medium for _, medium in spec.media]
    return any(medium.url is None and medium not in facts for medium in media)
