"""The creates of records by their tokens: what callbacks tell of them, and which are in doubt."""

from __future__ import annotations

import attrs

from callsheet._state.record import Record


@attrs.define(eq=False)
class Attempts:
    """Tokens that are under way, and those of lost creates that were sent again.

    A callback may bring the id of either: before the answer of the one, and long after everybody
    has given up the other.
    """

    _under_way: dict[str, str | None] = attrs.field(factory=dict[str, str | None], init=False)
    """Tokens under way, with the id that a callback has brought."""
    _lost: dict[Record, list[tuple[str | None, bool]]] = attrs.field(
        factory=dict[Record, list[tuple[str | None, bool]]], init=False
    )

    def begin(self, token: str | None) -> None:
        """A create is going to leave with a token."""
        if token is not None:
            self._under_way[token] = None

    def finish(self, token: str | None) -> None:
        """It is under way no longer."""
        self._under_way.pop(token or "", None)

    def set_id(self, token: str, task_id: str) -> bool:
        """Take the id of a create that is under way; tell whether it is one."""
        if token not in self._under_way:
            return False
        self._under_way[token] = task_id
        return True

    def id_of(self, token: str | None) -> str | None:
        """The id that was told of a create that is under way."""
        return self._under_way.get(token or "")

    def add_lost(self, record: Record, token: str | None, *, in_doubt: bool) -> int:
        """A create was lost for good; tell how many of the record were so far."""
        lost = self._lost.setdefault(record, [])
        lost.append((token, in_doubt))
        return len(lost)

    def find_lost(self, token: str) -> tuple[Record, bool] | None:
        """Of which record a token was lost, and whether that attempt is in doubt for ever."""
        return next(
            (
                (record, in_doubt)
                for record, lost in self._lost.items()
                for each, in_doubt in lost
                if each == token
            ),
            None,
        )

    def forget(self, record: Record) -> None:
        """Nobody asks for its attempts any more."""
        self._lost.pop(record, None)
