"""JSON values as gateways really send them, read without ever failing on a detail.

Every reader takes any JSON value and gives what it can make of it, or ``None``.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

from callsheet.errors import ProtocolError


if TYPE_CHECKING:
    from collections.abc import Iterable


EXCERPT = 200
"""Most characters of an answer that an error shows."""

DEEPEST = 100
"""Levels from which on a value is left out. Real answers have about five; what can just be read has
some thousand, and is too deep to be written down again."""

_MILLISECONDS = 1e11
"""Unix times beyond this (the year 5138) are milliseconds."""

_DECODER = json.JSONDecoder(strict=False)  # raw line ends inside strings are let through
_SECRET = re.compile(r"\b(bearer\s+|sk-)[\w.~+/=-]{6,}", re.IGNORECASE)
_NESTING = frozenset((dict, list))
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


def load_json(body: bytes) -> object:
    """The JSON value that a body holds; undecodable bytes inside strings become U+FFFD.

    What is nested as deep as `DEEPEST` is left out: no real answer says anything there, and a video
    that is paid for is not lost for it.

    Raises:
        ProtocolError: It holds none, or one nested too deeply to read.
    """
    try:
        return _decode(body.decode("utf-8-sig", "replace"))
    except ValueError as exc:  # not JSON, or an integer of thousands of digits
        raise ProtocolError("the answer is not JSON", excerpt(body)) from exc
    except RecursionError as exc:
        raise ProtocolError("the answer is nested too deeply", excerpt(body)) from exc


def unwrap_json(value: object) -> object:
    """The value itself or, if it is JSON text that holds an object, that object."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return _decode(value.strip())
        except (ValueError, RecursionError):
            return value
    return value


def _decode(words: str) -> object:
    value: Any = _DECODER.decode(words)
    if words.count("{") + words.count("[") < DEEPEST:
        return value
    level: list[Any] = [[value]]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _children(outer) if type(inner) in _NESTING]
    for innermost in level:
        innermost.clear()
    return value


def _children(value: Any) -> Iterable[Any]:
    row = mapping(value)
    return value if row is None else row.values()


def is_html(body: bytes) -> bool:
    """Whether a body is a page for people, whatever its content type says."""
    return body[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def sanitize(words: str, limit: int = EXCERPT) -> str:
    """Text fit for a report: printable as UTF-8, without keys, at most *limit* characters."""
    clean = _SECRET.sub(r"\1***", words.encode("utf-8", "replace").decode("utf-8").strip())
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def excerpt(body: bytes) -> str:
    """The beginning of a body, fit for a report."""
    return sanitize(body[: 4 * EXCERPT].decode("utf-8-sig", "replace"))


def mapping(value: Any) -> dict[str, Any] | None:
    """A JSON object."""
    return value if isinstance(value, dict) else None  # pyright: ignore[reportUnknownVariableType] - a cast costs


def text(value: object) -> str | None:
    """A string that is not blank, as it is; an integer becomes its digits."""
    if isinstance(value, str):
        return value if value and not value.isspace() else None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


def number(value: Any) -> float | None:
    """A finite number, also out of a string such as ``" 5.0 "``."""
    if isinstance(value, bool):
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def integer(value: object) -> int | None:
    """A whole number, also out of ``5.0``, ``"5"`` or ``"5.0"``."""
    if type(value) is int:
        return value
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass  # "5.0"
    found = number(value)
    return int(found) if found is not None and found.is_integer() else None


def flag(value: object) -> bool | None:
    """A truth value, also out of ``"true"``, ``"False"``, 0 or 1."""
    if isinstance(value, bool):
        return value
    word = text(value)
    return None if word is None else _FLAGS.get(word.strip().lower())


def timestamp(value: object) -> float | None:
    """Unix seconds, also out of milliseconds; 0 and less mean that there is no time."""
    found = number(value)
    if found is None or found <= 0:
        return None
    return found / 1000 if found > _MILLISECONDS else found
