"""What can go wrong, as plain values.

Every error of the package is a `CallsheetError`, says with ``transient`` whether trying again can
help, carries only plain values (never an object of the HTTP library) and survives `pickle`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import attrs


if TYPE_CHECKING:
    from collections.abc import Sequence


__all__ = [
    "APIError",
    "AuthenticationError",
    "BalanceError",
    "BatchError",
    "CallsheetError",
    "ClosedError",
    "ConfigurationError",
    "ConflictError",
    "ConnectFailedError",
    "ContentRejectedError",
    "DownloadError",
    "InvalidRequestError",
    "ModelNotFoundError",
    "NotFoundError",
    "NotSubmittedError",
    "Problem",
    "ProtocolError",
    "QueueFullError",
    "QuotaExhaustedError",
    "RateLimitError",
    "ServerError",
    "SpecError",
    "SpendLimitError",
    "SubmissionUncertainError",
    "TaskCancelledError",
    "TaskError",
    "TaskExpiredError",
    "TaskFailedError",
    "TaskRejectedError",
    "TaskTimeoutError",
    "TransportError",
    "WebhookError",
]


class CallsheetError(Exception):
    """Base of every error that callsheet raises or reports.

    Attributes:
        transient: Whether the same request may succeed if it is tried again later.
    """

    transient: ClassVar[bool] = False


class ConfigurationError(CallsheetError, ValueError):
    """The client was set up in a way that cannot work; nothing was sent."""


@attrs.frozen
class Problem:
    """One thing that is wrong with a spec.

    Attributes:
        field: Name of the `TaskSpec` field, with an index where one applies (``references[2]``).
        value: What the spec holds there, as text, shortened if it is long.
        allowed: What would be accepted, in words.
        index: Position of the spec among those given to one call, from 0; ``None`` for one spec.
    """

    field: str
    value: str
    allowed: str
    index: int | None = None

    def __str__(self) -> str:
        where = "" if self.index is None else f"spec {self.index}: "
        return f"{where}{self.field}={self.value}: {self.allowed}"


class SpecError(CallsheetError, ValueError):
    """Specs that the provider would refuse; nothing was sent.

    Attributes:
        problems: Everything that is wrong, not only the first thing.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class ClosedError(CallsheetError, RuntimeError):
    """The client is used outside its ``async with``, or in another event loop than its own."""


class NotSubmittedError(CallsheetError):
    """A spec of a stopped batch; nothing was sent for it and nothing was billed.

    ``__cause__`` holds the error that stopped the batch, if one did.

    Attributes:
        reason: Why nothing was sent, in words.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"not submitted: {self.reason}"


class TransportError(CallsheetError):
    """No complete HTTP answer arrived."""

    transient: ClassVar[bool] = True


class ConnectFailedError(TransportError):
    """No connection came up, so nothing was sent."""


class SubmissionUncertainError(TransportError):
    """The paid request left, its answer is lost: the task may exist and may be billed.

    It is not sent again, since a second create would be billed too.

    Attributes:
        reason: What happened to the answer.
        token: The mark by which the task can be found with a list call, if one was sent.
    """

    transient: ClassVar[bool] = False

    def __init__(self, reason: str, token: str | None = None) -> None:
        super().__init__(reason, token)
        self.reason, self.token = reason, token

    def __str__(self) -> str:
        mark = f" (token {self.token})" if self.token else ""
        return (
            f"the answer to a create was lost{mark}: {self.reason}; "
            "the task may exist and be billed, so it was not sent again"
        )


class APIError(CallsheetError):
    """The provider refused a request.

    Attributes:
        message: The provider's words.
        status_code: HTTP status, 100 to 599.
        code: The provider's error code, such as ``InvalidParameter``; ``None`` if it gave none.
        request_id: The provider's id of the request, to be quoted to its support.
        param: The parameter the provider complains about.
        retry_after: Seconds the provider asks to wait, >= 0; ``None`` if it does not say.
    """

    def __init__(  # noqa: PLR0917 - positional, so that pickle can call it with args
        self,
        message: str,
        status_code: int,
        code: str | None = None,
        request_id: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, status_code, code, request_id, param, retry_after)
        self.message, self.status_code, self.code = message, status_code, code
        self.request_id, self.param, self.retry_after = request_id, param, retry_after

    def __str__(self) -> str:
        code = f" {self.code}" if self.code else ""
        untold = self.request_id is not None and self.request_id not in self.message
        request = f" (request {self.request_id})" if untold else ""
        return f"HTTP {self.status_code}{code}: {self.message}{request}"


class AuthenticationError(APIError):
    """The key is missing, wrong, or of another cloud or region (HTTP 401)."""


class BalanceError(APIError):
    """The account may not do this: unpaid, not activated, no permission (HTTP 402 or 403)."""


class InvalidRequestError(APIError):
    """The request itself is wrong; sending it again cannot help."""


class ContentRejectedError(APIError):
    """Input moderation refused the prompt or a medium; nothing was made or billed."""


class NotFoundError(APIError):
    """No such task, or a task record older than 7 days (HTTP 404)."""


class ModelNotFoundError(NotFoundError):
    """The model does not exist here, or the account has not opened it."""


class ConflictError(APIError):
    """The task is in a state that forbids this, such as cancelling while it runs (HTTP 409)."""


class RateLimitError(APIError):
    """Too many requests, or the service is overloaded: wait and try again (HTTP 429)."""

    transient: ClassVar[bool] = True


class QueueFullError(APIError):
    """The provider's queue of waiting tasks is full: create again when tasks have left it."""

    transient: ClassVar[bool] = True


