"""Turns an answer that is not a success into an error.

Sources: Ark error-code page, official command line's error table, TanStack/ai probes of BytePlus
(July 2026), CometAPI error-code and retry guides.
"""

from __future__ import annotations

import re
from datetime import timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from callsheet._wire.error_object import ErrorText, read_error, reported_error
from callsheet._wire.lenient import excerpt, integer, is_html, load_json, number, sanitize
from callsheet.errors import (
    APIError,
    AuthenticationError,
    BalanceError,
    ConflictError,
    ContentRejectedError,
    InvalidRequestError,
    ModelNotFoundError,
    NotFoundError,
    ProtocolError,
    QueueFullError,
    QuotaExhaustedError,
    RateLimitError,
    ServerError,
)


if TYPE_CHECKING:
    from collections.abc import Mapping

    from callsheet._wire.messages import Response


WRONG_ADDRESS = "nothing at this address speaks the task API"
"""The beginning of the message of an error that a wrong base URL causes."""

_NO_SUCH_VERB = (HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)

_BY_CODE: tuple[tuple[str, type[APIError]], ...] = (
    ("task_not_exist", NotFoundError),  # HTTP 400 at CometAPI
    ("authenticationerror", AuthenticationError),
    ("accountoverdue", BalanceError),
    ("insufficient_", BalanceError),  # insufficient_quota, insufficient_user_quota at gateways
    ("invalidendpoint", ModelNotFoundError),  # InvalidEndpointOrModel.*, .ClosedEndpoint
    ("modelnotopen", ModelNotFoundError),
    ("modelidaccessdisabled", ModelNotFoundError),
    ("model_not_found", ModelNotFoundError),
    ("runningtaskdeletion", ConflictError),
    ("contentsecuritydetectionerror", ServerError),  # the check failed, not the content
    ("sensitive", ContentRejectedError),
    ("riskdetection", ContentRejectedError),
    ("setlimitexceeded", QuotaExhaustedError),
    ("planquotaexceeded", QuotaExhaustedError),
    ("ratelimitexceeded", RateLimitError),
)
"""Part of an error code, in lower case, to the error class. It counts with any HTTP status."""

_BY_CODE_ALONE: tuple[tuple[str, type[APIError]], ...] = (
    ("invalid_request", InvalidRequestError),  # HTTP 500 at CometAPI is still the caller's error
    ("invalidparameter", InvalidRequestError),
    ("missingparameter", InvalidRequestError),
    ("accessdenied", BalanceError),
    ("operationdenied", BalanceError),
    ("notfound", NotFoundError),
)
"""Part of an error code to the error class. It counts only with a 2xx or a 5xx, because a 4xx
status already says what is wrong."""

_BY_STATUS: dict[int, type[APIError]] = {
    401: AuthenticationError,
    402: BalanceError,
    403: BalanceError,
    404: NotFoundError,
    408: ServerError,
    409: ConflictError,
    410: NotFoundError,
    425: ServerError,
    429: RateLimitError,
}

_CALLERS_FAULT = 4  # the first digit of the HTTP status

_EXHAUSTED = re.compile(r"exhausted|\bresets? (?:at|on|in)\b|reset time", re.IGNORECASE)

_STOPPING = (AuthenticationError, BalanceError, ModelNotFoundError, QuotaExhaustedError)

_UNREADABLE_JSON = re.compile(
    r"""pars\w* \W+ (?:\w+\W+){0,4} json              # cannot parse the body as JSON
    | json \W+ (?:\w+\W+){0,3} (?:pars|syntax|decod)  # JSON parsing error
    | (?:invalid|malformed|bad|decode) \W+ json
    | not \W+ (?:a\W+)? valid \W+ json
    | (?:end\W+of|unexpected\W+token\W.*) \W json
    | looking\ for\ beginning\ of\ value              # Go's wording
    """,
    re.IGNORECASE | re.VERBOSE,
)
_ABOUT_ITS_SOURCE = re.compile(r"upstream|response", re.IGNORECASE)

_TITLE = re.compile(r"<title[^>]*>([^<]*)", re.IGNORECASE)


def error_of(response: Response) -> APIError | ProtocolError:
    """The error that an answer means.

    The error code is used first. If it is unknown, the HTTP status decides. A 2xx answer that
    reports an error is classified in the same way, except that a numeric code is used as the
    status. If nothing is known about it, it is a `ServerError`.

    ``ContentSecurityDetectionError`` is a `ServerError`, too: the provider's check failed, so the
    same request may pass later. It is the only server error with status 400, and this status means
    that no task was created.

    A 429 ``QuotaExceeded`` means a full queue, unless its message says that a quota is exhausted or
    when it is reset. If an exhausted quota is taken for a full queue, the client only waits. If a
    full queue were taken for an exhausted quota, the batch would be lost.

    Args:
        response: Any answer that is not the wanted success.

    Returns:
        An `APIError`, or a `ProtocolError` if the answer is not one of the task API.
    """
    status = response.status_code
    match status // 100:
        case 2:
            fields = _error_in_success(response)
        case 3:
            return wrong_address_error(response)
        case 4 | 5:
            fields = _error_in_refusal(response)
        case _:
            fields = None
    if fields is None:
        reason = f"HTTP {status}, but no answer of the task API"
        return ProtocolError(reason, excerpt(response.body))
    return _error_class(status, fields)(
        fields.message or fields.code or "no message",
        status,
        fields.code,
        fields.request_id or _request_id(response.headers),
        fields.param,
        parse_retry_after(response.headers),
    )


