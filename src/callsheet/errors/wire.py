"""What goes wrong between the client and the provider."""

from __future__ import annotations

from typing import ClassVar

from callsheet.errors.base import CallsheetError


class TransportError(CallsheetError):
    """No complete HTTP answer arrived."""

    transient: ClassVar[bool] = True


class ConnectFailedError(TransportError):
    """No connection came up, so nothing was sent."""


class SubmissionUncertainError(TransportError):
    """The paid request left, its answer is lost: the task may exist and may be billed.

    It could not be found, and is not sent again, since a second create would be billed too.

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
