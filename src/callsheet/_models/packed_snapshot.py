"""Stores snapshots compactly, as bytes, until a caller reads them.

The snapshots of ten thousand tasks that end together are very many objects, and the garbage
collector would stop the program to visit them all. It does not visit plain ``bytes``. It does visit
a subclass of ``bytes``, so none is used here.
"""

from __future__ import annotations

import marshal
from operator import attrgetter
from typing import Final

import attrs

from callsheet._models.snapshot import ErrorDetail, Snapshot, Status, Usage


Packed = bytes
"""A snapshot as bytes, for this process only: first the URL of its video, then all fields."""

_SNAPSHOT_FIELDS: Final = tuple(field.name for field in attrs.fields(Snapshot))
_STATUS, _ERROR, _USAGE, _UPDATED_AT = (
    _SNAPSHOT_FIELDS.index(name) for name in ("status", "error", "usage", "updated_at")
)
_values_of = attrgetter(*_SNAPSHOT_FIELDS)


def pack(snapshot: Snapshot) -> Packed | Snapshot:
    """Turn a snapshot into bytes.

    A snapshot whose ``raw`` holds something other than JSON values is returned unchanged.
    """
    values = [*_values_of(snapshot)]
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


def packed_url(kept: Packed) -> str | None:
    """The URL of the video. This is much faster than `unpack`."""
    url: str | None = marshal.loads(kept)[0]  # noqa: S302 - written by `pack`
    return url


def packed_updated_at(kept: Packed) -> float | None:
    """The provider's time of the last change. This is several times faster than `unpack`."""
    at: float | None = marshal.loads(marshal.loads(kept)[1])[_UPDATED_AT]  # noqa: S302 - as above
    return at


def unpack(kept: Packed) -> Snapshot:
    """A snapshot that equals the one that was given to `pack`."""
    values = marshal.loads(marshal.loads(kept)[1])  # noqa: S302 - written by `pack`
    values[_STATUS] = Status(values[_STATUS])
    if values[_ERROR] is not None:
        values[_ERROR] = ErrorDetail(*values[_ERROR])
    if values[_USAGE] is not None:
        completion, total, tools = values[_USAGE]
        values[_USAGE] = Usage(completion_tokens=completion, total_tokens=total, tool_usage=tools)
    return Snapshot(**dict(zip(_SNAPSHOT_FIELDS, values, strict=True)))
