"""An answer whose body has not been read yet."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping

import attrs


@attrs.frozen(kw_only=True)
class StreamedResponse:
    """The head of an answer, and its body in chunks as they arrive.

    Attributes:
        status_code: 100 to 599.
        headers: With lower-case names.
        chunks: Starts to read the body; call it once.
    """

    status_code: int
    headers: Mapping[str, str]
    chunks: Callable[[], AsyncGenerator[bytes]]
