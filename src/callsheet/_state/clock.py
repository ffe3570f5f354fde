"""The client's clock."""

from __future__ import annotations

import time

import anyio
import attrs

from callsheet._state.moment import Moment


@attrs.frozen
class Clock:
    """A monotonic clock in the provider's seconds.

    Attributes:
        speed: Provider seconds per real second: 1, or more for an emulator that runs faster.
    """

    speed: float = 1.0

    def now(self) -> float:
        """The current time, seconds from an arbitrary start."""
        return anyio.current_time() * self.speed

    def moment(self) -> Moment:
        """The current time on both clocks."""
        return Moment(self.now(), self.wall())

    def wall(self, at: float | None = None) -> float:
        """The wall clock's time, or the Unix time *at*, in seconds of this clock."""
        return (time.time() if at is None else at) * self.speed

    async def sleep_until(self, when: float) -> None:
        """Sleep until *when* on this clock."""
        await anyio.sleep_until(when / self.speed)

    async def sleep(self, seconds: float) -> None:
        """Sleep for *seconds* of this clock."""
        await anyio.sleep(seconds / self.speed)


@attrs.define(eq=False)
class WakeEvent:
    """Wakes all sleepers. If it is set while nobody sleeps, the next sleeper wakes at once.

    A sleeper must check its condition and then call `wait`, with no other await in between.
    """

    clock: Clock
    _is_set: bool = False
    _event: anyio.Event | None = None

    def set(self) -> None:
        """Wake the sleepers."""
        event, self._event, self._is_set = self._event, None, True
        if event is not None:
            event.set()

    async def wait(self, until: float | None) -> None:
        """Sleep until `set` is called, or until the time *until* on the clock if it is given."""
        if not self._is_set:
            event = self._event = self._event or anyio.Event()
            if until is None:  # the usual case, which needs no scope
                await event.wait()
            else:
                with anyio.CancelScope(deadline=until / self.clock.speed):
                    await event.wait()
        self._is_set = False
