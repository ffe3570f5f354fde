"""Correlation tokens: marks by which the task of a lost create can be found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callsheet._wire import TOKEN
from callsheet._wire.lenient import text


if TYPE_CHECKING:
    from callsheet._models.spec import TaskSpec
    from callsheet._state.record import Record


_KEY = "safety_identifier"


def has_own(spec: TaskSpec | None) -> bool:
    """Whether the caller has set the ``safety_identifier``, even to nothing.

    Then lists show the caller's value, and no token of ours is sent in that field.
    """
    return spec is not None and _KEY in (spec.extra or {})


def own_mark(record: Record) -> str | None:
    """The caller's ``safety_identifier`` as lists show it; ``None`` if they show none."""
    extra = None if record.spec is None else record.spec.extra
    return text((extra or {}).get(_KEY))


def is_called(record: Record) -> bool:
    """Whether the spec's callback URL carries the token, so that a callback brings it back."""
    url = None if record.spec is None else record.spec.callback_url
    return isinstance(url, str) and TOKEN in url