def wrong_address_error(response: Response) -> InvalidRequestError:
    """The error for an answer that does not come from the task API.

    CometAPI answers a wrong path with a 301 or an HTML page (its error-code guide).
    """
    where = response.headers.get("location", "")
    what = (
        f"it redirects to {where}" if where else _plain_excerpt(response) or "the answer is empty"
    )
    message = sanitize(f"{WRONG_ADDRESS}: {what}")
    return InvalidRequestError(message, response.status_code, None, _request_id(response.headers))


def create_error_of(response: Response) -> APIError | ProtocolError:
    """`error_of` for the answer to a create.

    For a create, an HTML page, a 404 without a code, a 405 or a 501 can only mean a wrong base URL.
    """
    error = error_of(response)
    match error:
        case ProtocolError():
            wrong_url = is_html(response.body)
        case NotFoundError():
            wrong_url = error.code is None
        case _:
            wrong_url = error.status_code in _NO_SUCH_VERB
    return wrong_address_error(response) if wrong_url else error


def stops_batch(error: Exception) -> bool:
    """Whether every other create of the batch would fail with the same error.

    This is so if the key, the balance, the model or the quota was refused, if the base URL is
    wrong, and if the server cannot parse the JSON of the request. CometAPI's page reports the last
    one: its wrapper answered so to the standard sample (March 2026). A message about the JSON of an
    upstream answer does not count: it is not about the request.
    """
    if isinstance(error, _STOPPING):
        return True
    if not isinstance(error, (InvalidRequestError, ServerError)):
        return False
    message = error.message
    return message.startswith(WRONG_ADDRESS) or (
        _UNREADABLE_JSON.search(message) is not None and not _ABOUT_ITS_SOURCE.search(message)
    )


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer asks the client to wait, >= 0; ``None`` if it does not say.

    The number has no upper limit here. Ark documents no such header, but its newest official SDK
    reads ``retry-after-ms`` and ``retry-after``. A date is compared with the ``date`` header of the
    same answer, so a wrong local clock does not matter.

    Args:
        headers: Header names in lower case, to values.
    """
    milliseconds = number(headers.get("retry-after-ms"))
    if milliseconds is not None and milliseconds >= 0:
        return milliseconds / 1000
    value = headers.get("retry-after", "")
    seconds = number(value)
    if seconds is not None:
        return seconds if seconds >= 0 else None
    try:
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return max(wait, timedelta()).total_seconds()


def _error_in_success(response: Response) -> ErrorText | None:
    """The error that a 2xx answer reports; ``None`` if it reports none."""
    try:
        return reported_error(load_json(response.body))
    except ProtocolError:
        return None


def _error_in_refusal(response: Response) -> ErrorText:
    """The error that a 4xx or 5xx answer reports, in any form."""
    try:
        fields = read_error(load_json(response.body))
    except ProtocolError:
        fields = None
    return fields or ErrorText(message=_plain_excerpt(response))


def _plain_excerpt(response: Response) -> str:
    """A short text about an answer that has no error object."""
    if not is_html(response.body):
        return excerpt(response.body)
    title = _TITLE.search(response.body[:4096].decode("utf-8", "replace"))
    return sanitize(f"an HTML page: {title[1].strip()}" if title else "an HTML page")


def _error_class(status: int, fields: ErrorText) -> type[APIError]:
    code = (fields.code or "").lower()
    if "task_not_exist" in fields.message:
        return NotFoundError
    for part, kind in _BY_CODE:
        if part in code:
            return kind
    about_quota = status == HTTPStatus.TOO_MANY_REQUESTS and "quota" in fields.message.lower()
    if "quotaexceeded" in code or (about_quota and not code):
        return QuotaExhaustedError if _EXHAUSTED.search(fields.message) else QueueFullError
    if status // 100 == _CALLERS_FAULT:
        return _BY_STATUS.get(status, InvalidRequestError)
    for part, kind in _BY_CODE_ALONE:
        if part in code:
            return kind
    stated = integer(code) or status
    return _BY_STATUS.get(
        stated, InvalidRequestError if stated // 100 == _CALLERS_FAULT else ServerError
    )


def _request_id(headers: Mapping[str, str]) -> str | None:
    found = headers.get("x-request-id") or headers.get("x-tt-logid")
    return sanitize(found) if found else None
