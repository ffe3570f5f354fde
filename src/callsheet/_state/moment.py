"""Moments: when something happened, as values."""

from __future__ import annotations

from typing import NamedTuple


class Moment(NamedTuple):
    """When something happened, on both clocks.

    Attributes:
        now: On the client's clock; ``None`` if another process saw it.
        wall: On the wall clock. It may be set, and it goes on while the machine sleeps.
    """

    now: float | None
    wall: float
