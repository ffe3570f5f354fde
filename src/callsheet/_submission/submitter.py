"""Sends creates, and executes what the state machine of each submission decides.

Where money is spent, and why that is safe:

1. `_try` is the only place that sends a create, in the order: set the money aside, write the note,
   ask once more, send. All of it is inside one shield.
2. `callsheet._submission.transition` decides, as one table, whether a create may leave and whether
   one may be sent again. `_apply` takes an event there and executes the effects that come back.
   What this module judges itself comes in with the event: the cap in `_turn_came`, and in
   `_refused_event` whether a refused create may be repeated (`may_repeat`).
3. A lost answer is the event `AnswerLost`. The `Reconciler` looks for its task.
"""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import attrs
from anyio.abc import TaskGroup

from callsheet._models.policy import RetryPolicy
from callsheet._models.spec import TaskSpec
from callsheet._polling.poller import Poller
from callsheet._state.backoff import pause_before
from callsheet._state.clock import Clock, Waiters
from callsheet._state.fate import Fate
from callsheet._state.group import Group
from callsheet._state.lifecycle import Lifecycle
from callsheet._state.record import Record
from callsheet._state.registry import Registry
from callsheet._submission.bookkeeping import Bookkeeping
from callsheet._submission.effects import (
    AwaitedEffect,
    Contradict,
    Effect,
    LeaveLine,
    MarkAccepted,
    MoneyEffect,
    NoteEffect,
    NoteFirst,
    Pause,
    Register,
    Requeue,
    Send,
    Settle,
    StartAttempt,
    StartLook,
    StopBatch,
    StopLook,
    Unregister,
    WatchSurplus,
)
from callsheet._submission.paid_call import PaidCall
from callsheet._submission.reconciler import Findings, Reconciler
from callsheet._submission.states import Attempt, Cancelled, Context, State, Submission
from callsheet._submission.submission_events import (
    Answered,
    AnswerLost,
    Called,
    Cancel,
    Close,
    Disowned,
    Event,
    Interrupted,
    NoteFailed,
    NoteWritten,
    Owner,
    Refused,
    Resolved,
    Taken,
    TurnCame,
    Unpreparable,
)
from callsheet._submission.submissions import Submissions
from callsheet._submission.transition import (
    CLOSED_EARLY,
    PROGRAM_ENDED,
    UnexpectedEventError,
    attempt_of,
    current_of,
    may_end_now,
    may_repeat,
    resumed,
    stops_all,
)
from callsheet._submission.turns import Turns
from callsheet.errors import (
    CallsheetError,
    ConnectFailedError,
    QueueFullError,
    RateLimitError,
    SubmissionUncertainError,
)
from callsheet.events import (
    CreatePaused,
    DuplicateTask,
    GateOpened,
    GateShut,
    SubmissionLost,
    TaskSubmitted,
)


if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from callsheet._state.moment import Moment
    from callsheet._submission.admission import Admission
    from callsheet._wire import Request


log = logging.getLogger("callsheet")

MOST_AWAITING_TURN = 3
"""Most records that are prepared and wait for their turn. The rest stay in the fair queue, where a
record of another batch or of a higher priority can still come first."""

CLOSING_GRACE = 5.0
"""Seconds that the client waits, while it closes, for the answers to creates in flight."""


