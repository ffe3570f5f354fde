"""One task in the caller's hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from callsheet.errors import ClosedError, TaskTimeoutError


if TYPE_CHECKING:
    import os
    from collections.abc import Generator
    from typing import Any

    from callsheet._core.record import Record
    from callsheet._io.engine import Engine
    from callsheet._models.outcome import Outcome, Video
    from callsheet._models.snapshot import Snapshot, Status
    from callsheet._models.spec import TaskSpec


class TaskHandle:
    """A task that is watched by its client. Any number of waiters may await it, at any time.

    Handles come from a client and need no closing; two handles of one task of one batch are equal.
    """

    __slots__ = ("_engine", "_record")

    def __init__(self, engine: Engine, record: Record) -> None:
        self._engine = engine
        self._record = record

    def __repr__(self) -> str:
        return f"<TaskHandle {self.task_id or 'without id'} {self.status or 'not submitted'}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskHandle) and other._record is self._record

    def __hash__(self) -> int:
        return hash(self._record)

    @property
    def task_id(self) -> str | None:
        """The provider's id; ``None`` until it has given one."""
        return self._record.task_id

    @property
    def spec(self) -> TaskSpec | None:
        """What the task is made from; ``None`` if it was attached by id."""
        return self._record.spec

    @property
    def status(self) -> Status | None:
        """The last known status; ``None`` without an id. Its end is final, all else may be old."""
        return self._record.status

    @property
    def snapshot(self) -> Snapshot | None:
        """The last status answer; ``None`` until the task is seen to have left the queue."""
        return self._record.snapshot

    @property
    def file(self) -> Path | None:
        """Where its video was saved, as far as `saved` was told, here or before a `resume`."""
        file = self._engine.books.files.get(self._record)
        return None if file is None else Path(file)

    def saved(self, path: str | os.PathLike[str]) -> None:
        """Note where its video is on disk, also in the journal if the client keeps one."""
        self._engine.books.saved(self._record, str(Path(path).absolute()))

    @property
    def done(self) -> bool:
        """Whether there is an outcome."""
        return self._record.settled

    def __await__(self) -> Generator[Any, Any, Video]:
        """Wait for the video. Cancelling cancels the waiting only.

        Raises:
            TaskError: The task ended without a video.
            CallsheetError: There is no task, or waiting ended (`TaskTimeoutError`).
            ClosedError: The client was closed first.
        """
        return self.wait().__await__()

    async def wait(
        self,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - patience of one waiter
        cancel_on_timeout: bool = False,
    ) -> Video:
        """Wait for the video, at most *timeout* seconds; ``None`` waits until the task's deadline.

        The timeout and a cancellation end this waiting and nothing else: the task goes on, unless
        *cancel_on_timeout* asks to `cancel` it when time is up; `TaskTimeoutError.cancelled` tells
        whether that came in time.

        Raises:
            TaskTimeoutError: Time is up.
            TaskError: The task ended without a video.
            CallsheetError: There is no task.
            ClosedError: The client was closed first.
        """
        try:
            await self._engine.waiting.wait_until(self._record, timeout=timeout)
        except TaskTimeoutError as error:
            canceller = self._engine.canceller
            raise await canceller.out_of_time(
                self._record, error.waited, cancel=cancel_on_timeout
            ) from None
        outcome = self._record.outcome
        if outcome.video is not None:
            return outcome.video
        raise outcome.error or ClosedError("no outcome")

    async def outcome(self) -> Outcome:
        """Wait for the outcome, whatever it is; raises nothing for a task that failed.

        Raises:
            ClosedError: The client was closed first.
        """
        await self._engine.waiting.wait_until(self._record, timeout=None)
        return self._record.outcome

    def withdraw(self) -> None:
        """Send nothing more for it, and leave alone what was sent; no request is made for this.

        A spec that was not sent yet is never sent. A create whose answer was lost is looked for all
        the same: what provably made nothing ends with `NotSubmittedError`, what nobody can decide
        with `SubmissionUncertainError`, and a task that is found is watched. Until then a later
        `Client.resume` may send it again.
        """
        self._engine.canceller.leave_off(self._record)

    async def cancel(self) -> bool:
        """Ask the provider not to make it; tell whether that came in time.

        ``False``: it already runs or has ended, the provider goes on and bills it (a queued task
        often starts within seconds). A spec that was not sent yet is never sent. Cancelling this
        call leaves open whether the provider's task was cancelled; the next poll tells.

        Raises:
            CallsheetError: The provider could not be asked, or refuses.
            ClosedError: The client was closed.
        """
        return await self._engine.canceller.cancel(self._record)
