"""The object store of the video URLs: signatures, expiry, and byte ranges."""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import attrs

from callsheet.emulator.service import FILE_SECONDS


if TYPE_CHECKING:
    from collections.abc import Mapping


_ALGORITHM = "TOS4-HMAC-SHA256"
_STAMP = "%Y%m%dT%H%M%SZ"
_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


class Denied(Exception):  # noqa: N818 - an answer of the store, not an error here
    """The store refuses a download.

    Attributes:
        status: HTTP status.
        code: The store's error code.
        message: The message.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, code, message)
        self.status, self.code, self.message = status, code, message

    def xml(self) -> str:
        """Build the store's error body."""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>"
        )


@attrs.frozen
class Signer:
    """Signs paths for 24 hours, in the form of TOS URLs.

    Attributes:
        secret: Key of the signatures.
    """

    secret: str

    def query(self, path: str, at: float) -> str:
        """Build the query string that allows a GET of *path* for 24 hours from unix time *at*."""
        date = datetime.fromtimestamp(int(at), UTC).strftime(_STAMP)
        fields = {
            "X-Tos-Algorithm": _ALGORITHM,
            "X-Tos-Credential": f"AKLTEMULATOR/{date[:8]}/cn-beijing/tos/request",
            "X-Tos-Date": date,
            "X-Tos-Expires": str(FILE_SECONDS),
            "X-Tos-Signature": self._sign(path, date),
            "X-Tos-SignedHeaders": "host",
        }
        return urlencode(fields)

    def check(self, path: str, query: Mapping[str, str], now: float) -> None:
        """Check a signed GET of *path*.

        Raises:
            Denied: If the signature is missing or wrong, or the 24 hours are over.
        """
        date, signature = query.get("X-Tos-Date", ""), query.get("X-Tos-Signature", "")
        expected = self._sign(path, date).encode()
        whole = query.get("X-Tos-Expires") == str(FILE_SECONDS)
        if not whole or not hmac.compare_digest(expected, signature.encode()):
            raise Denied(
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided.",
            )
        signed = datetime.strptime(date, _STAMP).replace(tzinfo=UTC).timestamp()
        if now >= signed + FILE_SECONDS:
            raise Denied(403, "AccessDenied", "Request has expired.")

    def _sign(self, path: str, date: str) -> str:
        text = f"GET\n{path}\n{date}\n{FILE_SECONDS}"
        return hmac.new(self.secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def find_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the first byte and the end (exclusive) that a ``Range`` header asks for.

    None means the whole file: there is no header, or it has several ranges or an invalid one.

    Raises:
        Denied: With status 416, if the range lies outside the file.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        start, end = max(0, size - int(match[2])), size
    else:
        start, end = int(match[1]), size
        if match[2]:
            end = int(match[2]) + 1
            if end <= start:
                return None
    if start >= size:
        raise Denied(416, "InvalidRange", "The requested range cannot be satisfied.")
    return start, min(end, size)
