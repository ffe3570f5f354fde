"""Which poll is sent next: the schedule within the budgets, the gate and what the provider can."""

from __future__ import annotations

import enum
import math
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable

import attrs

from callsheet._polling.pages import SIZE, Pages
from callsheet._polling.poll_request import (
    FailedPoll,
    PollRequest,
    about_the_task,
    is_last_refusal,
    is_unaskable,
)
from callsheet._polling.schedule import Schedule
from callsheet._state.circuit_breaker import CircuitBreaker
from callsheet._state.rate_limit import RateLimit
from callsheet._state.record import Record
from callsheet.errors import (
    AuthenticationError,
    BalanceError,
    CallsheetError,
    ConnectFailedError,
    InvalidRequestError,
)


LOCKED_OUT = 60.0
"""Seconds for which the account itself must be refused before waiting is given up."""

FRUITLESS_LISTS = 3
"""Lists in a row that held none of the ids asked for, after which the route is not used."""

SEATS = 100
"""Ids up to which a list is filled with tasks whose turn has not come: they cost time, too."""

SILENT = 1.5
"""Seconds without an answer, or four times what answers usually take if that is more, after which
a service may be down although nothing has failed yet: it gets one poll a second."""

LISTS_PAUSE = 300.0
"""Seconds for which a list route that fails while gets pass is not used."""

FAILED_LISTS = 3
"""Lists in a row that must fail for that, each with a get that passes after it."""


class ListSupport(enum.Enum):
    """Whether the provider lists tasks by id."""

    YES = enum.auto()
    NO = enum.auto()
    UNPROVEN = enum.auto()


