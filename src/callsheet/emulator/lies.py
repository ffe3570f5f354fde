"""Answers that are well formed and wrong: lists that lie, and ids that lie.

Each list lie applies to all tasks of the account alike, whoever looks for which one.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import attrs


if TYPE_CHECKING:
    from collections.abc import Callable


LIST_LIES = (
    "missing",
    "other-project",
    "late",
    "frozen",
    "capped",
    "same-page",
    "unsorted",
    "no-total",
    "total-of-page",
    "total-zero",
    "marks-upper",
    "marks-cut",
    "marks-prefixed",
    "no-marks",
)
"""Ways in which a list may lie. `docs/emulator.md` says what each of them does."""

ID_LIES = ("id-twice", "id-of-gateway", "id-padded")
"""Ways in which the id in the answer to a create may lie."""

_MARK = "safety_identifier"
_LEFT = 32  # characters of a mark that is cut

Row = dict[str, Any]


@attrs.frozen(kw_only=True)
class Lie:
    """One lie, with the time for which it is told.

    Attributes:
        name: One of `LIST_LIES` or `ID_LIES`.
        part: Share of the tasks that ``missing`` leaves out.
        delay: How many seconds ``late`` shows a task later.
        most: Most tasks on a page of ``capped``.
        now: When the request came, unix seconds.
        since: When the fault began, unix seconds.
    """

    name: str
    part: float
    delay: float
    most: int
    now: float
    since: float

    def page(self, rows: list[Row], num: int, size: int) -> dict[str, Any]:
        """Return a page of a list.

        Args:
            rows: All matching tasks, newest first.
            num: Number of the page, from 1.
            size: Tasks on a page.
        """
        rows = self._rows(rows)
        if self.name == "capped":
            size = min(size, self.most)
        first = 0 if self.name == "same-page" else (num - 1) * size
        items = rows[first : first + size]
        totals = {"total-of-page": len(items), "total-zero": 0}
        total = {} if self.name == "no-total" else {"total": totals.get(self.name, len(rows))}
        return {**total, "items": items}

    def _rows(self, rows: list[Row]) -> list[Row]:
        """The tasks as the list shows them."""
        selections: dict[str, Callable[[Row], bool]] = {
            "missing": lambda row: _chance(row["id"]) >= self.part,
            "other-project": lambda _: False,
            "late": lambda row: row["created_at"] <= self.now - self.delay,
            "frozen": lambda row: row["created_at"] <= self.since,
        }
        changes: dict[str, Callable[[Row], Row]] = {
            "frozen": self._as_it_was,
            "marks-upper": lambda row: _marked(row, str.upper),
            "marks-cut": lambda row: _marked(row, lambda mark: mark[:_LEFT]),
            "marks-prefixed": lambda row: _marked(row, lambda mark: f"gateway-{mark}"),
            "no-marks": lambda row: {k: v for k, v in row.items() if k != _MARK},
        }
        keeps, change = selections.get(self.name), changes.get(self.name)
        if keeps is not None:
            rows = [row for row in rows if keeps(row)]
        if change is not None:
            rows = [change(row) for row in rows]
        if self.name == "unsorted":
            rows = sorted(rows, key=lambda row: _chance(row["id"]))
        return rows

    def _as_it_was(self, row: Row) -> Row:
        """A task as it was when the fault began; one that has changed since was running."""
        if row["updated_at"] <= self.since:
            return row
        kept = {k: v for k, v in row.items() if k not in {"content", "usage", "error"}}
        return {**kept, "status": "running", "updated_at": row["created_at"]}


def _marked(row: Row, change: Callable[[str], str]) -> Row:
    return row | {_MARK: change(row[_MARK])} if _MARK in row else row


def _chance(task_id: str) -> float:
    """A number from 0 to 1 that is always the same for one task."""
    return random.Random(task_id).random()  # noqa: S311 - repeatable


@attrs.define
class Ids:
    """The ids that answers to creates have, and the tasks that they stand for.

    Attributes:
        aliases: Ids of a gateway's own, with the ids of their tasks.
        latest: The id of the latest task of each account that was answered truly.
    """

    aliases: dict[str, str] = attrs.field(factory=dict[str, str], init=False)
    latest: dict[str, str] = attrs.field(factory=dict[str, str], init=False)

    def told(self, task_id: str, account: str, lie: Lie | None) -> str:
        """Return the id with which a create of an account is answered."""
        name = None if lie is None else lie.name
        if name == "id-twice":
            return self.latest.get(account, task_id)
        if name == "id-padded":
            return f" {task_id} "
        if name == "id-of-gateway":
            alias = f"task_{len(self.aliases):08x}"
            self.aliases[alias] = task_id
            return alias
        self.latest[account] = task_id
        return task_id

    def real(self, task_id: str) -> str:
        """Return the id of the task that *task_id* stands for."""
        return self.aliases.get(task_id, task_id)
