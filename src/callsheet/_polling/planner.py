"""Chooses the next poll: the schedule, limited by rate limits, breaker and provider features."""

from __future__ import annotations

import enum
import math
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable

import attrs

from callsheet._polling.pages import SIZE, Pages
from callsheet._polling.schedule import Schedule
from callsheet._state.circuit_breaker import CircuitBreaker
from callsheet._state.rate_limit import PollRateLimit, RateLimit
from callsheet._state.record import Record
from callsheet.errors import (
    AuthenticationError,
    BalanceError,
    CallsheetError,
    ConnectFailedError,
    InvalidRequestError,
    NotFoundError,
    RateLimitError,
    SpecError,
)


LOCKED_OUT_AFTER = 60.0
"""Seconds for which the provider must refuse the account before waiting is given up."""

MAX_EMPTY_LISTS = 3
"""Lists in a row without any of the requested ids after which lists are not used."""

LIST_FILL = 100
"""Ids up to which a list is filled with tasks that are not due: each makes it slower."""

SILENCE_LIMIT = 1.5
"""Seconds without an answer after which the service may be down although no poll has failed; four
times the usual latency if that is more. From then on it gets one poll a second."""

LISTS_PAUSE = 300.0
"""Seconds for which lists are not used if they fail while gets work."""

FAILED_LISTS = 3
"""Lists in a row that must fail for that, each followed by a get that works."""

REFUSALS = 3
"""Gets in a row that refuse a task, or show no video, after which the refusal is final."""

REFUSED_FOR = 60.0
"""Seconds for which the refusals must also last if the task is known to exist. A new task may not
be readable yet, and the URL of a new video may be missing. If such a task is given up, the caller
may buy it again."""


class ListSupport(enum.Enum):
    """Whether the provider can list tasks by id."""

    YES = enum.auto()
    NO = enum.auto()
    UNPROVEN = enum.auto()


@attrs.frozen(eq=False)
class PollRequest:
    """One request to send about *records*: a get if it is *single*, else a list of one *tier*.

    Without *page* the list is of their ids. With it, it is that page of all tasks, which probably
    shows these records and others.
    """

    records: tuple[Record, ...]
    single: bool
    tier: str | None = None
    page: int | None = None


@attrs.frozen(kw_only=True)
class FailedPoll:
    """What follows from a failed poll, besides asking again.

    Attributes:
        final_refusal: The provider's refusal of this one task is final.
        restored: The refusal shows that the service works again, and has reset the breaker.
        tripped: The failure has tripped the circuit breaker.
        locked_out: The account has been refused for so long that waiting is given up.
    """

    final_refusal: bool = False
    restored: bool = False
    tripped: bool = False
    locked_out: bool = False


