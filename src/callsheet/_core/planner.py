"""Which poll is sent next: the schedule within the budgets, the gate and what the provider can."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable

import attrs

from callsheet._core.budget import Budget
from callsheet._core.gate import Gate
from callsheet._core.registry import Record
from callsheet._core.schedule import Schedule, tier_of
from callsheet.errors import (
    APIError,
    AuthenticationError,
    BalanceError,
    CallsheetError,
    InvalidRequestError,
    NotFoundError,
    ProtocolError,
)


REFUSALS = 3
"""Refusals in a row of one id after which they are taken as the provider's last word on it."""

LOCKED_OUT = 60.0
"""Seconds for which the account itself must be refused before waiting is given up."""

FRUITLESS_LISTS = 3
"""Lists in a row that held none of the ids asked for, after which the route is not used."""

LIST_REFUSED = frozenset({400, 404, 405, 501})


class Lists(enum.Enum):
    """Whether the provider lists tasks by id."""

    YES = enum.auto()
    NO = enum.auto()
    UNPROVEN = enum.auto()


@attrs.frozen(eq=False)
class Order:
    """One request to send: a get if *record* is set, else a list of *records* of one *tier*."""

    records: tuple[Record, ...]
    single: bool
    tier: str | None = None


@attrs.define(kw_only=True)
class Planner:
    """Hands out polls one by one and learns from their answers.

    Attributes:
        schedule: When each task is due.
        gate: How much traffic the service bears.
        gets: Budget of requests for one task.
        lists: Budget of requests for many.
        support: Whether lists are available; probed at run time if unproven.
        id_cost: Bytes that an id adds to a list's URL.
        url_room: Bytes that ids may take in one URL.
        page: Most ids per list.
    """

    schedule: Schedule
    gate: Gate
    gets: Budget
    lists: Budget
    support: Lists
    id_cost: Callable[[str], int]
    url_room: int = 7_500
    page: int = 100
    _singles: deque[Record] = attrs.field(factory=deque, init=False)
    _groups: deque[tuple[Record, ...]] = attrs.field(factory=deque, init=False)
    _in_flight: int = attrs.field(default=0, init=False)
    _listing: int = attrs.field(default=0, init=False)
    _fruitless: int = attrs.field(default=0, init=False)
    _locked_since: float | None = attrs.field(default=None, init=False)

    @property
    def _slack(self) -> float:
        """Seconds that a list waits after its first record is due, for others to come along."""
        return 0.25 * self.schedule.delay

    def next(self, *, now: float) -> Order | None:
        """The request to send now, if there is one. Every order must come back to this object."""
        ready = self.gate.ready_at(now=now, in_flight=self._in_flight)
        if ready is None or ready > now:
            return None
        order = self._next_get(now) or self._next_list_order(now)
        if order is not None:
            self._in_flight += 1
            self._listing += not order.single
        return order

    def wake_at(self, *, now: float) -> float | None:
        """When `next` is worth asking again, if nothing happens before; ``None``: no idea."""
        ready = self.gate.ready_at(now=now, in_flight=self._in_flight)
        if ready is None:
            return None
        times: list[float] = []
        if self._singles:
            times.append(self.gets.ready_at(now=now))
        if self._groups and not self._listing:
            times.append(self.lists.ready_at(now=now))
        due = self.schedule.next_due()
        if due is not None:
            if self.support is Lists.NO:
                times.append(max(due, self.gets.ready_at(now=now)))
            elif not self._listing:
                times.append(max(due + self._slack, self.lists.ready_at(now=now)))
        return max(ready, min(times)) if times else None

    def read(self, order: Order, *, now: float, found: int) -> bool:
        """Note that the provider answered an order; tell whether this opened the gate.

        Records that a list left out are asked by get; the caller has already told the schedule
        about the others.
        """
        self._returned(order)
        self._locked_since = None
        if not order.single:
            self._learn(found)
            left_out = [r for r in order.records if r.due == float("inf") and not r.settled]
            if left_out:
                held = set(self._singles)
                self._singles.extend(r for r in left_out if r not in held)
        return self.gate.passed(now=now, poll=True)

    def ask_alone(self, record: Record) -> None:
        """Ask about *record* by get, as soon as the budget allows."""
        record.due = float("inf")
        self._singles.append(record)

    def failed(self, order: Order, error: CallsheetError, *, now: float) -> FailedPoll:
        """Note that an order brought no status, and say what follows."""
        self._returned(order)
        if not order.single and self._refused_list(order, error):
            self.gate.passed(now=now, poll=True)
            return FailedPoll()
        if order.single and _about_the_task(error):
            self.gate.passed(now=now, poll=True)
            self._locked_since = None
            (record,) = order.records
            record.refusals += 1
            if record.refusals >= REFUSALS:
                return FailedPoll(last_word=True)
            self.schedule.missed(record, now=now, own_fault=True)
            return FailedPoll()
        was_shut = self.gate.shut
        shut = self.gate.failed(now=now, poll=True, retry_after=getattr(error, "retry_after", None))
        for record in order.records:
            if record.due == float("inf"):
                self.schedule.missed(record, now=now, own_fault=not was_shut)
        return FailedPoll(shut_gate=shut, locked_out=self._locked_out(error, now))

    def _next_get(self, now: float) -> Order | None:
        while self._singles and self._singles[0].settled:
            self._singles.popleft()
        if self.gets.ready_at(now=now) > now:
            return None
        if self._singles:
            record = self._singles.popleft()
        elif self.support is Lists.NO and (due := self.schedule.due(now=now, limit=1)):
            record = due[0]
        else:
            return None
        self.gets.take(now=now)
        return Order((record,), single=True)

    def _next_list_order(self, now: float) -> Order | None:
        if self.support is Lists.NO or self._listing or self.lists.ready_at(now=now) > now:
            return None
        records = self._next_group(now)
        if not records:
            return self._next_get(now)
        self.lists.take(now=now)
        return Order(records, single=False, tier=tier_of(records[0]))

    def _next_group(self, now: float) -> tuple[Record, ...]:
        if self._groups:
            return self._groups.popleft()
        group: list[Record] = []
        room = self.url_room
        while not group:
            first = self.schedule.next_due()
            if first is None or first + self._slack > now:
                return ()
            for record in self.schedule.due(now=now, limit=self.page):
                cost = self.id_cost(record.task_id or "")
                if cost <= room:
                    group.append(record)
                    room -= cost
                elif cost <= self.url_room:
                    self.schedule.nudge(record, now=now)
                else:
                    self._singles.append(record)
        tier = tier_of(group[0])
        for record in self.schedule.company(limit=self.page - len(group), tier=tier):
            cost = self.id_cost(record.task_id or "")
            if cost <= room:
                group.append(record)
                room -= cost
        return tuple(group)

    def _refused_list(self, order: Order, error: CallsheetError) -> bool:
        """Whether the provider refused this list as such; its records are asked otherwise then."""
        unreadable = isinstance(error, ProtocolError) and self.support is Lists.UNPROVEN
        if not unreadable and not (
            isinstance(error, APIError) and error.status_code in LIST_REFUSED
        ):
            return False
        if self.support is Lists.UNPROVEN or not isinstance(error, InvalidRequestError):
            self.support = Lists.NO
        pending = tuple(r for r in order.records if not r.settled)
        for record in pending:
            record.due = float("inf")
        if self.support is Lists.NO:
            self._singles.extend(pending)
            while self._groups:
                self._singles.extend(self._groups.popleft())
        elif len(pending) == 1:
            self._singles.extend(pending)
        else:
            half = len(pending) // 2
            self._groups.extend(part for part in (pending[:half], pending[half:]) if part)
        return True

    def _learn(self, found: int) -> None:
        self._fruitless = 0 if found else self._fruitless + 1
        if self.support is Lists.UNPROVEN:
            if found:
                self.support = Lists.YES
            elif self._fruitless >= FRUITLESS_LISTS:
                self.support = Lists.NO

    def _locked_out(self, error: CallsheetError, now: float) -> bool:
        if not isinstance(error, (AuthenticationError, BalanceError)):
            self._locked_since = None
            return False
        if self._locked_since is None:
            self._locked_since = now
        return now - self._locked_since >= LOCKED_OUT

    def _returned(self, order: Order) -> None:
        self._in_flight -= 1
        self._listing -= not order.single


@attrs.frozen(kw_only=True)
class FailedPoll:
    """What follows from a failed poll, besides asking again.

    Attributes:
        last_word: The refusal is the provider's last word on this one task.
        shut_gate: The gate was open until now.
        locked_out: The account is refused for so long that waiting is pointless.
    """

    last_word: bool = False
    shut_gate: bool = False
    locked_out: bool = False


def _about_the_task(error: CallsheetError) -> bool:
    """Whether a refused get is about its task: an id that the provider does not know.

    A 404 without a code may be any proxy's page, and counts as an outage.
    """
    return isinstance(error, (NotFoundError, InvalidRequestError)) and error.code is not None
