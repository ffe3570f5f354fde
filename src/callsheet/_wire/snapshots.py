"""Turns status answers into snapshots.

Sources: Ark retrieve, list and delete references (July 2026), official SDK types, CometAPI retrieve
page. Gateways also send forms that no page documents, and these are accepted: numbers as strings,
missing times, ``failure_reason`` for ``error``, ``content`` as a list, everything inside one
``data``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from callsheet._models.snapshot import ErrorDetail, Page, Snapshot, Status, Usage
from callsheet._wire.error_object import read_error, reported_error
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
from callsheet._wire.messages import Response
from callsheet._wire.refusals import create_error_of, error_of
from callsheet.errors import CallsheetError, ProtocolError, WebhookError


if TYPE_CHECKING:
    from collections.abc import Callable


MOST_COUNTED = 2**53
"""Most tokens, or uses of a tool, that are believed of one task: a million years of film. A gateway
may send thousands of digits, and then no sum of them could be shown."""

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
"""Status words in lower case: the six of Ark, then those of gateways with the same API.

``timeout`` is left out on purpose. A gateway may send it when only its own waiting ended and the
task still runs at the provider. So the status is unknown, and the task stays watched.
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
    "framepersecond": ("frames_per_second", number),  # the spelling in the table of the list page
    "service_tier": ("service_tier", text),
    "execution_expires_after": ("execution_expires_after", number),
    "generate_audio": ("generate_audio", flag),
    "draft": ("draft", flag),
    "draft_task_id": ("draft_task_id", text),
    "priority": ("priority", integer),
    "safety_identifier": ("safety_identifier", text),
    "output_format": ("output_format", text),
}
"""Key of the answer to the field of `Snapshot` and the reader of its value."""

_SUCCESS_CLASS = 2  # the first digit of the HTTP status

_TASK_FIELDS = ("model", "content", "created_at")
"""Keys of a task. An object with a ``status`` but without an id is a task only if it has one of
them; otherwise it is an envelope around the task."""


def parse_create(response: Response) -> str:
    """The id of a new task, unchanged; a number becomes its digits.

    An id is used even if the answer also reports an error: the task may exist and be billed, so it
    must be watched.

    Raises:
        APIError: The create was refused.
        ProtocolError: The answer is a success without an id, so a task may exist.
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
        task_id: The id that was asked for; it is used if the answer holds no id.

    Raises:
        APIError: The request was refused, perhaps in a 2xx answer.
        ProtocolError: The answer is a success without a task, or with another task.
    """
    if _is_success(response):
        snapshot = _find_task(load_json(response.body), task_id)
        if snapshot is not None:
            return snapshot
    raise error_of(response)


def read_snapshot(raw: dict[str, Any], *, task_id: str) -> Snapshot:
    """Read what was kept of an answer as `Snapshot.raw`.

    Raises:
        ProtocolError: It is no task.
    """
    snapshot = _snapshot(raw, task_id)
    if snapshot is None:
        raise ProtocolError(f"what was kept of task {task_id} is no task", "")
    return snapshot


def parse_page(response: Response) -> Page:
    """What a "list tasks" answer says. Repeated ids are not removed.

    Raises:
        APIError: The request was refused, perhaps in a 2xx answer.
        ProtocolError: The answer is a success without ``items``; a provider that cannot list tasks
            answers like this.
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
    """Return if a "delete task" answer is a success. Only a poll shows how the task ended.

    Ark answers ``{}``. Gateways send an empty body or a whole task, which is accepted, too.

    Raises:
        ConflictError: The task already runs, and continues.
        APIError: The request was refused for another reason, perhaps in a 2xx answer.
        ProtocolError: The answer is an HTML page.
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
    """What the body of a callback says. It has the form of a "retrieve task" answer, unsigned.

    Raises:
        WebhookError: The body holds no task.
    """
    try:
        return parse_snapshot(Response(status_code=200, body=body))
    except CallsheetError as exc:
        msg = f"the callback holds no task: {excerpt(body)!r}"
        raise WebhookError(msg) from exc


def _is_success(response: Response) -> bool:
    return response.status_code // 100 == _SUCCESS_CLASS


