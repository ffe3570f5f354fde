"""One look through the list for lost creates, and what the look proves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
"""Seconds by which a task may seem older than its own create, because clocks differ."""

LISTED = 604_800.0
"""Seconds for which a list shows a task (Ark "list tasks" reference: seven days)."""

ROWS_PER_PAGE = 500
"""Most tasks that one page of a list shows (Ark "list tasks" reference)."""

OVERLAP = 20
"""Tasks of one page that the next one shows again. They prove that no task between was missed."""

ENDPOINT = "ep-"
"""The beginning of an endpoint's id. Tasks of an endpoint are listed under the name of its model
(Ark "query task" reference)."""


@attrs.define(eq=False, kw_only=True)
class LostCreate:
    """A create that was sent and whose answer was lost.

    Attributes:
        record: Its record.
        n: The number of the attempt.
        mark: What its ``safety_identifier`` holds; ``None`` if lists show nothing there.
        ours: Whether the mark is our token, which no other task carries. If not, it is the
            caller's own, which may be on many tasks, or there is none.
        at: When it was sent, in Unix seconds, by the wall clock of that time.
        sent: The same on the client's clock; ``None`` if another process sent it. Then nobody
            knows whether the wall clock was set since.
        error: Why there is no answer.
        lost_at: When the loss was learned, on the client's clock. Nothing of it was sent later.
        listed: Whether lists can show its task; if not, only a callback can tell of it.
        called: Whether a callback would tell of its task.
        look_at: When to look next, on the client's clock.
        gap: Seconds from that look to the next one.
    """

    record: Record
    n: int
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
    def key(self) -> tuple[Record, int]:
        """The attempt that it is."""
        return self.record, self.n

    @property
    def tier(self) -> str | None:
        """The service tier whose lists can show its task."""
        return self.record.tier

    def may_be(self, snapshot: Snapshot) -> bool:
        """Whether an unknown task may be its own; the time is not compared here.

        A task with the caller's own mark may be. If the caller has set no mark, a task of the same
        model without a mark may be. Models that cannot be compared count as equal.
        """
        if self.ours or snapshot.safety_identifier != self.mark:
            return False
        return self.mark is not None or self.may_be_of(snapshot.model)

    def may_be_of(self, model: str | None) -> bool:
        """Whether its task may be listed under a model; if this cannot be known, it may."""
        spec = self.record.spec
        sent = None if spec is None else in_body(spec, "model")
        own = self.record.model if sent is None else sent
        told = isinstance(own, str) and not own.startswith(ENDPOINT)
        return not told or model in {own, None}


@attrs.define(eq=False, kw_only=True)
class ListScan:
    """One look through the pages of the list.

    Tasks may be made and removed while the list is read. A new task moves others to later pages,
    where they are read twice. A removed task moves others to earlier pages, where they would be
    missed. So each page is chosen to begin with tasks that were seen before. If it does not, or if
    the tasks are not in order of time, the look is not finished: a task may have been missed.

    The provider decides how many tasks a page holds. So a page that is not full is the last one
    only if the list's total says so, or if it shows nothing new. If the first page holds too few
    tasks for an overlap, and the second is empty, the first is read again. If it still shows all
    tasks that it showed before, none has moved between the two pages unseen.

    Attributes:
        began: When the look began, on the client's clock.
        wall: The same on the wall clock, in Unix seconds.
        lost: The creates that are looked for, all of one tier.
        tokens: Our tokens of all attempts about which news may still come, looked for or not.
        known: Returns for the id of a task that was created here whether lists must show a mark on
            it, and ``None`` for any other id.
        proving: Whether the look may prove that a task does not exist. Then it reads the list to
            its end, because clocks may be wrong about how far back it has to read.
        page_num: Which page is read next, from 1.
        page_size: The size of that page, in tasks.
        finished: Whether the look saw every task that it had to see.
        found: The tasks that carry a token of ours whose task is not known, by attempt.
        candidates: The ids of tasks that may be those of creates without a token of ours.
    """

    began: float
    wall: float
    lost: list[LostCreate]
    tokens: Mapping[str, tuple[Record, int]]
    known: Callable[[str], bool | None]
    proving: bool = False
    page_num: int = attrs.field(default=1, init=False)
    page_size: int = ROWS_PER_PAGE
    finished: bool = False
    found: dict[tuple[Record, int], list[Snapshot]] = attrs.field(
        factory=dict[tuple[Record, int], list[Snapshot]]
    )
    candidates: dict[tuple[Record, int], list[str]] = attrs.field(
        factory=dict[tuple[Record, int], list[str]]
    )
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
    """Models of tasks of ours that were listed with a mark."""
    _ours_unmarked: set[str | None] = attrs.field(factory=set[str | None], init=False)
    """Models of tasks of ours that were listed without the mark that they carry."""
    _marked: set[str | None] = attrs.field(factory=set[str | None], init=False)
    """Models of all tasks that were listed with a mark."""
    _unmarked: set[str | None] = attrs.field(factory=set[str | None], init=False)
    """Models of unknown tasks without a mark that are young enough to be one of the lost ones."""

    @property
    def tier(self) -> str | None:
        """The service tier whose list is read."""
        return self.lost[0].tier

    def echoes(self, lost: LostCreate) -> bool:
        """Whether a task of ours that may be of the same model was listed with a mark."""
        return any(lost.may_be_of(model) for model in self._echoed)

    def may_hide(self, lost: LostCreate) -> bool:
        """Whether its task may be in the list without its mark.

        A provider may show marks for some models only. So this is true if a task of ours of that
        model is listed without its mark. It is also true if an unknown task without a mark is young
        enough to be the lost one, and no task of that model shows a mark.
        """
        doubtful = self._ours_unmarked | (self._unmarked - self._marked)
        return any(lost.may_be_of(model) for model in doubtful)

    def read(self, page: Page, *, local: Callable[[float], float | None]) -> bool:
        """Look through the page that was read; return whether another one is needed.

        Args:
            page: The answer.
            local: Converts the provider's time to the client's clock; ``None`` if it cannot.
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
            if count == 0 and self.page_num == 2:  # noqa: PLR2004 - the first page was too small
                self._rereading, self.page_num, self.page_size = True, 1, ROWS_PER_PAGE
                return True
            in_order = self._newest_first or self._oldest_first or self.page_num == 1
            blank = seen == 0 and bool(page.total)  # the total counts tasks, but none is shown
            readable = self._unreadable == 0 and not full and not blank
            self.finished = self._pages_overlap and in_order and readable
            return False
        if not self.proving and self._is_older_than_all(local):
            self.finished = self._unreadable == 0
            return False
        self._choose_next_page(count)
        return any(each.key not in self.found for each in self.lost)

    def covers(self, lost: LostCreate) -> bool:
        """Whether lists still show a task of that age, by every clock that is known.

        If another process sent it and the wall clock was set back since, the age is not known, and
        this is ``False``.
        """
        ago = self.wall - lost.at
        if lost.sent is None:
            return -MARGIN < ago < LISTED - MARGIN
        return max(ago, self.began - lost.sent) < LISTED - MARGIN

    def _take(self, snapshots: Sequence[Snapshot], local: Callable[[float], float | None]) -> None:
        earliest = min(self.lost, key=self._since)
        for snapshot in snapshots:
            mark, model = snapshot.safety_identifier, snapshot.model
            shows = self.known(snapshot.task_id)
            if mark is not None:
                self._marked.add(model)
            if mark is not None and mark in self.tokens:
                self._echoed.add(model)
                same = self.found.setdefault(self.tokens[mark], [])
                if all(each.task_id != snapshot.task_id for each in same):
                    same.append(snapshot)
            elif shows:
                (self._ours_unmarked if mark is None else self._echoed).add(model)
            elif shows is None:
                if mark is None and self._in_time(snapshot, earliest, local):
                    self._unmarked.add(model)
                self._consider(snapshot, local)

    def _consider(self, snapshot: Snapshot, local: Callable[[float], float | None]) -> None:
        for each in self.lost:
            if each.may_be(snapshot) and self._in_time(snapshot, each, local):
                ids = self.candidates.setdefault(each.key, [])
                if snapshot.task_id not in ids:
                    ids.append(snapshot.task_id)

    def _in_time(
        self, snapshot: Snapshot, lost: LostCreate, local: Callable[[float], float | None]
    ) -> bool:
        """Whether a task may be young enough to be that of a lost create."""
        created = None if snapshot.created_at is None else local(snapshot.created_at)
        return created is None or created >= self._since(lost) - MARGIN

    def _since(self, lost: LostCreate) -> float:
        """When it was sent, on the client's clock; minus infinity if that cannot be known.

        It cannot if another process sent it, or if the clock stood still while the machine slept.
        """
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
        """Whether all tasks on later pages are likely to be older than the lost creates."""
        here = None if self._last is None or not self._newest_first else local(self._last)
        if here is None:
            return False
        left = (
            self.began - (self.wall - each.at) if each.sent is None else each.sent
            for each in self.lost
        )
        return here < min(left) - MARGIN

    def _choose_next_page(self, count: int) -> None:
        """Choose the page that overlaps the end of this one and reaches farthest."""
        end = (self.page_num - 1) * self.page_size + count
        if count < self.page_size:  # the provider gives no larger pages
            self._largest_page = max(count, 1)
        begin = end - min(OVERLAP, max(1, self._largest_page // 4))
        sizes = range(self._largest_page, self._largest_page // 2, -1)
        size = max(sizes, key=lambda each: (begin // each + 1) * each)
        if (begin // size + 1) * size <= end:  # the pages are too small to overlap
            begin, size = end, self._largest_page
        self.page_num, self.page_size = begin // size + 1, size
