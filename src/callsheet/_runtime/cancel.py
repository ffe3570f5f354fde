"""Cancels specs and tasks that have not started, and reports which were stopped in time."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import attrs

from callsheet._http.tasks_api import Tasks
from callsheet._models.snapshot import Status
from callsheet._polling.poller import Poller
from callsheet._state.clock import Waiters
from callsheet._state.cooperative import gathered
from callsheet._state.registry import Registry
from callsheet._submission.bookkeeping import Bookkeeping
from callsheet._submission.states import Cancelled
from callsheet._submission.submitter import Submitter
from callsheet.errors import (
    CallsheetError,
    ConflictError,
    NotFoundError,
    NotSubmittedError,
    TaskCancelledError,
    TaskTimeoutError,
)


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from callsheet._state.record import Record


CANCEL_TIMEOUT = 30.0
"""Most seconds for cancelling after a waiter's timeout, or when the client is left."""

MOST_CANCELS = 32
"""Most tasks of a batch that are cancelled at a time."""

ENDS_PER_TURN = 100
"""Records that are ended before other tasks of the event loop get a turn."""

log = logging.getLogger("callsheet")


@attrs.frozen(kw_only=True)
class Canceller:
    """Cancels tasks of one client.

    Attributes:
        submitter: Knows which records can still be ended without a task.
        registry: The pending records.
        poller: Takes the status answers that cancelling brings.
        tasks: Sends requests within the rate limits.
        waiting: The waiters of the client.
        bookkeeping: Keeps the journal.
    """

    submitter: Submitter
    registry: Registry
    poller: Poller
    tasks: Tasks
    waiting: Waiters
    bookkeeping: Bookkeeping

    async def cancel(self, record: Record) -> bool:
        """Stop a task that has not started; return whether it was stopped in time.

        When this returns, it is on disk that no process begins an attempt at it any more.
        """
        stopped = await self._cancel(record)
        await self.bookkeeping.flush()
        return stopped

    async def _cancel(self, record: Record) -> bool:
        # One that has not left ends at once. If a create is in flight or lost, a task may exist.
        # Only its id allows to cancel it, and ending the record would hide a task that is billed.
        self.submitter.cancel(record, Cancelled.FOR_GOOD, "cancelled before it was sent")
        await self.waiting.wait_for_id(record)
        if record.task_id is None or record.settled:
            return isinstance(record.error, (TaskCancelledError, NotSubmittedError))
        return await self.tasks.persist(lambda: self._look_and_cancel(record))

    def withdraw(self, record: Record) -> None:
        """Send no more creates for a record. A task that it has, or may have, continues.

        A record that may have a task is not noted as cancelled: a later process can decide again.
        """
        self.submitter.cancel(record, Cancelled.HERE, "withdrawn before it was sent")

    async def cancel_many(self, records: Sequence[Record]) -> tuple[int, dict[int, CallsheetError]]:
        """Cancel each record, even if others fail.

        When this returns, it is on disk that no process begins an attempt at any of them any more.

        Returns:
            How many were stopped in time, and the failures by index.

        Raises:
            JournalError: That could not be written. A later process may send them.
        """
        stopped = 0
        failures: dict[int, CallsheetError] = {}

        async def stop(record: Record) -> None:
            nonlocal stopped
            try:
                in_time = await self._cancel(record)
            except CallsheetError as error:
                failures[record.index] = error
            else:
                stopped += in_time  # added after the wait, because others add meanwhile

        async def stop_all(records: Iterator[Record]) -> None:
            for record in records:
                await stop(record)

        # From the end: these are farthest from their turn. From the front, records would become
        # ready to be sent while those before them are ended.
        for number, record in enumerate(reversed(records), start=1):
            if not record.settled and self.submitter.may_end_now(record):
                await stop(record)
            if number % ENDS_PER_TURN == 0:
                await anyio.lowlevel.checkpoint()
        open_ones = iter(await gathered(record for record in records if not record.settled))
        async with anyio.create_task_group() as cancels:
            for _ in range(MOST_CANCELS):
                cancels.start_soon(stop_all, open_ones)
        await self.bookkeeping.flush()  # once for all of them
        return stopped, failures

    async def timeout_error(
        self, record: Record, waited: float | None, *, cancel: bool
    ) -> TaskTimeoutError:
        """The error for a waiter whose timeout has passed; with *cancel*, first cancel the task.

        Raises:
            CallsheetError: The provider could not be asked, or refused.
        """
        cancelled = isinstance(record.error, NotSubmittedError)  # it was never sent
        if cancel and not cancelled:
            with anyio.move_on_after(CANCEL_TIMEOUT):
                cancelled = await self.cancel(record)
        return TaskTimeoutError(record.task_id, waited or 0.0, cancelled)

    async def cancel_all(self) -> None:
        """Cancel every pending task that has not started, for at most `CANCEL_TIMEOUT` seconds.

        Failures are logged.
        """
        with anyio.move_on_after(CANCEL_TIMEOUT, shield=True):
            async with anyio.create_task_group() as cancels:
                for record in (*self.submitter.without_id(), *self.registry):
                    cancels.start_soon(self.stop, record)

    async def stop(self, record: Record) -> None:
        """Cancel a record when no caller waits for the result; a failure is logged."""
        try:
            await self._cancel(record)
        except CallsheetError:
            log.warning("task %s was not cancelled", record.task_id, exc_info=True)

    async def _look_and_cancel(self, record: Record) -> bool:
        """Cancel a task if a status answer shows that it is queued.

        The status is asked for right before each attempt. If a task has ended, the provider treats
        a cancel as a request to delete its record, and then its video cannot be reached any more.
        """
        task_id = record.task_id or ""
        await self.tasks.turn_to_cancel()
        snapshot = await self.tasks.get(task_id)
        self.poller.take(snapshot)
        if self.registry.is_of_another(snapshot):
            # A cancel would stop the task of another spec. The next poll finds out that the id is
            # wrong, and then the spec's own task is looked for.
            self.poller.nudge(record)
            return False
        if snapshot.status.terminal or record.status is not Status.QUEUED:
            return isinstance(record.error, TaskCancelledError)
        try:
            await self.tasks.api.cancel(task_id)
        except ConflictError:
            self.poller.nudge(record)
            return False
        try:
            self.poller.take(await self.tasks.get(task_id))
        except NotFoundError:
            gone = TaskCancelledError(task_id, None, "the provider has removed its record")
            self.poller.settle(record, gone, Status.CANCELLED)
        return True
