"""Lists by page and not by id: one call can then show more tasks than a URL can name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs


if TYPE_CHECKING:
    from callsheet._state.record import Record


SIZE = 500
"""Most tasks on one page (Ark "list tasks" reference)."""

FIRST_PAGES_PAUSE = 4.0
LONGEST_PAGES_PAUSE = 1920.0


@attrs.define
class Pages:
    """Decides for one tier which page to ask for when more tasks are due than one call can name.

    It is not documented which tasks a provider lists and in which order, nor whether page numbers
    work at all. So a page is judged by its news, the tasks that the pages before it did not show.
    While there are more of them than a call by ids could have asked about, the next page follows.
    Otherwise the round is over, and calls are by ids until there is news of every due task since
    the round began. After a page that fails, or a first page with too little news, calls are by ids
    for a while, which is longer each time.
    """

    _next: int = attrs.field(default=1, init=False)
    _began: float = attrs.field(default=float("-inf"), init=False)
    _ended: float = attrs.field(default=float("-inf"), init=False)
    _pause: float = attrs.field(default=FIRST_PAGES_PAUSE, init=False)
    _again_at: float = attrs.field(default=float("-inf"), init=False)

    def next(self, *, oldest_news: float, many: bool, now: float) -> int | None:
        """The number of the page to ask for, from 1; ``None`` to ask by ids this time.

        Args:
            oldest_news: Of the tasks that are due longest, the earliest time of the last news.
            many: Whether more tasks are due than a page holds. Then calls by ids would take too
                long: they go on only for as long as the last round took.
            now: Seconds on the client's clock.
        """
        if self._next > 1:
            return self._next
        took = max(FIRST_PAGES_PAUSE, self._ended - self._began)
        waits = oldest_news < self._began and not (many and now >= self._ended + took)
        return None if waits or now < self._again_at else 1

    def arrived(self, *, now: float) -> None:
        """Note that the page has arrived; the first page begins a round."""
        if self._next == 1:
            self._began = now

    def is_news(self, record: Record, *, now: float) -> bool:
        """Whether *record* is news: it runs or is due, and this round has not shown it yet."""
        due = record.asked or record.due <= now or record.started is not None
        return due and record.alive_at < self._began

    def read(self, *, news: int, by_ids: int, last: bool, now: float) -> None:
        """Decide from a page whether to ask for the next one.

        Args:
            news: How many of its tasks are news, see `is_news`.
            by_ids: How many tasks a call by ids would have asked about.
            last: Whether it is the last page.
            now: Seconds on the client's clock.
        """
        if news <= by_ids and self._next == 1:
            self.pause(now=now)
            return
        self._pause = FIRST_PAGES_PAUSE
        self._next += 1
        if news <= by_ids or last:
            self._ended = now
            self.end_round()

    def end_round(self) -> None:
        """End the round: the next page is the first one."""
        self._next = 1

    def pause(self, *, now: float) -> None:
        """Ask for no page for a while, longer each time."""
        self._next, self._began, self._again_at = 1, float("-inf"), now + self._pause
        self._pause = min(2.0 * self._pause, LONGEST_PAGES_PAUSE)
