"""Whether a text is a valid URL or a valid id."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit


_BROKEN_CHARACTERS: Final = re.compile("[\0-\x20\x7f\ud800-\udfff]")
_ID_PATTERN: Final = re.compile(r"[!-~]+")


def is_http_url(text: str) -> bool:
    """Whether the text is an http(s) URL with a host and without spaces or control characters."""
    if _BROKEN_CHARACTERS.search(text):
        return False
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:  # a broken IPv6 address, or a port that is not a number
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def is_id(text: str) -> bool:
    """Whether the text can be an id: printable ASCII without spaces, and not empty."""
    return _ID_PATTERN.fullmatch(text) is not None
