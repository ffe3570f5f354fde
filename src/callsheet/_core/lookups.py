"""Where creates went whose answers were lost: when to look, and what the lists prove."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from callsheet._core.registry import Record
from callsheet._models.snapshot import Snapshot
from callsheet.errors import SubmissionUncertainError


if TYPE_CHECKING:
    from collections.abc import Iterator

    from callsheet._models.snapshot import Page


FIRST_GAP = 2.0
LONGEST_GAP = 60.0
"""Seconds between two looks: the task may be in the list only minutes after its create
(an incident of August 2026 took 96 s)."""

GIVEN_UP = 1800.0
"""Seconds beyond the window, and beyond the loss, after which a search that could never be finished
is given up."""

MARGIN = 60.0
"""Seconds by which a task may seem older than the create that made it."""

LISTED = 604_800.0
"""Seconds for which a list shows a task (Ark "list tasks" reference: seven days)."""


@attrs.define(eq=False, kw_only=True)
class Lost:
    """A create that left and whose answer never came.

    Attributes:
        record: Its record; it has no id.
        mark: What its ``safety_identifier`` holds.
        ours: Whether the mark is a token that no other task can carry; otherwise it is the
            caller's own and may be on many tasks.
        sent: When it left, on the client's clock.
        left: When the last of it can have reached the provider; *sent* if that is not given.
        error: What became of its answer.
        missed: When that was learned: long after *sent* if a process has ended in between.
        listed: Whether a list would show the mark; if not, only a callback can.
        called: Whether a callback would tell of it.
        look_at: When to look next.
        gap: Seconds from that look to the one after.
    """

    record: Record
    mark: str
    ours: bool
    sent: float
    error: SubmissionUncertainError
    missed: float
    look_at: float
    left: float = attrs.field(default=attrs.Factory(lambda self: self.sent, takes_self=True))
    listed: bool = True
    called: bool = False
    gap: float = FIRST_GAP

    @property
    def tokens(self) -> tuple[str | None, ...]:
        """What a callback may name it by; the caller's own mark is not among it."""
        return (self.mark, self.error.token) if self.ours else (self.error.token,)

    @property
    def tier(self) -> str | None:
        """Which lists can show it."""
        tier = None if self.record.spec is None else self.record.spec.service_tier
        return tier if tier != "default" else None


@attrs.define(eq=False)
class Lookups:
    """All lost creates of a client.

    Attributes:
        window: Seconds after which a task that is in no list was never made, > 0.
    """

    window: float
    _lost: dict[Record, Lost] = attrs.field(factory=dict[Record, Lost], init=False)

    def __contains__(self, record: Record) -> bool:
        return record in self._lost

    def __iter__(self) -> Iterator[Lost]:
        return iter(tuple(self._lost.values()))

    def add(self, lost: Lost) -> None:
        """Look for a create from now on."""
        self._lost[lost.record] = lost

    def drop(self, record: Record) -> Lost | None:
        """Look for it no longer."""
        return self._lost.pop(record, None)

    def by_token(self, token: str) -> Lost | None:
        """The lost create that carried one of our tokens, as its mark or only in its URL."""
        return next((each for each in self._lost.values() if token in each.tokens), None)

    def next_look(self) -> float | None:
        """When a look is due."""
        return min((each.look_at for each in self._lost.values()), default=None)

    def search(self, *, now: float, known: Callable[[str], bool]) -> Search | None:
        """Begin a look for all of one tier, if one is due; *known* tells our own tasks' ids."""
        due = min(self._lost.values(), key=lambda each: each.look_at, default=None)
        if due is None or due.look_at > now:
            return None
        together = [each for each in self._lost.values() if each.tier == due.tier]
        for each in together:
            each.look_at = now + each.gap
            each.gap = min(2.0 * each.gap, LONGEST_GAP)
        return Search(began=now, lost=together, known=known)

    def over(self, search: Search, *, now: float) -> list[Lost]:
        """Those whose window has passed, so that this look was the last: they are dropped.

        What a search that was finished has not seen was never made; one that could not be finished
        proves nothing and is repeated, for `GIVEN_UP` seconds at most.
        """
        last = [
            each
            for each in search.lost
            if each.record in self._lost
            and (
                ((search.finished or not each.listed) and search.began >= each.left + self.window)
                or now >= max(each.left + self.window, each.missed) + GIVEN_UP
            )
        ]
        for each in last:
            del self._lost[each.record]
        return last


@attrs.define(eq=False, kw_only=True)
class Search:
    """One look through the pages of the list.

    Attributes:
        began: When, on the client's clock.
        lost: What is looked for: of one tier.
        known: Tells the ids of tasks that were created here and have not ended.
        finished: Whether every task that could be one of them was seen.
        found: Our own lost tasks.
        candidates: For marks of the caller's, the tasks that may be theirs.
    """

    began: float
    lost: list[Lost]
    known: Callable[[str], bool]
    finished: bool = False
    found: dict[Record, Snapshot] = attrs.field(factory=dict[Record, Snapshot])
    candidates: dict[Record, list[str]] = attrs.field(factory=dict[Record, list[str]])
    _newest_first: bool = True
    _last: float = float("inf")
    _seen: int = 0
    _unreadable: int = 0
    _echoed: int = 0
    _silent: int = 0

    @property
    def tier(self) -> str | None:
        """Whose lists are read."""
        return self.lost[0].tier

    @property
    def echoes(self) -> bool:
        """Whether a task of ours was listed with its identifier."""
        return self._echoed > 0

    @property
    def drops_marks(self) -> bool:
        """Whether tasks of ours were listed, and all of them without any identifier."""
        return self._silent > 0 and self._echoed == 0

    def read(self, page: Page, *, page_size: int, local: Callable[[float], float | None]) -> bool:
        """Look through one page; tell whether the next one is needed.

        Args:
            page: The answer.
            page_size: Most tasks that it could hold.
            local: The provider's time on the client's clock, if that is known.
        """
        tokens = {each.mark: each.record for each in self.lost if each.ours}
        for snapshot in page.items:
            mark = snapshot.safety_identifier
            if self.known(snapshot.task_id):
                self._echoed += mark is not None
                self._silent += mark is None
            elif mark in tokens:
                self._echoed += 1
                self.found.setdefault(tokens[mark], snapshot)
            elif mark is not None:
                self._consider(snapshot, mark, local)
            created = snapshot.created_at
            self._newest_first &= created is not None and created <= self._last
            self._last = self._last if created is None else created
        count = len(page.items) + page.unreadable
        self._seen += count
        self._unreadable += page.unreadable
        here = local(self._last) if self._newest_first else None
        oldest = min(each.sent for each in self.lost)
        last = count < page_size and (count == 0 or page.total is None or self._seen >= page.total)
        if last or (here is not None and here < oldest - MARGIN):
            self.finished = self._unreadable == 0
            return False
        return len(self.found) < len(self.lost)

    def covers(self, lost: Lost) -> bool:
        """Whether a task of that create could not have left the lists already."""
        return self.began < lost.sent + LISTED - MARGIN

    def _consider(
        self, snapshot: Snapshot, mark: str, local: Callable[[float], float | None]
    ) -> None:
        created = None if snapshot.created_at is None else local(snapshot.created_at)
        for each in self.lost:
            in_time = created is None or created >= each.sent - MARGIN
            if not each.ours and each.mark == mark and in_time:
                ids = self.candidates.setdefault(each.record, [])
                if snapshot.task_id not in ids:
                    ids.append(snapshot.task_id)
