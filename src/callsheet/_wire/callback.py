"""Reads what the provider posts to a ``callback_url``."""

from __future__ import annotations

from callsheet._wire.messages import Response
from callsheet._wire.snapshots import parse_snapshot
from callsheet.errors import APIError, ProtocolError, WebhookError


TOKEN = "{token}"  # noqa: S105 - a placeholder
"""Placeholder in a ``callback_url``. It is replaced by the token of each submission."""


def parse_callback(body: bytes) -> str:
    """The id of the task that a callback is about.

    The body has the structure of a "retrieve task" answer (Ark create reference, August 2026). It
    is not signed, so only the id is used: anybody could have written the rest.

    Raises:
        WebhookError: The body holds no task with an id.
    """
    try:
        return parse_snapshot(Response(status_code=200, headers={}, body=body)).task_id
    except (APIError, ProtocolError) as error:
        raise WebhookError(f"the callback holds no task: {error}") from error
