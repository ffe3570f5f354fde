"""The client's clock, and how its parts and its callers wait.

A task that nobody waits for has no event and no timer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio
import attrs

from callsheet._state.moment import Moment
from callsheet.errors import ClosedError, TaskTimeoutError


if TYPE_CHECKING:
    from collections.abc import Sequence

    from callsheet._state.record import Observable, Record


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


@attrs.define(eq=False)
class Waiters:
    """The callers that wait for something in an open client."""

    closed: bool = attrs.field(default=False, init=False)
    _wakes: set[Callable[[], None]] = attrs.field(factory=set[Callable[[], None]], init=False)

    def close(self) -> None:
        """Wake all waiters; those that are not done get `ClosedError`."""
        self.closed = True
        for wake in tuple(self._wakes):
            wake()

    async def wait_for_change(
        self, watched: Sequence[Observable], done: Callable[[], bool]
    ) -> None:
        """Wait until *done* holds or one of *watched* changes.

        Raises:
            ClosedError: The client was closed first.
        """
        if done():
            return
        if self.closed:
            raise ClosedError("the client was closed; its tasks go on and can be attached")
        event = anyio.Event()
        self._wakes.add(event.set)
        for each in watched:
            each.watch(event.set)
        try:
            await event.wait()
        finally:
            self._wakes.discard(event.set)
            for each in watched:
                each.unwatch(event.set)

    async def wait(self, watched: Observable, done: Callable[[], bool]) -> None:
        """Wait until *done* holds; it is checked at every change of *watched*.

        Raises:
            ClosedError: The client was closed first.
        """
        while not done():
            await self.wait_for_change((watched,), done)

    async def wait_for_id(self, record: Record) -> None:
        """Wait until *record* has an id or an outcome.

        Raises:
            ClosedError: The client was closed first.
        """
        await self.wait(record, lambda: record.task_id is not None or record.settled)

    async def wait_until(
        self,
        record: Record,
        *,
        timeout: float | None,  # noqa: ASYNC109 - of this waiter alone
    ) -> None:
        """Wait for the outcome of *record*, at most *timeout* seconds.

        Raises:
            TaskTimeoutError: It has none yet; the task goes on.
            ClosedError: The client was closed first.
        """
        if timeout is None:  # saves a cancel scope for each of thousands of waiters
            await self.wait(record, lambda: record.settled)
            return
        with anyio.move_on_after(timeout):
            await self.wait(record, lambda: record.settled)
        if not record.settled:
            raise TaskTimeoutError(record.task_id, timeout)
