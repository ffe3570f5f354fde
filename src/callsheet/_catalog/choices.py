"""Which outputs a spec can lead to, when its fields, prompt and raw keys leave something open."""

from __future__ import annotations

from functools import lru_cache
from operator import attrgetter
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

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

_PRICED_FIELDS: Final[tuple[str, ...]] = (
    "draft",
    "duration",
    "frames",
    "generate_audio",
    "ratio",
    "resolution",
    "service_tier",
)

_PRICED_VALUES: Final = attrgetter(*_PRICED_FIELDS)
_PLAIN_TYPES: Final = frozenset({NoneType, str, int, bool})

_T = TypeVar("_T", int, str, bool)


@attrs.frozen(kw_only=True, cache_hash=True)
class PossibleOutputs:
    """What is known about one video before it is made.

    A field with several values means that each of them is possible.

    Attributes:
        resolutions: Names in lower case.
        ratios: Such as ``16:9``. ``adaptive`` is replaced by all ratios that it can lead to.
        frames: Fewest and most frames of the output. Both are equal if the number is known.
        sound: ``True`` for with sound, ``False`` for without.
        flex: Whether it is rendered in the flex tier.
        draft: Whether it is a draft.
        reference_videos: Whether there are videos among its references.
        tools: Whether it may use tools.
        free_ratio: Whether the model or the input decides the ratio.
        free_duration: Whether the model decides the duration.
        from_draft: Whether it is rendered from a draft, which decides most of these values.
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
    """All outputs that the spec can lead to with this model.

    A raw key in `extra` overrides its field. If a field and a text command in the prompt differ,
    it is not known which one wins, so both values are possible. For the 2.x models it is not known
    whether a text command counts at all, so the command's value and the default are possible. The
    provider replaces a command that the model does not understand by the default (Ark create
    reference).
    """
    prompt = spec.prompt if isinstance(spec.prompt, str) else ""
    commands = commands_in(prompt) if "--" in prompt else {}  # most prompts hold none
    extra = spec.extra or {}
    given = tuple(all_in_body(spec, _PRICED_FIELDS).values()) if extra else _PRICED_VALUES(spec)
    kind = _Kind(
        picture=spec.first_frame is not None,
        reference_videos=bool(spec.references)
        and any(isinstance(medium, VideoRef) for _, medium in spec.media),
        tools=bool(spec.tools) or bool(extra.get("tools")),
        from_draft=spec.draft_task is not None,
    )
    if commands or not _PLAIN_TYPES.issuperset(map(type, given)):
        return _outputs(model, kind, given, commands)
    return _outputs_without_commands(model, kind, *given)


class _Kind(NamedTuple):
    """What matters of a spec beside the values of its fields."""

    picture: bool
    reference_videos: bool
    tools: bool
    from_draft: bool


@lru_cache(maxsize=1024, typed=True)  # True is no number here
def _outputs_without_commands(model: Capability, kind: _Kind, *given: Any) -> PossibleOutputs:
    return _outputs(model, kind, given, {})


def _outputs(
    model: Capability, kind: _Kind, given: tuple[Any, ...], commands: dict[str, str]
) -> PossibleOutputs:
    body: dict[str, Any] = dict(zip(_PRICED_FIELDS, given, strict=True))
    from_draft = kind.from_draft
    draft = _body_value(body, "draft", bool) is True
    ratios = _ratios(body, commands, model, picture=kind.picture)
    durations = _durations(body, commands, model)
    frames = _frames(body, commands, model)
    free_ratio = from_draft or "adaptive" in ratios
    free_duration = not frames and (from_draft or _CHOOSE in durations)
    if free_duration:
        durations += (model.shortest, model.longest)
    from_durations = tuple(FPS * seconds + 1 for seconds in durations if seconds != _CHOOSE)
    duration_given = (
        _body_value(body, "duration", int) is not None and _body_value(body, "frames", int) is None
    )
    # Frames as a field override a duration. Frames in the prompt may not, so both are possible.
    if not frames or duration_given:
        frames += from_durations
    return PossibleOutputs(
        resolutions=("480p",) if draft else _resolutions(body, commands, model),
        ratios=RATIOS[:-1] if free_ratio else ratios,
        frames=(min(frames), max(frames)),
        sound=_sound(body, model, from_draft=from_draft),
        flex=_body_value(body, "service_tier", str) == "flex",
        draft=draft,
        reference_videos=kind.reference_videos,
        tools=kind.tools,
        free_ratio=free_ratio,
        free_duration=free_duration,
        from_draft=from_draft,
    )


def _body_value(body: Mapping[str, Any], field: str, kind: type[_T]) -> _T | None:
    """The value that the body will hold under this name; ``None`` if it has another type.

    The provider refuses a value of a wrong type and does not bill it, so it can be ignored here.
    """
    value = body[field]
    fits = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
    return value if fits else None


def _candidates(
    given: _T | None, command: _T | None, default: _T, model: Capability
) -> tuple[_T, ...]:
    """The values that may count, out of a field, a text command and the model's default."""
    if given is not None:
        return (given,) if command is None or command == given else (given, command)
    if command is None or command == default:
        return (default,)
    return (command, default) if model.generation in {"2.0", "2.5"} else (command,)


def _resolutions(
    body: Mapping[str, Any], commands: dict[str, str], model: Capability
) -> tuple[str, ...]:
    given = _body_value(body, "resolution", str)
    word = commands.get("resolution", "").lower()
    return _candidates(
        None if given is None else given.lower(),
        word if word in model.resolutions else None,
        model.default_resolution,
        model,
    )


def _ratios(
    body: Mapping[str, Any], commands: dict[str, str], model: Capability, *, picture: bool
) -> tuple[str, ...]:
    """The possible ratios.

    The 1.0 models use 16:9 by default, unless they start from a picture (Ark reference).
    """
    wide_by_default = model.generation == "1.0" and not picture
    word = commands.get("ratio", "").lower()
    default = "16:9" if wide_by_default else "adaptive"
    return _candidates(
        _body_value(body, "ratio", str), word if word in RATIOS else None, default, model
    )


def _durations(
    body: Mapping[str, Any], commands: dict[str, str], model: Capability
) -> tuple[int, ...]:
    """The possible durations in seconds; -1 means that the model chooses.

    The default is 5, and -1 for the 2.5 model (Ark create reference).
    """
    seconds = _number(commands.get("duration"))
    understood = seconds is not None and (
        model.shortest <= seconds <= model.longest or (model.free_duration and seconds == _CHOOSE)
    )
    default = _CHOOSE if model.generation == "2.5" else _SHORTEST_DEFAULT
    return _candidates(
        _body_value(body, "duration", int), seconds if understood else None, default, model
    )


def _frames(
    body: Mapping[str, Any], commands: dict[str, str], model: Capability
) -> tuple[int, ...]:
    if not model.frames:
        return ()
    number = _number(commands.get("frames"))
    word = number if number in _FRAMES else None
    given = _body_value(body, "frames", int)
    if given is None:
        return () if word is None else (word,)
    return _candidates(given, word, given, model)


def _sound(body: Mapping[str, Any], model: Capability, *, from_draft: bool) -> tuple[bool, ...]:
    """Whether the output can have sound, and can be silent.

    The sources disagree about the default. A render from a draft copies the draft's setting, which
    is not known here. In both cases both values are possible.
    """
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
