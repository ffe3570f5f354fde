"""The results: outcomes, the result of a batch, and its progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import overload

import attrs

from callsheet._models.snapshot import Packed, Video, packed_url, unpack
from callsheet._models.spec import TaskSpec
from callsheet.errors import BatchError, CallsheetError


_Unread = Packed | Callable[[], Video]
"""What stands for a video until it is read: its snapshot as bytes, or what reads it."""


def _to_video(video: Video | _Unread | None) -> Video | None:
    if video is None or isinstance(video, Video):
        return video
    return Video.from_snapshot(unpack(video)) if isinstance(video, Packed) else video()


@attrs.frozen(kw_only=True)
class UncertainAttempt:
    """A create whose answer was lost: its task may exist and be billed.

    Attributes:
        attempt: Its number among the creates of its spec, from 1, over all processes.
        token: The mark that its task carries in ``safety_identifier``; ``None`` if it has none.
        sent_at: When it was sent, in Unix seconds; ``None`` if that is not known.
    """

    attempt: int
    token: str | None
    sent_at: float | None


_OUTCOME = ("index", "spec", "task_id", "video", "error")


@attrs.frozen(kw_only=True)
class Outcome:
    """How one spec ended: with either a video or an error.

    Attributes:
        index: Position of the spec in its batch or stream, from 0.
        spec: The spec; ``None`` for a task that was attached by id.
        task_id: The provider's id of the task; ``None`` if no task is known.
        error: Why there is no video; ``None`` if there is one.
    """

    index: int
    spec: TaskSpec | None
    task_id: str | None
    _video: Video | _Unread | None = attrs.field(default=None, alias="video", eq=_to_video)
    error: CallsheetError | None = None

    def __repr__(self) -> str:
        values = (f"{name}={getattr(self, name)!r}" for name in _OUTCOME)
        return f"Outcome({', '.join(values)})"

    def __reduce__(self) -> tuple[partial[Outcome], tuple[()]]:
        """Pickle the `Video`, not what stands for it: that is for this process only."""
        values = {name: getattr(self, name) for name in _OUTCOME}
        return partial(Outcome, **values), ()

    @property
    def video(self) -> Video | None:
        """The video; ``None`` if there is none. It is built when this is first read."""
        if not isinstance(self._video, Video):
            object.__setattr__(self, "_video", _to_video(self._video))
        return _to_video(self._video)

    @property
    def ok(self) -> bool:
        """Whether there is a video."""
        return self._video is not None

    @property
    def url(self) -> str | None:
        """The URL of the video; ``None`` if there is no video."""
        match self._video:
            case None:
                return None
            case Video() as video:
                return video.url
            case Packed() as kept:
                return packed_url(kept)
            case read:
                return read().url


def _to_tuple(outcomes: Iterable[Outcome]) -> tuple[Outcome, ...]:
    return tuple(outcomes)


@attrs.frozen
class BatchResult(Sequence[Outcome]):
    """The outcomes of a whole batch, in input order."""

    outcomes: tuple[Outcome, ...] = attrs.field(converter=_to_tuple)

    @overload
    def __getitem__(self, index: int) -> Outcome: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Outcome]: ...
    def __getitem__(self, index: int | slice) -> Outcome | Sequence[Outcome]:
        return self.outcomes[index]

    def __len__(self) -> int:
        return len(self.outcomes)

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self.outcomes)

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """The outcomes without a video."""
        return tuple(outcome for outcome in self.outcomes if not outcome.ok)

    def raise_for_failures(self) -> None:
        """Raise one error if any spec has no video; otherwise do nothing.

        Raises:
            BatchError: It has one member for each spec without a video, in input order. Each member
                has a note that names its spec.
        """
        errors = [_with_note(outcome) for outcome in self.failures]
        if errors:
            total = len(self.outcomes)
            msg = f"{len(errors)} of {total} specs ended without a video"
            raise BatchError(msg, errors)

    def videos(self) -> list[Video]:
        """The videos, in input order.

        Raises:
            BatchError: At least one spec has no video.
        """
        self.raise_for_failures()
        return [outcome.video for outcome in self.outcomes if outcome.video is not None]

    def urls(self) -> list[str]:
        """The video URLs, in input order.

        Raises:
            BatchError: At least one spec has no video.
        """
        self.raise_for_failures()
        return [outcome.url for outcome in self.outcomes if outcome.url is not None]


def _with_note(outcome: Outcome) -> CallsheetError:
    """The error of the outcome, with a note that names its spec. The note is added only once."""
    error = outcome.error or CallsheetError("no outcome")
    prompt = "" if outcome.spec is None or not outcome.spec.prompt else f" {outcome.spec.prompt!r}"
    note = f"spec {outcome.index}{prompt[:80]}"
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
    return error


@attrs.frozen(kw_only=True)
class Stats:
    """What a client is doing at one moment, for health checks and pages.

    Attributes:
        backlog: Specs that wait to be sent.
        in_flight: Creates whose answer is awaited.
        uncertain: Creates that may have made a task, and nobody knows, and tasks that are watched
            no longer although they may go on. All of them may be billed.
        queued: Tasks that are watched and were not seen running yet.
        running: Tasks that are watched and were seen running.
        service_up: Whether the provider answered the last time.
        doubted_lists: Why the provider's lists are not believed about what they do not show, one
            sentence for each reason; see `callsheet.events.ListDoubted`.
    """

    backlog: int
    in_flight: int
    uncertain: int
    queued: int
    running: int
    service_up: bool
    doubted_lists: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Progress:
    """The progress of a batch, as numbers of specs.

    `queued`, `running`, `succeeded` and `failed` together are at most `total`.

    Attributes:
        total: All specs of the batch.
        submitted: Specs for which the provider has given an id.
        queued: Specs that are submitted and were not seen running yet.
        running: Specs that were seen running.
        succeeded: Specs that ended with a video.
        failed: Specs that ended without a video for any reason, even if nothing was sent.
    """

    total: int
    submitted: int
    queued: int
    running: int
    succeeded: int
    failed: int

    @property
    def done(self) -> int:
        """Number of specs with an outcome."""
        return self.succeeded + self.failed
