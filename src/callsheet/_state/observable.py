"""Something that tells those who wait for it when it changes."""

from __future__ import annotations

from collections.abc import Callable

import attrs


@attrs.define(eq=False)
class Observable:
    """Callbacks made only when somebody waits: a million of these stay small."""

    _waiters: list[Callable[[], None]] | None = attrs.field(default=None, init=False)

    def watch(self, callback: Callable[[], None]) -> None:
        """Have *callback* called once, at the next change that waiters are told of."""
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(callback)

    def unwatch(self, callback: Callable[[], None]) -> None:
        """Take a callback back."""
        if self._waiters is not None and callback in self._waiters:
            self._waiters.remove(callback)

    def wake(self) -> None:
        """Call everybody who watches."""
        waiters, self._waiters = self._waiters, None
        for callback in waiters or ():
            callback()
