"""The line of creates that wait for their turn: one at a time, in the order of their places."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from callsheet._state.clock import Clock, WakeEvent
from callsheet._state.moment import Moment
from callsheet._state.registry import Registry
from callsheet._submission.admission import Admission


if TYPE_CHECKING:
    from collections.abc import Callable


@attrs.define(eq=False, kw_only=True)
class Turns:
    """Lets creates go one after the other, each when the admission allows it.

    Attributes:
        admission: Decides when a create may be sent.
        registry: Knows how many tasks have not ended.
        clock: The client's clock.
        changed: Is set when a create may start or go that could not before.
    """

    admission: Admission
    registry: Registry
    clock: Clock
    changed: WakeEvent = attrs.field(init=False)
    _waiting: list[int] = attrs.field(factory=list[int], init=False)
    """The places of the creates that wait for their turn, lowest first."""
    _places: Iterator[int] = attrs.field(factory=itertools.count, init=False)

    def __attrs_post_init__(self) -> None:
        """Make the wake-up event, which needs the client's clock."""
        self.changed = WakeEvent(self.clock)

    def draw(self) -> int:
        """A place behind all others. A create keeps its place, however often it is refused."""
        return next(self._places)

    async def take(self, place: int, still_wanted: Callable[[], bool]) -> Moment | None:
        """Wait until the create with this place may be sent, and count it as in flight.

        Returns:
            When its turn has come; ``None`` if it is not wanted any longer: nothing is counted.
        """
        bisect.insort(self._waiting, place)
        try:
            while still_wanted():
                now, ready = self.clock.now(), None
                if self._waiting[0] == place:
                    ready = self.admission.ready_at(now=now, unfinished=len(self.registry))
                    if ready is not None and ready <= now:
                        self.admission.take(now=now)
                        return Moment(now, self.clock.wall())
                await self.changed.wait(ready)
            return None
        finally:
            self._waiting.remove(place)
            self.changed.set()
