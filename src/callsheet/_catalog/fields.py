"""Values that no model accepts: wrong types, and values that JSON cannot hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from callsheet._catalog.check_context import problem


if TYPE_CHECKING:
    from callsheet._models.spec import TaskSpec
    from callsheet.errors import Problem


_FIELD_TYPES: Final[dict[str, tuple[type, str]]] = {
    "prompt": (str, "text"),
    "model": (str, "a model id or an endpoint id, as text"),
    "references": (tuple, "a sequence of Image, VideoRef and AudioRef"),
    "resolution": (str, "text such as '720p'"),
    "ratio": (str, "text such as '16:9'"),
    "duration": (int, "a whole number of seconds"),
    "frames": (int, "a whole number"),
    "seed": (int, "a whole number"),
    "camera_fixed": (bool, "True or False"),
    "watermark": (bool, "True or False"),
    "generate_audio": (bool, "True or False"),
    "draft": (bool, "True or False"),
    "draft_task": (str, "the id of a draft task, as text"),
    "return_last_frame": (bool, "True or False"),
    "service_tier": (str, "'default' or 'flex'"),
    "execution_expires_after": (int, "a whole number of seconds"),
    "priority": (int, "a whole number"),
    "tools": (tuple, "a sequence of tool names, such as ('web_search',)"),
    "callback_url": (str, "an http(s) URL, as text"),
    "extra": (Mapping, "a mapping of names to JSON values"),
}


def _has_type(value: object, kind: type) -> bool:
    """Whether the value has the type. Here a bool is not a number, although it is in Python."""
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def is_json_object(value: Mapping[Any, Any]) -> bool:
    """Whether the mapping can be written as a JSON object in UTF-8.

    Its names must be text. It must hold no NaN, no lone surrogates, and no type that JSON lacks.
    """
    try:
        json.dumps(dict(value), allow_nan=False, ensure_ascii=False).encode()
        return all(isinstance(name, str) for name in value)
    except Exception:  # noqa: BLE001 - a caller's object may raise anything
        return False


def drop_mistyped_fields(spec: TaskSpec) -> tuple[TaskSpec, list[Problem]]:
    """Reset the fields that have a wrong type.

    The other rules can then rely on the types.

    Returns:
        The spec without these fields, and one problem for each of them.
    """
    problems: list[Problem] = []
    for field, (kind, allowed) in _FIELD_TYPES.items():
        value = getattr(spec, field)
        if value is None and kind is not tuple:
            continue
        if not _has_type(value, kind):
            problems.append(problem(field, value, allowed))
    if isinstance(spec.extra, Mapping) and not is_json_object(spec.extra):
        allowed = "a mapping of names as text to values that JSON can hold"
        problems.append(problem("extra", spec.extra, allowed))
    wrong: dict[str, Any] = {
        row.field: () if _FIELD_TYPES[row.field][0] is tuple else None for row in problems
    }
    return (attrs.evolve(spec, **wrong) if wrong else spec), problems
