"""Check the optional fields of a create request, each without regard to the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from callsheet.emulator.answers import invalid
from callsheet.emulator.catalog import KNOWN_RATIOS, Model
from callsheet.emulator.media import is_web


Check = Callable[[Model, object], Any]


def _integer(name: str, low: int, high: int) -> Check:
    def check(_: Model, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise invalid(name, f"an integer from {low} to {high} is expected")
        return value

    return check


def _flag(name: str) -> Check:
    def check(_: Model, value: object) -> bool:
        if not isinstance(value, bool):
            raise invalid(name, "a boolean is expected")
        return value

    return check


def _choice(name: str, *values: str) -> Check:
    def check(_: Model, value: object) -> str:
        if not isinstance(value, str) or value not in values:
            raise invalid(name, f"one of {', '.join(values)} is expected")
        return value

    return check


def _resolution(model: Model, value: object) -> str:
    if not isinstance(value, str) or value.lower() not in model.resolutions:
        raise invalid("resolution", f"{model.family} renders {', '.join(model.resolutions)}")
    return value.lower()


def _duration(model: Model, value: object) -> int:
    if model.chooses_duration and isinstance(value, int) and value == -1:
        return -1
    return int(_integer("duration", model.shortest, model.longest)(model, value))


def _frames(model: Model, value: object) -> int:
    frames = int(_integer("frames", 29, 289)(model, value))
    if (frames - 25) % 4:
        raise invalid("frames", "25 + 4n is expected")
    return frames


def _expiry(model: Model, value: object) -> int:
    check = _integer("execution_expires_after", model.expiry_floor, 259_200)
    return int(check(model, value))


def _tools(_: Model, value: object) -> bool:
    if value == []:
        return False
    tools = cast("list[object]", value) if isinstance(value, list) else [None]
    if any(tool != {"type": "web_search"} for tool in tools):
        raise invalid("tools", 'only {"type": "web_search"} is expected')
    return True


def _identifier(_: Model, value: object) -> str:
    if not isinstance(value, str) or len(value) > 64:  # noqa: PLR2004 - the documented length
        raise invalid("safety_identifier", "at most 64 characters are expected")
    return value


def _callback(_: Model, value: object) -> str:
    if not isinstance(value, str) or not is_web(value):
        raise invalid("callback_url", "an http(s) URL is expected")
    return value


CHECKS: Mapping[str, Check] = {
    "resolution": _resolution,
    "ratio": _choice("ratio", *sorted(KNOWN_RATIOS), "adaptive"),
    "duration": _duration,
    "frames": _frames,
    "seed": _integer("seed", -1, 2**32 - 1),
    "service_tier": _choice("service_tier", "default", "flex"),
    "execution_expires_after": _expiry,
    "generate_audio": _flag("generate_audio"),
    "draft": _flag("draft"),
    "camera_fixed": _flag("camera_fixed"),
    "watermark": _flag("watermark"),
    "return_last_frame": _flag("return_last_frame"),
    "priority": _integer("priority", 0, 9),
    "tools": _tools,
    "output_format": _choice("output_format", "mp4", "mov"),
    "omni_reference_task_type": _choice(
        "omni_reference_task_type", "auto", "reference", "edit", "extend"
    ),
    "safety_identifier": _identifier,
    "callback_url": _callback,
}
"""A check gets the model and the JSON value. It returns the value or raises a ``Refusal``.

Source of the ranges: Ark create reference, Aug 2026. The smallest ``execution_expires_after`` is
not enforced on 2.0, and every model accepted seeds up to 2^32 - 1 (live probes, July 2026).
"""
