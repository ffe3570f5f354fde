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


async def gathered(values: Iterable[T]) -> list[T]:
    """Return any number of values as a list. Other coroutines run meanwhile."""
    found: list[T] = []
    source = iter(values)
    while some := list(itertools.islice(source, ITEMS_PER_TURN)):
        found += some
        await anyio.lowlevel.checkpoint()
    return found
