"""What a spec may come out as: everything that its fields, prompt and raw keys leave open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from callsheet._catalog.models import RATIOS, Capability
from callsheet._models.commands import commands_in
from callsheet._models.media import VideoRef
from callsheet._models.spec import all_in_body


if TYPE_CHECKING:
    from collections.abc import Mapping

    from callsheet._models.spec import TaskSpec


FPS: Final = 24
"""Frames per second of every output (Ark create reference)."""

_SHORTEST_DEFAULT: Final = 5
_CHOOSE: Final = -1
_FRAMES: Final = range(29, 290, 4)

_FIELDS: Final = (
    "draft",
    "duration",
    "frames",
    "generate_audio",
    "ratio",
    "resolution",
    "service_tier",
)

_T = TypeVar("_T", int, str, bool)


@attrs.frozen(kw_only=True)
class PossibleOutputs:
    """What is known of one video before it is made; several values where it is open.

    Attributes:
        resolutions: In lower case.
        ratios: Without ``adaptive``, which stands for all that it may become.
        frames: Fewest and most frames of the output; one number if it is known.
        sound: Whether it has sound.
        flex: Whether it is of the flex tier.
        draft: Whether it is a preview.
        reference_videos: Whether there are videos among its references.
        tools: Whether it may use tools.
        free_ratio: Whether the model or the input decides on the ratio.
        free_duration: Whether the model decides on the duration.
        from_draft: Whether it is rendered from a draft, which decides on most of it.
    """

    resolutions: tuple[str, ...]
    ratios: tuple[str, ...]
    frames: tuple[int, int]
    sound: tuple[bool, ...]
    flex: bool
    draft: bool
    reference_videos: bool
    tools: bool
    free_ratio: bool
    free_duration: bool
    from_draft: bool


def possible_outputs(spec: TaskSpec, model: Capability) -> PossibleOutputs:
    """Everything that the spec may come out as at this model.

    A raw key in `extra` beats its field. Where a field and a text command of the prompt say
    different things nobody knows which wins, and for the 2.x models nobody knows whether a text
    command counts at all: then both are open. A command that the model does not understand is
    replaced by the default (Ark create reference).
    """
    written = commands_in(spec.prompt) if isinstance(spec.prompt, str) else {}
    body = all_in_body(spec, _FIELDS)
    from_draft = spec.draft_task is not None
    draft = _body_value(body, "draft", bool) is True
    ratios = _ratios(body, written, model, picture=spec.first_frame is not None)
    durations = _durations(body, written, model)
    frames = _frames(body, written, model)
    free_ratio = from_draft or "adaptive" in ratios
    free_duration = not frames and (from_draft or _CHOOSE in durations)
    if free_duration:
        durations += (model.shortest, model.longest)
    from_durations = tuple(FPS * seconds + 1 for seconds in durations if seconds != _CHOOSE)
    duration_given = (
        _body_value(body, "duration", int) is not None and _body_value(body, "frames", int) is None
    )
    if not frames or duration_given:  # frames beat a duration, but in the prompt they may not
        frames += from_durations
    return PossibleOutputs(
        resolutions=("480p",) if draft else _resolutions(body, written, model),
        ratios=RATIOS[:-1] if free_ratio else ratios,
        frames=(min(frames), max(frames)),
        sound=_sound(body, model, from_draft=from_draft),
        flex=_body_value(body, "service_tier", str) == "flex",
        draft=draft,
        reference_videos=any(isinstance(medium, VideoRef) for _, medium in spec.media),
        tools=bool(spec.tools) or bool((spec.extra or {}).get("tools")),
        free_ratio=free_ratio,
        free_duration=free_duration,
        from_draft=from_draft,
    )


def _body_value(body: Mapping[str, Any], field: str, kind: type[_T]) -> _T | None:
    """What the body will hold under this name; a wrong type is refused, and so not billed."""
    value = body[field]
    fits = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
    return value if fits else None


def _candidates(
    given: _T | None, written: _T | None, default: _T, model: Capability
) -> tuple[_T, ...]:
    """The values that may hold: of a field, of a text command, and the model's default."""
    if given is not None:
        return (given,) if written is None or written == given else (given, written)
    if written is None or written == default:
        return (default,)
    return (written, default) if model.generation in {"2.0", "2.5"} else (written,)


def _resolutions(
    body: Mapping[str, Any], written: dict[str, str], model: Capability
) -> tuple[str, ...]:
    given = _body_value(body, "resolution", str)
    word = written.get("resolution", "").lower()
    return _candidates(
        None if given is None else given.lower(),
        word if word in model.resolutions else None,
        model.default_resolution,
        model,
    )


def _ratios(
    body: Mapping[str, Any], written: dict[str, str], model: Capability, *, picture: bool
) -> tuple[str, ...]:
    """Ratios; the 1.0 models keep to 16:9 unless they start from a picture (Ark reference)."""
    wide = model.generation == "1.0" and not picture
    word = written.get("ratio", "").lower()
    default = "16:9" if wide else "adaptive"
    return _candidates(
        _body_value(body, "ratio", str), word if word in RATIOS else None, default, model
    )


def _durations(
    body: Mapping[str, Any], written: dict[str, str], model: Capability
) -> tuple[int, ...]:
    """Seconds; 5 by default, and the choice of the model at 2.5 (Ark create reference)."""
    seconds = _number(written.get("duration"))
    understood = seconds is not None and (
        model.shortest <= seconds <= model.longest or (model.free_duration and seconds == _CHOOSE)
    )
    default = _CHOOSE if model.generation == "2.5" else _SHORTEST_DEFAULT
    return _candidates(
        _body_value(body, "duration", int), seconds if understood else None, default, model
    )


def _frames(body: Mapping[str, Any], written: dict[str, str], model: Capability) -> tuple[int, ...]:
    if not model.frames:
        return ()
    number = _number(written.get("frames"))
    word = number if number in _FRAMES else None
    given = _body_value(body, "frames", int)
    if given is None:
        return () if word is None else (word,)
    return _candidates(given, word, given, model)


def _sound(body: Mapping[str, Any], model: Capability, *, from_draft: bool) -> tuple[bool, ...]:
    """Sound; whether it is on by default is disputed, and a draft's render takes over its own."""
    if not model.generate_audio:
        return (False,)
    given = _body_value(body, "generate_audio", bool)
    if given is None or from_draft:
        return (True, False)
    return (given,)


def _number(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None
