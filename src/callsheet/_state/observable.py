"""An object that wakes its waiters when it changes."""

from __future__ import annotations

from collections.abc import Callable

import attrs


@attrs.define(eq=False)
class Observable:
    """Its list of callbacks is made at the first waiter, so that a million of these stay small."""

    _waiters: list[Callable[[], None]] | None = attrs.field(default=None, init=False)

    def watch(self, callback: Callable[[], None]) -> None:
        """Call *callback* once, at the next `wake`."""
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(callback)

    def unwatch(self, callback: Callable[[], None]) -> None:
        """Remove a callback, if it is still there."""
        if self._waiters is not None and callback in self._waiters:
            self._waiters.remove(callback)

    def wake(self) -> None:
        """Call all callbacks and remove them."""
        waiters, self._waiters = self._waiters, None
        for callback in waiters or ():
            callback()
