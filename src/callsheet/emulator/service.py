"""The emulated service: its tasks, their queues and their outcomes.

It never sleeps and reads no clock: callers pass the time. Every call first brings the service up to
``now``. All starts, ends, expiries and removals until then happen in order, each at its own time.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import attrs

from callsheet.emulator import answers
from callsheet.emulator.accounts import Account, Lane, QueueEntry
from callsheet.emulator.catalog import TWO, TWO_4K, Model
from callsheet.emulator.ledger import Ledger
from callsheet.emulator.quota import Counter, Requests, Window
from callsheet.emulator.rules import Order, read_order
from callsheet.emulator.settings import Settings
from callsheet.emulator.tasks import Task, draw_task


RECORD_SECONDS = 7 * 86_400
"""Seconds that a task stays on record (Ark get and list references, July 2026)."""

CANCELLED_SECONDS = 86_400
"""Seconds that a cancelled task stays on record (same source)."""

FILE_SECONDS = 86_400
"""Seconds that video and last-frame URLs work (same source)."""


class _Event(NamedTuple):
    at: float
    number: int
    action: Callable[[float], object]


def _ignore_change(_: Task) -> None:
    pass


@attrs.define(eq=False)
class Service:
    """The emulated service. Every *now* is emulated time in unix seconds and must not decrease.

    Attributes:
        settings: How it behaves.
        on_change: Called at every change of a task's status, and when a task is created.
        ledger: What it accepted and billed.
        requests: How many requests came in, and how many a quota refused.
        files: Tasks whose URLs may still work, by id.
        has_callbacks: Whether any accepted create had a callback URL.
    """

    settings: Settings
    on_change: Callable[[Task], None] = _ignore_change
    ledger: Ledger = attrs.field(init=False)
    requests: Requests = attrs.field(factory=Requests, init=False)
    files: dict[str, Task] = attrs.field(factory=dict[str, Task], init=False)
    has_callbacks: bool = attrs.field(default=False, init=False)
    _accounts: dict[str, Account] = attrs.field(factory=dict[str, Account], init=False)
    _events: list[_Event] = attrs.field(factory=list[_Event], init=False)
    _number: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        """Open the ledger, which needs the prices."""
        self.ledger = Ledger(self.settings.prices)

    def account(self, key: str) -> Account:
        """Return the account of *key*; a new one if the key was never used.

        Raises:
            Refusal: If the key is not valid.
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
        """Carry out all events until *now*. Each event costs O(log n)."""
        while self.next_change <= now:
            at, _, action = heapq.heappop(self._events)
            action(at)

    @property
    def next_change(self) -> float:
        """Unix time of the next event; infinity if there is none."""
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
        """Handle a create request.

        Args:
            key: API key of the request.
            body: The parsed JSON.
            now: When the request came.
            comet: Whether the task id has CometAPI's form.
            origin: Scheme and host of the request.
            delay: Seconds after which the task is made. If it is not 0, None is returned, and the
                task cannot be seen until then. Rules and quotas apply at once.

        Raises:
            Refusal: If the request breaks a rule or a quota, or moderation refuses it.
        """
        lane, order = self._check_create(key, body, now)
        self.has_callbacks |= order.callback_url is not None
        accept = partial(self._accept, lane, order, key, comet=comet, origin=origin)
        if delay:
            self._schedule(now + delay, accept)
            return None
        return accept(now)

    def _check_create(self, key: str, body: object, now: float) -> tuple[Lane, Order]:
        """Check a create against rules, moderation and quotas."""
        account = self.account(key)
        self.advance(now)
        order = read_order(body, self.settings, lambda task_id: self._draft(account, task_id))
        if "[refuse]" in order.prompt:
            raise answers.sensitive_prompt()
        lane = self._lane(account, order)
        must_wait = lane.running >= lane.limit
        limit = self.settings.queue_limit
        if must_wait and limit is not None and account.queued >= limit:
            self.requests.create.refused += 1
            raise answers.queue_full()
        if not lane.creates.take(now):
            self.requests.create.refused += 1
            raise answers.too_many_creates()
        return lane, order

    def _accept(
        self, lane: Lane, order: Order, key: str, at: float, *, comet: bool, origin: str
    ) -> Task:
        """Make the task and queue it."""
        account, index = self._accounts[key], len(self.ledger.tasks)
        task = draw_task(order, self.settings, index, key, at, comet=comet, origin=origin)
        account.tasks[task.id] = task
        account.queued += 1
        self.ledger.tasks.append(task)
        heapq.heappush(lane.queue, QueueEntry(-(order.priority or 0), task.index, task))
        self._schedule(at + order.expires_after, partial(self._expire, task))
        self._schedule(at + RECORD_SECONDS, partial(self._remove_record, task))
        self.on_change(task)
        self._start_queued(account, lane, at)
        return task

    def get(self, key: str, task_id: str, now: float) -> Task:
        """Return one task.

        Raises:
            Refusal: If the account is over its quota, or has no such task on record.
        """
        account = self.account(key)
        self._check_quota(self.requests.get, account.gets, now)
        self.advance(now)
        return self._find(account, task_id)

    def account_to_list(self, key: str, now: float) -> Account:
        """Return the account whose tasks a list call may read.

        Raises:
            Refusal: If the account is over its quota.
        """
        account = self.account(key)
        self._check_quota(self.requests.list, account.lists, now)
        self.advance(now)
        return account

    def delete(self, key: str, task_id: str, now: float) -> None:
        """Cancel a queued task, or remove the record of an ended one.

        Raises:
            Refusal: If the task is running, cancelled or not on record, or the account is over its
                quota.

        Source: Ark delete reference, July 2026; 409 for running tasks seen live.
        """
        account = self.account(key)
        self._check_quota(self.requests.delete, account.deletes, now)
        self.advance(now)
        task = self._find(account, task_id)
        if task.status == "running":
            raise answers.running()
        if task.status == "cancelled":
            raise answers.already_cancelled()
        if task.status == "queued":
            self._settle(task, "cancelled", now)
            self._schedule(now + CANCELLED_SECONDS, partial(self._remove_record, task))
        else:
            del account.tasks[task_id]

    def _find(self, account: Account, task_id: str) -> Task:
        task = account.tasks.get(task_id)
        if task is None:
            raise answers.unknown_task(task_id)
        return task

    def _draft(self, account: Account, task_id: str) -> Order | None:
        task = account.tasks.get(task_id)
        return task.resolved_order() if task is not None and task.status == "succeeded" else None

    @staticmethod
    def _check_quota(counter: Counter, window: Window, now: float) -> None:
        if not window.take(now):
            counter.refused += 1
            raise answers.too_many_calls()

    def _lane(self, account: Account, order: Order) -> Lane:
        model = TWO_4K if order.model is TWO and order.resolution == "4k" else order.model
        name = (model.family, order.tier)
        if name not in account.lanes:
            account.lanes[name] = Lane(
                limit=self.settings.concurrency or model.concurrency,
                creates=self._create_window(account, model),
            )
        return account.lanes[name]

    def _create_window(self, account: Account, model: Model) -> Window:
        """Return the quota of creates for a model. All its tiers share one."""
        for (family, _), lane in account.lanes.items():
            if family == model.family:
                return lane.creates
        return Window(self.settings.creates_per_minute or model.creates_per_minute, 60.0)

    def _start_queued(self, account: Account, lane: Lane, at: float) -> None:
        """Start queued tasks while the lane is below its limit."""
        while lane.queue and lane.running < lane.limit:
            task = heapq.heappop(lane.queue).task
            if task.status != "queued":
                continue
            account.queued -= 1
            lane.running += 1
            task.set_status("running", at)
            self.on_change(task)
            self._schedule(at + task.render_seconds, partial(self._finish, task))

    def _finish(self, task: Task, at: float) -> None:
        if task.status == "running":
            self._settle(task, task.ending.status, at)

    def _expire(self, task: Task, at: float) -> None:
        if task.status in {"queued", "running"}:
            self._settle(task, "expired", at)

    def _remove_record(self, task: Task, _: float) -> None:
        self._accounts[task.account].tasks.pop(task.id, None)

    def _remove_file(self, task: Task, _: float) -> None:
        self.files.pop(task.id, None)

    def _settle(self, task: Task, status: str, at: float) -> None:
        """End a task and start the next one in the queue."""
        account = self._accounts[task.account]
        lane = self._lane(account, task.order)
        if task.status == "queued":
            account.queued -= 1
        else:
            lane.running -= 1
        task.set_status(status, at)
        self.on_change(task)
        if status == "succeeded":
            self.files[task.id] = task
            self._schedule(at + FILE_SECONDS, partial(self._remove_file, task))
        self._start_queued(account, lane, at)

    def _schedule(self, at: float, action: Callable[[float], object]) -> None:
        self._number += 1
        heapq.heappush(self._events, _Event(at, self._number, action))
