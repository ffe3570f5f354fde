"""The content of a status answer, its video, and how it is kept: as bytes, until a caller reads it.

The snapshots of ten thousand tasks that end together are very many objects, and the garbage
collector would stop the program to visit them all. It does not visit plain ``bytes``. It does visit
a subclass of ``bytes``, so none is used here.
"""

from __future__ import annotations

import enum
import marshal
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Final, Self

import attrs


URL_LIFETIME = timedelta(hours=24)
"""Time for which a video URL is valid, from `Snapshot.updated_at` (``X-Tos-Expires=86400``)."""


class Status(enum.StrEnum):
    """The status of a task (Ark "retrieve task" reference, July 2026).

    `UNKNOWN` means a status word that callsheet does not know. It does not end the task, and
    `Snapshot.raw_status` holds the word.
    """

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    UNKNOWN = "unknown"

    @property
    def terminal(self) -> bool:
        """Whether the task has ended and its status can no longer change."""
        return self in _TERMINAL


_TERMINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, Status.EXPIRED})


@attrs.frozen
class ErrorDetail:
    """Why a task ended without a video.

    Attributes:
        code: The provider's error code; ``None`` if it gave none.
        message: The provider's message; empty if it gave none.
    """

    code: str | None = None
    message: str = ""


@attrs.frozen(kw_only=True)
class Usage:
    """What a task cost.

    Attributes:
        completion_tokens: Tokens of the video; ``None`` if the answer does not say.
        total_tokens: Tokens that are billed; ``None`` if the answer does not say. Input is not
            counted, so both numbers are equal (Ark "retrieve task" reference).
        tool_usage: Name of each tool to the number of its uses.
    """

    completion_tokens: int | None = None
    total_tokens: int | None = None
    tool_usage: Mapping[str, int] = attrs.field(factory=dict[str, int], hash=False)


@attrs.frozen(kw_only=True)
class Snapshot:
    """Everything that one status answer holds. A field that the answer lacks is ``None``.

    Attributes:
        task_id: The provider's id; its form has no meaning.
        status: The status of the task.
        raw_status: The provider's word for the status.
        model: Name and version, also for a task that was created with an endpoint id.
        video_url: Signed for GET; valid for 24 h from `updated_at`.
        last_frame_url: The same for the picture of the last frame, if the spec asked for it.
        error: Why the task ended without a video.
        usage: The tokens that it cost.
        created_at: Unix time in seconds.
        updated_at: Unix time in seconds. It may stay the same for many minutes while a task runs.
        seed: The seed that was used.
        resolution: The resolution that was used.
        ratio: The ratio that was used.
        duration: Seconds; may be fractional for edited videos.
        frames: Number of frames; a task has this or `duration`.
        frames_per_second: 24 in all answers seen so far.
        service_tier: ``default`` or ``flex``.
        execution_expires_after: Seconds from `created_at`.
        generate_audio: Whether the video has sound.
        draft: Whether it is a draft, a cheap 480p preview.
        draft_task_id: Id of the draft task that it was rendered from.
        priority: 0 to 9.
        safety_identifier: The identifier that the create sent, returned unchanged.
        output_format: ``mp4`` or ``mov``.
        raw: The parsed JSON of this task. Only values nested 100 levels deep are removed.
    """

    task_id: str
    status: Status
    raw_status: str
    model: str | None = None
    video_url: str | None = None
    last_frame_url: str | None = None
    error: ErrorDetail | None = None
    usage: Usage | None = None
    created_at: float | None = None
    updated_at: float | None = None
    seed: int | None = None
    resolution: str | None = None
    ratio: str | None = None
    duration: float | None = None
    frames: int | None = None
    frames_per_second: float | None = None
    service_tier: str | None = None
    execution_expires_after: float | None = None
    generate_audio: bool | None = None
    draft: bool | None = None
    draft_task_id: str | None = None
    priority: int | None = None
    safety_identifier: str | None = None
    output_format: str | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict[str, Any], repr=False, hash=False)


