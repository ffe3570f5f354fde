"""What one status answer says."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any

import attrs


class Status(enum.StrEnum):
    """Where a task stands (Ark "retrieve task" reference, July 2026).

    `UNKNOWN` stands for every word that the reference does not hold; it is not terminal, and
    `Snapshot.raw_status` keeps the word.
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
    """Why a task ended without a video, in the provider's words."""

    code: str | None = None
    message: str = ""


@attrs.frozen(kw_only=True)
class Usage:
    """What a task cost.

    Attributes:
        completion_tokens: Tokens of the video.
        total_tokens: Tokens billed; input is not counted, so both are equal
            (Ark "retrieve task" reference).
        tool_usage: Number of uses by tool name.
    """

    completion_tokens: int | None = None
    total_tokens: int | None = None
    tool_usage: Mapping[str, int] = attrs.field(factory=dict[str, int], hash=False)


@attrs.frozen(kw_only=True)
class Snapshot:
    """Everything that one status answer holds; what the provider left out is ``None``.

    Attributes:
        task_id: The provider's id, opaque.
        status: Where the task stands.
        raw_status: The provider's word for it.
        model: Name and version, also for a task that was created through an endpoint id.
        video_url: Signed for GET, alive for 24 h from `updated_at`.
        last_frame_url: The same for the last frame, if it was asked for.
        error: Why it ended without a video.
        usage: What it cost.
        created_at: Unix seconds.
        updated_at: Unix seconds; may stand still for many minutes while a task runs.
        seed: The seed really used.
        resolution: The resolution really used.
        ratio: The ratio really used.
        duration: Seconds; may be fractional for edited videos.
        frames: Number of frames; a task has this or `duration`.
        frames_per_second: 24 wherever it was seen.
        service_tier: ``default`` or ``flex``.
        execution_expires_after: Seconds from `created_at`.
        generate_audio: Whether it has sound.
        draft: Whether it is a preview.
        draft_task_id: The draft that it was rendered from.
        priority: 0 to 9.
        safety_identifier: The caller's identifier, echoed.
        output_format: ``mp4`` or ``mov``.
        raw: The parsed JSON of this task, untouched but for what is nested 100 levels deep.
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
        items: Snapshots in the order of the answer.
        total: Number of matches over all pages; ``None`` if the answer does not say.
        unreadable: Number of items that could not be read and are left out of `items`.
    """

    items: Sequence[Snapshot]
    total: int | None = None
    unreadable: int = 0
