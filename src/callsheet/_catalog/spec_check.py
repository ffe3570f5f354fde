"""The preflight: it finds all mistakes in a spec before anything is sent."""

from __future__ import annotations

from operator import attrgetter
from types import MappingProxyType, NoneType
from typing import TYPE_CHECKING, Final, cast

from callsheet._catalog.check_context import CheckContext, Rule, problem
from callsheet._catalog.combinations import draft_problems, extra_problems, tier_problems
from callsheet._catalog.destinations import cloud_problems, comet_problems
from callsheet._catalog.fields import drop_mistyped_fields
from callsheet._catalog.media_rules import body_problems, media_problems
from callsheet._catalog.models import capability
from callsheet._catalog.options import (
    duration_problems,
    output_size_problems,
    range_problems,
    syntax_problems,
    tool_problems,
    unsupported_problems,
)
from callsheet._catalog.prompt import prompt_problems
from callsheet._catalog.scenario import frame_problems, reference_problems, scenario_problems
from callsheet._models.spec import TaskSpec


if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from callsheet._models.media import Media, MediaFacts
    from callsheet._models.provider import Provider
    from callsheet.errors import Problem


_RULES: Final[tuple[Rule, ...]] = (
    prompt_problems,
    cloud_problems,
    scenario_problems,
    frame_problems,
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

_RULES_OF_TEXT: Final = tuple(
    rule for rule in _RULES_OF_EACH if rule not in {media_problems, body_problems}
)
_RULES_OF_SHAPE: Final = tuple(rule for rule in _RULES if rule not in _RULES_OF_EACH)

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
    if shape is not None and (shape in _good_shapes or _is_good(spec, provider, shape)):
        context = _context(spec, provider, facts)
        has_media = spec.references or spec.first_frame is not None or spec.last_frame is not None
        rules = _RULES_OF_EACH if has_media else _RULES_OF_TEXT
        return [row for rule in rules for row in rule(context)]
    clean, problems = drop_mistyped_fields(spec)
    context = _context(clean, provider, facts)
    named = {row.field for row in problems}
    return problems + [row for rule in _RULES for row in rule(context) if row.field not in named]


def _context(
    spec: TaskSpec, provider: Provider, facts: Mapping[Media, MediaFacts | str]
) -> CheckContext:
    model = capability(spec.model if spec.model is not None else provider.default_model)
    return CheckContext(spec=spec, provider=provider, model=model, facts=facts)


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


def _is_good(spec: TaskSpec, provider: Provider, shape: Hashable) -> bool:
    """Whether the rules of a shape find nothing wrong in one spec of it, and so in none."""
    _, mistyped = drop_mistyped_fields(spec)
    if mistyped:
        return False
    context = _context(spec, provider, _NO_FACTS)
    if any(True for rule in _RULES_OF_SHAPE for _ in rule(context)):
        return False
    if len(_good_shapes) >= _MOST_SHAPES:
        _good_shapes.clear()
    _good_shapes.add(shape)
    return True