def _find_task(value: object, task_id: str | None) -> Snapshot | None:
    """The task in an answer: the answer itself or its ``data``, which may be JSON text."""
    root = mapping(unwrap_json(value)) or {}
    data = mapping(unwrap_json(root.get("data"))) or {}
    snapshots = [_snapshot(row, None) for row in (root, data)]
    for snapshot in snapshots:
        if snapshot is not None and task_id in {None, snapshot.task_id}:
            return snapshot
    return None if any(snapshots) else _snapshot(data, task_id) or _snapshot(root, task_id)


def _task_id_of(row: dict[str, Any]) -> str | None:
    found = text(row.get("id")) or text(row.get("task_id"))
    return None if found is None else found.strip()


def _snapshot(row: dict[str, Any], task_id: str | None) -> Snapshot | None:
    """A snapshot of one task object; ``None`` if the object is not a task."""
    known = identify(row, task_id)
    if known is None:
        return None
    found, raw_status = known
    fields: dict[str, Any] = {}
    for key, value in row.items():
        if value is not None and (reader := _READERS.get(key)) is not None:
            name, read = reader
            fields[name] = read(value)
    places = _places(row)
    return Snapshot(
        task_id=found,
        status=status_of(raw_status),
        raw_status=raw_status,
        video_url=_url("video_url", places),
        last_frame_url=_url("last_frame_url", places),
        error=_error(row.get("error")) or _error(row.get("failure_reason")),
        usage=usage_of(row),
        raw=row,
        **fields,
    )


def identify(row: dict[str, Any], task_id: str | None) -> tuple[str, str] | None:
    """The id and the status word of a task object; ``None`` if the object is not a task.

    Args:
        row: The object.
        task_id: The id that is used if the object holds none.
    """
    raw_status = row.get("status")
    if not isinstance(raw_status, str):
        return None
    found = _task_id_of(row)
    if found is None:
        if task_id is None or not any(key in row for key in _TASK_FIELDS):
            return None
        found = task_id
    return found, raw_status


def status_of(raw_status: str) -> Status:
    """The status that a provider's word stands for."""
    found = STATUS_WORDS.get(raw_status)
    if found is not None:
        return found
    normalized = raw_status.strip().lower().replace(" ", "_").replace("-", "_")
    return STATUS_WORDS.get(normalized, Status.UNKNOWN)


def _places(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Where an output URL may be: ``content``, an item of ``content``, or the task itself.

    Items with a ``role`` repeat the input, so they are ignored.
    """
    content = row.get("content")
    if isinstance(content, list):
        parts = [mapping(item) or {} for item in cast("list[object]", content)]
        return [*(part for part in parts if "role" not in part), row]
    return [mapping(content) or {}, row]


def video_url_of(row: dict[str, Any]) -> str | None:
    """The URL of the video of a task object."""
    return _url("video_url", _places(row))


def _url(name: str, places: list[dict[str, Any]]) -> str | None:
    """An output URL, from the first place that has one."""
    for place in places:
        if name in place and (found := _plain_url(place[name])) is not None:
            return found
    return None


def _plain_url(value: object) -> str | None:
    """A URL that is written as text or as ``{"url": …}``."""
    row = mapping(value)
    url = value if row is None else row.get("url")
    return text(url) if isinstance(url, str) else None


def _error(value: object) -> ErrorDetail | None:
    fields = read_error(value) if value else None
    return None if fields is None else ErrorDetail(fields.code, fields.message)


def usage_of(task: dict[str, Any]) -> Usage | None:
    """What a task object says of its cost."""
    row = mapping(task.get("usage"))
    if not row:
        return None
    tools = mapping(row.get("tool_usage")) or {}
    counts = {name: _count(count) for name, count in tools.items()}
    return Usage(
        completion_tokens=_count(row.get("completion_tokens")),
        total_tokens=_count(row.get("total_tokens")),
        tool_usage={name: count for name, count in counts.items() if count is not None},
    )


def _count(value: object) -> int | None:
    """A count, or ``None`` if it is no whole number from 0 to `MOST_COUNTED`."""
    found = integer(value)
    return found if found is not None and 0 <= found <= MOST_COUNTED else None
