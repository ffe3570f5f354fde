"""What an error of a create means: whether a task may exist, and what may be done next.

Every decision here is about money. The provider has no idempotency key, so a create that is
repeated by mistake is a second task, and paid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from callsheet._wire import stops_batch
from callsheet.errors import (
    APIError,
    CallsheetError,
    ConnectFailedError,
    ContentRejectedError,
    InvalidRequestError,
    JournalError,
    ModelNotFoundError,
    NotFoundError,
    QueueFullError,
    RateLimitError,
    ServerError,
    SpecError,
    SubmissionUncertainError,
    TaskError,
)


if TYPE_CHECKING:
    from callsheet._models.policy import RetryPolicy


def leaves_open(error: APIError) -> bool:
    """Whether the task of a create may exist although its answer is this error.

    A server may fail after it made the task. A proxy may also replace the answer of a success by a
    page of its own.
    """
    failed = isinstance(error, ServerError) and (
        error.status_code >= 500 or error.status_code == 408  # noqa: PLR2004 - HTTP
    )
    return failed or error.status_code < 300  # noqa: PLR2004 - HTTP


def may_repeat(
    error: CallsheetError,
    policy: RetryPolicy,
    *,
    tries: int,
    paused: float,
    has_accepted: bool,
    unfinished: int,
) -> bool:
    """Whether an attempt may be sent once more: only if it is certain that it made no task.

    An error after which the task may exist ends in the last case.

    Args:
        error: Why the last try brought no id.
        policy: The caller's limits.
        tries: Tries of this attempt so far, >= 1.
        paused: Seconds that it has paused so far.
        has_accepted: Whether the provider has accepted a create of this client.
        unfinished: Tasks of this client at the provider that have not ended.
    """
    match error:
        case QueueFullError():
            # Refused, so no task. While tasks of ours are pending, room comes when they end, and
            # the create waits for that without a limit of time.
            return unfinished > 0 or paused < policy.patience
        case RateLimitError():
            return paused < policy.patience
        case ConnectFailedError() if has_accepted:
            # Nothing was sent. The provider has worked before, so it may come back.
            return paused < policy.patience
        case ConnectFailedError() | ServerError():
            # Never connected, so nothing was sent. A ServerError that comes here has a 4xx status
            # other than 408: the request was refused before a task was made. See `leaves_open`.
            return tries < policy.attempts
        case _:
            # SubmissionUncertainError is among these: the task may exist, so nothing is sent.
            return False


def stops_all(error: CallsheetError) -> bool:
    """Whether no other create of the batch can succeed after this error.

    A page at a wrong address makes a submission uncertain, and must still stop its batch. So the
    cause of an uncertain submission is asked, too.
    """
    if isinstance(error, (ConnectFailedError, JournalError)):
        return True
    cause = error.__cause__
    lost = isinstance(error, SubmissionUncertainError) and isinstance(cause, CallsheetError)
    judged = cause if lost else error
    return isinstance(judged, APIError) and stops_batch(judged)  # the rest is no answer


def is_final(error: CallsheetError) -> bool:
    """Whether a second attempt would end the same way; otherwise the row stays open.

    An error about the key, the balance, the model or the quota is not final: the caller can
    change that, and then the same spec may succeed.
    """
    judged = (TaskError, SpecError, InvalidRequestError, ContentRejectedError, NotFoundError)
    ours = isinstance(error, ModelNotFoundError) or stops_batch(error)
    return isinstance(error, judged) and not ours


def judges_spec(error: CallsheetError) -> bool:
    """Whether the provider has judged the spec itself: each attempt at it meets the same end."""
    # A SpecError comes from this client. It says nothing about what an earlier attempt has made.
    return is_final(error) and not isinstance(error, SpecError)
