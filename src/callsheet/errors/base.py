"""What is wrong on this side of the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import attrs


if TYPE_CHECKING:
    from collections.abc import Sequence


class CallsheetError(Exception):
    """Base of every error that callsheet raises or reports.

    Attributes:
        transient: Whether the same request may succeed if it is tried again later.
    """

    transient: ClassVar[bool] = False


class ConfigurationError(CallsheetError, ValueError):
    """The client was set up in a way that cannot work; nothing was sent."""


@attrs.frozen
class Problem:
    """One thing that is wrong with a spec.

    Attributes:
        field: Name of the `TaskSpec` field, with an index where one applies (``references[2]``).
        value: What the spec holds there, as text, shortened if it is long.
        allowed: What would be accepted, in words.
        index: Position of the spec among those given to one call, from 0; ``None`` for one spec.
    """

    field: str
    value: str
    allowed: str
    index: int | None = None

    def __str__(self) -> str:
        where = "" if self.index is None else f"spec {self.index}: "
        return f"{where}{self.field}={self.value}: {self.allowed}"


class SpecError(CallsheetError, ValueError):
    """Specs that the provider would refuse; nothing was sent.

    Attributes:
        problems: Everything that is wrong, not only the first thing.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class ClosedError(CallsheetError, RuntimeError):
    """The client is used outside its ``async with``, or in another event loop than its own."""


class NotSubmittedError(CallsheetError):
    """A spec for which no task was made, as its batch was stopped; nothing was billed.

    ``__cause__`` holds the error that stopped it, if one did.

    Attributes:
        reason: Why there is no task, in words.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"not submitted: {self.reason}"


class SpendLimitError(CallsheetError):
    """Sending this would pass the spend limit; nothing was sent."""


class DownloadError(CallsheetError):
    """A finished video could not be brought to disk.

    Attributes:
        reason: What happened.
        task_id: The task whose video it is; it can be downloaded again while the URL lives.
    """

    def __init__(self, reason: str, task_id: str | None = None) -> None:
        super().__init__(reason, task_id)
        self.reason, self.task_id = reason, task_id

    def __str__(self) -> str:
        task = f"video of task {self.task_id}" if self.task_id else "video"
        return f"{task} not downloaded: {self.reason}"


class JournalError(CallsheetError):
    """The journal cannot be written, so nothing new is sent; or what it holds cannot be read."""


class WebhookError(CallsheetError):
    """A callback that cannot be read or trusted."""


class BatchError(ExceptionGroup[Exception]):
    """One member per spec of a batch that ended without a video, in input order."""

    def derive(self, excs: Sequence[Any], /) -> Self:  # type: ignore[override]
        """A group of the same kind with other members (for ``split`` and ``except*``)."""
        return type(self)(self.message, excs)
