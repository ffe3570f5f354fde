"""How specs ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Self, overload

import attrs

from callsheet._models.kept import Kept, kept_snapshot, kept_url
from callsheet._models.snapshot import Snapshot, Usage
from callsheet._models.spec import TaskSpec
from callsheet.errors import BatchError, CallsheetError


URL_LIFETIME = timedelta(hours=24)
"""Video URLs live this long from `Snapshot.updated_at` (``X-Tos-Expires=86400``)."""


@attrs.frozen(kw_only=True)
class Video:
    """A finished video.

    Attributes:
        url: Where to fetch it with a plain GET, without any key, until `expires_at`.
        last_frame_url: The same for its last frame, if the spec asked for it.
        task_id: The provider's id.
        model: The model that made it.
        seed: The seed really used.
        resolution: Such as ``"720p"``.
        ratio: Such as ``"16:9"``.
        duration: Seconds.
        usage: What it cost.
        expires_at: When the URLs die: 24 h after the provider's last update, in UTC;
            ``None`` if the answer held no time.
        snapshot: The answer that all this comes from.
    """

    url: str
    task_id: str
    last_frame_url: str | None = None
    model: str | None = None
    seed: int | None = None
    resolution: str | None = None
    ratio: str | None = None
    duration: float | None = None
    usage: Usage | None = None
    expires_at: datetime | None = None
    snapshot: Snapshot = attrs.field(repr=False, eq=False)

    @classmethod
    def from_snapshot(cls, snapshot: Snapshot) -> Self:
        """The video of a succeeded snapshot.

        Raises:
            ValueError: The snapshot holds no video URL.
        """
        if snapshot.video_url is None:
            msg = f"task {snapshot.task_id} has no video URL"
            raise ValueError(msg)
        duration = snapshot.duration
        if duration is None and snapshot.frames is not None:
            duration = snapshot.frames / (snapshot.frames_per_second or 24)
        return cls(
            url=snapshot.video_url,
            task_id=snapshot.task_id,
            last_frame_url=snapshot.last_frame_url,
            model=snapshot.model,
            seed=snapshot.seed,
            resolution=snapshot.resolution,
            ratio=snapshot.ratio,
            duration=duration,
            usage=snapshot.usage,
            expires_at=_expires_at(snapshot.updated_at),
            snapshot=snapshot,
        )


def _expires_at(updated_at: float | None) -> datetime | None:
    if updated_at is None:
        return None
    try:
        return datetime.fromtimestamp(updated_at, UTC) + URL_LIFETIME
    except (OverflowError, ValueError, OSError):  # a time beyond the calendar is no time
        return None


def _to_video(video: Video | Kept | None) -> Video | None:
    return Video.from_snapshot(kept_snapshot(video)) if isinstance(video, Kept) else video


_OUTCOME = ("index", "spec", "task_id", "video", "error")


@attrs.frozen(kw_only=True)
class Outcome:
    """How one spec ended: with a video or with an error, never both, never neither.

    Attributes:
        index: Position of the spec in its batch or stream, from 0.
        spec: The spec; ``None`` for a task that was attached by id.
        task_id: The provider's id; ``None`` if no task came to be.
        error: Why there is no video.
    """

    index: int
    spec: TaskSpec | None
    task_id: str | None
    _video: Video | Kept | None = attrs.field(default=None, alias="video", eq=_to_video)
    error: CallsheetError | None = None

    def __repr__(self) -> str:
        values = (f"{name}={getattr(self, name)!r}" for name in _OUTCOME)
        return f"Outcome({', '.join(values)})"

    def __reduce__(self) -> tuple[partial[Outcome], tuple[()]]:
        """Pickled with its video made: what is kept within a process is no format of files."""
        values = {name: getattr(self, name) for name in _OUTCOME}
        return partial(Outcome, **values), ()

    @property
    def video(self) -> Video | None:
        """The video, if there is one; made at the first look."""
        if isinstance(self._video, Kept):
            object.__setattr__(self, "_video", _to_video(self._video))
        return _to_video(self._video)

    @property
    def ok(self) -> bool:
        """Whether there is a video."""
        return self._video is not None

    @property
    def url(self) -> str | None:
        """The video's URL, if there is one."""
        match self._video:
            case None:
                return None
            case Video() as video:
                return video.url
            case kept:
                return kept_url(kept)


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
        """Do nothing if every spec has a video.

        Raises:
            BatchError: With one member per spec without a video, in input order; each carries a
                note that names its spec.
        """
        errors = [_with_note(outcome) for outcome in self.failures]
        if errors:
            total = len(self.outcomes)
            msg = f"{len(errors)} of {total} specs ended without a video"
            raise BatchError(msg, errors)

    def videos(self) -> list[Video]:
        """The videos, in input order.

        Raises:
            BatchError: Not every spec has one.
        """
        self.raise_for_failures()
        return [outcome.video for outcome in self.outcomes if outcome.video is not None]

    def urls(self) -> list[str]:
        """The video URLs, in input order.

        Raises:
            BatchError: Not every spec has one.
        """
        self.raise_for_failures()
        return [outcome.url for outcome in self.outcomes if outcome.url is not None]


def _with_note(outcome: Outcome) -> CallsheetError:
    """The outcome's error with one note that names its spec, however often it is asked for."""
    error = outcome.error or CallsheetError("no outcome")
    prompt = "" if outcome.spec is None or not outcome.spec.prompt else f" {outcome.spec.prompt!r}"
    note = f"spec {outcome.index}{prompt[:80]}"
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
    return error


@attrs.frozen(kw_only=True)
class Progress:
    """How far a batch is; the last five add up to at most `total`.

    Attributes:
        total: Number of specs.
        submitted: Specs for which the provider has given an id.
        queued: Submitted, and not seen running yet.
        running: Seen running.
        succeeded: Ended with a video.
        failed: Ended without one, for whatever reason, also if nothing was sent.
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
