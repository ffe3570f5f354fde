"""Status answers while nobody looks at them.

What is kept of ten thousand tasks that end together would be so many objects that the garbage
collector stops everything to look at them. Plain bytes it passes over, those of a subclass not.
"""

from __future__ import annotations

import marshal
from typing import Final

import attrs

from callsheet._models.snapshot import ErrorDetail, Snapshot, Status, Usage


Kept = bytes
"""A snapshot within this process: its video's URL, and everything else."""

_FIELDS: Final = tuple(field.name for field in attrs.fields(Snapshot))
_STATUS, _ERROR, _USAGE = (_FIELDS.index(name) for name in ("status", "error", "usage"))


def keep(snapshot: Snapshot) -> Kept | Snapshot:
    """Keep a snapshot; one whose ``raw`` does not hold JSON's own values stays as it is."""
    values = [getattr(snapshot, name) for name in _FIELDS]
    error, usage = snapshot.error, snapshot.usage
    values[_STATUS] = snapshot.status.value
    if error is not None:
        values[_ERROR] = (error.code, error.message)
    if usage is not None:
        values[_USAGE] = (usage.completion_tokens, usage.total_tokens, usage.tool_usage)
    try:
        return marshal.dumps((snapshot.video_url, marshal.dumps(values)))
    except ValueError:
        return snapshot


def kept_url(kept: Kept) -> str | None:
    """The video's URL alone, in a fraction of the time."""
    url: str | None = marshal.loads(kept)[0]  # noqa: S302 - made here
    return url


def kept_snapshot(kept: Kept) -> Snapshot:
    """A snapshot that equals the one that was kept."""
    values = marshal.loads(marshal.loads(kept)[1])  # noqa: S302 - made here
    values[_STATUS] = Status(values[_STATUS])
    if values[_ERROR] is not None:
        values[_ERROR] = ErrorDetail(*values[_ERROR])
    if values[_USAGE] is not None:
        completion, total, tools = values[_USAGE]
        values[_USAGE] = Usage(completion_tokens=completion, total_tokens=total, tool_usage=tools)
    return Snapshot(**dict(zip(_FIELDS, values, strict=True)))