@attrs.define(eq=False, kw_only=True)
class Submitter:
    """Brings each record to a task that is watched, or to an end without one.

    Attributes:
        paid_call: Writes and sends creates.
        turns: Lets creates go one after the other.
        registry: Keeps the ids of tasks.
        poller: Watches the tasks.
        reconciler: Looks for tasks whose create was lost.
        bookkeeping: Keeps the ledger and the journal.
        lifecycle: Is told of ends and events.
        waiting: The waiters of the client.
        clock: The client's clock.
        policy: How often a create is sent again, and what happens when its answer was lost.
        width: Most records under way, >= 1.
        rng: Source of jitter.
    """

    paid_call: PaidCall
    turns: Turns
    registry: Registry
    poller: Poller
    reconciler: Reconciler
    bookkeeping: Bookkeeping
    lifecycle: Lifecycle
    waiting: Waiters
    clock: Clock
    policy: RetryPolicy
    width: int
    rng: random.Random = attrs.field(factory=random.Random, repr=False)
    _submissions: Submissions = attrs.field(factory=Submissions, init=False)
    _unwatched: set[Record] = attrs.field(factory=set[Record], init=False)
    """Records whose task is not watched when it is made: the caller wants its id alone."""
    _workers: TaskGroup | None = attrs.field(default=None, init=False)
    _answers_awaited: set[anyio.CancelScope] = attrs.field(
        factory=set[anyio.CancelScope], init=False
    )
    _has_accepted: bool = attrs.field(default=False, init=False)
    """Whether the provider has accepted a create of this client."""
    _usual: Context = attrs.field(init=False)
    """What a transition needs to know beside a record whose batch goes on."""

    def __attrs_post_init__(self) -> None:
        """Begin as a client that is open."""
        self._usual = Context(policy=self.policy)

    # --- what the rest of the client asks for ------------------------------------------------

    def put(self, records: Sequence[Record], *, priority: int = 0) -> None:
        """Queue records. A group is sent in order; groups of one priority take turns."""
        self._submissions.put(records, priority=priority)
        self.turns.changed.set()

    def put_unwatched(self, record: Record) -> None:
        """Queue a record whose task is not to be watched, unless `watch` is called before."""
        self._unwatched.add(record)
        self.put([record])

    def watch(self, record: Record) -> None:
        """Watch the task of a record when it is made, although it was put in unwatched."""
        self._unwatched.discard(record)

    def without_id(self) -> list[Record]:
        """The records that have neither an id nor an outcome: those that are queued come first."""
        queued = self._submissions.queued()
        rest = (r for r in self._submissions if not (r.task_id or r.settled or r.surplus))
        return list(dict.fromkeys((*queued, *rest)))

    def state_of(self, record: Record) -> State | None:
        """Where a record stands, unless nothing more is awaited of its creates."""
        submission = self._submissions.of(record)
        return None if submission is None else submission.state

    def count(self) -> Counter[State]:
        """How many specs without a task or an end stand in each state."""
        return self._submissions.count()

    def may_end_now(self, record: Record) -> bool:
        """Whether a record can end now with the certainty that no task exists for it."""
        submission = self._submissions.of(record)
        return submission is not None and may_end_now(submission)

    def cancel(self, record: Record, scope: Cancelled, why: str) -> None:
        """Begin no further attempt at a record; one that was not sent ends at once with *why*.

        A task that it has, or may have, goes on: only the provider can stop it.
        """
        self._apply(record, Cancel(scope, why))

    async def wait_for_id(self, record: Record) -> None:
        """Wait until *record* has an id. If this is cancelled, a spec that was not sent ends.

        Raises:
            CallsheetError: It ended without one.
            ClosedError: The client was closed first.
        """
        try:
            await self.waiting.wait_for_id(record)
        except BaseException:
            if self.may_end_now(record):
                self.cancel(record, Cancelled.HERE, "its submitter stopped waiting")
            raise
        if record.task_id is None and record.error is not None:
            raise record.error

    def take_callback(self, task_id: str, token: str) -> bool:
        """Take the id that a callback brings for a token; return whether the token is one of ours.

        The token is a secret of one create. So the task exists, whatever was believed before.
        """
        known = self._submissions.by_token(token)
        if known is None:
            return False
        record, n = known
        self._apply(record, Called(n, task_id, self.reconciler.owner_of(task_id, record)))
        return True

    def uncertain_attempts(self, record: Record) -> list[Attempt]:
        """The attempts that may have made a task: it is looked for, or nobody can tell."""
        submission = self._submissions.of(record)
        attempts = () if submission is None else submission.attempts
        return [each for each in attempts if each.fate in {Fate.LOST, Fate.DOUBTED}]

    def by_token(self, token: str) -> tuple[Record, int] | None:
        """The record and the number of the attempt that carries a token."""
        return self._submissions.by_token(token)

    def has_task(self, task_id: str, record: Record) -> bool:
        """Whether an id is that of another spec, or of another attempt of this one."""
        submission = self._submissions.of(record)
        attempts = () if submission is None else submission.attempts
        own = any(task_id in {each.task_id, *each.more_ids} for each in attempts)
        return own or self.reconciler.owner_of(task_id, record) is Owner.ANOTHER

    def resolve(self, record: Record, n: int, task_id: str | None) -> None:
        """Take what a person says of attempt *n*: that it has made this task, or none."""
        self._apply(record, Resolved(n, task_id))

    def resume(self, record: Record, submission: Submission) -> None:
        """Go on where an earlier process has left off: queue a record, or look for its task."""
        after, effects = resumed(
            submission, self._context(record), can_look=self.reconciler.can_look(record)
        )
        if after.state is State.QUEUED and not effects:
            # With effects, `Requeue` puts it before the queue.
            self._submissions.put([record])
        self._submissions.replace(record, after)
        self._perform_all(record, after, effects)
        self.turns.changed.set()

    def close(self) -> None:
        """Send nothing more, and end what was never sent. Creates in flight have a few seconds."""
        self._usual = attrs.evolve(self._usual, closed=True)
        for record in self._submissions:
            self._apply(record, Close())
        # A create in flight may have made a task already. Its answer is worth a short wait: without
        # it the task is billed and nobody knows its id.
        deadline = anyio.current_time() + CLOSING_GRACE
        for scope in self._answers_awaited:
            scope.deadline = min(scope.deadline, deadline)

    async def run(self) -> None:
        """Submit records until cancelled."""
        async with anyio.create_task_group() as self._workers:
            self._workers.start_soon(self._reconcile)
            while True:
                while self._start_next():
                    # trio starts tasks in any order; starting them one at a time keeps ours
                    await anyio.lowlevel.checkpoint()
                await self.turns.changed.wait(None)

    # --- one record after the other ----------------------------------------------------------

    @property
    def _admission(self) -> Admission:
        return self.turns.admission

    def _start_next(self) -> bool:
        """Begin an attempt at the next record; return ``False`` if none may begin now."""
        if not self._submissions.waiting:
            return False
        most = min(self.width, self._admission.most_under_way(len(self.registry)))
        record = self._submissions.take(most=most, most_ready=MOST_AWAITING_TURN)
        if record is None:
            return False
        # Each attempt has a new token, so the tasks of two attempts can be told apart.
        self._apply(record, Taken(self.paid_call.new_token(record)))
        return True

    async def _attempt(self, record: Record, attempt: Attempt) -> None:
        """Make an attempt at a record: write the request, and send it when its turn comes.

        It is sent again only after a definite refusal, with the same bytes and the same token. So a
        look at the list finds the task of whichever try made it.
        """
        # The place is drawn once. So a create that was refused comes before all that were prepared
        # after it, however often it is refused.
        n, place, paused = attempt.n, self.turns.draw(), 0.0
        try:
            request = await self._prepare(record, attempt)
            while request is not None:
                turn = await self.turns.take(place, lambda: self._is_waiting(record, n))
                if turn is None:
                    return
                pause = await self._try(record, attempt, request, turn=turn, paused=paused)
                if pause is None:
                    return
                paused += pause.seconds
                await self.clock.sleep(pause.seconds)
        finally:
            if self._is_unresolved(record, n):
                # Cancelled from outside. The record must end, or its waiters would wait for ever.
                # If its create was sent, it ends as one that may have made a task.
                self._apply(record, Interrupted(n, PROGRAM_ENDED))
            self.turns.changed.set()

    async def _try(
        self, record: Record, attempt: Attempt, request: Request, *, turn: Moment, paused: float
    ) -> Pause | None:
        """Reserve the money, write the note, send the create, and take its answer.

        The order of these steps is what keeps the money right. Do not change it.

        Args:
            record: The record.
            attempt: The attempt.
            request: What is sent.
            turn: When its turn has come. Tasks that are older cannot be its own.
            paused: Seconds that the attempt has paused so far.

        Returns:
            The pause before the next try of this attempt; ``None`` if there is none.
        """
        n, pause = attempt.n, None
        # Shielded: a cancellation from outside must not lose the id of a task that is billed. Only
        # `close` sets a deadline on this scope.
        with anyio.CancelScope(shield=True) as post:
            # The money is set aside here, in one synchronous stretch with the question whether it
            # fits. The machine asks whether the create is still wanted.
            # It is still WAITING: `turns.take` has just seen that, and nothing was awaited since.
            todo = self._apply(record, self._turn_came(record, n, turn))
            if not isinstance(todo, NoteFirst):
                self._admission.ended()
                return None
            # The token is on disk before a byte is sent. If the process dies now, the next one
            # knows that a task may exist and can look for it.
            todo = self._apply(record, await self._write_note(record, todo))
            # The write took time, so the machine has asked once more. Nothing was sent so far.
            if not isinstance(todo, Send):
                self._admission.ended()
                return None
            # No await between that answer and this line, so nothing can change in between.
            self._answers_awaited.add(post)
            try:
                pause = await self._send(record, attempt, request, paused)
            finally:
                self._answers_awaited.discard(post)
                self.turns.changed.set()  # the number of creates in flight has changed
        if post.cancelled_caught:
            # The client closed and the answer did not come in time. The request is on its way and
            # cannot be taken back, so the task may exist and its money stays in the ledger.
            self._admission.ended()
            self._apply(record, Interrupted(n, CLOSED_EARLY))
        return pause

    async def _prepare(self, record: Record, attempt: Attempt) -> Request | None:
        try:
            return await self.paid_call.prepare(record.spec or TaskSpec(), token=attempt.token)
        except CallsheetError as error:
            self._apply(record, Unpreparable(attempt.n, error))
            return None

    def _turn_came(self, record: Record, n: int, turn: Moment) -> TurnCame:
        submission = self._submissions.of(record)
        held = None if submission is None else submission.held
        refusal = self.bookkeeping.refusal(record, held=held)
        return TurnCame(n, turn, refusal)

    async def _write_note(self, record: Record, note: NoteFirst) -> NoteWritten | NoteFailed:
        try:
            written = self.bookkeeping.note_first(record, note)
            if written is not None:
                await written
        except CallsheetError as error:
            return NoteFailed(note.n, error)
        return NoteWritten(note.n)

    async def _send(
        self, record: Record, attempt: Attempt, request: Request, paused: float
    ) -> Pause | None:
        """Send the create once: the paid request. Its answer becomes an event."""
        n = attempt.n
        try:
            task_id = await self.paid_call.send(request, token=attempt.token)
        except SubmissionUncertainError as error:
            self._admission.ended()
            can_look = self.reconciler.can_look(record)
            lost = AnswerLost(n, error, can_look=can_look, stops_batch=stops_all(error))
            self._apply(record, lost)
            return None
        except CallsheetError as error:
            # Any other error means that this try made no task. `paid_call.send` makes the
            # difference, in one place.
            self._tell_admission(error)
            todo = self._apply(record, self._refused_event(record, n, error, paused))
            return todo if isinstance(todo, Pause) else None
        # Read before the id is registered: with no task pending nobody polls, and this create is
        # the only sign that the service works.
        watched = len(self.registry) > 0
        self._has_accepted = True
        owner = self.reconciler.owner_of(task_id, record)
        can_look = owner is Owner.ANOTHER and self.reconciler.can_look(record)
        self._apply(record, Answered(n, task_id, owner, can_look))
        now, unfinished = self.clock.now(), len(self.registry)
        if self._admission.accepted(now=now, unfinished=unfinished, polled=watched):
            self.lifecycle.emit(GateOpened())
        return None

    def _refused_event(
        self, record: Record, n: int, error: CallsheetError, paused: float
    ) -> Refused:
        """The event of a try that made no task, with the pause before the next one."""
        submission = self._submissions.of(record)
        attempt = None if submission is None else attempt_of(submission, n)
        tries = 1 if attempt is None else attempt.tries
        unfinished = len(self.registry)
        again = may_repeat(
            error,
            self.policy,
            tries=tries,
            paused=paused,
            has_accepted=self._has_accepted,
            unfinished=unfinished,
        )
        pause = self._pause_after(error, tries, unfinished) if again else None
        return Refused(n, error, pause, stops_batch=stops_all(error))

    def _pause_after(self, error: CallsheetError, tries: int, unfinished: int) -> float:
        """Seconds until a create waits for its turn again; the admission delays others, too."""
        asked = getattr(error, "retry_after", None)
        refused = isinstance(error, (RateLimitError, QueueFullError))
        in_a_row = self._admission.refusals if refused else tries
        seconds = pause_before(in_a_row + 1, self.policy, rng=self.rng, retry_after=asked)
        for_room = isinstance(error, QueueFullError) and unfinished > 0
        if refused and not (for_room and self._admission.probing):
            self._admission.hold(until=self.clock.now() + seconds)
        # For room the admission waits until a task of ours has ended.
        return 0.0 if for_room else seconds

    def _tell_admission(self, error: CallsheetError) -> None:
        """Tell the admission how a try ended that made no task."""
        now = self.clock.now()
        match error:
            case ConnectFailedError():
                if self._admission.failed(now=now):
                    self.lifecycle.emit(GateShut(error=error))
            case RateLimitError() | QueueFullError():
                for_room = isinstance(error, QueueFullError)
                unfinished = len(self.registry)
                self._admission.refused(for_room=for_room, now=now, unfinished=unfinished)
            case _:
                self._admission.ended()

    def _is_waiting(self, record: Record, n: int) -> bool:
        """Whether attempt *n* still waits to be sent: nothing has ended its record meanwhile."""
        submission = self._submissions.of(record)
        if submission is None or submission.state is not State.WAITING:
            return False
        return submission.attempts[-1].n == n

    def _is_unresolved(self, record: Record, n: int) -> bool:
        """Whether attempt *n* still waits, is being noted, or is in flight."""
        submission = self._submissions.of(record)
        attempt = None if submission is None else attempt_of(submission, n)
        if submission is None or attempt is None:
            return False
        waits = submission.state is State.WAITING and current_of(submission) is attempt
        return waits or attempt.fate in {Fate.NOTED, Fate.OUT}

    async def _reconcile(self) -> None:
        """Take what the looks for lost creates bring, until cancelled."""
        while True:
            # No variable here: it would keep a record in memory until the next look.
            self._take(await self.reconciler.look(self._submissions))

    def _take(self, findings: Findings) -> None:
        for doubted in findings.doubts:
            self.lifecycle.emit(doubted)
        for record, event in findings.events:
            if isinstance(event, Disowned):
                if record.settled:
                    continue  # it has got its outcome meanwhile, and that stands
                self._keep_again(record, event)
            self._apply(record, event)

    def _keep_again(self, record: Record, event: Disowned) -> None:
        """Keep the submission of an accepted record once more: its id was not its own."""
        made = self.registry.made_task(record.task_id or "")
        if made is None or self._submissions.of(record) is not None:
            return
        attempt = Attempt(
            n=event.n,
            token=made.mark,
            fate=Fate.MADE,
            sent=made.sent,
            task_id=made.task_id,
            tries=1,
        )
        accepted = Submission(state=State.ACCEPTED, attempts=(attempt,), registered=event.n)
        self._submissions.keep(record, accepted)

    # --- events go in, effects come out ------------------------------------------------------

    def _apply(self, record: Record, event: Event) -> AwaitedEffect | None:
        """Take an event to the state machine and execute its effects; return what to await.

        Nothing is awaited here, so no other event can come between the decision and its effects.
        An event of a record of which nothing more is awaited changes nothing.
        """
        try:
            told = self._submissions.apply(record, event, self._context(record))
        except UnexpectedEventError:
            # A defect of this package. Nothing was changed, and the safe thing is to send nothing.
            log.exception("an event was left out that cannot come")
            return None
        return None if told is None else self._perform_all(record, *told)

    def _context(self, record: Record) -> Context:
        group = record.group
        if isinstance(group, Group) and group.stopped:
            fatal = group.fatal_error_of(record.model)
            return attrs.evolve(self._usual, fatal=fatal)
        return self._usual

    def _perform_all(
        self, record: Record, submission: Submission, effects: tuple[Effect, ...]
    ) -> AwaitedEffect | None:
        # The facts of one step are written together, so that no crash can part them.
        facts = [each for each in effects if isinstance(each, NoteEffect)]
        if facts:
            self.bookkeeping.note(record, submission, facts)
        awaited: AwaitedEffect | None = None
        for effect in effects:
            if isinstance(effect, MoneyEffect):
                self.bookkeeping.count(record, effect)
            elif isinstance(effect, AwaitedEffect):
                awaited = effect
            elif not isinstance(effect, NoteEffect):
                self._perform(record, submission, effect)
        if isinstance(awaited, Pause):
            self.lifecycle.emit(CreatePaused(error=awaited.error, seconds=awaited.seconds))
        return awaited

    def _perform(self, record: Record, submission: Submission, effect: Effect) -> None:
        """Execute an effect that is neither money nor a note."""
        match effect:
            case StartAttempt():
                self._start(record, submission)
            case Requeue():
                self._submissions.put_first(record)
                self.turns.changed.set()
            case LeaveLine():
                self.turns.changed.set()
            case StartLook() | StopLook():
                self._look(record, submission, effect)
            case Register() | Unregister() | WatchSurplus():
                self._watch(record, submission, effect)
            case Contradict():
                found = self.reconciler.contradict(record, effect.task_id, self._submissions)
                self._take(found)
            case MarkAccepted() | StopBatch():
                self._tell_group(record, effect)
            case Settle():
                if record.settle(effect.error):
                    self.lifecycle.ended(record)
            case _:
                raise TypeError(f"{effect!r} is executed elsewhere")

    def _start(self, record: Record, submission: Submission) -> None:
        attempt = submission.attempts[-1]
        if self._workers is not None:
            self._workers.start_soon(self._attempt, record, attempt)

    def _look(self, record: Record, submission: Submission, effect: StartLook | StopLook) -> None:
        attempt = attempt_of(submission, effect.n)
        if isinstance(effect, StopLook):
            self.reconciler.stop_looking(record, effect.n)
        elif attempt is not None and attempt.error is not None:
            self.reconciler.look_for(record, attempt)
            self.lifecycle.emit(SubmissionLost(index=record.index, error=attempt.error))

    def _watch(
        self, record: Record, submission: Submission, effect: Register | Unregister | WatchSurplus
    ) -> None:
        match effect:
            case Register():
                self._register(record, submission, effect)
            case WatchSurplus():
                self._watch_surplus(record, submission, effect)
            case Unregister():
                self.poller.drop(record)
                self.bookkeeping.unwatched(record, effect.n)
                self.registry.disown(record)
                if not effect.keep_id:
                    record.lose_id()

    def _register(self, record: Record, submission: Submission, effect: Register) -> None:
        """Watch a new task: from now on it is polled, and its money is the record's."""
        first = self.registry.get(effect.task_id)
        if first is not None and first.surplus:
            # It was watched for its money alone. That is counted under the record from now on.
            self.poller.drop(first)
            self.bookkeeping.ledger.release(first)
        self.registry.adopt(record, effect.task_id, now=self.clock.now())
        self.bookkeeping.watched(record, effect.n)
        attempt = attempt_of(submission, effect.n)
        if attempt is not None:
            self.reconciler.made(record, attempt, proven=not effect.answered, listed=effect.listed)
        if record in self._unwatched:
            self._unwatched.discard(record)
            self.registry.set_aside(record)
        elif self.registry.get(effect.task_id) is record:  # if not, it was attached before
            self.poller.watch(record, fresh=True)
        self.lifecycle.emit(TaskSubmitted(task_id=effect.task_id, index=record.index))
        if not effect.answered:
            self._nudge(record)

    def _nudge(self, record: Record) -> None:
        first = self.registry.get(record.task_id or "")
        if first is not None:
            self.poller.nudge(first)

    def _watch_surplus(self, record: Record, submission: Submission, effect: WatchSurplus) -> None:
        """Watch a task that no caller waits for, until it is known whether it is billed."""
        surplus = Record(record.spec, index=record.index, model=record.model, surplus=True)
        self.bookkeeping.watched_for_money(surplus, record, effect)
        if self.registry.adopt(surplus, effect.task_id, now=self.clock.now()):
            self.poller.watch(surplus, fresh=False)
        attempt = attempt_of(submission, effect.n)
        if attempt is not None:
            self.reconciler.made(surplus, attempt, proven=False, listed=True)
        if effect.duplicate:
            self.lifecycle.emit(DuplicateTask(task_id=effect.task_id, index=record.index))

    def _tell_group(self, record: Record, effect: MarkAccepted | StopBatch) -> None:
        if not isinstance(record.group, Group):
            return
        if isinstance(effect, MarkAccepted):
            record.group.mark_accepted(record.model)
        else:
            record.group.stop(record.model, effect.error)
