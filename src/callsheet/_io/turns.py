"""Long work in pieces: others get their turns between them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeVar

import anyio.lowlevel


if TYPE_CHECKING:
    from collections.abc import Iterable


T = TypeVar("T")

AT_A_STRETCH = 500
"""Values taken before others get a turn."""


async def gathered(values: Iterable[T]) -> list[T]:
    """The values as a list; with pauses, unless they stand in one already."""
    if isinstance(values, (list, tuple)):
        return list(values)
    found: list[T] = []
    source = iter(values)
    while some := list(itertools.islice(source, AT_A_STRETCH)):
        found += some
        await anyio.lowlevel.checkpoint()
    return found
