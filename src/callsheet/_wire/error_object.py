"""Reads an error object in all forms in which gateways write it.

The documented form is ``{"error": {"code", "message", "param", "type"}}`` (Ark error-code page).
Public answers have other forms, too: the same keys at the root, ``error`` as plain text, JSON text
inside ``message`` (new-api style gateways), a numeric or empty ``code``, everything inside one
``data``. ``type`` is never read, because real answers do not agree on its spelling.
"""

from __future__ import annotations

import re

import attrs

from callsheet._wire.lenient import mapping, sanitize, text, unwrap_json


MESSAGE = 1000
"""Most characters of a message that are kept."""

_NO_CODE = frozenset({"0", "200", "ok", "success"})
_INNER = ("detail", "msg", "message", "data", "error")  # a later key says more than an earlier one
_DEPTH = 4  # data, error, message, and the JSON text in it
_REQUEST_ID = re.compile(r"request[ _-]?id[\s:=]{1,4}([\w-]{6,})", re.IGNORECASE)


@attrs.frozen(kw_only=True)
class ErrorText:
    """The fields of an error object; ``None`` or empty text where the provider gave nothing.

    Attributes:
        code: The provider's code; ``None`` also for codes that mean success.
        message: The provider's message, without API keys, at most `MESSAGE` characters.
        param: The parameter that the error is about.
        request_id: The provider's id of the request.
    """

    code: str | None = None
    message: str = ""
    param: str | None = None
    request_id: str | None = None


def read_error(value: object) -> ErrorText | None:
    """The fields of an error value in any form; ``None`` if all of them are empty."""
    fields = _read(value, _DEPTH)
    return None if fields == ErrorText() else fields


def reported_error(value: object) -> ErrorText | None:
    """The error that an answer reports; ``None`` if it reports none.

    An answer reports an error if it, or its ``data``, has an ``error`` that is not empty, or if it
    has a ``code`` that does not mean success. A ``message`` alone is not an error.
    """
    root = mapping(unwrap_json(value)) or {}
    data = mapping(unwrap_json(root.get("data"))) or {}
    reported = root.get("error") or data.get("error") or _code(root.get("code"))
    return read_error(root) if reported else None


def _read(value: object, depth: int) -> ErrorText:
    value = unwrap_json(value)
    row = mapping(value)
    if row is None:
        message = text(value) or ""
        return ErrorText(message=sanitize(message, MESSAGE), request_id=_request_id_in(message))
    fields = ErrorText(
        code=_code(row.get("code")),
        param=_short(row.get("param")),
        request_id=_short(row.get("request_id")),
    )
    for key in _INNER if depth else ():
        if row.get(key):
            fields = _merged(_read(row[key], depth - 1), fields)
    return fields


def _merged(inner: ErrorText, outer: ErrorText) -> ErrorText:
    """The fields of the inner object, and those of the outer one where the inner has none.

    The request id is the exception: the outer one is used first.
    """
    return ErrorText(
        code=inner.code or outer.code,
        message=inner.message or outer.message,
        param=inner.param or outer.param,
        request_id=outer.request_id or inner.request_id,
    )


def _code(value: object) -> str | None:
    code = _short(value)
    return None if code is None or code.lower() in _NO_CODE else code


def _short(value: object) -> str | None:
    found = text(value)
    return None if found is None else sanitize(found)


def _request_id_in(message: str) -> str | None:
    found = _REQUEST_ID.search(message)
    return None if found is None else sanitize(found[1])
