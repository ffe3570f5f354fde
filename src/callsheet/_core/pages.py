"""Pages of whatever the provider lists: one call for more tasks than a line of ids can name."""

from __future__ import annotations

import attrs


SIZE = 500
"""Most tasks on one page (Ark "list tasks" reference)."""

FIRST_REST = 4.0
LONGEST_REST = 1920.0


@attrs.define
class Pages:
    """Which page is worth asking for when more tasks are due than ids fit into one call.

    Whose tasks a provider lists, and in which order, is not documented. So a page is judged by what
    it shows: while that is more than a call by ids could have asked about, the page after it is
    next, and after the last one the first. After one that shows less, or fails, calls are by ids
    for a while, longer each time; and so is one call after a round that did not show everybody.

    Attributes:
        size: Tasks to ask for on one page, >= 1.
    """

    size: int = SIZE
    _next: int = attrs.field(default=1, init=False)
    _rest: float = attrs.field(default=FIRST_REST, init=False)
    _again_at: float = attrs.field(default=float("-inf"), init=False)
    _passed_over: bool = attrs.field(default=False, init=False)

    def next(self, *, now: float) -> int | None:
        """The number of the page to ask for, from 1; ``None``: this time, ask by ids."""
        if self._passed_over:
            self._passed_over = False
            return None
        return self._next if now >= self._again_at else None

    def read(self, *, shown: int, instead: int, last: bool, missed: bool, now: float) -> None:
        """Judge a page.

        Args:
            shown: How many tasks it showed that run, or were due.
            instead: How many a call by ids would have asked about.
            last: Whether no page comes after it.
            missed: Whether it did not show all of those that were longest due.
            now: Seconds on the client's clock.
        """
        if shown > instead:
            self._next, self._rest = (1 if last else self._next + 1), FIRST_REST
            self._passed_over = last and missed
        else:
            self.rest(now=now)

    def rest(self, *, now: float) -> None:
        """Ask for no page for a while."""
        self._next, self._again_at = 1, now + self._rest
        self._rest = min(2.0 * self._rest, LONGEST_REST)
