"""Long work in pieces: others get their turns between them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeVar

import anyio.lowlevel


if TYPE_CHECKING:
    from collections.abc import Iterable


T = TypeVar("T")

ITEMS_PER_TURN = 500
"""Values taken before others get a turn."""


async def gathered(values: Iterable[T], *, at_a_stretch: int = ITEMS_PER_TURN) -> list[T]:
    """The values as a list; with pauses, unless they stand in one already.

    Args:
        values: Any number.
        at_a_stretch: How many are taken before others get a turn: fewer where each takes its time.
    """
    if isinstance(values, (list, tuple)):
        return list(values)
    found: list[T] = []
    source = iter(values)
    while some := list(itertools.islice(source, at_a_stretch)):
        found += some
        await anyio.lowlevel.checkpoint()
    return found
