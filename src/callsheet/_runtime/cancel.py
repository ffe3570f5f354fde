"""Stops what has not started, and tells the truth about the rest."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence

import anyio
import anyio.lowlevel
import attrs

from callsheet._http.tasks_api import Tasks
from callsheet._models.snapshot import Status
from callsheet._polling.poller import Poller
from callsheet._state.cooperative import gathered
from callsheet._state.record import Record
from callsheet._state.registry import Registry
from callsheet._submission.submitter import Submitter
from callsheet.errors import (
    CallsheetError,
    ConflictError,
    NotFoundError,
    NotSubmittedError,
    TaskCancelledError,
    TaskTimeoutError,
)


CANCEL_TIMEOUT = 30.0
"""Seconds that cancelling may take once a waiter's time is up, or the client is left."""

MOST_CANCELS = 32
"""Most tasks of a batch whose cancelling is under way at once."""

ENDS_PER_TURN = 100
"""Records withdrawn before others get a turn."""

log = logging.getLogger("callsheet")


@attrs.frozen(kw_only=True)
class Canceller:
    """Cancels tasks of one client.

    Attributes:
        submitter: Knows what can still be kept from being sent.
        registry: The pending records.
        poller: Takes what is learned on the way.
        tasks: The wire, within its quota.
        wait_for_id: Waits until a record has an id or an outcome.
        end_unsent: Ends a record that is not to be sent.
    """

    submitter: Submitter
    registry: Registry
    poller: Poller
    tasks: Tasks
    wait_for_id: Callable[[Record], Awaitable[None]]
    end_unsent: Callable[[Record, str], None]

    async def cancel(self, record: Record) -> bool:
        """Stop a task that has not started; tell whether it was stopped in time."""
        if self.submitter.can_withdraw(record):
            self.end_unsent(record, "cancelled before it was sent")
            return isinstance(record.error, NotSubmittedError)
        self.submitter.never_resend(record)
        await self.wait_for_id(record)
        if record.task_id is None or record.settled:
            return isinstance(record.error, (TaskCancelledError, NotSubmittedError))
        return await self.tasks.persist(lambda: self._look_and_cancel(record))

    def withdraw(self, record: Record) -> None:
        """Send nothing more for a record, and let a task that it has, or may have, go on.

        What may have a task is not noted as unwanted: a later process has the choice again.
        """
        if self.submitter.can_withdraw(record):
            self.end_unsent(record, "withdrawn before it was sent")
        else:
            self.submitter.never_resend(record, for_good=False)

    async def cancel_many(self, records: Sequence[Record]) -> tuple[int, dict[int, CallsheetError]]:
        """Cancel each, whatever becomes of others; tell how many in time, and failures by index."""
        stopped = 0
        failures: dict[int, CallsheetError] = {}

        async def stop(record: Record) -> None:
            nonlocal stopped
            try:
                in_time = await self.cancel(record)
            except CallsheetError as error:
                failures[record.index] = error
            else:
                stopped += in_time  # added up after the wait: others count meanwhile

        async def stop_all(records: Iterator[Record]) -> None:
            for record in records:
                await stop(record)

        # from the end: what is farthest from its turn is withdrawn before others move up
        for number, record in enumerate(reversed(records), start=1):
            if not record.settled and self.submitter.can_withdraw(record):
                await stop(record)
            if number % ENDS_PER_TURN == 0:
                await anyio.lowlevel.checkpoint()
        open_ones = iter(await gathered(record for record in records if not record.settled))
        async with anyio.create_task_group() as cancels:
            for _ in range(MOST_CANCELS):
                cancels.start_soon(stop_all, open_ones)
        return stopped, failures

    async def timeout_error(
        self, record: Record, waited: float | None, *, cancel: bool
    ) -> TaskTimeoutError:
        """What a waiter is told whose time is up, after an attempt to *cancel* if that is wanted.

        Raises:
            CallsheetError: The provider could not be asked, or refuses.
        """
        cancelled = isinstance(record.error, NotSubmittedError)  # its turn had not come
        if cancel and not cancelled:
            with anyio.move_on_after(CANCEL_TIMEOUT):
                cancelled = await self.cancel(record)
        return TaskTimeoutError(record.task_id, waited or 0.0, cancelled)

    async def cancel_all(self) -> None:
        """Cancel every pending task that has not started, within a time; failures are logged."""
        with anyio.move_on_after(CANCEL_TIMEOUT, shield=True):
            async with anyio.create_task_group() as cancels:
                for record in (*self.submitter.queued(), *self.submitter.active(), *self.registry):
                    cancels.start_soon(self.stop, record)

    async def stop(self, record: Record) -> None:
        """Cancel for nobody who could be told; a failure is logged."""
        try:
            await self.cancel(record)
        except CallsheetError:
            log.warning("task %s was not cancelled", record.task_id, exc_info=True)

    async def _look_and_cancel(self, record: Record) -> bool:
        """Cancel a task that is seen waiting.

        It is looked at right before each attempt, because the provider takes the cancelling of an
        ended task as the order to delete its record, and with it the way to its video.
        """
        task_id = record.task_id or ""
        await self.tasks.turn_to_cancel()
        snapshot = await self.tasks.get(task_id)
        self.poller.take(snapshot)
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