@attrs.define(kw_only=True)
class Planner:
    """Hands out polls one by one and learns from their answers.

    Attributes:
        schedule: When each task is due.
        breaker: How much traffic the service bears.
        gets: Budget of requests for one task.
        lists: Budget of requests for many.
        support: Whether lists are available; probed at run time if unproven.
        id_cost: Bytes that an id adds to a list's URL.
        url_room: Bytes that ids may take in one URL.
        page_size: Tasks to ask for on one page, >= 1.
        pages: By tier, lists of whatever there is, for when very many tasks are due.
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
    _singles: OrderedDict[Record, None] = attrs.field(factory=OrderedDict[Record, None], init=False)
    _groups: deque[tuple[Record, ...]] = attrs.field(factory=deque[tuple[Record, ...]], init=False)
    _sent: dict[PollRequest, float] = attrs.field(factory=dict[PollRequest, float], init=False)
    _last_sent: float = attrs.field(default=-math.inf, init=False)
    _heard_at: float = attrs.field(default=-math.inf, init=False)
    _latency: float = attrs.field(default=0.0, init=False)
    _listing: int = attrs.field(default=0, init=False)
    _fruitless: int = attrs.field(default=0, init=False)
    _failed_lists: int = attrs.field(default=0, init=False)
    _lists_again_at: float = attrs.field(default=-math.inf, init=False)
    _locked_since: float | None = attrs.field(default=None, init=False)
    _locked_at: float = attrs.field(default=-math.inf, init=False)

    def next(self, *, now: float) -> PollRequest | None:
        """The request to send now, if there is one. Every order must come back to this object."""
        ready = self._ready_at(now)
        if ready is None or ready > now:
            return None
        poll = self._next_get(now) or self._next_list_order(now)
        if poll is not None:
            self._sent[poll] = self._last_sent = now
            self._listing += not poll.single
        return poll

    def wake_at(self, *, now: float) -> float | None:
        """When `next` is worth asking again, if nothing happens before; ``None``: no idea."""
        ready = self._ready_at(now)
        if ready is None:
            return None
        times: list[float] = []
        if self._singles:
            times.append(self.gets.ready_at(now=now))
        if self._groups and not self._listing:
            times.append(self.lists.ready_at(now=now))
        if not self._may_list(now):
            due = self.schedule.next_due()
            if due is not None:
                times.append(max(due, self.gets.ready_at(now=now)))
        elif not self._listing and (due := self.schedule.list_at(now=now)) is not None:
            times.append(max(due, self.lists.ready_at(now=now)))
        return max(ready, min(times)) if times else None

    def read(self, poll: PollRequest, *, now: float, found: int, last: bool = True) -> bool:
        """Note that the provider answered an order; tell whether this opened the gate.

        Records that a list of ids left out are asked by get, and those that a page did not show are
        due again; the caller has already told the schedule about the others.

        Args:
            poll: What was asked.
            now: Seconds on the client's clock.
            found: How many of the tasks asked for an answer shows; of a page, see `Pages.tells`.
            last: Whether there is no page after it.
        """
        self._latency += (now - self._returned(poll) - self._latency) / 8
        self._heard_at = now
        self._locked_since = None
        if poll.page is not None:
            self._failed_lists = 0
            instead = len(poll.records)
            self.pages[poll.tier].read(told=found, instead=instead, last=last, now=now)
            self._put_back(poll, now)
        elif not poll.single:
            self._learn(found)
            for record in poll.records:
                if record.asked and not record.settled:
                    self.ask_alone(record)
        return self.breaker.passed(now=now, poll=True)

    def ask_alone(self, record: Record) -> None:
        """Ask about *record* by get, as soon as the budget allows, unless one is under way."""
        record.asked, record.due = True, math.inf
        if not any(poll.single and record in poll.records for poll in self._sent):
            self._singles[record] = None

    def bare(self, record: Record, *, single: bool, now: float) -> bool:
        """Note a success without its video; tell whether it is the last word: only gets have it.

        A list says it of everybody every time, and does not hurry the next get.
        """
        if single:
            return self.refused(record, now=now)
        if record.asked or not record.refusals:
            self.ask_alone(record)
        return False

    def refused(self, record: Record, *, now: float) -> bool:
        """Note that a get denied a task; tell whether it is the last word."""
        if is_last_refusal(record, now=now):
            return True
        self.schedule.missed(record, now=now, own_fault=True)
        return False

    def failed(self, poll: PollRequest, error: CallsheetError, *, now: float) -> FailedPoll:
        """Note that an order brought no status, and say what follows.

        What a list says of itself or of the account is believed only once a get has said the same.
        """
        sent = self._returned(poll)
        if poll.page is not None:
            self.pages[poll.tier].rest(now=now)
        if not poll.single and self._split(poll, error, now):
            return FailedPoll(restored=self.breaker.passed(now=now, poll=True))
        if poll.single and is_unaskable(error):
            return FailedPoll(last_word=True)
        if poll.single and about_the_task(error):
            opened = self.breaker.passed(now=now, poll=True)
            self._locked_since = None
            return FailedPoll(last_word=self.refused(poll.records[0], now=now), restored=opened)
        if isinstance(error, (AuthenticationError, BalanceError)):  # of lists, too: they take turns
            if now - self._locked_at > LOCKED_OUT + self.breaker.retry_after_cap:
                self._locked_since = None
            self._locked_at = now
        was_tripped = self.breaker.tripped
        asked = getattr(error, "retry_after", None)
        tripped = self.breaker.failed(now=now, poll=True, retry_after=asked, sent=sent)
        for record in poll.records:
            record.refused_since = now
            if record.asked:
                self.schedule.missed(record, now=now, own_fault=not was_tripped)
        if poll.single:
            self._failed_lists = 0
            return FailedPoll(tripped=tripped, locked_out=self._locked_out(error, now))
        self._doubt_lists(poll, error, now)
        return FailedPoll(tripped=tripped)

    def _may_list(self, now: float) -> bool:
        return self.support is not ListSupport.NO and now >= self._lists_again_at

    def _doubt_lists(self, poll: PollRequest, error: CallsheetError, now: float) -> None:
        """Have a get find out whether the service is down or only its list route."""
        if self.support is ListSupport.UNPROVEN and not isinstance(error, ConnectFailedError):
            self._use_gets()
            return
        self._failed_lists += 1
        if self._failed_lists >= FAILED_LISTS:
            self._failed_lists, self._lists_again_at = 0, now + LISTS_PAUSE
            self._ungroup()
        witness = next((record for record in poll.records if not record.settled), None)
        if witness is not None:
            self.ask_alone(witness)

    def _use_gets(self) -> None:
        self.support = ListSupport.NO
        self._ungroup()

    def _ungroup(self) -> None:
        while self._groups:
            self._singles.update(dict.fromkeys(self._groups.popleft()))

    def _next_get(self, now: float) -> PollRequest | None:
        while self._singles and next(iter(self._singles)).settled:
            self._singles.popitem(last=False)
        if self.gets.ready_at(now=now) > now:
            return None
        if self._singles:
            record, _ = self._singles.popitem(last=False)
        elif not self._may_list(now) and (due := self.schedule.due(now=now)) is not None:
            record = due
        else:
            return None
        self.gets.take(now=now)
        return PollRequest((record,), single=True)

    def _next_list_order(self, now: float) -> PollRequest | None:
        if not self._may_list(now) or self._listing or self.lists.ready_at(now=now) > now:
            return None
        by_ids = bool(self._groups) or self.support is not ListSupport.YES
        records = self._next_group(now)
        if not records:
            return self._next_get(now)
        self.lists.take(now=now)
        tier = records[0].tier
        page = None if by_ids else self._next_page(tier, records, now)
        return PollRequest(records, single=False, tier=tier, page=page)

    def _next_page(self, tier: str | None, records: tuple[Record, ...], now: float) -> int | None:
        pages = self.pages[tier]
        if not self.schedule.crowded(tier, now=now, beyond=len(records)):
            pages.end()
            return None
        heard = min(record.alive_at for record in records if record.asked)
        return pages.next(heard=heard, now=now)

    def _put_back(self, poll: PollRequest, now: float) -> None:
        """Have those be due whom a page did not show."""
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
                    too_many[record] = max(self.url_room // cost, SEATS)
                else:
                    self._singles[record] = None
        for record, fit in too_many.items():  # ids are longer than most: fewer are chosen now
            self.schedule.page = min(self.schedule.page, fit)
            self.schedule.nudge(record, now=now)
        tier = group[0].tier
        seats = min(self.schedule.page, SEATS) - len(group)
        for record in self.schedule.company(limit=max(seats, 0), tier=tier):
            cost = self.id_cost(record.task_id or "")
            if cost <= room:
                group.append(record)
                room -= cost
        return tuple(group)

    def _split(self, poll: PollRequest, error: CallsheetError, now: float) -> bool:
        """Whether a list was refused for what it asked; its halves are asked one by one then."""
        if not isinstance(error, InvalidRequestError) or error.code is None:
            return False
        if poll.page is not None:
            self._put_back(poll, now)
            return True
        if self.support is ListSupport.UNPROVEN:
            self._use_gets()
        pending = tuple(r for r in poll.records if not r.settled)
        for record in pending:
            record.asked, record.due = True, math.inf
        if self.support is ListSupport.NO or len(pending) == 1:
            self._singles.update(dict.fromkeys(pending))
        else:
            half = len(pending) // 2
            self._groups.extend(part for part in (pending[:half], pending[half:]) if part)
        return True

    def _learn(self, found: int) -> None:
        self._failed_lists = 0
        self._fruitless = 0 if found else self._fruitless + 1
        if self.support is ListSupport.UNPROVEN:
            if found:
                self.support = ListSupport.YES
            elif self._fruitless >= FRUITLESS_LISTS:
                self._use_gets()

    def _locked_out(self, error: CallsheetError, now: float) -> bool:
        if not isinstance(error, (AuthenticationError, BalanceError)):
            self._locked_since = None
            return False
        if self._locked_since is None:
            self._locked_since = now
        return now - self._locked_since >= LOCKED_OUT

    def _ready_at(self, now: float) -> float | None:
        """When the gate lets one more poll through; a service that falls silent gets few."""
        ready = self.breaker.ready_at(now=now, in_flight=len(self._sent))
        silent_since = max(next(iter(self._sent.values()), now), self._heard_at)
        if ready is not None and now - silent_since > max(SILENT, 4.0 * self._latency):
            return max(ready, self._last_sent + 1.0)
        return ready

    def _returned(self, poll: PollRequest) -> float:
        """Take an order back; when it was sent."""
        self._listing -= not poll.single
        return self._sent.pop(poll)
