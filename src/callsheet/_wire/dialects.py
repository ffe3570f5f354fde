"""The dialects: how a create is written for each provider. They read all answers alike.

Volcengine Ark and BytePlus ModelArk take options as body fields. CometAPI takes them as text
commands in the prompt: it documents only the body fields model, content and callback_url.

Source: Ark create reference (August 2026), official Go SDK.
"""

from __future__ import annotations

import abc
import json
import reprlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

from callsheet._models.commands import COMMANDS, command_text, commands_in
from callsheet._wire import snapshots, task_requests
from callsheet._wire.messages import Request
from callsheet._wire.task_requests import TASKS
from callsheet.errors import Problem, SpecError


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from callsheet._models.media import Media
    from callsheet._models.spec import TaskSpec


MAX_BODY = 64 * 1024 * 1024
"""Most bytes of a JSON body."""

_BODY_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))

_UNENCODABLE = (TypeError, ValueError, RecursionError)

ORDER = ("resolution", "duration", "frames", "ratio", "seed", "camera_fixed", "watermark")
"""Fields that are sent as text commands, in the order in which they are appended.

CometAPI's own sample has ``--duration 5 --ratio 16:9``; Ark's samples begin with the resolution.
"""

UNSENDABLE = (
    "draft_task",
    "return_last_frame",
    "service_tier",
    "execution_expires_after",
    "generate_audio",
    "draft",
    "tools",
    "priority",
)
"""Fields that have no text command and no documented key."""


class Dialect(abc.ABC):
    """Builds requests and reads answers. A dialect has no state and does no I/O."""

    @abc.abstractmethod
    def build_create(
        self, spec: TaskSpec, *, model: str, urls: Mapping[Media, str], token: str | None = None
    ) -> Request:
        """Build the request that creates a task.

        Args:
            spec: The video to make; fields that are not set are not sent.
            model: Model id or endpoint id.
            urls: URL of each medium whose `Media.url` is ``None``.
            token: The correlation token, by which the task can be found in a list. It is sent in
                ``safety_identifier``; ``None`` sends none.

        Raises:
            SpecError: The spec cannot be sent.
        """

    parse_create = staticmethod(snapshots.parse_create)
    build_get = staticmethod(task_requests.build_get)
    parse_snapshot = staticmethod(snapshots.parse_snapshot)
    build_list = staticmethod(task_requests.build_list)
    parse_page = staticmethod(snapshots.parse_page)
    build_cancel = staticmethod(task_requests.build_cancel)
    parse_cancel = staticmethod(snapshots.parse_cancel)
    parse_callback = staticmethod(snapshots.parse_callback)


class Ark(Dialect):
    """The dialect of the Ark create reference (August 2026)."""

    def build_create(
        self, spec: TaskSpec, *, model: str, urls: Mapping[Media, str], token: str | None = None
    ) -> Request:
        """See `Dialect.build_create`. The keys have the same order as in the reference."""
        tools = [dict(tool) if isinstance(tool, Mapping) else {"type": tool} for tool in spec.tools]
        options: dict[str, Any] = {
            "callback_url": spec.callback_url,
            "return_last_frame": spec.return_last_frame,
            "service_tier": spec.service_tier,
            "execution_expires_after": spec.execution_expires_after,
            "generate_audio": spec.generate_audio,
            "draft": spec.draft,
            "tools": tools or None,
            "safety_identifier": token,
            "priority": spec.priority,
            "resolution": spec.resolution,
            "ratio": spec.ratio,
            "duration": spec.duration,
            "frames": spec.frames,
            "seed": spec.seed,
            "camera_fixed": spec.camera_fixed,
            "watermark": spec.watermark,
        }
        given = {name: value for name, value in options.items() if value is not None}
        return build_body(spec, model=model, text=spec.prompt, options=given, urls=urls)


class Comet(Dialect):
    """The dialect of the CometAPI create page."""

    def build_create(
        self, spec: TaskSpec, *, model: str, urls: Mapping[Media, str], token: str | None = None
    ) -> Request:
        """See `Dialect.build_create`.

        Options are appended to the prompt as text commands, in the order of `ORDER`. A prompt that
        already holds commands is sent unchanged.
        """
        problems = [
            Problem(name, reprlib.repr(value), "not set: CometAPI documents no way to send it")
            for name in UNSENDABLE
            if (value := getattr(spec, name)) is not None and value != ()
        ]
        if problems:
            raise SpecError(problems)
        keys = {"callback_url": spec.callback_url, "safety_identifier": token}
        given = {name: value for name, value in keys.items() if value is not None}
        return build_body(spec, model=model, text=_with_commands(spec), options=given, urls=urls)


_DIALECTS: dict[str, Dialect] = {"ark": Ark(), "comet": Comet()}


def dialect_of(name: Literal["ark", "comet"]) -> Dialect:
    """The dialect with this name, as in `Provider.dialect`."""
    return _DIALECTS[name]


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


def _with_commands(spec: TaskSpec) -> str:
    prompt = spec.prompt or ""
    if commands_in(prompt):
        return prompt
    commands = (
        f"--{COMMANDS[name][0]} {command_text(value)}"
        for name in ORDER
        if (value := getattr(spec, name)) is not None
    )
    return " ".join([*([prompt] if prompt else []), *commands])
