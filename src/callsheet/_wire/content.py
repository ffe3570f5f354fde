"""Builds the body of a create.

Source: Ark create reference (August 2026), official Go SDK.
"""

from __future__ import annotations

import json
import reprlib
from typing import TYPE_CHECKING, Any, cast

from callsheet._wire.messages import Request
from callsheet._wire.task_requests import TASKS
from callsheet.errors import Problem, SpecError


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from callsheet._models.media import Media
    from callsheet._models.spec import TaskSpec


MAX_BODY = 64 * 1024 * 1024
"""Most bytes of a JSON body."""

_BODY_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))

_UNENCODABLE = (TypeError, ValueError, RecursionError)


def build_body(
    spec: TaskSpec,
    *,
    model: str,
    text: str | None,
    options: Mapping[str, Any],
    urls: Mapping[Media, str],
) -> Request:
    """The request that creates a task.

    The body holds the model, the content, the options and the keys of ``extra``. A key of ``extra``
    replaces the same key of the others. ``content`` is an exception: its items are added, so that
    nothing that the caller gave is lost.

    Args:
        spec: The video to make.
        model: Model id or endpoint id.
        text: Text of the text item; there is no such item if it is empty.
        options: Further top-level keys, in the order in which they are sent.
        urls: URL of each medium whose `Media.url` is ``None``.

    Raises:
        SpecError: The body cannot be written as JSON, or is larger than `MAX_BODY`.
    """
    extra = dict(spec.extra or {})
    added = extra.pop("content", [])
    if not isinstance(added, (list, tuple)):
        problem = Problem("extra", reprlib.repr(added), "content as a list of items, to be added")
        raise SpecError([problem])
    content = _content(spec, text, urls)
    content += [("extra", item) for item in cast("Sequence[object]", added)]
    values = {"model": model, "content": [item for _, item in content], **options, **extra}

    def pieces() -> Iterator[tuple[str, object]]:
        for field, item in content:
            yield field, {"content": [item]}
        for key, value in values.items():
            if key != "content":
                yield ("extra" if key in extra else key), {key: value}

    try:
        body = _dump(values)
    except _UNENCODABLE as exc:
        raise SpecError(
            [
                Problem(field, reprlib.repr(piece), "what JSON and UTF-8 can hold")
                for field, piece in pieces()
                if not _encodable(piece)
            ]
        ) from exc
    if len(body) > MAX_BODY:
        field, _ = max(pieces(), key=lambda piece: len(_dump(piece[1])))
        allowed = f"at most {MAX_BODY} bytes for the whole body; give a URL for large media"
        raise SpecError([Problem(field, f"a body of {len(body)} bytes", allowed)])
    return Request(method="POST", target=TASKS, body=body)


def _content(
    spec: TaskSpec, text: str | None, urls: Mapping[Media, str]
) -> list[tuple[str, object]]:
    """The items of ``content`` in the order of the reference, each with the field it comes from.

    Each medium has a role. The reference allows to leave it out for a single first frame only, and
    also accepts it there. The order is kept, because prompts name references by their number.
    """
    items: list[tuple[str, object]] = []
    if text:
        items.append(("prompt", {"type": "text", "text": text}))
    for field, medium in spec.media:
        role = field if field in {"first_frame", "last_frame"} else f"reference_{medium.kind}"
        kind = f"{medium.kind}_url"
        url = urls[medium] if medium.url is None else medium.url
        items.append((field, {"type": kind, kind: {"url": url}, "role": role}))
    if spec.draft_task is not None:
        items.append(("draft_task", {"type": "draft_task", "draft_task": {"id": spec.draft_task}}))
    return items


def _dump(value: object) -> bytes:
    return _BODY_ENCODER.encode(value).encode()


def _encodable(value: object) -> bool:
    try:
        _dump(value)
    except _UNENCODABLE:
        return False
    return True
