"""The preflight: finds all problems of specs before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import attrs

from callsheet._catalog import estimates, spec_check
from callsheet._models.spec import TaskSpec
from callsheet._state.cooperative import gathered
from callsheet._submission.media_files import inspect_all
from callsheet.errors import Problem, SpecError


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from callsheet._models.media import Media, MediaFacts
    from callsheet._models.provider import Provider
    from callsheet._models.spend import Estimate


SPECS_PER_TURN = 50
"""Specs that are checked before other tasks get a turn: a large batch must not block the loop."""


async def check(specs: Sequence[Any], *, provider: Provider) -> None:
    """Find every problem of every spec, including those of local media.

    Raises:
        SpecError: It holds all problems. Each has the index of its spec if there are several specs.
        TypeError: One of them is not a `TaskSpec`.
    """
    facts: dict[Media, MediaFacts | str] = {}
    for start in range(0, len(specs), SPECS_PER_TURN):
        some = specs[start : start + SPECS_PER_TURN]
        for index, spec in enumerate(some, start=start):
            if not isinstance(spec, TaskSpec):
                raise TypeError(f"item {index} is a {type(spec).__name__}, not a TaskSpec")
        facts |= await inspect_all(spec for spec in some if _unknown(spec, facts))
        if len(some) == SPECS_PER_TURN:
            await anyio.lowlevel.checkpoint()
    problems: list[Problem] = []
    for index, spec in enumerate(specs):
        found = spec_check.check(spec, provider=provider, facts=facts)
        problems += found if len(specs) == 1 else [attrs.evolve(p, index=index) for p in found]
        if index % SPECS_PER_TURN == SPECS_PER_TURN - 1:
            await anyio.lowlevel.checkpoint()
    if problems:
        raise SpecError(problems)


async def checked(specs: Iterable[TaskSpec], *, provider: Provider) -> list[TaskSpec]:
    """The specs of any iterable as a list, after the preflight found no problem.

    Raises:
        SpecError: As for `check`.
        TypeError: As for `check`.
    """
    every = await gathered(specs)
    await check(every, provider=provider)
    return every


def price(spec: TaskSpec, *, provider: Provider) -> Estimate | SpecError:
    """What a spec may cost, or the error if this is unknown. The spec may be unchecked.

    It is computed here, once. Between the turn of a create and its request nothing can be
    cancelled, so nothing that takes time may run there.
    """
    try:
        return estimates.estimate(spec, provider)
    except Exception as error:  # noqa: BLE001 - an unchecked spec may hold anything
        problem = SpecError([Problem("spec", type(error).__name__, str(error))])
        problem.__cause__ = error
        return problem


def _unknown(spec: TaskSpec, facts: Mapping[Media, MediaFacts | str]) -> bool:
    """Whether a local medium of the spec was not read yet."""
    media = [medium for _, medium in spec.media]
    return any(medium.url is None and medium not in facts for medium in media)
