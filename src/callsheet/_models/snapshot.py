"""The content of a status answer."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any

import attrs


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
