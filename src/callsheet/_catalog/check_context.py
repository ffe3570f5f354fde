"""The input of a preflight rule, and how a rule reports a problem."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from typing import Any, Final

import attrs

from callsheet._catalog.models import Capability
from callsheet._models.media import Media, MediaFacts
from callsheet._models.provider import Provider
from callsheet._models.spec import TaskSpec
from callsheet.errors import Problem


@attrs.frozen(kw_only=True)
class CheckContext:
    """One spec and what is needed to check it for one provider.

    Attributes:
        spec: The spec, without fields of a wrong type. Those are already reported.
        provider: The provider that the spec is for.
        model: What its model accepts; ``None`` if the model is not known.
        facts: What is known about local media: what the header of each says, or, as text, why it
            cannot be read.
    """

    spec: TaskSpec
    provider: Provider
    model: Capability | None
    facts: Mapping[Media, MediaFacts | str]


Rule = Callable[[CheckContext], Iterator[Problem]]
"""Yields one problem for each mistake it finds. It never raises."""

BODY_FIELDS: Final = (
    "resolution",
    "ratio",
    "duration",
    "frames",
    "seed",
    "camera_fixed",
    "watermark",
    "generate_audio",
    "draft",
    "return_last_frame",
    "service_tier",
    "execution_expires_after",
    "priority",
    "tools",
    "callback_url",
)
"""Fields that are sent under their own name in the request body, or as a text command."""

_WIDTH: Final = 80


def shortened(value: object) -> str:
    """The ``repr`` of any value, cut to at most 80 characters."""
    if isinstance(value, (str, bytes, bytearray)):
        value = value[: _WIDTH + 1]
    elif isinstance(value, PurePath):
        value = str(value)
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a caller's object may raise anything, and huge ints do
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."


def problem(field: str, value: object, allowed: str) -> Problem:
    """A `Problem` with its value shortened."""
    return Problem(field, shortened(value), allowed)


def is_set(spec: TaskSpec, field: str) -> bool:
    """Whether the caller gave the field a value; ``False`` and 0 are values, too."""
    return getattr(spec, field) not in (None, ())


def is_json_object(value: Mapping[Any, Any]) -> bool:
    """Whether the mapping can be written as a JSON object in UTF-8.

    Its names must be text. It must hold no NaN, no lone surrogates, and no type that JSON lacks.
    """
    try:
        json.dumps(dict(value), allow_nan=False, ensure_ascii=False).encode()
        return all(isinstance(name, str) for name in value)
    except Exception:  # noqa: BLE001 - a caller's object may raise anything
        return False
