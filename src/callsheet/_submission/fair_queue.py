"""The order in which specs are sent: by priority, and in turn within one priority."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import attrs

from callsheet._state.record import Record


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


@attrs.define(eq=False)
class FairQueue:
    """Records that wait to be sent, in one line for each group.

    The lines of the highest priority take turns, one record each, so that a small batch does not
    wait for a large one. A lower priority waits until the higher ones have nothing to send. Records
    without a group share a line.
    """

    _levels: dict[int, dict[object, deque[Record]]] = attrs.field(
        factory=dict[int, dict[object, deque[Record]]], init=False
    )

    def __iter__(self) -> Iterator[Record]:
        """All records that wait, line by line, highest priority first."""
        for priority in sorted(self._levels, reverse=True):
            for line in self._levels[priority].values():
                yield from line

    def put(self, records: Sequence[Record], *, priority: int) -> None:
        """Add records of one group to the end of its line, all in one step."""
        if records:
            lines = self._levels.setdefault(priority, {})
            lines.setdefault(records[0].group, deque()).extend(records)

    def take(self, ready: Callable[[Record], bool]) -> Record | None:
        """Remove and return the next record, skipping lines whose first record is not *ready*."""
        for priority in sorted(self._levels, reverse=True):
            lines = self._levels[priority]
            group = next((each for each, line in lines.items() if ready(line[0])), self)
            if group is self:
                continue
            line = lines.pop(group)
            record = line.popleft()
            if line:
                lines[group] = line  # behind the others of this priority
            elif not lines:
                del self._levels[priority]
            return record
        return None

    def clear(self) -> None:
        """Remove all records."""
        self._levels.clear()
