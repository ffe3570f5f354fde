"""The state of a spec and its task, as callers see it."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a spec stands, from its submission to its outcome. Equal to its value as text.

    Until there is a task id, this client decides the state. After that it is what the provider has
    said last, so it may be some seconds old.
    """

    WAITING = "waiting"
    """It waits for its turn. Nothing was sent."""
    SENDING = "sending"
    """Its create is being sent, or its answer is awaited."""
    UNCERTAIN = "uncertain"
    """Its create may have made a task. If there is no outcome yet, the client is looking for it."""
    SUBMITTED = "submitted"
    """It has a task id, and the provider has said nothing of the task yet."""
    QUEUED = "queued"
    """The provider has queued its task."""
    RUNNING = "running"
    """Its task runs."""
    SUCCEEDED = "succeeded"
    """There is a video."""
    FAILED = "failed"
    """Its task ended without a video."""
    EXPIRED = "expired"
    """Its task was not run in time, and the provider has dropped it."""
    CANCELLED = "cancelled"
    """Its task was cancelled before it ran."""
    NOT_SUBMITTED = "not_submitted"
    """There is no task: its create was refused, or it was never sent."""