@attrs.define(kw_only=True)
class Planner:
    """Hands out polls one by one and learns from their answers.

    Attributes:
        schedule: When each task is due.
        breaker: Limits the requests in flight.
        gets: Rate limit of requests for one task.
        lists: Rate limit of requests for many tasks.
        support: Whether lists are available. If that is unproven, a few lists find it out.
        id_cost: Bytes that an id adds to a list's URL.
        url_room: Bytes that ids may take in one URL.
        page_size: Tasks to ask for on one page, >= 1.
        pages: By tier, which page of all tasks to list when very many tasks are due.
    """

    schedule: Schedule
    breaker: CircuitBreaker
    gets: RateLimit
    lists: RateLimit
    support: ListSupport
    id_cost: Callable[[str], int]
    url_room: int = 7_500
    page_size: int = SIZE
    pages: defaultdict[str | None, Pages] = attrs.field(
        factory=lambda: defaultdict[str | None, Pages](Pages), init=False
    )
    _poll_gets: PollRateLimit = attrs.field(init=False)
    _poll_lists: PollRateLimit = attrs.field(init=False)
    _singles: OrderedDict[Record, None] = attrs.field(factory=OrderedDict[Record, None], init=False)
    _groups: deque[tuple[Record, ...]] = attrs.field(factory=deque[tuple[Record, ...]], init=False)
    _sent: dict[PollRequest, float] = attrs.field(factory=dict[PollRequest, float], init=False)
    _last_sent: float = attrs.field(default=-math.inf, init=False)
    _answered_at: float = attrs.field(default=-math.inf, init=False)
    _latency: float = attrs.field(default=0.0, init=False)
    _listing: int = attrs.field(default=0, init=False)
    _empty_lists: int = attrs.field(default=0, init=False)
    _get_failed: bool = attrs.field(default=False, init=False)
    _failed_lists: int = attrs.field(default=0, init=False)
    _lists_again_at: float = attrs.field(default=-math.inf, init=False)
    _locked_out_since: float | None = attrs.field(default=None, init=False)
    _locked_out_at: float = attrs.field(default=-math.inf, init=False)

    def __attrs_post_init__(self) -> None:
        """Leave half of each quota to others as a rule."""
        self._poll_gets, self._poll_lists = PollRateLimit(self.gets), PollRateLimit(self.lists)

    def next(self, *, now: float) -> PollRequest | None:
        """The poll to send now, if any. Report each one with `read` or `failed`."""
        ready = self._ready_at(now)
        if ready is None or ready > now:
            return None
        poll = self._next_get(now) or self._next_list(now)
        if poll is not None:
            self._sent[poll] = self._last_sent = now
            self._listing += not poll.single
        return poll

    def wake_at(self, *, now: float) -> float | None:
        """When to call `next` again if nothing happens before; ``None``: only after an answer."""
        ready = self._ready_at(now)
        if ready is None:
            return None
        times: list[float] = []
        if self._singles:
            times.append(self._gets_at(now))
        if self._groups and not self._listing:
            times.append(self._lists_at(now))
        due = self.schedule.next_due()
        if due is not None and self._by_gets(now):
            times.append(max(due, self._gets_at(now)))
        elif due is not None and not self._listing:
            times.append(max(due, self._lists_at(now)))
        return max(ready, min(times)) if times else None

    def read(self, poll: PollRequest, *, now: float, found: int, last: bool = True) -> bool:
        """Note that a poll was answered; return whether this reset the circuit breaker.

        Records that are missing from a list of ids are polled by get. Those that a page did not
        show are due again. The caller has already told the schedule about the others.

        Args:
            poll: The poll.
            now: Seconds on the client's clock.
            found: How many of the requested tasks the answer shows; of a page, see `Pages.is_news`.
            last: Whether it is the last page.
        """
        self._latency += (now - self._take_back(poll) - self._latency) / 8
        self._answered_at = now
        self._locked_out_since = None
        self._get_failed &= not poll.single
        if poll.page is not None:
            self._failed_lists = 0
            by_ids = len(poll.records)
            self.pages[poll.tier].read(news=found, by_ids=by_ids, last=last, now=now)
            self._make_due(poll, now)
        elif not poll.single:
            self._count_found(found)
            for record in poll.records:
                if record.asked and not record.settled:
                    self.ask_alone(record)
        return self.breaker.passed(now=now, poll=True)

    def ask_alone(self, record: Record) -> None:
        """Poll *record* by get as soon as the rate limit allows, unless a get is in flight."""
        record.asked, record.due = True, math.inf
        if not any(poll.single and record in poll.records for poll in self._sent):
            self._singles[record] = None

    def drop(self, record: Record, *, now: float) -> None:
        """Poll a task no longer that has not ended: its id is not that of its spec's task."""
        self._singles.pop(record, None)
        groups = [tuple(each for each in group if each is not record) for group in self._groups]
        self._groups = deque(group for group in groups if group)
        self.schedule.settled(record, now=now)
        record.asked, record.misses, record.refusals = False, 0, 0

    def without_video(self, record: Record, *, single: bool, now: float) -> bool:
        """Note a success without a video URL; return whether it is final. Only gets count for that.

        A list may leave out all URLs every time, so it does not make the next get earlier.
        """
        if single:
            return self.refused(record, now=now)
        if record.asked or not record.refusals:
            self.ask_alone(record)
        return False

    def refused(self, record: Record, *, now: float) -> bool:
        """Note that a get refused a task; return whether the refusal is final."""
        if _count_refusal(record, now=now):
            return True
        self.schedule.missed(record, now=now, own_fault=True)
        return False

    def failed(self, poll: PollRequest, error: CallsheetError, *, now: float) -> FailedPoll:
        """Note that a poll brought no status; return what follows.

        An error of a list about lists or about the account counts only after a get confirms it.
        """
        sent = self._take_back(poll)
        if poll.page is not None:
            self.pages[poll.tier].pause(now=now)
        if not poll.single and self._split(poll, error, now):
            return FailedPoll(restored=self.breaker.passed(now=now, poll=True))
        if poll.single and _is_unwritable(error):
            return FailedPoll(final_refusal=True)
        if poll.single and _is_about_task(error):
            opened = self.breaker.passed(now=now, poll=True)
            self._locked_out_since = None
            return FailedPoll(final_refusal=self.refused(poll.records[0], now=now), restored=opened)
        # errors of lists count, too, because gets and lists alternate
        if isinstance(error, (AuthenticationError, BalanceError)):
            if now - self._locked_out_at > LOCKED_OUT_AFTER + self.breaker.retry_after_cap:
                self._locked_out_since = None
            self._locked_out_at = now
        was_tripped = self.breaker.tripped
        # a probe is alone for seconds, so its refusal says nothing about the rate
        if poll.single and isinstance(error, RateLimitError) and not was_tripped:
            self.gets.refused(now=now)
        asked = getattr(error, "retry_after", None)
        tripped = self.breaker.failed(now=now, poll=True, retry_after=asked, sent=sent)
        for record in poll.records:
            record.refused_since = now
            if record.asked:
                self.schedule.missed(record, now=now, own_fault=not was_tripped)
        if poll.single:
            self._failed_lists, self._get_failed = 0, True
            return FailedPoll(tripped=tripped, locked_out=self._locked_out(error, now))
        self._list_failed(poll, error, now)
        return FailedPoll(tripped=tripped)

    def _may_list(self, now: float) -> bool:
        return self.support is not ListSupport.NO and now >= self._lists_again_at

    def _by_gets(self, now: float) -> bool:
        """Whether due tasks are polled one by one. For a single task a list would cost more.

        A list that is in flight may show that task, too. After a failed get the next poll is a
        list: it may be only the route of gets that fails.
        """
        by_list = self._groups or self._listing or self._get_failed
        return not self._may_list(now) or (not by_list and self.schedule.is_alone())

    def _list_failed(self, poll: PollRequest, error: CallsheetError, now: float) -> None:
        """After a failed list, find out by a get whether the service is down or only its lists."""
        if self.support is ListSupport.UNPROVEN and not isinstance(error, ConnectFailedError):
            self._give_up_lists()
            return
        self._failed_lists += 1
        if self._failed_lists >= FAILED_LISTS:
            self._failed_lists, self._lists_again_at = 0, now + LISTS_PAUSE
            self._ungroup()
        sample = next((record for record in poll.records if not record.settled), None)
        if sample is not None:
            self.ask_alone(sample)

    def _give_up_lists(self) -> None:
        self.support = ListSupport.NO
        self._ungroup()

    def _ungroup(self) -> None:
        while self._groups:
            self._singles.update(dict.fromkeys(self._groups.popleft()))

    def _next_get(self, now: float) -> PollRequest | None:
        while self._singles and next(iter(self._singles)).settled:
            self._singles.popitem(last=False)
        if self._gets_at(now) > now:
            return None
        if self._singles:
            record, _ = self._singles.popitem(last=False)
        elif self._by_gets(now) and (due := self.schedule.due(now=now)) is not None:
            record = due
        else:
            return None
        self._poll_gets.take(now=now)
        return PollRequest((record,), single=True)

    def _next_list(self, now: float) -> PollRequest | None:
        if self._by_gets(now) or self._listing or self._lists_at(now) > now:
            return None
        by_ids = bool(self._groups) or self.support is not ListSupport.YES
        records = self._next_group(now)
        if not records:
            return self._next_get(now)
        self._poll_lists.take(now=now)
        tier = records[0].tier
        page = None if by_ids else self._next_page(tier, records, now)
        return PollRequest(records, single=False, tier=tier, page=page)

    def _next_page(self, tier: str | None, records: tuple[Record, ...], now: float) -> int | None:
        pages = self.pages[tier]
        if not self.schedule.crowded(tier, now=now, shown=len(records)):
            pages.end_round()
            return None
        oldest = min(record.alive_at for record in records if record.asked)
        many = self.schedule.crowded(tier, now=now, shown=self.page_size)
        return pages.next(oldest_news=oldest, many=many, now=now)

    def _make_due(self, poll: PollRequest, now: float) -> None:
        """Make the records due that a page did not show."""
        for record in poll.records:
            if record.asked and record not in self._singles:
                self.schedule.nudge(record, now=now)

    def _next_group(self, now: float) -> tuple[Record, ...]:
        if self._groups:
            return self._groups.popleft()
        group: list[Record] = []
        too_many: dict[Record, int] = {}
        room = self.url_room
        while not group:
            chosen = self.schedule.group(now=now)
            if not chosen:
                return ()
            for record in chosen:
                cost = self.id_cost(record.task_id or "")
                if cost <= room:
                    group.append(record)
                    room -= cost
                elif cost <= self.url_room:
                    too_many[record] = max(self.url_room // cost, LIST_FILL)
                else:
                    self._singles[record] = None
        for record, fit in too_many.items():  # the ids are long: ask for fewer from now on
            self.schedule.page = min(self.schedule.page, fit)
            self.schedule.nudge(record, now=now)
        tier = group[0].tier
        free = min(self.schedule.page, LIST_FILL) - len(group)
        for record in self.schedule.company(limit=max(free, 0), tier=tier):
            cost = self.id_cost(record.task_id or "")
            if cost <= room:
                group.append(record)
                room -= cost
        return tuple(group)

    def _split(self, poll: PollRequest, error: CallsheetError, now: float) -> bool:
        """Whether a list was refused because of its content; if so, split it into halves."""
        if not isinstance(error, InvalidRequestError) or error.code is None:
            return False
        if poll.page is not None:
            self._make_due(poll, now)
            return True
        if self.support is ListSupport.UNPROVEN:
            self._give_up_lists()
        pending = tuple(r for r in poll.records if not r.settled)
        for record in pending:
            record.asked, record.due = True, math.inf
        if self.support is ListSupport.NO or len(pending) == 1:
            self._singles.update(dict.fromkeys(pending))
        else:
            half = len(pending) // 2
            self._groups.extend(part for part in (pending[:half], pending[half:]) if part)
        return True

    def _count_found(self, found: int) -> None:
        self._failed_lists = 0
        self._empty_lists = 0 if found else self._empty_lists + 1
        if self.support is ListSupport.UNPROVEN:
            if found:
                self.support = ListSupport.YES
            elif self._empty_lists >= MAX_EMPTY_LISTS:
                self._give_up_lists()

    def _locked_out(self, error: CallsheetError, now: float) -> bool:
        if not isinstance(error, (AuthenticationError, BalanceError)):
            self._locked_out_since = None
            return False
        if self._locked_out_since is None:
            self._locked_out_since = now
        return now - self._locked_out_since >= LOCKED_OUT_AFTER

    def _gets_at(self, now: float) -> float:
        """When the next get may be sent: earlier if its task has waited too long for news."""
        record = next(iter(self._singles), None) or self.schedule.head()
        return self._poll_gets.ready_at(now=now, overdue_at=self._overdue_at(record))

    def _lists_at(self, now: float) -> float:
        record = self._groups[0][0] if self._groups else self.schedule.head()
        ready = self._poll_lists.ready_at(now=now, overdue_at=self._overdue_at(record))
        # due tasks are counted only where that may change the answer: this is asked at every poll
        if ready > now and record is not None and self.schedule.crowded(record.tier, now=now):
            return self._poll_lists.ready_at(now=now, overdue_at=now)
        return ready

    def _overdue_at(self, record: Record | None) -> float:
        return math.inf if record is None else record.alive_at + self.schedule.longest

    def _ready_at(self, now: float) -> float | None:
        """When the breaker allows one more poll; a service that does not answer gets only few."""
        ready = self.breaker.ready_at(now=now, in_flight=len(self._sent))
        silent_since = max(next(iter(self._sent.values()), now), self._answered_at)
        if ready is not None and now - silent_since > max(SILENCE_LIMIT, 4.0 * self._latency):
            return max(ready, self._last_sent + 1.0)
        return ready

    def _take_back(self, poll: PollRequest) -> float:
        """Remove a poll from those in flight; return when it was sent."""
        self._listing -= not poll.single
        return self._sent.pop(poll)


def _count_refusal(record: Record, *, now: float) -> bool:
    """Count a get that refused a task or showed no video; return whether the refusal is final."""
    if not record.refusals:
        record.refused_since = now
    record.refusals += 1
    long = not record.known or now - record.refused_since >= REFUSED_FOR
    return record.refusals >= REFUSALS and long


def _is_unwritable(error: CallsheetError) -> bool:
    """Whether a get could not be written because a URL cannot hold its task's id.

    Nothing was sent, so this says nothing about the service, and a repetition would fail, too.
    """
    return isinstance(error, SpecError)


def _is_about_task(error: CallsheetError) -> bool:
    """Whether a get was refused because of its task: the provider does not know the id.

    A 404 without an error code may come from a proxy, so it counts as an outage.
    """
    return isinstance(error, (NotFoundError, InvalidRequestError)) and error.code is not None
