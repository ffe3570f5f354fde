"""An answer whose body is still on its way."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping

import attrs


@attrs.frozen(kw_only=True)
class StreamedResponse:
    """The head of an answer, and its body as it arrives.

    Attributes:
        status_code: 100 to 599.
        headers: With lower-case names.
        chunks: Starts reading the body; to be called once.
    """

    status_code: int
    headers: Mapping[str, str]
    chunks: Callable[[], AsyncGenerator[bytes]]
