"""The engine: tasks, their queues and their ends, moved on by being told the time.

It never sleeps and reads no clock. Every call first brings the service up to ``now``: whatever
started, ended, expired or was forgotten until then happens in order, each at its own moment.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import attrs

from callsheet.emulator import answers
from callsheet.emulator.accounts import Account, Lane, Place
from callsheet.emulator.catalog import TWO, TWO_4K, Model
from callsheet.emulator.ledger import Ledger
from callsheet.emulator.quota import Counter, Requests, Window
from callsheet.emulator.rules import Order, read_order
from callsheet.emulator.settings import Settings
from callsheet.emulator.tasks import Task, draw_task


RECORD_SECONDS = 7 * 86_400
"""How long a task stays on record (Ark get and list references, July 2026)."""

CANCELLED_SECONDS = 86_400
"""How long a cancelled task stays on record (same source)."""

FILE_SECONDS = 86_400
"""How long video and last-frame URLs work (same source)."""


class _Event(NamedTuple):
    at: float
    number: int
    happen: Callable[[float], object]


def _unheard(_: Task) -> None:
    pass


@attrs.define(eq=False)
class Service:
    """The emulated provider. Every *now* is unix seconds of emulated time, never going back.

    Attributes:
        settings: How it behaves.
        changed: Called at every change of a task's status, the first included.
        ledger: What it took and billed.
        requests: What it was asked.
        files: Tasks whose URLs may still work, by id.
        listened: Whether any create that was taken asked for callbacks.
    """

    settings: Settings
    changed: Callable[[Task], None] = _unheard
    ledger: Ledger = attrs.field(factory=Ledger, init=False)
    requests: Requests = attrs.field(factory=Requests, init=False)
    files: dict[str, Task] = attrs.field(factory=dict[str, Task], init=False)
    listened: bool = attrs.field(default=False, init=False)
    _accounts: dict[str, Account] = attrs.field(factory=dict[str, Account], init=False)
    _events: list[_Event] = attrs.field(factory=list[_Event], init=False)
    _number: int = attrs.field(default=0, init=False)

    def account(self, key: str) -> Account:
        """Find the account of *key*.

        Raises:
            Refusal: If the key is not let in.
        """
        allowed = self.settings.keys
        if not key or (allowed and key not in allowed):
            raise answers.unauthorized()
        if key not in self._accounts:
            limits = self.settings
            self._accounts[key] = Account(
                gets=Window(limits.gets_per_second, 1.0),
                lists=Window(limits.lists_per_second, 1.0),
                deletes=Window(limits.deletes_per_second, 1.0),
            )
        return self._accounts[key]

    def advance(self, now: float) -> None:
        """Let everything happen that happens until *now*; O(log n) for each event."""
        while self.next_change <= now:
            at, _, happen = heapq.heappop(self._events)
            happen(at)

    @property
    def next_change(self) -> float:
        """Unix time at which something happens next by itself; infinity: never."""
        return self._events[0].at if self._events else math.inf

    def create(
        self,
        key: str,
        body: object,
        now: float,
        *,
        comet: bool = False,
        origin: str = "",
        delay: float = 0.0,
    ) -> Task | None:
        """Take a create request.

        Args:
            key: Whose it is.
            body: The parsed JSON.
            now: When it came.
            comet: Whether its id has CometAPI's form.
            origin: Scheme and host that it came to.
            delay: Seconds after which the task is made; until then nothing shows it, and None is
                returned. Rules and quotas count at once.

        Raises:
            Refusal: If it breaks a rule, a quota or moderation.
        """
        lane, order = self._admit(key, body, now)
        self.listened |= order.callback_url is not None
        accept = partial(self._accept, lane, order, key, comet=comet, origin=origin)
        if delay:
            self._later(now + delay, accept)
            return None
        return accept(now)

    def _admit(self, key: str, body: object, now: float) -> tuple[Lane, Order]:
        """Check a create against rules, moderation and quotas."""
        account = self.account(key)
        self.advance(now)
        order = read_order(body, self.settings, lambda task_id: self._draft(account, task_id))
        if "[refuse]" in order.prompt:
            raise answers.sensitive_prompt()
        lane = self._lane(account, order)
        waits = lane.running >= lane.limit
        limit = self.settings.queue_limit
        if waits and limit is not None and account.queued >= limit:
            self.requests.create.refused += 1
            raise answers.queue_full()
        if not lane.creates.take(now):
            self.requests.create.refused += 1
            raise answers.too_many_creates()
        return lane, order

    def _accept(
        self, lane: Lane, order: Order, key: str, at: float, *, comet: bool, origin: str
    ) -> Task:
        """Make the task and put it in line."""
        account, index = self._accounts[key], len(self.ledger.tasks)
        task = draw_task(order, self.settings, index, key, at, comet=comet, origin=origin)
        account.tasks[task.id] = task
        account.queued += 1
        self.ledger.tasks.append(task)
        heapq.heappush(lane.line, Place(-(order.priority or 0), task.index, task))
        self._later(at + order.expires_after, partial(self._expire, task))
        self._later(at + RECORD_SECONDS, partial(self._forget, task))
        self.changed(task)
        self._fill(account, lane, at)
        return task

    def get(self, key: str, task_id: str, now: float) -> Task:
        """Look one task up.

        Raises:
            Refusal: If the account asks too often or has no such task on record.
        """
        account = self.account(key)
        self._count(self.requests.get, account.gets, now)
        self.advance(now)
        return self._find(account, task_id)

    def look(self, key: str, now: float) -> Account:
        """Give the account whose tasks a list call may look through.

        Raises:
            Refusal: If the account asks too often.
        """
        account = self.account(key)
        self._count(self.requests.list, account.lists, now)
        self.advance(now)
        return account

    def delete(self, key: str, task_id: str, now: float) -> None:
        """Cancel a queued task, or take an ended one off the record.

        Raises:
            Refusal: If the task is running, cancelled or not on record, or the account asks too
                often.

        Source: Ark delete reference, July 2026; 409 for running tasks seen live.
        """
        account = self.account(key)
        self._count(self.requests.delete, account.deletes, now)
        self.advance(now)
        task = self._find(account, task_id)
        if task.status == "running":
            raise answers.running()
        if task.status == "cancelled":
            raise answers.already_cancelled()
        if task.status == "queued":
            self._settle(task, "cancelled", now)
            self._later(now + CANCELLED_SECONDS, partial(self._forget, task))
        else:
            del account.tasks[task_id]

    def _find(self, account: Account, task_id: str) -> Task:
        task = account.tasks.get(task_id)
        if task is None:
            raise answers.unknown_task(task_id)
        return task

    def _draft(self, account: Account, task_id: str) -> Order | None:
        task = account.tasks.get(task_id)
        return task.as_drawn() if task is not None and task.status == "succeeded" else None

    @staticmethod
    def _count(counter: Counter, window: Window, now: float) -> None:
        if not window.take(now):
            counter.refused += 1
            raise answers.too_many_calls()

    def _lane(self, account: Account, order: Order) -> Lane:
        model = TWO_4K if order.model is TWO and order.resolution == "4k" else order.model
        name = (model.family, order.tier)
        if name not in account.lanes:
            account.lanes[name] = Lane(
                limit=self.settings.concurrency or model.concurrency,
                creates=self._creates(account, model),
            )
        return account.lanes[name]

    def _creates(self, account: Account, model: Model) -> Window:
        """Share one window among the tiers of a model."""
        for (family, _), lane in account.lanes.items():
            if family == model.family:
                return lane.creates
        return Window(self.settings.creates_per_minute or model.creates_per_minute, 60.0)

    def _fill(self, account: Account, lane: Lane, at: float) -> None:
        """Start tasks while the lane has places."""
        while lane.line and lane.running < lane.limit:
            task = heapq.heappop(lane.line).task
            if task.status != "queued":
                continue
            account.queued -= 1
            lane.running += 1
            task.move("running", at)
            self.changed(task)
            self._later(at + task.render_seconds, partial(self._finish, task))

    def _finish(self, task: Task, at: float) -> None:
        if task.status == "running":
            self._settle(task, task.ending.status, at)

    def _expire(self, task: Task, at: float) -> None:
        if task.status in {"queued", "running"}:
            self._settle(task, "expired", at)

    def _forget(self, task: Task, _: float) -> None:
        self._accounts[task.account].tasks.pop(task.id, None)

    def _forget_file(self, task: Task, _: float) -> None:
        self.files.pop(task.id, None)

    def _settle(self, task: Task, status: str, at: float) -> None:
        """End a task and give its place to the next in line."""
        account = self._accounts[task.account]
        lane = self._lane(account, task.order)
        if task.status == "queued":
            account.queued -= 1
        else:
            lane.running -= 1
        task.move(status, at)
        self.changed(task)
        if status == "succeeded":
            self.files[task.id] = task
            self._later(at + FILE_SECONDS, partial(self._forget_file, task))
        self._fill(account, lane, at)

    def _later(self, at: float, happen: Callable[[float], object]) -> None:
        self._number += 1
        heapq.heappush(self._events, _Event(at, self._number, happen))
