"""The preflight: it finds all mistakes in a spec before anything is sent.

What is checked of every spec is here: the types of its fields, and its prompt. The other rules are
about options and media, and are asked where these are set.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from operator import attrgetter
from types import MappingProxyType, NoneType
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from callsheet._catalog.check_context import CheckContext, Rule, is_json_object, problem
from callsheet._catalog.combinations import draft_problems, extra_problems, tier_problems
from callsheet._catalog.destinations import UNDOCUMENTED, cloud_problems, comet_problems
from callsheet._catalog.media_rules import body_problems, media_problems
from callsheet._catalog.models import capability
from callsheet._catalog.options import (
    NOT_EVERYWHERE,
    duration_problems,
    output_size_problems,
    range_problems,
    syntax_problems,
    tool_problems,
    unsupported_problems,
)
from callsheet._catalog.scenario import frame_problems, reference_problems, scenario_problems
from callsheet._models.commands import COMMANDS
from callsheet._models.spec import TaskSpec


if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

    from callsheet._models.media import Media, MediaFacts
    from callsheet._models.provider import Provider
    from callsheet.errors import Problem


MOST_WORDS: Final = 4_000
MOST_CHARACTERS: Final = 32_000
"""The limits of this package. The provider only recommends at most 1000 English words or 500
Chinese characters (Ark create reference, August 2026) and answers no error: it cuts a prompt that
is too long, or does not follow it. Four times the recommended words are allowed here; a longer text
is probably a whole file given by mistake."""

_CONTROL: Final = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_CJK: Final = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD: Final = re.compile(rf"[{_CJK}]|[^\s{_CJK}]+")


def prompt_problems(context: CheckContext) -> Iterator[Problem]:
    """The prompt is present if it is needed, is readable text, and is not too long."""
    spec = context.spec
    if spec.prompt is None:
        if not (spec.media or spec.references or spec.draft_task is not None):
            yield problem("prompt", None, "a prompt, unless media or a draft_task are given")
        return
    if not spec.prompt.strip():
        yield problem("prompt", spec.prompt, "words; leave it out if the media say it all")
    if not spec.prompt.isprintable() and (found := _CONTROL.search(spec.prompt)):
        yield problem(
            "prompt",
            spec.prompt[max(0, found.start() - 20) : found.end() + 20],
            "text without control characters and halves of characters; line breaks are fine",
        )
    if len(spec.prompt) > MOST_CHARACTERS:
        yield _too_long(spec.prompt, f"it has {len(spec.prompt)} characters")
    elif (words := _words(spec.prompt)) > MOST_WORDS:
        yield _too_long(spec.prompt, f"it has {words} words")


def text_problems(context: CheckContext) -> Iterator[Problem]:
    """The model can do without media if there are none."""
    spec, model = context.spec, context.model
    if model is None or model.text:
        return
    if not (spec.media or spec.references or spec.draft_task is not None):
        yield problem("first_frame", None, f"a picture, or references: {model.name} needs one")


def _words(prompt: str) -> int:
    """The number of words, or at least one that is not less, if it is within the limit."""
    if len(prompt) <= MOST_WORDS:
        return len(prompt)
    return len(_WORD.findall(prompt))


def _too_long(prompt: str, length: str) -> Problem:
    return problem(
        "prompt",
        prompt,
        f"at most {MOST_WORDS} words (a Chinese character counts as one) and {MOST_CHARACTERS} "
        f"characters, {length}; the provider advises 1000 English words or 500 Chinese characters",
    )


_RULES: Final[tuple[Rule, ...]] = (
    prompt_problems,
    cloud_problems,
    scenario_problems,
    frame_problems,
    text_problems,
    reference_problems,
    media_problems,
    body_problems,
    unsupported_problems,
    range_problems,
    duration_problems,
    output_size_problems,
    syntax_problems,
    tool_problems,
    draft_problems,
    tier_problems,
    extra_problems,
    comet_problems,
)

_RULES_OF_EACH: Final[tuple[Rule, ...]] = (
    prompt_problems,
    media_problems,
    body_problems,
    range_problems,
    syntax_problems,
    comet_problems,
)
"""Rules that see what differs from spec to spec, in the same order as above.

