"""Where creates went whose answers were lost: when to look, and when to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from callsheet._state.record import Record
from callsheet._submission.list_scan import ListScan, LostCreate


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


LONGEST_SEARCH_GAP = 60.0
"""Seconds between two looks: the task may be in the list only minutes after its create
(an incident of August 2026 took 96 s)."""

GIVEN_UP = 1800.0
"""Seconds beyond the window after which a search that could never be finished is given up."""


@attrs.define(eq=False)
class LostCreates:
    """All lost creates of a client.

    Attributes:
        window: Seconds after which a task that is in no list was never made, > 0.
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
        """Look for a create from now on."""
        self._lost[lost.record] = lost

    def drop(self, record: Record) -> LostCreate | None:
        """Look for it no longer."""
        return self._lost.pop(record, None)

    def by_token(self, token: str) -> LostCreate | None:
        """The lost create that carried one of our tokens, as its mark or only in its URL."""
        return next((each for each in self._lost.values() if token in each.tokens), None)

    def next_look(self) -> float | None:
        """When a look is due."""
        return min((each.look_at for each in self._lost.values()), default=None)

    def scan(
        self, *, now: float, wall: float, known: Callable[[str], bool | None]
    ) -> ListScan | None:
        """Begin a look for all of one tier, if one is due.

        Args:
            now: The time on the client's clock.
            wall: The time on the wall clock.
            known: Tells our own tasks' ids, and whether lists must show marks on them.
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
        """Those whose window has passed, so that this look was the last: they are dropped.

        What a search that was finished has not seen was never made, unless it began before the
        window had passed, however long it took: then it is repeated. One that could not be finished
        proves nothing and is repeated, too, for `GIVEN_UP` seconds at most.
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
        """Whether its window has passed, on a clock that nobody sets."""
        return now >= lost.lost_at + self.window
