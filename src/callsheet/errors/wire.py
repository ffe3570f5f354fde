"""The errors of requests to the provider, and of its answers."""

from __future__ import annotations

from typing import ClassVar

from callsheet.errors.base import CallsheetError


class TransportError(CallsheetError):
    """No complete HTTP answer arrived."""

    transient: ClassVar[bool] = True


class ConnectFailedError(TransportError):
    """No connection could be opened, so nothing was sent."""


class SubmissionUncertainError(TransportError):
    """A create was sent and its answer was lost. The task may exist and may be billed.

    The task could not be found. The create is not sent again, because a second task would be
    billed, too.

    Attributes:
        reason: What happened to the answer.
        token: The correlation token of the create, by which a list may still show the task;
            ``None`` if none was sent.
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
        message: The provider's message.
        status_code: HTTP status, 100 to 599.
        code: The provider's error code, such as ``InvalidParameter``; ``None`` if it gave none.
        request_id: The provider's id of the request, for its support; ``None`` if it gave none.
        param: The parameter that the error is about; ``None`` if the provider names none.
        retry_after: Seconds that the provider asks to wait, >= 0; ``None`` if it does not say.
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
    """The key is missing, wrong, or belongs to another cloud or region (HTTP 401)."""


class BalanceError(APIError):
    """The account has unpaid bills, is not activated, or lacks permission (HTTP 402 or 403)."""


class InvalidRequestError(APIError):
    """The request is wrong. It does not help to send it again."""


class ContentRejectedError(APIError):
    """The provider's moderation refused the prompt or a medium. No task was created or billed."""


class NotFoundError(APIError):
    """The task does not exist, or its record is older than 7 days (HTTP 404)."""


class ModelNotFoundError(NotFoundError):
    """The model does not exist at this provider, or the account has not activated it."""


class ConflictError(APIError):
    """The status of the task does not allow this, such as a cancel while it runs (HTTP 409)."""


class RateLimitError(APIError):
    """There were too many requests, or the service is overloaded: try again later (HTTP 429)."""

    transient: ClassVar[bool] = True


class QueueFullError(APIError):
    """The provider's queue is full. A create can succeed when tasks have left the queue."""

    transient: ClassVar[bool] = True


class QuotaExhaustedError(APIError):
    """A quota is used up, for hours or permanently. A short wait does not help (HTTP 429)."""


class ServerError(APIError):
    """The provider failed (HTTP 5xx, and a few other statuses such as 408)."""

    transient: ClassVar[bool] = True


class ProtocolError(CallsheetError):
    """An answer that is not one of the task API, or that cannot be read.

    Attributes:
        reason: What is wrong with the answer.
        excerpt: The beginning of the answer; may be empty.
    """

    transient: ClassVar[bool] = True

    def __init__(self, reason: str, excerpt: str = "") -> None:
        super().__init__(reason, excerpt)
        self.reason, self.excerpt = reason, excerpt

    def __str__(self) -> str:
        return f"{self.reason}: {self.excerpt!r}" if self.excerpt else self.reason