The others see only what `_shape` holds: of a prompt, a medium or a seed whether it is there, and of
which type. So they are asked once for all specs of one shape.
"""

_RULES_OF_SHAPE: Final = tuple(rule for rule in _RULES if rule not in _RULES_OF_EACH)

_MEDIA_FIELDS: Final = ("first_frame", "last_frame", "references")

_FIELDS_OF: Final[dict[Rule, frozenset[str]]] = {
    cloud_problems: frozenset({"model", "tools"}),
    scenario_problems: frozenset({"last_frame", "references", "tools"}),
    frame_problems: frozenset({"first_frame", "last_frame"}),
    reference_problems: frozenset({"references"}),
    media_problems: frozenset(_MEDIA_FIELDS),
    body_problems: frozenset(_MEDIA_FIELDS),
    unsupported_problems: frozenset(NOT_EVERYWHERE),
    range_problems: frozenset({"seed", "priority", "execution_expires_after"}),
    duration_problems: frozenset({"duration", "frames"}),
    output_size_problems: frozenset({"resolution", "ratio"}),
    syntax_problems: frozenset({"model", "draft_task", "service_tier", "callback_url"}),
    tool_problems: frozenset({"tools"}),
    draft_problems: frozenset({"draft", "draft_task"}),
    tier_problems: frozenset({"priority"}),
    extra_problems: frozenset({"extra"}),
    comet_problems: frozenset({*UNDOCUMENTED, *COMMANDS}),
}
"""The fields that a rule is about. Where none of them is set the rule has nothing to find, so it is
not asked. A rule that is not listed here is asked about every spec."""

_FIELDS: Final = tuple(field.name for field in attrs.fields(TaskSpec))
_VALUES: Final = attrgetter(*_FIELDS)
_NOTHING: Final[tuple[()]] = ()

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

_VALUES_IN_SHAPE: Final = attrgetter(
    "model",
    "resolution",
    "ratio",
    "duration",
    "frames",
    "camera_fixed",
    "watermark",
    "generate_audio",
    "draft",
    "return_last_frame",
    "service_tier",
    "execution_expires_after",
    "priority",
)
_PRESENT_IN_SHAPE: Final = attrgetter("prompt", "seed", "draft_task", "callback_url")
_PLAIN_TYPES: Final = frozenset({NoneType, str, int, bool})

_good_shapes: Final[set[Hashable]] = set()
"""Shapes in which the rules of a shape have found nothing wrong."""

_MOST_SHAPES: Final = 4096

_NO_FACTS: Final[Mapping[Media, MediaFacts | str]] = MappingProxyType({})


def check(
    spec: object,
    *,
    provider: Provider,
    facts: Mapping[Media, MediaFacts | str] = _NO_FACTS,
) -> list[Problem]:
    """Report everything that is wrong with a spec.

    A problem is reported only if the provider is known to refuse it. If sources disagree, or if the
    model is not known, the spec passes and the provider decides. This function never raises,
    whatever the fields hold.

    Args:
        spec: A `TaskSpec`; any other object is reported as a problem.
        provider: The provider that the spec is for. Its default model is used if the spec names
            no model.
        facts: What the header of each local medium says, or, as text, why it cannot be read. A
            local medium that is not in the mapping is not checked.

    Returns:
        All problems, in the order of the rules; empty if there are none.
    """
    if not isinstance(spec, TaskSpec):
        return [problem("spec", spec, "a TaskSpec")]
    shape = _shape(spec, provider)
    if shape is not None:
        context = _context(spec, provider, facts)
        if shape in _good_shapes or _is_good(context, shape):
            return _found(_RULES_OF_EACH, context)
    clean, problems = drop_mistyped_fields(spec)
    found = _found(_RULES, _context(clean, provider, facts))
    named = {row.field for row in problems}
    return problems + [row for row in found if row.field not in named]


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


def _context(
    spec: TaskSpec, provider: Provider, facts: Mapping[Media, MediaFacts | str]
) -> CheckContext:
    model = spec.model if spec.model is not None else provider.default_model
    return CheckContext(spec=spec, provider=provider, model=capability(model), facts=facts)


def _found(rules: Iterable[Rule], context: CheckContext) -> list[Problem]:
    """What the rules find that are about a field which is set."""
    # Compared by identity, because the objects of a caller may raise when they are compared.
    given = [
        name
        for name, value in zip(_FIELDS, _VALUES(context.spec), strict=True)
        if value is not None and value is not _NOTHING
    ]
    return [
        row
        for rule in rules
        if (about := _FIELDS_OF.get(rule)) is None or not about.isdisjoint(given)
        for row in rule(context)
    ]


def _has_type(value: object, kind: type) -> bool:
    """Whether the value has the type. Here a bool is not a number, although it is in Python."""
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def _shape(spec: TaskSpec, provider: Provider) -> Hashable | None:
    """All that the rules of a shape can see; ``None`` if it holds values of unusual types."""
    values: tuple[object, ...] = _VALUES_IN_SHAPE(spec)
    present: tuple[object, ...] = _PRESENT_IN_SHAPE(spec)
    types = (*map(type, values), *map(type, present))
    if not _PLAIN_TYPES.issuperset(types):
        return None
    references, tools = cast("tuple[object, object]", (spec.references, spec.tools))
    if spec.extra is not None or tools != () or type(references) is not tuple:
        return None
    items = cast("tuple[object, ...]", references)
    return (
        provider,
        values,
        types,
        (type(spec.first_frame), type(spec.last_frame), *map(type, items)),
    )


def _is_good(context: CheckContext, shape: Hashable) -> bool:
    """Whether the rules of a shape find nothing wrong in one spec of it, and so in none."""
    _, mistyped = drop_mistyped_fields(context.spec)
    if mistyped or _found(_RULES_OF_SHAPE, context):
        return False
    if len(_good_shapes) >= _MOST_SHAPES:
        _good_shapes.clear()
    _good_shapes.add(shape)
    return True
