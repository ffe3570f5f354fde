"""Pages of whatever the provider lists: one call for more tasks than a line of ids can name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs


if TYPE_CHECKING:
    from callsheet._state.record import Record


SIZE = 500
"""Most tasks on one page (Ark "list tasks" reference)."""

FIRST_REST = 4.0
LONGEST_REST = 1920.0


@attrs.define
class Pages:
    """Which page of one tier is worth asking for when more tasks are due than one call can name.

    Whose tasks a provider lists, and in which order, is not documented, nor is it certain that it
    turns pages at all. So a page is judged by what it tells that the pages before it did not: while
    that is more than a call by ids could have asked about, the page after it is next. Else the
    round is over, and calls are by ids until everybody who is due was heard of since it began.
    After a page that fails, or a first one that tells too little, they are by ids for a while,
    longer each time.
    """

    _next: int = attrs.field(default=1, init=False)
    _began: float = attrs.field(default=float("-inf"), init=False)
    _rest: float = attrs.field(default=FIRST_REST, init=False)
    _again_at: float = attrs.field(default=float("-inf"), init=False)

    def next(self, *, heard: float, now: float) -> int | None:
        """The number of the page to ask for, from 1; ``None``: this time, ask by ids.

        Args:
            heard: When those who are longest due were last heard of, the earliest of these times.
            now: Seconds on the client's clock.
        """
        if self._next == 1 and (now < self._again_at or heard < self._began):
            return None
        return self._next

    def begin(self, *, now: float) -> None:
        """The page asked for is in; a first one begins a round."""
        if self._next == 1:
            self._began = now

    def tells(self, record: Record, *, now: float) -> bool:
        """Whether it is news to see *record*: it runs or is due, and the round has not shown it."""
        due = record.asked or record.due <= now or record.started is not None
        return due and record.alive_at < self._began

    def read(self, *, told: int, instead: int, last: bool, now: float) -> None:
        """Judge a page.

        Args:
            told: How many tasks it told of, see `tells`.
            instead: How many a call by ids would have asked about.
            last: Whether no page comes after it.
            now: Seconds on the client's clock.
        """
        if told <= instead and self._next == 1:
            self.rest(now=now)
            return
        self._rest = FIRST_REST
        self._next += 1
        if told <= instead or last:
            self.end()

    def end(self) -> None:
        """Begin anew next time."""
        self._next = 1

    def rest(self, *, now: float) -> None:
        """Ask for no page for a while."""
        self._next, self._began, self._again_at = 1, float("-inf"), now + self._rest
        self._rest = min(2.0 * self._rest, LONGEST_REST)
