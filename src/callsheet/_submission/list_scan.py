"""One reading of the list for lost creates: what it shows, and whether it is complete."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import attrs

from callsheet._models.snapshot import Snapshot
from callsheet._models.spec import in_body
from callsheet._state.record import Record
from callsheet._state.registry import MadeTask
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

NEARLY = 16
"""Digits of a token that a changed mark must hold to be taken for it: 60 of them are random bits.
What shows that a task exists needs less than what shows that none does."""

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
        paused: Seconds for which the whole service was down since then.
        once: Whether the first look is the last one.
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
    paused: float = 0.0
    once: bool = False

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
        return self.model is None or model in {self.model, None}

    @property
    def model(self) -> str | None:
        """The model under which its task is listed; ``None`` if that cannot be known."""
        spec = self.record.spec
        sent = None if spec is None else in_body(spec, "model")
        own = self.record.model if sent is None else sent
        return own if isinstance(own, str) and not own.startswith(ENDPOINT) else None


@attrs.frozen(eq=False)
class Shown:
    """A task that was made here, as a look has shown it."""

    task: MadeTask
    snapshot: Snapshot


@attrs.define(eq=False, kw_only=True)
class ListScan:
    """One look through the pages of the list.

    Tasks may be made and removed while the list is read. A new task moves others to later pages,
    where they are read twice. A removed task moves others to earlier pages, where they would be
    missed. So each page is chosen to begin with tasks that were seen before. If it does not, or if
    the tasks are not in order of time, the look is not finished: a task may have been missed.

    The provider decides how many tasks a page holds. So a page that is not full is the last one
    only if it shows nothing new, or if the list's total says so. A look that may prove something
    does not believe a total alone: it must also have come to a task that is older than the lost
    creates. If the first page holds too few tasks for an overlap, and the second is empty, the
    first is read again. If it still shows all tasks that it showed before, none has moved between
    the two pages unseen.

    Attributes:
        began: When the look began, on the client's clock.
        wall: The same on the wall clock, in Unix seconds.
        lost: The creates that are looked for, all of one tier.
        tokens: Our tokens of all attempts about which news may still come, looked for or not.
        known: Returns what is known of a task that was made here, and ``None`` for any other id.
        local: Converts the provider's time to the client's clock; ``None`` if it cannot.
        proving: Whether the look may prove that a task does not exist. Then it reads the list to
            its end, because clocks may be wrong about how far back it has to read.
        page_num: Which page is read next, from 1.
        page_size: The size of that page, in tasks.
        finished: Whether the look saw every task that it had to see.
        found: The tasks that carry a token of ours whose task is not known, by attempt.
        exactly: The ids of those that show it as it was sent.
        nearly: The ids of those that show it changed: in another case, cut off, or with more.
        undecided: The ids that another spec claims, and about which the provider did not answer.
        shown: The tasks that were made here and are in the list, by id.
        least_total: The least total that a page has given.
        total_too_small: Whether a page has given a total below the number of tasks shown so far.
        clock_wrong: Whether a task of ours shows that the provider's time cannot be converted.
        candidates: The ids of tasks that may be those of creates without a token of ours.
    """

    began: float
    wall: float
    lost: list[LostCreate]
    tokens: Mapping[str, tuple[Record, int]]
    known: Callable[[str], MadeTask | None]
    local: Callable[[float], float | None]
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
    exactly: set[str] = attrs.field(factory=set[str], init=False)
    nearly: set[str] = attrs.field(factory=set[str], init=False)
    undecided: set[str] = attrs.field(factory=set[str], init=False)
    shown: dict[str, Shown] = attrs.field(factory=dict[str, Shown], init=False)
    least_total: int | None = attrs.field(default=None, init=False)
    total_too_small: bool = attrs.field(default=False, init=False)
    clock_wrong: bool = attrs.field(default=False, init=False)
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
    _ours_unmarked: set[str | None] = attrs.field(factory=set[str | None], init=False)
    """Models of tasks of ours that were listed without the mark that they carry."""
    _marked: set[str | None] = attrs.field(factory=set[str | None], init=False)
    """Models of all tasks that were listed with a mark."""
    _unmarked: set[str | None] = attrs.field(factory=set[str | None], init=False)
    """Models of unknown tasks without a mark that are young enough to be one of the lost ones."""
    _unmarked_of_any_age: set[str | None] = attrs.field(factory=set[str | None], init=False)
    _first: str | None = attrs.field(default=None, init=False)
    """The first task of the first page."""
    _first_total: int | None = attrs.field(default=None, init=False)
    _has_older: bool = attrs.field(default=False, init=False)
    """Whether a task was shown that is older than all lost creates."""
    _beginnings: dict[str, tuple[Record, int]] | None = attrs.field(default=None, init=False)
    """The first digits of our tokens."""

    @property
    def tier(self) -> str | None:
        """The service tier whose list is read."""
        return self.lost[0].tier

    def may_hide(self, lost: LostCreate) -> bool:
        """Whether its task may be in the list without its mark.

        A provider may show marks for some models only. So this is true if a task of ours of that
        model is listed without its mark. It is also true if an unknown task without a mark is young
        enough to be the lost one, and no task of that model shows a mark. If the provider's time
        cannot be converted, every task is young enough.
        """
        unmarked = self._unmarked_of_any_age if self.clock_wrong else self._unmarked
        doubtful = self._ours_unmarked | (unmarked - self._marked)
        return any(lost.may_be_of(model) for model in doubtful)

    def read(self, page: Page) -> bool:
        """Look through the page that was read; return whether another one is needed."""
        ids = [each.task_id for each in page.items]
        new = [each for each in page.items if each.task_id not in self._ids]
        if self._rereading:
            self._pages_overlap = self._ids <= set(ids)
        else:
            self._pages_overlap &= self._continues(ids)
        self._take(page.items)
        self._order(new)
        self._ids.update(ids)
        self._unreadable += page.unreadable
        count = len(page.items) + page.unreadable
        seen = len(self._ids) + self._unreadable
        self._check_total(page.total, seen)
        full = count >= self.page_size
        reached = not self.proving or (self._has_older and not self.clock_wrong)
        whole = page.total is not None and seen >= page.total and not full and reached
        if self._rereading or whole or not new:
            if count == 0 and self.page_num == 2:  # noqa: PLR2004 - the first page was too small
                self._rereading, self.page_num, self.page_size = True, 1, ROWS_PER_PAGE
                return True
            in_order = self._newest_first or self._oldest_first or self.page_num == 1
            # Tasks that are counted and not shown may be the lost ones. The first total counts,
            # because tasks may have been made since.
            hidden = self._first_total is not None and self._first_total > seen
            readable = self._unreadable == 0 and not full and not hidden
            self.finished = self._pages_overlap and in_order and readable
            return False
        if not self.proving and self._is_older_than_all():
            self.finished = self._unreadable == 0
            return False
        self._choose_next_page(count)
        return any(each.key not in self.found for each in self.lost)

    def _continues(self, ids: list[str]) -> bool:
        """Whether a page goes on where the one before it ended.

        It must begin with tasks that were seen, and then show new ones. A page that begins as the
        first page did is that page again, under another number.
        """
        seen = [task_id in self._ids for task_id in ids]
        if len(set(ids)) < len(ids):
            return False  # a task that is shown twice may stand in the place of another
        if self.page_num == 1:
            self._first = ids[0] if ids else None
            return True
        in_place = seen == sorted(seen, reverse=True)  # those that were seen come first
        return bool(ids) and seen[0] and in_place and ids[0] != self._first

    def _check_total(self, total: int | None, seen: int) -> None:
        if self.page_num == 1 and not self._rereading:
            self._first_total = total
        if total is not None:
            self.total_too_small |= total < seen
            self.least_total = total if self.least_total is None else min(total, self.least_total)

    def covers(self, lost: LostCreate) -> bool:
        """Whether lists still show a task of that age, by every clock that is known.

        If another process sent it and the wall clock was set back since, the age is not known, and
        this is ``False``.
        """
        ago = self.wall - lost.at
        if lost.sent is None:
            return -MARGIN < ago < LISTED - MARGIN
        return max(ago, self.began - lost.sent) < LISTED - MARGIN

    def _take(self, snapshots: Sequence[Snapshot]) -> None:
        earliest = min(self.lost, key=self._since)
        for snapshot in snapshots:
            mark, model = snapshot.safety_identifier, snapshot.model
            task, in_time = self.known(snapshot.task_id), self._in_time(snapshot, earliest)
            self._has_older |= not in_time
            if mark is not None:
                self._marked.add(model)
            if mark is not None and (attempt := self._attempt_of(mark)) is not None:
                self._find(snapshot, mark, attempt)
            if task is not None:
                self._take_own(task, snapshot)
            elif mark not in self.tokens:
                if mark is None:
                    self._unmarked_of_any_age.add(model)
                if mark is None and in_time:
                    self._unmarked.add(model)
                self._consider(snapshot)

    def _attempt_of(self, mark: str) -> tuple[Record, int] | None:
        """The attempt whose token a mark is, or holds in a changed form."""
        exact = self.tokens.get(mark)
        if exact is not None or not self.tokens:
            return exact
        if self._beginnings is None:
            self._beginnings = {_digits(token): each for token, each in self.tokens.items()}
        small = mark.lower()
        places = range(len(small) - NEARLY + 1)
        parts = (small[place : place + NEARLY] for place in places)
        return next((self._beginnings[part] for part in parts if part in self._beginnings), None)

    def _find(self, snapshot: Snapshot, mark: str, attempt: tuple[Record, int]) -> None:
        """Take a task that shows a token of ours."""
        if mark in self.tokens:
            self.exactly.add(snapshot.task_id)
        else:
            self.nearly.add(snapshot.task_id)
        same = self.found.setdefault(attempt, [])
        if all(each.task_id != snapshot.task_id for each in same):
            same.append(snapshot)

    def _take_own(self, task: MadeTask, snapshot: Snapshot) -> None:
        """Take a task that was made here: it shows whether the list is right."""
        mark, model = snapshot.safety_identifier, snapshot.model
        if task.marked and mark is None:
            self._ours_unmarked.add(model)
        if task.sent is None:
            return  # too little is known of it
        self.shown[task.task_id] = Shown(task, snapshot)
        created = None if snapshot.created_at is None else self.local(snapshot.created_at)
        if created is not None and task.sent.now is not None and task.confirmed:
            self.clock_wrong |= created < task.sent.now - MARGIN

    def _consider(self, snapshot: Snapshot) -> None:
        for each in self.lost:
            if each.may_be(snapshot) and self._in_time(snapshot, each):
                ids = self.candidates.setdefault(each.key, [])
                if snapshot.task_id not in ids:
                    ids.append(snapshot.task_id)

    def _in_time(self, snapshot: Snapshot, lost: LostCreate) -> bool:
        """Whether a task may be young enough to be that of a lost create."""
        created = None if snapshot.created_at is None else self.local(snapshot.created_at)
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

    def _is_older_than_all(self) -> bool:
        """Whether all tasks on later pages are likely to be older than the lost creates."""
        here = None if self._last is None or not self._newest_first else self.local(self._last)
        if here is None or self.clock_wrong:
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


def _digits(token: str) -> str:
    """The first digits of one of our tokens."""
    return token.rpartition("-")[2][:NEARLY].lower()
