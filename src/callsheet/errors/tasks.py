"""The errors of tasks that ended without a video, and of waiting that ended too early."""

from __future__ import annotations

from typing import ClassVar

from callsheet.errors.base import CallsheetError


class TaskError(CallsheetError):
    """A task ended without a video. The provider reported this, and it is final.

    Attributes:
        task_id: The provider's id of the task.
        code: The provider's error code; ``None`` if it gave none.
        reason: The provider's message; empty if it gave none.
    """

    def __init__(self, task_id: str, code: str | None = None, reason: str = "") -> None:
        super().__init__(task_id, code, reason)
        self.task_id, self.code, self.reason = task_id, code, reason

    def __str__(self) -> str:
        detail = ": ".join(part for part in (self.code, self.reason) if part)
        return f"task {self.task_id} {self._ending}{': ' + detail if detail else ''}"

    _ending: ClassVar[str] = "ended without a video"


class TaskFailedError(TaskError):
    """The task failed at the provider; or it succeeded and is billed, but has no video URL."""

    _ending: ClassVar[str] = "failed"


class TaskRejectedError(TaskError):
    """The provider's moderation rejected the finished video. Another seed may pass."""

    _ending: ClassVar[str] = "was rejected by output moderation"


class TaskCancelledError(TaskError):
    """The task was cancelled while it was queued."""

    _ending: ClassVar[str] = "was cancelled"


class TaskExpiredError(TaskError):
    """The task did not end within its ``execution_expires_after``."""

    _ending: ClassVar[str] = "expired"


class TaskTimeoutError(CallsheetError, TimeoutError):
    """Waiting ended before the task did. The task continues, and can be attached again.

    Attributes:
        task_id: The provider's id of the task; ``None`` if it has not given one yet.
        waited: Seconds for which the caller waited, >= 0.
        cancelled: Whether the task was stopped before it ran. Then it does not continue.
    """

    def __init__(self, task_id: str | None, waited: float, cancelled: bool = False) -> None:  # noqa: FBT001, FBT002 - positional, for pickle
        super().__init__(task_id, waited, cancelled)
        self.task_id, self.waited, self.cancelled = task_id, waited, cancelled

    def __str__(self) -> str:
        task = f"task {self.task_id}" if self.task_id else "a task without an id yet"
        end = "it was cancelled" if self.cancelled else "it goes on at the provider"
        return f"stopped waiting for {task} after {self.waited:.1f} s; {end}"
