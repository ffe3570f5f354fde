"""The preflight: it finds all mistakes in a spec before anything is sent."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

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
    clean, problems = drop_mistyped_fields(spec)
    context = CheckContext(
        spec=clean,
        provider=provider,
        model=capability(clean.model if clean.model is not None else provider.default_model),
        facts=facts,
    )
    named = {row.field for row in problems}
    return problems + [row for rule in _RULES for row in rule(context) if row.field not in named]
