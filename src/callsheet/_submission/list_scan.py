"""One look for creates whose answers were lost, and what it proves."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from callsheet._models.snapshot import Snapshot
from callsheet._models.spec import in_body
from callsheet._state.record import Record
from callsheet.errors import SubmissionUncertainError


if TYPE_CHECKING:
    from collections.abc import Sequence

    from callsheet._models.snapshot import Page


FIRST_GAP = 2.0
"""Seconds until the first look."""

MARGIN = 60.0
"""Seconds by which a task may seem older than the create that made it."""

LISTED = 604_800.0
"""Seconds for which a list shows a task (Ark "list tasks" reference: seven days)."""

ROWS_PER_PAGE = 500
"""Most tasks that one page of a list shows (Ark "list tasks" reference)."""

OVERLAP = 20
"""Tasks that a page shows once more, to tell that none has slipped to a page read before."""

ENDPOINT = "ep-"
"""How the id of an endpoint begins: tasks made through one are listed under the name of its model
(Ark "query task" reference)."""


@attrs.define(eq=False, kw_only=True)
class LostCreate:
    """A create that left and whose answer never came.

    Attributes:
        record: Its record; it has no id.
        mark: What its ``safety_identifier`` holds; ``None`` if that is nothing that lists show.
        ours: Whether the mark is a token that no other task can carry; otherwise it is the
            caller's own and may be on many tasks, or is nothing to tell a task by.
        at: When it left, by the wall clock of that time.
        sent: The same on the client's clock; ``None`` if another process sent it: nobody can say
            how the wall clock was set since.
        error: What became of its answer.
        lost_at: When that was learned, on the client's clock: nothing of it was sent later.
        listed: Whether lists can tell of it; if not, only a callback can.
        called: Whether a callback would tell of it.
        look_at: When to look next.
        gap: Seconds from that look to the one after.
    """

    record: Record
    mark: str | None
    ours: bool
    at: float
    sent: float | None
    error: SubmissionUncertainError
    lost_at: float
    look_at: float
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
        return self.record.tier

    def may_be(self, snapshot: Snapshot) -> bool:
        """Whether a task that is not known may be its own, by anything but the time.

        A task that carries the caller's own mark may. Where that is nothing to tell a task by, one
        of the same model without a mark may; what cannot be compared is no difference.
        """
        if self.ours or snapshot.safety_identifier != self.mark:
            return False
        return self.mark is not None or self.may_be_of(snapshot.model)

    def may_be_of(self, model: str | None) -> bool:
        """Whether its task may be listed under a model; what cannot be told may be."""
        spec = self.record.spec
        sent = None if spec is None else in_body(spec, "model")
        own = self.record.model if sent is None else sent
        told = isinstance(own, str) and not own.startswith(ENDPOINT)
        return not told or model in {own, None}


@attrs.define(eq=False, kw_only=True)
class ListScan:
    """One look through the pages of the list.

    Tasks may be made and removed while it is read. What is made moves others to later pages, where
    they are read again; what is removed moves others to earlier ones, where they would be missed.
    So each page begins with tasks that were seen before. If it does not, or if the tasks are in no
    order of time, nobody can say that all were seen.

    How many tasks a page may hold is the provider's to say, so one that is not full is the last
    only if the list's total says so, or if it shows nothing new. Where the first page holds too few
    for the next to begin within it, and the next is empty, the first is read once more: if it still
    shows all that it did, nothing has slipped from the one to the other.

    Attributes:
        began: When, on the client's clock.
        wall: The same on the wall clock.
        lost: What is looked for: of one tier.
        known: Tells of the ids of tasks that were created here whether lists must show a mark on
            them; ``None`` for any other.
        proving: Whether it may prove that something is in no list: it is read to the end then, as
            clocks may be wrong about how far it has to be read.
        page_num: Which page is to be read next, from 1.
        page_size: How large that is.
        finished: Whether all was seen that was to be seen.
        found: Our own lost tasks.
        candidates: The tasks that may be those of creates without a token.
    """

    began: float
    wall: float
    lost: list[LostCreate]
    known: Callable[[str], bool | None]
    proving: bool = False
    page_num: int = attrs.field(default=1, init=False)
    page_size: int = ROWS_PER_PAGE
    finished: bool = False
    found: dict[Record, Snapshot] = attrs.field(factory=dict[Record, Snapshot])
    candidates: dict[Record, list[str]] = attrs.field(factory=dict[Record, list[str]])
    _largest_page: int = attrs.field(
        default=attrs.Factory(lambda self: self.page_size, takes_self=True), init=False
    )
    _ids: set[str] = attrs.field(factory=set[str], init=False)
    _pages_overlap: bool = attrs.field(default=True, init=False)
    _rereading: bool = attrs.field(default=False, init=False)
    _newest_first: bool = attrs.field(default=True, init=False)
    _oldest_first: bool = attrs.field(default=True, init=False)
    _last: float | None = attrs.field(default=None, init=False)
    _unreadable: int = attrs.field(default=0, init=False)
    _echoed: set[str | None] = attrs.field(factory=set[str | None], init=False)
    """Models of tasks of ours that were listed with their marks."""
    _ours_unmarked: set[str | None] = attrs.field(factory=set[str | None], init=False)
    """Models of those that were listed without."""
    _marked: set[str | None] = attrs.field(factory=set[str | None], init=False)
    """Models of all tasks with a mark."""
    _unmarked: set[str | None] = attrs.field(factory=set[str | None], init=False)
    """Models of others without one that are young enough to be one of those looked for."""

    @property
    def tier(self) -> str | None:
        """Whose lists are read."""
        return self.lost[0].tier

    def echoes(self, lost: LostCreate) -> bool:
        """Whether a task of ours, maybe of the same model, was listed with its mark."""
        return any(lost.may_be_of(model) for model in self._echoed)

    def may_hide(self, lost: LostCreate) -> bool:
        """Whether its task may be there without its mark: echoes depend on the model.

        That is if one of ours of its model is listed without, or another that is young enough to be
        the one, while no task of that model shows any.
        """
        doubtful = self._ours_unmarked | (self._unmarked - self._marked)
        return any(lost.may_be_of(model) for model in doubtful)

    def read(self, page: Page, *, local: Callable[[float], float | None]) -> bool:
        """Look through the page that was to be read; tell whether another one is needed.

        Args:
            page: The answer.
            local: The provider's time on the client's clock, if that is known.
        """
        new = [each for each in page.items if each.task_id not in self._ids]
        if self._rereading:
            self._pages_overlap = self._ids <= {each.task_id for each in page.items}
        else:
            self._pages_overlap &= self.page_num == 1 or len(new) < len(page.items)
        self._take(page.items, local)
        self._order(new)
        self._ids.update(each.task_id for each in new)
        self._unreadable += page.unreadable
        count = len(page.items) + page.unreadable
        seen = len(self._ids) + self._unreadable
        full = count >= self.page_size
        whole = page.total is not None and seen >= page.total and not full
        if self._rereading or whole or not new:
            if count == 0 and self.page_num == 2:  # noqa: PLR2004 - the first one held too few
                self._rereading, self.page_num, self.page_size = True, 1, ROWS_PER_PAGE
                return True
            in_order = self._newest_first or self._oldest_first or self.page_num == 1
            blank = seen == 0 and bool(page.total)  # it counts tasks, and shows none of them
            readable = self._unreadable == 0 and not full and not blank
            self.finished = self._pages_overlap and in_order and readable
            return False
        if not self.proving and self._is_older_than_all(local):
            self.finished = self._unreadable == 0
            return False
        self._choose_next_page(count)
        return len(self.found) < len(self.lost)

    def covers(self, lost: LostCreate) -> bool:
        """Whether a task of that create could not have left the lists already, by any clock."""
        ago = self.wall - lost.at
        if lost.sent is None:
            return -MARGIN < ago < LISTED - MARGIN
        return max(ago, self.began - lost.sent) < LISTED - MARGIN

    def _take(self, snapshots: Sequence[Snapshot], local: Callable[[float], float | None]) -> None:
        tokens = {each.mark: each.record for each in self.lost if each.ours}
        earliest = min(self.lost, key=self._since)
        for snapshot in snapshots:
            mark, model = snapshot.safety_identifier, snapshot.model
            shows = self.known(snapshot.task_id)
            if mark is not None:
                self._marked.add(model)
            if mark in tokens:
                self._echoed.add(model)
                self.found.setdefault(tokens[mark], snapshot)
            elif shows:
                (self._ours_unmarked if mark is None else self._echoed).add(model)
            elif shows is None:
                if mark is None and self._in_time(snapshot, earliest, local):
                    self._unmarked.add(model)
                self._consider(snapshot, local)

    def _consider(self, snapshot: Snapshot, local: Callable[[float], float | None]) -> None:
        for each in self.lost:
            if each.may_be(snapshot) and self._in_time(snapshot, each, local):
                ids = self.candidates.setdefault(each.record, [])
                if snapshot.task_id not in ids:
                    ids.append(snapshot.task_id)

    def _in_time(
        self, snapshot: Snapshot, lost: LostCreate, local: Callable[[float], float | None]
    ) -> bool:
        """Whether a task may be young enough to be the one."""
        created = None if snapshot.created_at is None else local(snapshot.created_at)
        return created is None or created >= self._since(lost) - MARGIN

    def _since(self, lost: LostCreate) -> float:
        """When it left on the client's clock; long ago if that stood still since, as in a sleep."""
        if lost.sent is None:
            return float("-inf")
        stood_still = (self.wall - lost.at) - (self.began - lost.sent)
        return lost.sent if stood_still <= MARGIN else float("-inf")

    def _order(self, snapshots: Sequence[Snapshot]) -> None:
        for snapshot in snapshots:
            created, last = snapshot.created_at, self._last
            self._newest_first &= created is not None and (last is None or created <= last)
            self._oldest_first &= created is not None and (last is None or created >= last)
            self._last = last if created is None else created

    def _is_older_than_all(self, local: Callable[[float], float | None]) -> bool:
        """Whether everything on later pages is likely to be older than what is looked for."""
        here = None if self._last is None or not self._newest_first else local(self._last)
        if here is None:
            return False
        left = (
            self.began - (self.wall - each.at) if each.sent is None else each.sent
            for each in self.lost
        )
        return here < min(left) - MARGIN

    def _choose_next_page(self, count: int) -> None:
        """Choose the page that begins a little before the end of this one, and ends last."""
        end = (self.page_num - 1) * self.page_size + count
        if count < self.page_size:  # larger ones are not to be had
            self._largest_page = max(count, 1)
        begin = end - min(OVERLAP, max(1, self._largest_page // 4))
        sizes = range(self._largest_page, self._largest_page // 2, -1)
        size = max(sizes, key=lambda each: (begin // each + 1) * each)
        if (begin // size + 1) * size <= end:  # pages too small to overlap
            begin, size = end, self._largest_page
        self.page_num, self.page_size = begin // size + 1, size
