"""The creates whose answers were lost: when to look for their tasks, and when to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from callsheet._state.record import Record
from callsheet._submission.list_scan import ListScan, LostCreate


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


LONGEST_SEARCH_GAP = 60.0
"""Most seconds between two looks. A task may be in the list only minutes after its create
(Source: an incident of August 2026, which took 96 s)."""

GIVEN_UP = 1800.0
"""Seconds after the window at which a search ends that could never read the whole list."""


@attrs.define(eq=False)
class LostCreates:
    """All lost creates of a client.

    Attributes:
        window: Seconds after which a task that is in no list was not made, > 0.
    """

    window: float
    _lost: dict[Record, LostCreate] = attrs.field(factory=dict[Record, LostCreate], init=False)

    def __contains__(self, record: Record) -> bool:
        return record in self._lost

    def __len__(self) -> int:
        return len(self._lost)

    def __iter__(self) -> Iterator[LostCreate]:
        return iter(tuple(self._lost.values()))

    def add(self, lost: LostCreate) -> None:
        """Start to look for a create."""
        self._lost[lost.record] = lost

    def drop(self, record: Record) -> LostCreate | None:
        """Stop looking for the create of a record, and return it."""
        return self._lost.pop(record, None)

    def by_token(self, token: str) -> LostCreate | None:
        """The lost create that carried this token, as its mark or only in its callback URL."""
        return next((each for each in self._lost.values() if token in each.tokens), None)

    def next_look(self) -> float | None:
        """When the next look is due; ``None`` if nothing is lost."""
        return min((each.look_at for each in self._lost.values()), default=None)

    def scan(
        self, *, now: float, wall: float, known: Callable[[str], bool | None]
    ) -> ListScan | None:
        """Begin a look for all lost creates of one tier, if one is due.

        Args:
            now: The time on the client's clock.
            wall: The time on the wall clock.
            known: Returns for the id of a task of ours whether lists must show a mark on it, and
                ``None`` for any other id.
        """
        due = min(self._lost.values(), key=lambda each: each.look_at, default=None)
        if due is None or due.look_at > now:
            return None
        together = [each for each in self._lost.values() if each.tier == due.tier]
        for each in together:
            each.look_at = now + each.gap
            each.gap = min(2.0 * each.gap, LONGEST_SEARCH_GAP)
        proving = any(self._is_over(each, now) for each in together)
        return ListScan(began=now, wall=wall, lost=together, known=known, proving=proving)

    def over(self, scan: ListScan, *, now: float) -> list[LostCreate]:
        """Drop and return those for which this look was the last.

        A look that read the whole list is the last if it *began* after the window had passed. If it
        began earlier, it is repeated, however long it took: the task may have come into the list
        after its page was read. A look that could not read the whole list proves nothing. It is
        repeated for at most `GIVEN_UP` seconds after the window.
        """

        def is_last(each: LostCreate) -> bool:
            if scan.finished or not each.listed:
                return self._is_over(each, scan.began)
            return self._is_over(each, now - GIVEN_UP)

        last = [each for each in scan.lost if self._lost.get(each.record) is each and is_last(each)]
        for each in last:
            del self._lost[each.record]
        return last

    def _is_over(self, lost: LostCreate, now: float) -> bool:
        """Whether its window has passed, on the client's clock, which nobody can set."""
        return now >= lost.lost_at + self.window
