"""The preflight: everything that is wrong with a spec, before anything is sent."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from callsheet._catalog.case import CheckContext, Rule, problem
from callsheet._catalog.combinations import draft_problems, extra_problems, tier_problems
from callsheet._catalog.destinations import cloud_problems, comet_problems
from callsheet._catalog.fields import drop_mistyped_fields
from callsheet._catalog.media import body_problems, media_problems
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
    from collections.abc import Mapping

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

_NO_FACTS: Final[Mapping[Media, MediaFacts | str]] = MappingProxyType({})


def check(
    spec: object,
    *,
    provider: Provider,
    facts: Mapping[Media, MediaFacts | str] = _NO_FACTS,
) -> list[Problem]:
    """Name everything that is wrong with a spec.

    Only what is known to be refused is named: where sources disagree, or a model is not known, a
    spec passes and the provider decides. It never raises, whatever the fields hold.

    Args:
        spec: A `TaskSpec`; anything else is a problem itself.
        provider: Where it is to go; its default model counts if the spec names none.
        facts: For local media what their headers say, or why they cannot be read, in words.
            Local media that are left out are not looked at.

    Returns:
        All problems, in the order of the rules; empty if the spec is fine.
    """
    if not isinstance(spec, TaskSpec):
        return [problem("spec", spec, "a TaskSpec")]
    clean, problems = drop_mistyped_fields(spec)
    context = CheckContext(
        spec=clean,
        provider=provider,
        model=capability(clean.model if clean.model is not None else provider.default_model),
        facts=facts,
    )
    named = {row.field for row in problems}
    return problems + [row for rule in _RULES for row in rule(context) if row.field not in named]
