"""Readers of JSON values as gateways really send them: a wrong detail never raises.

Each reader accepts any JSON value. It returns the value in the wanted type, or ``None`` if that is
not possible.
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
"""Most characters of an answer that are quoted in an error."""

DEEPEST = 100
"""Values at this level of nesting, and deeper, are removed. Real answers have about five levels.
Python can just read a value of some thousand levels, but cannot write it as JSON again."""

_MILLISECONDS = 1e11
"""A larger Unix time is taken as milliseconds; in seconds, this is the year 5138."""

_DECODER = json.JSONDecoder(strict=False)  # accepts raw line breaks inside strings
_SECRET = re.compile(r"\b(bearer\s+|sk-)[\w.~+/=-]{6,}", re.IGNORECASE)
_NESTING = frozenset((dict, list))
_FLAG_WORDS = {"true": True, "1": True, "false": False, "0": False}


def _whole(digits: str) -> float:
    """A whole number; infinity for one of thousands of digits.

    One absurd number must not hide the rest of an answer, which may name a video that is paid for.
    """
    try:
        return int(digits)
    except ValueError:
        return float(digits)


_DECODER_OF_LONG_NUMBERS = json.JSONDecoder(strict=False, parse_int=_whole)


def load_json(body: bytes) -> object:
    """The JSON value of a body. Bytes that are not UTF-8 become U+FFFD.

    Values nested `DEEPEST` levels deep are removed. No real answer has data there, and the rest of
    the answer, which may name a video that is paid for, can still be used.

    Raises:
        ProtocolError: The body is not JSON, or is nested too deeply to read.
    """
    try:
        return _decode(body.decode("utf-8-sig", "replace"))
    except ValueError as exc:
        raise ProtocolError("the answer is not JSON", excerpt(body)) from exc
    except RecursionError as exc:
        raise ProtocolError("the answer is nested too deeply", excerpt(body)) from exc


def unwrap_json(value: object) -> object:
    """The object inside a text that holds a JSON object; any other value as it is."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return _decode(value.strip())
        except (ValueError, RecursionError):
            return value
    return value


def _decode(json_text: str) -> object:
    try:
        value: Any = _DECODER.decode(json_text)
    except json.JSONDecodeError:
        raise
    except ValueError:  # a whole number of thousands of digits, which Python refuses to read
        value = _DECODER_OF_LONG_NUMBERS.decode(json_text)
    if json_text.count("{") + json_text.count("[") < DEEPEST:
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
    """Whether a body is an HTML page, whatever its content type says."""
    return body[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def sanitize(value: str, limit: int = EXCERPT) -> str:
    """The text in a form that can be logged.

    It is valid UTF-8, holds no API keys, and has at most *limit* characters.
    """
    clean = _SECRET.sub(r"\1***", value.encode("utf-8", "replace").decode("utf-8").strip())
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def excerpt(body: bytes) -> str:
    """The beginning of a body, in a form that can be logged."""
    return sanitize(body[: 4 * EXCERPT].decode("utf-8-sig", "replace"))


def mapping(value: Any) -> dict[str, Any] | None:
    """The value if it is a JSON object, otherwise ``None``."""
    return value if isinstance(value, dict) else None  # pyright: ignore[reportUnknownVariableType] - a cast would cost time


def text(value: object) -> str | None:
    """A string that is not blank, unchanged; an integer as its digits."""
    if isinstance(value, str):
        return value if value and not value.isspace() else None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


def number(value: Any) -> float | None:
    """A finite number; also read from a string such as ``" 5.0 "``."""
    if isinstance(value, bool):
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def integer(value: object) -> int | None:
    """A whole number; also read from ``5.0``, ``"5"`` or ``"5.0"``."""
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
    """A truth value; also read from ``"true"``, ``"False"``, 0 or 1."""
    if isinstance(value, bool):
        return value
    word = text(value)
    return None if word is None else _FLAG_WORDS.get(word.strip().lower())


def timestamp(value: object) -> float | None:
    """Unix seconds; milliseconds are converted. 0 or less means that there is no time: ``None``."""
    found = number(value)
    if found is None or found <= 0:
        return None
    return found / 1000 if found > _MILLISECONDS else found