@attrs.frozen(kw_only=True)
class Page:
    """One page of a list answer.

    Attributes:
        items: The snapshots, in the order of the answer.
        total: Number of matching tasks on all pages; ``None`` if the answer does not say.
        unreadable: Number of items that could not be read; they are not in `items`.
    """

    items: Sequence[Snapshot]
    total: int | None = None
    unreadable: int = 0


@attrs.frozen(kw_only=True)
class Video:
    """A finished video.

    Attributes:
        url: URL of the video. A plain GET without a key fetches it until `expires_at`.
        last_frame_url: The same for the picture of its last frame; ``None`` if the spec did not ask
            for it.
        task_id: The provider's id of the task.
        model: The model that made it.
        seed: The seed that was used.
        resolution: Such as ``"720p"``.
        ratio: Such as ``"16:9"``.
        duration: Seconds; if the answer gives frames only, computed from them.
        usage: The tokens that it cost.
        expires_at: When the URLs expire, in UTC: 24 h after the provider's last update. ``None`` if
            the answer held no time.
        snapshot: The status answer that all this comes from.
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
        """Make a video from the snapshot of a task that succeeded.

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
    except (OverflowError, ValueError, OSError):  # outside the calendar: not a real time
        return None


Packed = bytes
"""A snapshot as bytes, for this process only: first the URL of its video, then all fields. Or, if
`is_compressed` says so, an answer that was kept in a journal."""

COMPRESSED: Final = (b"\x00", b"\x01")
"""First bytes of compressed answers. `marshal`, which writes all others, begins with neither."""

_SNAPSHOT_FIELDS: Final = tuple(field.name for field in attrs.fields(Snapshot))
_SNAPSHOT_VALUES: Final = attrgetter(*_SNAPSHOT_FIELDS)
_STATUS, _ERROR, _USAGE, _UPDATED_AT = (
    _SNAPSHOT_FIELDS.index(name) for name in ("status", "error", "usage", "updated_at")
)


def pack(snapshot: Snapshot) -> Packed | Snapshot:
    """Turn a snapshot into bytes.

    A snapshot whose ``raw`` holds something other than JSON values is returned unchanged.
    """
    try:
        return marshal.dumps((snapshot.video_url, marshal.dumps(_values_of(snapshot))))
    except ValueError:
        return snapshot


def is_compressed(kept: Packed) -> bool:
    """Whether bytes are an answer of a journal; then no function of this module can read them."""
    return kept.startswith(COMPRESSED)


def packed_url(kept: Packed) -> str | None:
    """The URL of the video. This is much faster than `unpack`."""
    url: str | None = marshal.loads(kept)[0]  # noqa: S302 - written by `pack`
    return url


def packed_updated_at(kept: Packed) -> float | None:
    """The provider's time of the last change. This is several times faster than `unpack`."""
    at: float | None = _kept_values(kept)[_UPDATED_AT]
    return at


def unpack(kept: Packed) -> Snapshot:
    """A snapshot that equals the one that was given to `pack`."""
    values = _kept_values(kept)
    values[_STATUS] = Status(values[_STATUS])
    if values[_ERROR] is not None:
        values[_ERROR] = ErrorDetail(*values[_ERROR])
    if values[_USAGE] is not None:
        completion, total, tools = values[_USAGE]
        values[_USAGE] = Usage(completion_tokens=completion, total_tokens=total, tool_usage=tools)
    return Snapshot(**dict(zip(_SNAPSHOT_FIELDS, values, strict=True)))


def _values_of(snapshot: Snapshot) -> list[Any]:
    """The values of all fields, in plain types."""
    values = list(_SNAPSHOT_VALUES(snapshot))
    error, usage = snapshot.error, snapshot.usage
    values[_STATUS] = snapshot.status.value
    if error is not None:
        values[_ERROR] = (error.code, error.message)
    if usage is not None:
        values[_USAGE] = (usage.completion_tokens, usage.total_tokens, usage.tool_usage)
    return values


def _kept_values(kept: Packed) -> list[Any]:
    """What `_values_of` gave."""
    found = marshal.loads(kept)[1]  # noqa: S302 - written by `pack`
    values: list[Any] = marshal.loads(found)  # noqa: S302 - as above
    return values
