"""Rules about single options: whether the model accepts them, and which values are in range."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from callsheet._catalog.check_context import CheckContext, is_json_object, is_set, problem
from callsheet._catalog.models import RATIOS
from callsheet._catalog.urls import is_http_url, is_id


if TYPE_CHECKING:
    from callsheet.errors import Problem


NOT_EVERYWHERE: Final = (
    "frames",
    "camera_fixed",
    "generate_audio",
    "draft",
    "service_tier",
    "priority",
    "tools",
)
"""Fields that some models refuse. `Capability` has a flag with the same name for each."""

_RANGES: Final = {
    "seed": (-1, 2**32 - 1),
    "priority": (0, 9),
}
"""Field to its least and largest value, for all models (Ark create reference, August 2026). In
another place the reference says that the largest seed is 2**31 - 1; the larger number is used."""

_LATEST_EXPIRY: Final = 259_200
_LONGEST_VIDEO: Final = 3600
_FRAMES: Final = range(29, 290, 4)
_RESOLUTION: Final = re.compile(r"[0-9]{1,4}[pk]", re.IGNORECASE)
_RATIO: Final = re.compile(r"[0-9]{1,3}:[0-9]{1,3}|adaptive")


def unsupported_problems(context: CheckContext) -> Iterator[Problem]:
    """The model accepts each option that is set.

    The value does not matter: the service refuses a body field that the model does not accept.
    """
    if context.model is None:
        return
    for field in NOT_EVERYWHERE:
        if is_set(context.spec, field) and not getattr(context.model, field):
            yield problem(
                field,
                getattr(context.spec, field),
                f"leave it out: {context.model.name} does not take it",
            )


def range_problems(context: CheckContext) -> Iterator[Problem]:
    """Numbers are in their range; the least ``execution_expires_after`` depends on the model."""
    for field, (least, most) in _RANGES.items():
        value = getattr(context.spec, field)
        if value is not None and not least <= value <= most:
            yield problem(field, value, f"{least} to {most}")
    value = context.spec.execution_expires_after
    earliest = 1 if context.model is None else context.model.earliest_expiry
    if value is not None and not earliest <= value <= _LATEST_EXPIRY:
        at = "" if context.model is None else f" at {context.model.name}"
        allowed = f"{earliest} to {_LATEST_EXPIRY} seconds{at}"
        yield problem("execution_expires_after", value, allowed)


def duration_problems(context: CheckContext) -> Iterator[Problem]:
    """The model can make a video of this duration, or of this number of frames."""
    model, duration, frames = context.model, context.spec.duration, context.spec.frames
    least, most = (1, _LONGEST_VIDEO) if model is None else (model.shortest, model.longest)
    free = model is None or model.free_duration
    if duration is not None and not (least <= duration <= most or (free and duration == -1)):
        name = "" if model is None else f" at {model.name}"
        choice = ", or -1 to let the model choose" if free else ""
        yield problem("duration", duration, f"{least} to {most} seconds{name}{choice}")
    if frames is not None and frames not in _FRAMES:
        yield problem("frames", frames, "25 + 4k from 29 to 289: 29, 33, 37, … 289")


def output_size_problems(context: CheckContext) -> Iterator[Problem]:
    """The model can make this resolution and ratio.

    If the model is not known, they only have to look like a resolution and a ratio.
    """
    spec, model = context.spec, context.model
    if model is None:
        if spec.resolution is not None and not _RESOLUTION.fullmatch(spec.resolution):
            yield problem("resolution", spec.resolution, "such as '480p', '720p', '1080p', '4k'")
        if spec.ratio is not None and not _RATIO.fullmatch(spec.ratio):
            yield problem("ratio", spec.ratio, f"such as {', '.join(RATIOS)}")
        return
    made = model.reference_resolutions if spec.references else model.resolutions
    if spec.resolution is not None and spec.resolution.lower() not in made:
        beside = " with references" if spec.references else ""
        yield problem("resolution", spec.resolution, f"{', '.join(made)} at {model.name}{beside}")
    ratios = RATIOS if spec.first_frame is None else model.frame_ratios
    if spec.ratio is not None and spec.ratio not in ratios:
        beside = " with a first frame" if spec.first_frame is not None else ""
        yield problem("ratio", spec.ratio, f"{', '.join(ratios)} at {model.name}{beside}")


def syntax_problems(context: CheckContext) -> Iterator[Problem]:
    """Ids and the callback URL are well formed, and the tier is a known one."""
    spec = context.spec
    for field in ("model", "draft_task"):
        value = getattr(spec, field)
        if value is not None and not is_id(value):
            yield problem(field, value, "an id: printable ASCII without spaces")
    if spec.service_tier is not None and spec.service_tier not in {"default", "flex"}:
        yield problem("service_tier", spec.service_tier, "'default' or 'flex'")
    if spec.callback_url is not None and not is_http_url(spec.callback_url):
        yield problem("callback_url", spec.callback_url, "an http(s) URL with a host")


def tool_problems(context: CheckContext) -> Iterator[Problem]:
    """Each tool has a name that the model knows (Seedance 2.5 tutorial, September 2026)."""
    for tool in context.spec.tools:
        name = _tool_name(tool)
        if name is None:
            yield problem("tools", tool, "a tool's name, or a mapping with its name as type")
        elif context.model is not None and name != "web_search":
            yield problem("tools", tool, "'web_search', the only tool of a video model")


def _tool_name(tool: str | Mapping[str, Any]) -> str | None:
    name: object = tool
    if isinstance(tool, Mapping):
        name = tool.get("type") if is_json_object(tool) else None
    return name if isinstance(name, str) and is_id(name) else None
