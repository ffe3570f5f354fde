"""Base classes, and errors that do not come from an answer of the provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import attrs


if TYPE_CHECKING:
    from collections.abc import Sequence


class CallsheetError(Exception):
    """Base class of the errors that callsheet raises or reports.

    Attributes:
        transient: Whether the same request may succeed later.
    """

    transient: ClassVar[bool] = False


class ConfigurationError(CallsheetError, ValueError):
    """A setting or an argument of the client cannot work. Nothing was sent."""


@attrs.frozen
class Problem:
    """One mistake in a spec.

    Attributes:
        field: Name of the `TaskSpec` field; for one item of a sequence with its index, as in
            ``references[2]``.
        value: The value of the field as text, shortened if it is long.
        allowed: A text that says what would be accepted.
        index: Position of the spec among those of one call, from 0; ``None`` for a single spec.
    """

    field: str
    value: str
    allowed: str
    index: int | None = None

    def __str__(self) -> str:
        where = "" if self.index is None else f"spec {self.index}: "
        return f"{where}{self.field}={self.value}: {self.allowed}"


class SpecError(CallsheetError, ValueError):
    """The provider would refuse these specs. Nothing was sent.

    Attributes:
        problems: All mistakes, not only the first one.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class ClosedError(CallsheetError, RuntimeError):
    """The client is used outside its ``async with``, or in another event loop, or was closed."""


class NotSubmittedError(CallsheetError):
    """No task was created for a spec, and nothing was billed.

    For example, the spec was cancelled, its batch was stopped, or the client was closed. If another
    error stopped the batch, ``__cause__`` holds that error.

    Attributes:
        reason: Why there is no task, as text.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"not submitted: {self.reason}"


class SpendLimitError(CallsheetError):
    """This submission would exceed the spend limit. It was not sent."""


class DownloadError(CallsheetError):
    """A finished video could not be downloaded.

    Attributes:
        reason: What happened.
        task_id: Id of the task that made the video; ``None`` if only a URL was given. The video can
            be downloaded again until its URL expires.
    """

    def __init__(self, reason: str, task_id: str | None = None) -> None:
        super().__init__(reason, task_id)
        self.reason, self.task_id = reason, task_id

    def __str__(self) -> str:
        task = f"video of task {self.task_id}" if self.task_id else "video"
        return f"{task} not downloaded: {self.reason}"


class JournalError(CallsheetError):
    """The journal cannot be written, so nothing new is sent; or it cannot be read."""


class WebhookError(CallsheetError):
    """The body of a callback holds no task that can be read."""


class BatchError(ExceptionGroup[Exception]):
    """Some specs of a batch ended without a video. There is one member for each, in input order."""

    def derive(self, excs: Sequence[Any], /) -> Self:  # type: ignore[override]
        """A group of the same class with other members, for ``split`` and ``except*``."""
        return type(self)(self.message, excs)
