"""Make the row of a spec from what the client says about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from callsheet._cli.names import frame_name
from callsheet._cli.results import Ending, Row
from callsheet._models.snapshot import Status
from callsheet.errors import (
    CallsheetError,
    JournalError,
    NotSubmittedError,
    SpendLimitError,
    SubmissionUncertainError,
    TaskCancelledError,
    TaskError,
    TaskExpiredError,
    TaskTimeoutError,
)


if TYPE_CHECKING:
    from callsheet._cli.plan import Job
    from callsheet._models.outcome import Outcome
    from callsheet._models.snapshot import Snapshot, Usage, Video


_ENDINGS: dict[type[CallsheetError], Ending] = {
    TaskCancelledError: Ending.CANCELLED,
    TaskExpiredError: Ending.EXPIRED,
    TaskTimeoutError: Ending.TIMEOUT,
    NotSubmittedError: Ending.NOT_SUBMITTED,
    SpendLimitError: Ending.NOT_SUBMITTED,
    JournalError: Ending.NOT_SUBMITTED,
    SubmissionUncertainError: Ending.UNCERTAIN,
}


def video_row(job: Job, provider: str, video: Video, error: CallsheetError | None) -> Row:
    """The row of a task that succeeded.

    Args:
        job: The job of the row.
        provider: The provider, as the rows name it.
        video: The video.
        error: Why the video is not on disk; ``None`` if it is.
    """
    return Row(
        index=job.index,
        spec=job.spec.to_dict(),
        provider=provider,
        task_id=video.task_id,
        status=Ending.SUCCEEDED if error is None else Ending.DOWNLOAD_FAILED,
        url=video.url,
        file=job.file if error is None else None,
        last_frame_file=frame_name(job.file) if error is None and video.last_frame_url else None,
        seed=video.seed,
        usage=_usage(video.usage),
        seconds=_seconds(video.snapshot),
        error=_error(error),
    )


def failure_row(
    job: Job, provider: str, outcome: Outcome, snapshot: Snapshot | None, before: Row | None
) -> Row:
    """The row of a spec that has ended without a video.

    Args:
        job: The job of the row.
        provider: The provider, as the rows name it.
        outcome: How it ended.
        snapshot: The last status answer; ``None`` if there was none.
        before: Its row from an earlier run, if its task was attached again; else ``None``.

    The next run buys a failed row again. So a task counts as failed only if the provider says so.
    "No such task" is not enough: the key may be of another account. A success without a video is
    billed, so it counts as a failed download.
    """
    error = outcome.error
    ending = _ENDINGS.get(type(error), Ending.FAILED) if error is not None else Ending.FAILED
    if snapshot is not None and snapshot.status is Status.SUCCEEDED:
        ending = Ending.DOWNLOAD_FAILED
    elif outcome.task_id is not None and not isinstance(error, TaskError):
        ending = Ending.TIMEOUT if before is None else before.status
        if ending is Ending.SUCCEEDED:
            ending = Ending.DOWNLOAD_FAILED
    return Row(
        index=job.index,
        spec=job.spec.to_dict(),
        provider=provider,
        task_id=outcome.task_id,
        status=ending,
        last_status=snapshot.status.value if snapshot and not snapshot.status.terminal else None,
        seed=job.spec.seed,
        usage=_usage(snapshot.usage) if snapshot else None,
        seconds=_seconds(snapshot) if snapshot else None,
        error=_error(error),
    )


def stopped_row(
    job: Job,
    provider: str,
    reason: str,
    *,
    task_id: str | None = None,
    last_status: str | None = None,
    url: str | None = None,
) -> Row:
    """The row of a spec that had no outcome when the run stopped.

    Args:
        job: The job of the row.
        provider: The provider, as the rows name it.
        reason: Why the run stopped.
        task_id: The provider's id; ``None`` if it has none.
        last_status: The last known status of the task.
        url: URL of the video, if it is rendered.
    """
    return Row(
        index=job.index,
        spec=job.spec.to_dict(),
        provider=provider,
        task_id=task_id,
        status=Ending.INTERRUPTED if task_id else Ending.NOT_SUBMITTED,
        last_status=last_status,
        url=url,
        seed=job.spec.seed,
        error={"type": "Interrupted", "message": reason, "code": None},
    )


def not_made_row(row: Row, error: CallsheetError) -> Row:
    """Change an uncertain row to not submitted; *error* says that no task was made."""
    return attrs.evolve(row, status=Ending.NOT_SUBMITTED, error=_error(error))


def resolved_row(row: Row, snapshot: Snapshot) -> Row:
    """Change an uncertain row to one whose task is known: a person has named it."""
    said = {"type": "Resolved", "message": "by hand: its create has made this task", "code": None}
    return attrs.evolve(
        row,
        task_id=snapshot.task_id,
        status=Ending.INTERRUPTED,
        last_status=None if snapshot.status.terminal else snapshot.status.value,
        error=said,
    )


def _usage(usage: Usage | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    return {"completion_tokens": usage.completion_tokens, "total_tokens": usage.total_tokens}


def _seconds(snapshot: Snapshot) -> float | None:
    if snapshot.created_at is None or snapshot.updated_at is None:
        return None
    return max(0.0, snapshot.updated_at - snapshot.created_at)


def _error(error: CallsheetError | None) -> dict[str, Any] | None:
    if error is None:
        return None
    return {
        "type": type(error).__name__,
        "message": str(error),
        "code": getattr(error, "code", None),
    }
