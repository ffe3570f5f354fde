"""The client's clock."""

from __future__ import annotations

import time
from typing import NamedTuple

import anyio
import attrs


class Moment(NamedTuple):
    """When something happened, on both clocks.

    Attributes:
        now: On the client's clock; ``None`` if another process saw it.
        wall: On the wall clock, which anybody may set, and which does not stop in a sleep.
    """

    now: float | None
    wall: float


@attrs.frozen
class Clock:
    """Monotonic seconds as they pass at the provider.

    Attributes:
        speed: Provider seconds per second here: 1 but for an emulator that runs faster than life.
    """

    speed: float = 1.0

    def now(self) -> float:
        """The current time, seconds from an arbitrary start."""
        return anyio.current_time() * self.speed

    def moment(self) -> Moment:
        """The current time on both clocks."""
        return Moment(self.now(), self.wall())

    def wall(self, at: float | None = None) -> float:
        """The wall clock's time, or the Unix time *at*, in the seconds of this clock."""
        return (time.time() if at is None else at) * self.speed

    async def sleep_until(self, when: float) -> None:
        """Sleep until *when* on this clock."""
        await anyio.sleep_until(when / self.speed)

    async def sleep(self, seconds: float) -> None:
        """Sleep for *seconds* of this clock."""
        await anyio.sleep(seconds / self.speed)


@attrs.define(eq=False)
class WakeEvent:
    """Wakes all who sleep; rung while nobody sleeps, it wakes the next one at once.

    A sleeper looks again at what it waits for, with no other wait between that look and this one.
    """

    clock: Clock
    _rung: bool = False
    _event: anyio.Event | None = None

    def set(self) -> None:
        """Wake the sleepers."""
        event, self._event, self._rung = self._event, None, True
        if event is not None:
            event.set()

    async def wait(self, until: float | None) -> None:
        """Sleep until the bell rings, or until *until* on the clock if that is given."""
        if not self._rung:
            event = self._event = self._event or anyio.Event()
            deadline = float("inf") if until is None else until / self.clock.speed
            with anyio.CancelScope(deadline=deadline):
                await event.wait()
        self._rung = False
