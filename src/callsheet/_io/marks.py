"""Marks by which a task can be found whose create was not answered."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from callsheet._wire import TOKEN


if TYPE_CHECKING:
    from callsheet._core.record import Record
    from callsheet._models.provider import Provider


def own_mark(record: Record) -> str | None:
    """The ``safety_identifier`` that the caller has set."""
    extra = None if record.spec is None else record.spec.extra
    own = None if extra is None else extra.get("safety_identifier")
    return own if isinstance(own, str) else None


def is_called(record: Record) -> bool:
    """Whether a callback would bring the token back."""
    url = None if record.spec is None else record.spec.callback_url
    return isinstance(url, str) and TOKEN in url


def new_token(record: Record, provider: Provider) -> str | None:
    """A mark of our own for the next attempt, where anything echoes it."""
    listed = provider.token and own_mark(record) is None
    return f"callsheet-{uuid.uuid4().hex}" if listed or is_called(record) else None
