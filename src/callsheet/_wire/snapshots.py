"""Status answers, as snapshots.

Sources: Ark retrieve, list and delete references (July 2026), official SDK types, CometAPI retrieve
page. What those leave out and gateways do anyway is read leniently: numbers as strings, missing
times, ``failure_reason`` for ``error``, ``content`` as a list, one wrapping ``data``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from callsheet._models.snapshot import ErrorDetail, Page, Snapshot, Status, Usage
from callsheet._wire.http import Response
from callsheet._wire.lenient import (
    excerpt,
    flag,
    integer,
    is_html,
    load_json,
    mapping,
    number,
    text,
    timestamp,
    unwrap_json,
)
from callsheet._wire.refusals import create_error_of, error_of
from callsheet._wire.words import read_error, reported_error
from callsheet.errors import CallsheetError, ProtocolError, WebhookError


if TYPE_CHECKING:
    from collections.abc import Callable


STATUS_WORDS = {
    **{status.value: status for status in Status if status is not Status.UNKNOWN},
    "pending": Status.QUEUED,
    "submitted": Status.QUEUED,
    "created": Status.QUEUED,
    "in_queue": Status.QUEUED,
    "not_start": Status.QUEUED,
    "processing": Status.RUNNING,
    "in_progress": Status.RUNNING,
    "success": Status.SUCCEEDED,
    "completed": Status.SUCCEEDED,
    "complete": Status.SUCCEEDED,
    "done": Status.SUCCEEDED,
    "failure": Status.FAILED,
    "error": Status.FAILED,
    "rejected": Status.FAILED,
    "canceled": Status.CANCELLED,
}
"""Status words in lower case: Ark's own six, then those of gateways on the same wire.

