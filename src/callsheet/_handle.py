"""`TaskHandle`: one task of a client, to wait for and to cancel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from callsheet._models.snapshot import Status
from callsheet._models.state import State
from callsheet._submission import states
from callsheet.errors import (
    ClosedError,
    SubmissionUncertainError,
    TaskCancelledError,
    TaskError,
    TaskExpiredError,
    TaskTimeoutError,
)


if TYPE_CHECKING:
    import os
    from collections.abc import Generator
    from typing import Any

    from callsheet._models.outcome import Outcome, UncertainAttempt
    from callsheet._models.snapshot import Snapshot, Video
    from callsheet._models.spec import TaskSpec
    from callsheet._runtime.engine import Engine
    from callsheet._state.record import Record


class TaskHandle:
    """One task that its client watches. You can await it at any time, and several times at once.

    A client makes the handles. They need no close. Two handles are equal if they are for the same
    task of the same batch.
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
        """The spec of the task; ``None`` if the task was attached by id."""
        return self._record.spec

    @property
    def status(self) -> Status | None:
        """The last known status; ``None`` without an id. Unless it is terminal, it may be old."""
        return self._record.status

    @property
    def state(self) -> State:
        """Where the spec and its task stand, from the queue of this client to the outcome.

        If the waiting has ended but the task may go on, such as after `TaskTimeoutError`, it is the
        last state that was known.
        """
        record = self._record
        if record.settled:
            ended = _end_of(record)
            if ended is not None:
                return ended
        inner = self._engine.submitter.state_of(record)
        if record.task_id is None or inner is states.State.LOST:
            return states.PUBLIC_STATES[inner or states.State.QUEUED]
        if record.unseen or record.status is None:
            return State.SUBMITTED
        return State.QUEUED if record.status is Status.QUEUED else State.RUNNING

    @property
    def snapshot(self) -> Snapshot | None:
        """The last status answer; ``None`` until one shows that the task has left the queue."""
        return self._record.snapshot

    @property
    def file(self) -> Path | None:
        """The path given to `saved`, also before a `Client.resume`; ``None`` if there was none."""
        file = self._engine.bookkeeping.files.get(self._record)
        return None if file is None else Path(file)

    def saved(self, path: str | os.PathLike[str]) -> None:
        """Record the path of the task's video on disk, also in the journal if there is one."""
        self._engine.bookkeeping.saved(self._record, str(Path(path).absolute()))

    @property
    def done(self) -> bool:
        """Whether there is an outcome."""
        return self._record.settled

    def __await__(self) -> Generator[Any, Any, Video]:
        """Wait for the video. Cancelling this only ends the waiting.

        Raises:
            TaskError: The task ended without a video.
            TaskTimeoutError: The task did not end before its deadline.
            CallsheetError: There is no task, or it is not known.
            ClosedError: The client was closed first.
        """
        return self.wait().__await__()

    async def wait(
        self,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - a part of the public API
        cancel_on_timeout: bool = False,
    ) -> Video:
        """Wait for the video.

        The timeout, and a cancellation of this call, only end the waiting. The task continues.

        Args:
            timeout: Most seconds to wait, >= 0; ``None`` waits until the task's deadline.
            cancel_on_timeout: Also `cancel` the task when the timeout has passed, which takes at
                most 30 s more. `TaskTimeoutError.cancelled` says whether it was in time.

        Raises:
            TaskTimeoutError: The timeout or the deadline has passed.
            TaskError: The task ended without a video.
            CallsheetError: There is no task; or the cancel failed or was refused.
            ClosedError: The client was closed first.
        """
        try:
            await self._engine.waiting.wait_until(self._record, timeout=timeout)
        except TaskTimeoutError as error:
            canceller = self._engine.canceller
            raise await canceller.timeout_error(
                self._record, error.waited, cancel=cancel_on_timeout
            ) from None
        video = self._record.video
        if video is not None:
            return video
        raise self._record.error or ClosedError("no outcome")

    async def outcome(self) -> Outcome:
        """Wait for the outcome. A failed task does not raise; the outcome holds its error.

        Cancelling this call only ends the waiting.

        Raises:
            ClosedError: The client was closed first.
        """
        await self._engine.waiting.wait_until(self._record, timeout=None)
        return self._record.outcome

    def withdraw(self) -> None:
        """Send no more creates for this task. A task that exists continues; no request is made.

        A spec that was not sent yet is never sent. The client still looks for a create whose answer
        was lost. If it is certain that it made no task, it ends with `NotSubmittedError`. If this
        cannot be known, it ends with `SubmissionUncertainError`. If its task is found, the task is
        watched. Until one of these happens, a later `Client.resume` may send it again.
        """
        self._engine.canceller.withdraw(self._record)

    @property
    def uncertain_attempts(self) -> tuple[UncertainAttempt, ...]:
        """The creates of its spec that may have made a task, and nobody knows; oldest first."""
        return self._engine.resolver.uncertain(self._record)

    async def resolve(self, task_id: str | None, *, attempt: int | None = None) -> Snapshot | None:
        """Say by hand what became of a create whose answer was lost.

        Call this after you have looked at the account's own pages, where nothing else can tell. The
        provider is asked once for the task, so that a misspelt id is refused. What you say is on
        disk when this returns, if there is a journal. If the spec has its outcome already, that one
        stays; a later `Client.resume` watches the task, or sends the spec again.

        Args:
            task_id: The task that the create has made. ``None``: it has made none, so the spec may
                be sent again. If that is wrong, the video is paid for twice.
            attempt: Which create this is about, by its number in `uncertain_attempts`. It is needed
                if there are several, unless the task carries the token of one.

        Returns:
            What the provider says of the task; ``None`` without an id.

        Raises:
            ConfigurationError: None of its creates is uncertain, it is not clear which one is
                meant, or the id is blank or that of another spec. Nothing was changed.
            CallsheetError: The provider does not know the id, or gave no answer. Nothing was
                changed.
            JournalError: It could not be written to the journal.
            ClosedError: The client was closed.
        """
        return await self._engine.resolver.resolve(self._record, task_id, attempt=attempt)

    async def cancel(self) -> bool:
        """Stop the task if it does not run yet; return whether it was stopped in time.

        ``False`` means that the task already runs or has ended. The provider then continues and
        bills it. A queued task often starts within seconds. A spec that was not sent yet is never
        sent; with a journal, no later process sends it either once this has returned. If this call
        itself is cancelled, the task may or may not be cancelled at the provider; the next poll
        shows which.

        Raises:
            JournalError: It could not be written down, so a later process may send the spec.
            CallsheetError: The provider could not be asked, or refused.
            ClosedError: The client was closed.
        """
        return await self._engine.canceller.cancel(self._record)


def _end_of(record: Record) -> State | None:
    """The state of a spec that has ended; ``None`` if its task may go on."""
    match record.error:
        case None:
            return State.SUCCEEDED
        case TaskExpiredError():
            return State.EXPIRED
        case TaskCancelledError():
            return State.CANCELLED
        case TaskError():
            return State.FAILED
        case SubmissionUncertainError():
            return State.UNCERTAIN
        case _:
            return State.NOT_SUBMITTED if record.task_id is None else None
