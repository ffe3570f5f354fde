"""HTTP messages as plain values."""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen(kw_only=True)
class Request:
    """A request to the provider. The transport adds the base URL and the API key.

    Attributes:
        method: HTTP method, such as ``GET``.
        target: Path and query after the base URL, percent-encoded, starting with ``/``.
        body: JSON in UTF-8; ``None`` if there is no body.
    """

    method: str
    target: str
    body: bytes | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class Response:
    """A complete answer.

    Attributes:
        status_code: HTTP status, 100 to 599.
        headers: Header names in lower case, to values.
        body: The bytes after any transfer or content encoding is removed.
    """

    status_code: int
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
