"""The engine of an open client: it creates registry, submitter and poller, and connects them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from callsheet._http.api import Api
from callsheet._http.tasks_api import Tasks
from callsheet._polling.planner import ListSupport, Planner
from callsheet._polling.poller import Poller
from callsheet._polling.schedule import Schedule
from callsheet._runtime.attach import Attacher
from callsheet._runtime.cancel import Canceller
from callsheet._runtime.intake import Intake
from callsheet._runtime.learning import Learning
from callsheet._runtime.quotas import quotas
from callsheet._runtime.resolve import Resolver
from callsheet._runtime.task_lifecycle import TaskLifecycle
from callsheet._state.circuit_breaker import CircuitBreaker
from callsheet._state.clock import Clock, Waiters
from callsheet._state.registry import Registry
from callsheet._submission.admission import Admission
from callsheet._submission.paid_call import PaidCall
from callsheet._submission.reconciler import Reconciler
from callsheet._submission.submitter import Submitter
from callsheet._submission.turns import Turns
from callsheet._wire import LIST_BASE, URL_ROOM, dialect_of, id_cost
from callsheet.errors import (
    ClosedError,
)


if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Coroutine

    from anyio.abc import TaskGroup

    from callsheet._http.transport import Transport
    from callsheet._models.policy import Limits, Polling, RetryPolicy
    from callsheet._models.provider import Provider
    from callsheet._submission.bookkeeping import Bookkeeping
    from callsheet.events import Event


class Engine:
    """The parts of one client, connected.

    Args:
        provider: The provider that requests are for.
        transport: Sends the requests.
        limits: The caller's limits. A rate that is set replaces the provider's own.
        polling: The delay with which the end of a task should be noticed.
        retry: How often requests are repeated.
        bookkeeping: Keeps the ledger and the journal.
        observer: Called with every event.
        rng: Source of jitter.
    """

    def __init__(
        self,
        *,
        provider: Provider,
        transport: Transport,
        limits: Limits,
        polling: Polling,
        retry: RetryPolicy,
        bookkeeping: Bookkeeping,
        observer: Callable[[Event], None] | None,
        rng: random.Random,
    ) -> None:
        self.provider = provider
        self.bookkeeping = bookkeeping
        self.clock = clock = Clock(provider.speed)
        self.registry = Registry()
        self.background: TaskGroup | None = None
        self.waiting = Waiters()
        wire = (transport, dialect_of(provider.dialect), provider, retry.timeout)
        api = Api(*wire, registry=self.registry)
        limits_by_verb = quotas(provider, limits)
        breaker = CircuitBreaker(width=limits.connections, retry_after_cap=retry.ceiling, rng=rng)
        creating = max(1, limits.connections * 3 // 4)
        room = limits.unfinished or provider.limits.unfinished
        planner = Planner(
            schedule=Schedule(
                delay=polling.delay,
                list_gap=limits_by_verb.lists.period / limits_by_verb.lists.limit,
            ),
            breaker=breaker,
            gets=limits_by_verb.gets,
            lists=limits_by_verb.lists,
            support={True: ListSupport.YES, False: ListSupport.NO, None: ListSupport.UNPROVEN}[
                provider.lists
            ],
            id_cost=id_cost,
            url_room=URL_ROOM - LIST_BASE,
        )
        self.learning = Learning(
            journal=bookkeeping.journal, schedule=planner.schedule, gets=limits_by_verb.gets
        )
        admission = Admission(
            rate_limit=limits_by_verb.creates, breaker=breaker, width=creating, room=room
        )
        turns = Turns(admission=admission, registry=self.registry, clock=clock)
        reconciler = Reconciler(
            api=api,
            policy=retry,
            lists=limits_by_verb.lists,
            planner=planner,
            registry=self.registry,
            clock=clock,
        )
        lifecycle = TaskLifecycle(
            bookkeeping=bookkeeping,
            learning=self.learning,
            reconciler=reconciler,
            admission=admission,
            turns=turns,
            clock=clock,
            observer=observer,
        )
        self.poller = Poller(
            api=api,
            planner=planner,
            registry=self.registry,
            clock=clock,
            lifecycle=lifecycle,
        )
        self.submitter = Submitter(
            paid_call=PaidCall(*wire),
            turns=turns,
            registry=self.registry,
            poller=self.poller,
            reconciler=reconciler,
            bookkeeping=bookkeeping,
            lifecycle=lifecycle,
            waiting=self.waiting,
            clock=clock,
            policy=retry,
            width=creating,
            rng=rng,
        )
        self.intake = Intake(
            provider=provider,
            bookkeeping=bookkeeping,
            submitter=self.submitter,
            lifecycle=lifecycle,
            waiting=self.waiting,
        )
        self.tasks = Tasks(
            submit=self.intake.create,
            api=api,
            clock=clock,
            gets=limits_by_verb.gets,
            lists=limits_by_verb.lists,
            cancels=limits_by_verb.cancels,
            policy=retry,
            rng=rng,
        )
        self.attacher = Attacher(
            registry=self.registry,
            poller=self.poller,
            bookkeeping=bookkeeping,
            clock=clock,
            spawn=self.spawn,
        )
        self.canceller = Canceller(
            submitter=self.submitter,
            registry=self.registry,
            poller=self.poller,
            tasks=self.tasks,
            waiting=self.waiting,
            bookkeeping=bookkeeping,
        )
        self.resolver = Resolver(
            submitter=self.submitter,
            tasks=self.tasks,
            bookkeeping=bookkeeping,
            clock=clock,
            waiting=self.waiting,
        )

    def start(self, background: TaskGroup) -> None:
        """Submit and poll in *background*, which the client owns."""
        self.background = background
        background.start_soon(self.submitter.run, name="callsheet submitter")
        background.start_soon(self.poller.run, name="callsheet poller")

    def close(self) -> None:
        """Stop taking work. Specs that were never sent end as not submitted; the rest stays open.

        Waiters get `ClosedError`.
        """
        self.learning.keep()
        self.submitter.close()
        self.waiting.close()

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run *work* until the client is left."""
        if self.background is None or self.waiting.closed:
            raise ClosedError("the client is closed")
        self.background.start_soon(work)

    def take_callback(self, task_id: str, token: str | None) -> bool:
        """Handle a callback: poll the task at once; return whether it is one of ours."""
        known = token is not None and self.submitter.take_callback(task_id, token)
        record = self.registry.get(task_id)
        if record is not None:
            self.poller.nudge(record)
        return known or record is not None
