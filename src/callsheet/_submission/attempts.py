"""The attempts of records by their tokens, so that a callback finds the record it is about."""

from __future__ import annotations

import attrs

from callsheet._state.record import Record


@attrs.define(eq=False)
class Attempts:
    """Tokens that are under way, and tokens of lost creates that were sent again.

    A callback may bring the id of either: of the first before the answer comes, of the second long
    after the search for its task has ended.
    """

    _under_way: dict[str, str | None] = attrs.field(factory=dict[str, str | None], init=False)
    """Tokens under way, each with the id that a callback has brought, if one came."""
    _lost: dict[Record, list[tuple[str | None, bool]]] = attrs.field(
        factory=dict[Record, list[tuple[str | None, bool]]], init=False
    )
    """Lost attempts of each record: token, and whether nobody knows if it made a task."""

    def begin(self, token: str | None) -> None:
        """Note that a create is going to be sent with a token."""
        if token is not None:
            self._under_way[token] = None

    def finish(self, token: str | None) -> None:
        """Note that the create of a token is no longer under way."""
        self._under_way.pop(token or "", None)

    def set_id(self, token: str, task_id: str) -> bool:
        """Keep the id for a create that is under way; return ``False`` if the token is of none."""
        if token not in self._under_way:
            return False
        self._under_way[token] = task_id
        return True

    def id_of(self, token: str | None) -> str | None:
        """The id that a callback has brought for a create that is under way."""
        return self._under_way.get(token or "")

    def add_lost(self, record: Record, token: str | None, *, in_doubt: bool) -> int:
        """Note that the search for a lost create has ended; return how many the record has had."""
        lost = self._lost.setdefault(record, [])
        lost.append((token, in_doubt))
        return len(lost)

    def find_lost(self, token: str) -> tuple[Record, bool] | None:
        """The record of a lost token, and whether nobody knows if that attempt made a task."""
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
        """Drop the lost attempts of a record."""
        self._lost.pop(record, None)
