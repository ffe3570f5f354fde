"""HTTP messages as plain values."""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen(kw_only=True)
class Request:
    """What is to be sent, relative to the provider's base URL; the key is added on the way out.

    Attributes:
        method: HTTP verb.
        target: Path and query, percent-encoded, starting with ``/``.
        body: JSON as UTF-8; ``None`` if there is none.
    """

    method: str
    target: str
    body: bytes | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class Response:
    """What came back, whole.

    Attributes:
        status_code: 100 to 599.
        headers: With lower-case names.
        body: Decoded from any transfer or content encoding.
    """

    status_code: int
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