``timeout`` is left out on purpose: a gateway may say so of its own patience while the provider goes
on, so it is unknown, which ends nothing.
"""

_READERS: dict[str, tuple[str, Callable[[object], object]]] = {
    "model": ("model", text),
    "created_at": ("created_at", timestamp),
    "updated_at": ("updated_at", timestamp),
    "seed": ("seed", integer),
    "resolution": ("resolution", text),
    "ratio": ("ratio", text),
    "duration": ("duration", number),
    "frames": ("frames", integer),
    "framespersecond": ("frames_per_second", number),
    "framepersecond": ("frames_per_second", number),  # so spelt in the list page's table
    "service_tier": ("service_tier", text),
    "execution_expires_after": ("execution_expires_after", number),
    "generate_audio": ("generate_audio", flag),
    "draft": ("draft", flag),
    "draft_task_id": ("draft_task_id", text),
    "priority": ("priority", integer),
    "safety_identifier": ("safety_identifier", text),
    "output_format": ("output_format", text),
}
"""Key of the answer to field of `Snapshot` and reader."""

_SUCCESS = 2  # hundred

_MARKS = ("model", "content", "created_at")
"""Keys that tell a task without an id from an envelope that has a ``status`` of its own."""


def parse_create(response: Response) -> str:
    """The id of a new task, opaque: leading zeros stay, a number becomes its digits.

    An id counts even beside an error: a task that may be billed is not let go.

    Raises:
        APIError: The create was refused.
        ProtocolError: A success without an id, so a task may exist.
    """
    if _is_success(response):
        try:
            root = mapping(unwrap_json(load_json(response.body))) or {}
        except ProtocolError:
            root = {}
        found = _task_id_of(root) or _task_id_of(mapping(unwrap_json(root.get("data"))) or {})
        if found is not None:
            return found
    raise create_error_of(response)


def parse_snapshot(response: Response, *, task_id: str | None = None) -> Snapshot:
    """What a "retrieve task" answer says.

    Args:
        response: The answer.
        task_id: The id that was asked for; stands in if the answer holds none.

    Raises:
        APIError: The request was refused, be it with a 2xx.
        ProtocolError: A success without a task, or with another task than the one asked for.
    """
    if _is_success(response):
        snapshot = _find_task(load_json(response.body), task_id)
        if snapshot is not None:
            return snapshot
    raise error_of(response)


def parse_page(response: Response) -> Page:
    """What a "list tasks" answer says; repeated ids are kept as they come.

    Raises:
        APIError: The request was refused, be it with a 2xx.
        ProtocolError: A success without ``items``, which is how a provider without lists answers.
    """
    if not _is_success(response):
        raise error_of(response)
    root = mapping(unwrap_json(load_json(response.body))) or {}
    rows = root.get("items")
    if not isinstance(rows, list):
        root = mapping(unwrap_json(root.get("data"))) or {}
        rows = root.get("items")
        if not isinstance(rows, list):
            raise error_of(response)
    items = [_snapshot(mapping(row) or {}, None) for row in cast("list[object]", rows)]
    readable = [item for item in items if item is not None]
    return Page(
        items=tuple(readable),
        total=integer(root.get("total")),
        unreadable=len(items) - len(readable),
    )


def parse_cancel(response: Response) -> None:
    """Return if a "delete task" answer is a success; what became of the task, a poll tells.

    Ark answers ``{}``; an empty body and a whole task, as gateways send, are taken as well.

    Raises:
        ConflictError: The task runs already, and goes on.
        APIError: The request was refused otherwise, be it with a 2xx.
        ProtocolError: An HTML page.
    """
    if not _is_success(response) or is_html(response.body):
        raise error_of(response)
    try:
        value = load_json(response.body)
    except ProtocolError:
        return
    if reported_error(value) is not None and _find_task(value, None) is None:
        raise error_of(response)


def parse_callback(body: bytes) -> Snapshot:
    """What the body of a callback says: the same as a "retrieve task" answer, unsigned.

    Raises:
        WebhookError: It holds no task.
    """
    try:
        return parse_snapshot(Response(status_code=200, body=body))
    except CallsheetError as exc:
        msg = f"the callback holds no task: {excerpt(body)!r}"
        raise WebhookError(msg) from exc


def _is_success(response: Response) -> bool:
    return response.status_code // 100 == _SUCCESS


def _find_task(value: object, task_id: str | None) -> Snapshot | None:
    """The task of an answer: plain, or under one ``data``, which may be JSON text."""
    root = mapping(unwrap_json(value)) or {}
    data = mapping(unwrap_json(root.get("data"))) or {}
    named = [_snapshot(row, None) for row in (root, data)]
    for snapshot in named:
        if snapshot is not None and task_id in {None, snapshot.task_id}:
            return snapshot
    return None if any(named) else _snapshot(data, task_id) or _snapshot(root, task_id)


def _task_id_of(row: dict[str, Any]) -> str | None:
    return text(row.get("id")) or text(row.get("task_id"))


def _snapshot(row: dict[str, Any], task_id: str | None) -> Snapshot | None:
    """A snapshot of one task object; ``None`` if it is none."""
    word = row.get("status")
    if not isinstance(word, str):
        return None
    found = _task_id_of(row)
    if found is None:
        if task_id is None or not any(key in row for key in _MARKS):
            return None
        found = task_id
    fields: dict[str, Any] = {}
    for key, value in row.items():
        if value is not None and (reader := _READERS.get(key)) is not None:
            name, read = reader
            fields[name] = read(value)
    return Snapshot(
        task_id=found,
        status=STATUS_WORDS.get(word) or _status(word),
        raw_status=word,
        video_url=_url("video_url", row),
        last_frame_url=_url("last_frame_url", row),
        error=_error(row.get("error")) or _error(row.get("failure_reason")),
        usage=_usage(row.get("usage")),
        raw=row,
        **fields,
    )


def _status(word: str) -> Status:
    plain = word.strip().lower().replace(" ", "_").replace("-", "_")
    return STATUS_WORDS.get(plain, Status.UNKNOWN)


def _url(name: str, row: dict[str, Any]) -> str | None:
    """An output URL: in ``content``, in an item of it, or beside it.

    Items with a ``role`` are echoes of the input and never taken.
    """
    content = row.get("content")
    if isinstance(content, list):
        parts = [mapping(item) or {} for item in cast("list[object]", content)]
        places = [part for part in parts if "role" not in part]
    else:
        places = [mapping(content) or {}]
    for place in (*places, row):
        if name in place and (found := _plain_url(place[name])) is not None:
            return found
    return None


def _plain_url(value: object) -> str | None:
    """A URL given as text or as ``{"url": …}``."""
    row = mapping(value)
    url = value if row is None else row.get("url")
    return text(url) if isinstance(url, str) else None


def _error(value: object) -> ErrorDetail | None:
    words = read_error(value) if value else None
    return None if words is None else ErrorDetail(words.code, words.message)


def _usage(value: object) -> Usage | None:
    row = mapping(value)
    if not row:
        return None
    tools = mapping(row.get("tool_usage"))
    counts = {name: integer(count) for name, count in tools.items()} if tools else {}
    return Usage(
        completion_tokens=integer(row.get("completion_tokens")),
        total_tokens=integer(row.get("total_tokens")),
        tool_usage={name: count for name, count in counts.items() if count is not None},
    )