class QuotaExhaustedError(APIError):
    """A quota is used up for hours or for good; waiting a little does not help (HTTP 429)."""


class ServerError(APIError):
    """The provider failed (HTTP 5xx)."""

    transient: ClassVar[bool] = True


class ProtocolError(CallsheetError):
    """A success answer that cannot be read.

    Attributes:
        reason: What is wrong with it.
        excerpt: Its beginning, for the report.
    """

    transient: ClassVar[bool] = True

    def __init__(self, reason: str, excerpt: str = "") -> None:
        super().__init__(reason, excerpt)
        self.reason, self.excerpt = reason, excerpt

    def __str__(self) -> str:
        return f"{self.reason}: {self.excerpt!r}" if self.excerpt else self.reason


class TaskError(CallsheetError):
    """A task ended without a video; this is the provider's word and final.

    Attributes:
        task_id: The provider's id.
        code: The provider's error code, if it gave one.
        reason: The provider's words.
    """

    def __init__(self, task_id: str, code: str | None = None, reason: str = "") -> None:
        super().__init__(task_id, code, reason)
        self.task_id, self.code, self.reason = task_id, code, reason

    def __str__(self) -> str:
        detail = ": ".join(part for part in (self.code, self.reason) if part)
        return f"task {self.task_id} {self._ending}{': ' + detail if detail else ''}"

    _ending: ClassVar[str] = "ended without a video"


class TaskFailedError(TaskError):
    """Generation failed at the provider."""

    _ending: ClassVar[str] = "failed"


class TaskRejectedError(TaskError):
    """Output moderation withheld the result; another seed may pass."""

    _ending: ClassVar[str] = "was rejected by output moderation"


class TaskCancelledError(TaskError):
    """The task was cancelled while it was queued."""

    _ending: ClassVar[str] = "was cancelled"


class TaskExpiredError(TaskError):
    """The task did not end within its ``execution_expires_after``."""

    _ending: ClassVar[str] = "expired"


class TaskTimeoutError(CallsheetError, TimeoutError):
    """Waiting ended before the task did; the task itself goes on and can be attached again.

    Attributes:
        task_id: The provider's id; ``None`` while it has not given one.
        waited: Seconds waited.
    """

    def __init__(self, task_id: str | None, waited: float) -> None:
        super().__init__(task_id, waited)
        self.task_id, self.waited = task_id, waited

    def __str__(self) -> str:
        task = f"task {self.task_id}" if self.task_id else "a task without an id yet"
        return f"stopped waiting for {task} after {self.waited:.1f} s; it goes on at the provider"


class SpendLimitError(CallsheetError):
    """Sending this would pass the spend limit; nothing was sent."""


class DownloadError(CallsheetError):
    """A finished video could not be brought to disk.

    Attributes:
        reason: What happened.
        task_id: The task whose video it is; it can be downloaded again while the URL lives.
    """

    def __init__(self, reason: str, task_id: str | None = None) -> None:
        super().__init__(reason, task_id)
        self.reason, self.task_id = reason, task_id

    def __str__(self) -> str:
        task = f"video of task {self.task_id}" if self.task_id else "video"
        return f"{task} not downloaded: {self.reason}"


class WebhookError(CallsheetError):
    """A callback that cannot be read or trusted."""


class BatchError(ExceptionGroup[Exception]):
    """One member per spec of a batch that ended without a video, in input order."""

    def derive(self, excs: Sequence[Any], /) -> Self:  # type: ignore[override]
        """A group of the same kind with other members (for ``split`` and ``except*``)."""
        return type(self)(self.message, excs)
