"""Long work in pieces, so that other coroutines run in between."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeVar

import anyio.lowlevel


if TYPE_CHECKING:
    from collections.abc import Iterable


T = TypeVar("T")

ITEMS_PER_TURN = 500
"""Values that are taken before other coroutines run."""


async def gathered(values: Iterable[T], *, per_turn: int = ITEMS_PER_TURN) -> list[T]:
    """Return the values as a list. Other coroutines run meanwhile, unless it is a list already.

    Args:
        values: Any number.
        per_turn: How many are taken before other coroutines run; fewer if each is slow.
    """
    if isinstance(values, (list, tuple)):
        return list(values)
    found: list[T] = []
    source = iter(values)
    while some := list(itertools.islice(source, per_turn)):
        found += some
        await anyio.lowlevel.checkpoint()
    return found
