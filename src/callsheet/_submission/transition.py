"""The state machine of a submission: ``(state, event) -> (state, effects)``, as one table.

Read `_IN_STATE` at the end first: it names what each event does in each state. An event that it
does not name is a defect, and then nothing is sent.

`step` decides whether a paid request leaves, and `resumed` decides for what an earlier process has
left. They know no clock, no network and no journal. What was observed comes in with the event, and
what is to be done goes out as effects. Three judgements come in with an event: that the money fits
(`Ledger.refusal`), that a refused create may be sent again (`may_repeat`), and that no task was
made (`callsheet._submission.evidence.judge`, which the reconciler asks).

The rules that keep the money right:

* Only `_note_written` sends, and only while no other attempt may have made a task, unless the
  caller has chosen ``resubmit="always"``.
* The money is set aside and the note is on disk before anything is sent.
* `_refused` and `_resend` are the only ways to one more request. The first needs a definite refusal
  of this attempt, the second a proof that it made nothing, or the policy ``"always"``. A later
  process also queues a spec whose attempts all certainly made nothing.
* What is told of an attempt later, by a list or a callback, is taken in every state, also after the
  end of its spec.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import attrs

from callsheet._state.fate import OPEN, Fate, Grade
from callsheet._submission.effects import (
    Carry,
    Confirm,
    Contradict,
    Effect,
    Hold,
    LeaveLine,
    MarkAccepted,
    MarkUncertain,
    NoteCancelled,
    NoteDisowned,
    NoteEnded,
    NoteFate,
    NoteFirst,
    Pause,
    Register,
    Release,
    Requeue,
    Reserve,
    Send,
    Settle,
    StartAttempt,
    StartLook,
    StopBatch,
    StopLook,
    Unregister,
    WatchSurplus,
)
from callsheet._submission.states import (
    COUNTED,
    WITH_ATTEMPT,
    Attempt,
    Cancelled,
    Context,
    State,
    Submission,
)
from callsheet._submission.submission_events import (
    Absent,
    Answered,
    AnswerLost,
    Called,
    Cancel,
    CannotTell,
    Close,
    Disowned,
    Event,
    Found,
    Interrupted,
    NoteFailed,
    NoteWritten,
    Owner,
    Refused,
    Resolved,
    Retracted,
    Taken,
    TurnCame,
    Unpreparable,
)
from callsheet._wire import stops_batch
from callsheet.errors import (
    APIError,
    CallsheetError,
    ConnectFailedError,
    ContentRejectedError,
    InvalidRequestError,
    JournalError,
    ModelNotFoundError,
    NotFoundError,
    NotSubmittedError,
    QueueFullError,
    RateLimitError,
    ServerError,
    SpecError,
    SubmissionUncertainError,
    TaskError,
)


if TYPE_CHECKING:
    from callsheet._models.policy import RetryPolicy


CLOSED = "the client was closed before its turn"
CLOSED_EARLY = "the client was closed before the answer came"
PROGRAM_ENDED = "the program was interrupted before the answer came"


class UnexpectedEventError(Exception):
    """An event came in a state in which it cannot come. Nothing was changed and nothing is sent."""


def step(
    submission: Submission, event: Event, context: Context
) -> tuple[Submission, tuple[Effect, ...]]:
    """The submission after an event, and what is to be done.

    The notes are written first, all in one transaction. Then the other effects are executed in
    their order. One that takes time comes last. Nothing is awaited before it.

    Raises:
        UnexpectedEventError: The event cannot come in this state.
    """
    handler = TABLE.get((submission.state, type(event)))
    if handler is None:
        name = type(event).__name__
        raise UnexpectedEventError(f"{name} in state {submission.state.value}: {submission}")
    draft = _Draft(submission, context)
    if isinstance(event, (Answered, Refused, AnswerLost, Interrupted)):
        draft.change_attempt(event.n, answer_due=False)
    handler(draft, event)
    return draft.submission, tuple(draft.effects)


def attempt_of(submission: Submission, n: int) -> Attempt | None:
    """The attempt with this number."""
    return next((each for each in submission.attempts if each.n == n), None)


def current_of(submission: Submission) -> Attempt | None:
    """The attempt that is under way."""
    return submission.attempts[-1] if submission.state in WITH_ATTEMPT else None


def first_open(submission: Submission) -> Attempt | None:
    """The oldest attempt that may have made a task, and nobody knows."""
    return next((each for each in submission.attempts if each.fate in OPEN), None)


def nothing_awaited(submission: Submission) -> bool:
    """Whether no attempt of an ended or accepted submission is open, and no answer is due."""
    return not any(each.fate in OPEN or each.answer_due for each in submission.attempts)


def may_end_now(submission: Submission) -> bool:
    """Whether a submission can end now with the certainty that no task exists for it."""
    unsent = submission.state in {State.QUEUED, State.WAITING, State.NOTING}
    return unsent and first_open(submission) is None


def not_submitted(fatal: CallsheetError) -> NotSubmittedError:
    """The error of each spec of a stopped batch that was not sent."""
    error = NotSubmittedError(f"the batch was stopped by {type(fatal).__name__}: {fatal}")
    error.__cause__ = fatal
    return error


def resumed(
    submission: Submission, context: Context, *, can_look: bool
) -> tuple[Submission, tuple[Effect, ...]]:
    """The submission of an earlier process, and how this one goes on.

    The journal says of an attempt that was noted only that it may have been sent. So it counts as
    lost, and every attempt that may have made a task is looked for, for a whole window from now.
    Nothing is sent while one is open, unless the policy is ``"always"``.

    Args:
        submission: Its attempts with the fates that the journal holds, and whether it was
            cancelled. It is accepted if a task is registered, ended if its end is known, and
            queued otherwise. The money of a registered task is counted by the caller.
        context: What is known of this client.
        can_look: Whether a list or a callback can tell of its attempts.
    """
    d = _Draft(submission, context)
    told = submission.state is not State.QUEUED
    for each in submission.attempts:
        if each.fate is Fate.MADE and each.n != submission.registered and each.task_id:
            d.do(Carry(each.n), WatchSurplus(each.n, each.task_id, told, own_money=True))
        d.do(*(WatchSurplus(each.n, task_id, duplicate=True) for task_id in each.more_ids))
    unknown = [each for each in submission.attempts if each.fate in OPEN]
    d.do(*(Carry(each.n, uncertain=True) for each in unknown))
    if not unknown and submission.cancelled and not told:
        _end(d, NotSubmittedError("cancelled before it was sent again"))
    if not unknown:
        return d.submission, tuple(d.effects)
    # The last attempt of a lost submission is the one that decides, so those that are resolved
    # come first.
    known = [each for each in submission.attempts if each.fate not in OPEN]
    lost = [attrs.evolve(each, fate=Fate.LOST, error=_earlier(each)) for each in unknown]
    d.change(attempts=(*known, *lost))
    if not told:
        d.change(state=State.LOST)
    if can_look:
        d.do(*(StartLook(each.n) for each in lost))
        return d.submission, tuple(d.effects)
    undecided = lost if told else lost[:-1]
    for each in undecided:
        d.change_attempt(each.n, fate=Fate.DOUBTED)
    if not told:
        _unknown(d, lost[-1].n, _earlier(lost[-1]))
    return d.submission, tuple(d.effects)


def _earlier(attempt: Attempt) -> SubmissionUncertainError:
    reason = "an earlier process had no answer that it could read"
    return attempt.error or SubmissionUncertainError(reason, attempt.token)


# --- what an error of a create means ---------------------------------------------------------


def may_repeat(
    error: CallsheetError,
    policy: RetryPolicy,
    *,
    tries: int,
    paused: float,
    has_accepted: bool,
    unfinished: int,
) -> bool:
    """Whether an attempt may be sent once more: only if it is certain that it made no task.

    An error after which the task may exist ends in the last case.

    Args:
        error: Why the last try brought no id.
        policy: The caller's limits.
        tries: Tries of this attempt so far, >= 1.
        paused: Seconds that it has paused so far.
        has_accepted: Whether the provider has accepted a create of this client.
        unfinished: Tasks of this client at the provider that have not ended.
    """
    match error:
        case QueueFullError():
            # Refused, so no task. While tasks of ours are pending, room comes when they end, and
            # the create waits for that without a limit of time.
            return unfinished > 0 or paused < policy.patience
        case RateLimitError():
            return paused < policy.patience
        case ConnectFailedError() if has_accepted:
            # Nothing was sent. The provider has worked before, so it may come back.
            return paused < policy.patience
        case ConnectFailedError() | ServerError():
            # Never connected, so nothing was sent. A ServerError that comes here has a 4xx status
            # other than 408: the request was refused before a task was made. See `PaidCall.send`.
            return tries < policy.attempts
        case _:
            # SubmissionUncertainError is among these: the task may exist, so nothing is sent.
            return False


def stops_all(error: CallsheetError) -> bool:
    """Whether no other create of the batch can succeed after this error.

    A page at a wrong address makes a submission uncertain, and must still stop its batch. So the
    cause of an uncertain submission is asked, too.
    """
    if isinstance(error, (ConnectFailedError, JournalError)):
        return True
    cause = error.__cause__
    lost = isinstance(error, SubmissionUncertainError) and isinstance(cause, CallsheetError)
    judged = cause if lost else error
    return isinstance(judged, APIError) and stops_batch(judged)  # the rest is no answer


def is_final(error: CallsheetError) -> bool:
    """Whether a second attempt would end the same way; otherwise the row stays open.

    An error about the key, the balance, the model or the quota is not final: the caller can
    change that, and then the same spec may succeed.
    """
    judged = (TaskError, SpecError, InvalidRequestError, ContentRejectedError, NotFoundError)
    ours = isinstance(error, ModelNotFoundError) or stops_batch(error)
    return isinstance(error, judged) and not ours


def judges_spec(error: CallsheetError) -> bool:
    """Whether the provider has judged the spec itself: each attempt at it meets the same end."""
    # A SpecError comes from this client. It says nothing about what an earlier attempt has made.
    return is_final(error) and not isinstance(error, SpecError)


# --- the submission while an event changes it -------------------------------------------------


@attrs.define(eq=False)
class _Draft:
    """A submission that is being changed by one event, and the effects so far."""

    submission: Submission
    context: Context
    effects: list[Effect] = attrs.field(factory=list[Effect], init=False)

    def do(self, *effects: Effect) -> None:
        self.effects.extend(effects)

    def change(self, **changes: Any) -> None:
        # As `attrs.evolve`, which finds out anew each time which fields there are. A create has
        # twelve changes.
        before = zip(_SUBMISSION_FIELDS, _SUBMISSION_VALUES(self.submission), strict=True)
        self.submission = Submission(**{**dict(before), **changes})

    def change_attempt(self, n: int, **changes: Any) -> None:
        attempts = self.submission.attempts
        self.change(attempts=tuple([_changed(a, changes) if a.n == n else a for a in attempts]))

    def attempt(self, n: int) -> Attempt:
        attempt = attempt_of(self.submission, n)
        if attempt is None:
            raise UnexpectedEventError(f"no attempt {n} in {self.submission}")
        return attempt

    def is_current(self, n: int) -> bool:
        current = current_of(self.submission)
        return current is not None and current.n == n


_SUBMISSION_FIELDS = tuple(field.name for field in attrs.fields(Submission))
_SUBMISSION_VALUES = attrgetter(*_SUBMISSION_FIELDS)
_ATTEMPT_FIELDS = tuple(field.name for field in attrs.fields(Attempt))
_ATTEMPT_VALUES = attrgetter(*_ATTEMPT_FIELDS)


def _changed(attempt: Attempt, changes: dict[str, Any]) -> Attempt:
    before = zip(_ATTEMPT_FIELDS, _ATTEMPT_VALUES(attempt), strict=True)
    return Attempt(**{**dict(before), **changes})


# --- what several events lead to -------------------------------------------------------------


def _accept(
    d: _Draft, n: int, task_ids: tuple[str, ...], *, answered: bool = False, listed: bool = False
) -> None:
    """Watch the task of attempt *n* for the caller. Nothing more is sent for the spec.

    Other attempts that may have made a task stay open: they are looked for to their own deadline.
    """
    first, *others = task_ids
    _take_money(d, n, first)
    _free_held(d)
    _leave_unsent(d, but=n)
    if d.attempt(n).fate is Fate.LOST:
        d.do(StopLook(n))
    _note_wrong_ids(d, but=task_ids)
    d.change_attempt(n, fate=Fate.MADE, task_id=first, heard=None, listed=listed)
    d.change(state=State.ACCEPTED, registered=n)
    d.do(NoteFate(n), LeaveLine(), MarkAccepted(), Register(n, first, answered, listed))
    _surplus(d, n, *others)
    for other in d.submission.attempts:
        # A callback has told of its task while its answer was awaited: nothing unsays that.
        if other.fate is Fate.OUT and other.heard is not None:
            _made_late(d, other.n, (other.heard,))


def _note_wrong_ids(d: _Draft, *, but: tuple[str, ...] = ()) -> None:
    """Note which ids were not those of the spec's tasks.

    This is noted only now. Until it is known what the spec has made, a later process asks about
    such an id again. After that it would go by the wrong one of two ids.
    """
    for each in d.submission.attempts:
        if each.wrong_id is not None:
            if each.wrong_id not in but:
                d.do(NoteDisowned(each.n, each.wrong_id))
            d.change_attempt(each.n, wrong_id=None)


def _take_money(d: _Draft, n: int, task_id: str) -> None:
    """Make sure that the task of attempt *n*, which exists, is counted once."""
    if d.attempt(n).fate is Fate.ABSENT:
        d.do(Contradict(task_id))  # no absence is believed any more until that list is right
    if d.attempt(n).fate in COUNTED:
        d.do(Confirm(n))
    elif d.submission.held == n:
        d.change(held=None)
    else:
        # Its money was freed, since it seemed to have made nothing. The task is billed all the
        # same, so it is counted even if that passes the cap.
        d.do(Carry(n))


def _free_held(d: _Draft) -> None:
    """Free the money that is kept for a further try: it will not come."""
    if d.submission.held is not None:
        d.do(Release(d.submission.held))
        d.change(held=None)


def _leave_unsent(d: _Draft, *, but: int | None = None) -> None:
    """Take back a current attempt that has not left: it never will."""
    current = current_of(d.submission)
    if current is None or current.n == but:
        return
    if current.fate is Fate.READY:
        # Its token is in no note and in no request, so nothing is lost with it.
        d.change(attempts=d.submission.attempts[:-1])
    elif current.fate is Fate.NOTED:
        d.change_attempt(current.n, fate=Fate.REFUSED)
        d.do(Release(current.n), NoteFate(current.n))


def _end(d: _Draft, error: CallsheetError) -> None:
    """End the spec without a task of its own.

    While an attempt may have made a task it never ends as "nothing was made": whoever reads that
    sends the spec again. The money of such attempts stays.
    """
    _leave_unsent(d)
    _free_held(d)
    doubt = first_open(d.submission)
    # A verdict of the provider about the spec itself stays: no attempt can do better. `NoteEnded`
    # stops later sends, and the open attempt is looked for all the same.
    if doubt is not None and not judges_spec(error):
        error = _uncertain(doubt, error)
    cancelled = d.submission.cancelled and isinstance(error, NotSubmittedError)
    if cancelled or is_final(error):
        d.do(NoteEnded(error))
    d.change(state=State.ENDED)
    d.do(LeaveLine(), Settle(error))


def _uncertain(doubt: Attempt, error: CallsheetError) -> SubmissionUncertainError:
    """The end of a spec whose attempt *doubt* may have made a task."""
    if isinstance(error, SubmissionUncertainError):
        if error.token == doubt.token:
            return error
        reason = error.reason
    else:
        first = "an answer was lost" if doubt.error is None else doubt.error.reason
        reason = f"{first}; sent again: {error}"
    return SubmissionUncertainError(reason, doubt.token)


def _resend(d: _Draft, n: int, error: CallsheetError) -> None:
    """Queue the spec once more, or end it with *error*.

    This is the only way from a lost answer to a further attempt. Attempt *n* is proven to have made
    nothing, or a person has said so, or it is in doubt and the policy is ``"always"``.
    """
    refusal = _why_not_again(d, error)
    absent = d.attempt(n).fate is Fate.ABSENT
    if refusal is not None:
        if absent:
            d.do(Release(n))
        _end(d, refusal)
        return
    if absent:
        # The next attempt takes its money over, so that nobody else gets its place under the cap.
        d.do(Hold(n))
        d.change(held=n)
    d.change(state=State.QUEUED)
    d.do(Requeue())


def _why_not_again(d: _Draft, error: CallsheetError) -> CallsheetError | None:
    """The end of a spec that may not be sent again; ``None`` if it may."""
    s, context = d.submission, d.context
    if context.closed:
        return NotSubmittedError(CLOSED)
    if s.cancelled:
        return NotSubmittedError("withdrawn; its create made nothing")
    if first_open(s) is not None and context.policy.resubmit != "always":
        # Another attempt may have made a task: one more could be a second one, and paid.
        return error
    not_refused = [each for each in s.attempts if each.fate not in {Fate.READY, Fate.REFUSED}]
    if len(not_refused) >= context.policy.attempts:
        return error
    return None if context.fatal is None else not_submitted(context.fatal)


def _unknown(d: _Draft, n: int, error: SubmissionUncertainError) -> None:
    """Nobody can tell whether attempt *n* made a task.

    It is sent again only under the policy ``"always"``, which the caller chose knowing that a spec
    may then be paid twice.
    """
    d.change_attempt(n, fate=Fate.DOUBTED, error=error)
    d.do(MarkUncertain(n), NoteFate(n))
    s, context = d.submission, d.context
    if context.policy.resubmit == "always" and not s.cancelled and not context.closed:
        _resend(d, n, error)
    else:
        _end(d, error)


# --- the events, in the order of a submission's life -----------------------------------------


def _taken(d: _Draft, event: Taken) -> None:
    refusal = _why_not_now(d)
    if refusal is not None:
        _end(d, refusal)
        return
    n = 1 + max((each.n for each in d.submission.attempts), default=0)
    attempt = Attempt(n=n, token=event.token)
    d.change(state=State.WAITING, attempts=(*d.submission.attempts, attempt))
    d.do(StartAttempt(n))


def _unpreparable(d: _Draft, event: Unpreparable) -> None:
    _end(d, event.error)


def _turn_came(d: _Draft, event: TurnCame) -> None:
    refusal = _why_not_now(d) or event.refusal
    if refusal is not None:
        _end(d, refusal)
        return
    attempt = d.attempt(event.n)
    # The money is set aside first: no task may be made that the cap does not cover. Then the note:
    # if the process dies after it, the next one knows that a task may exist and can look for it.
    tries = attempt.tries + 1
    d.change_attempt(event.n, fate=Fate.NOTED, sent=event.at, tries=tries)
    d.do(Reserve(event.n, d.submission.held), NoteFirst(event.n, attempt.token, tries))
    d.change(state=State.NOTING, held=None)


def _note_written(d: _Draft, event: NoteWritten) -> None:
    """Send. The writing took time, so it is asked once more whether the create may leave."""
    refusal = _why_not_now(d)
    if refusal is not None:
        _end(d, refusal)
        return
    d.change_attempt(event.n, fate=Fate.OUT, answer_due=True)
    d.change(state=State.IN_FLIGHT)
    d.do(Send(event.n))  # The paid request: no other line emits `Send`.


def _why_not_now(d: _Draft) -> CallsheetError | None:
    """Why a create may not leave now, though nothing of it was sent; ``None`` if it may.

    That the spec was cancelled is not asked here: a cancel ends an unsent spec at once.
    """
    if d.context.fatal is not None:
        # Every create of a stopped batch would fail in the same way.
        return not_submitted(d.context.fatal)
    if d.context.closed:
        return NotSubmittedError(CLOSED)
    doubt = first_open(d.submission)
    if doubt is not None and d.context.policy.resubmit != "always":
        # An absence was taken back meanwhile: one more task could be a second one, and paid.
        return doubt.error or SubmissionUncertainError("its list was contradicted", doubt.token)
    return None


def _note_failed(d: _Draft, event: NoteFailed) -> None:
    """Nothing was sent, and without a journal nothing else of the batch can be sent."""
    d.change_attempt(event.n, fate=Fate.REFUSED)
    d.do(Release(event.n), StopBatch(event.error))
    _end(d, event.error)


def _answered(d: _Draft, event: Answered) -> None:
    attempt = d.attempt(event.n)
    another = event.owner is Owner.ANOTHER or _is_of_other_attempt(d, event.n, event.task_id)
    if another and attempt.heard in {None, event.task_id}:
        # One id for two creates: nobody knows which task this one has made. So the answer is as
        # good as lost, and the list is asked for its token.
        error = _given_twice(attempt, event.task_id)
        _answer_lost(d, AnswerLost(event.n, error, can_look=event.can_look))
        return
    if not d.is_current(event.n):
        if attempt.fate is Fate.OUT and d.submission.state not in {State.ACCEPTED, State.ENDED}:
            # The id that the spec had was not that of its task. This one takes its place.
            _accept(d, event.n, (event.task_id,), answered=True)
        elif attempt.fate is Fate.OUT:
            _made_late(d, event.n, (event.task_id,))
        else:
            _surplus(d, event.n, event.task_id)
        return
    if attempt.heard is not None and attempt.heard != event.task_id:
        # The callback carried our token, which is a secret of this request. The answer carried
        # nothing of ours. So the callback is believed.
        _accept(d, event.n, (attempt.heard,))
        if not another:  # a refused try, or a gateway, has made the other task, and it is billed
            _surplus(d, event.n, event.task_id)
        return
    _accept(d, event.n, (event.task_id,), answered=True)


def _refused(d: _Draft, event: Refused) -> None:
    """This try made no task: it is certain, so the same attempt may be sent once more."""
    if d.attempt(event.n).fate is not Fate.OUT:
        return  # its task is known: this answer is that of a proxy
    if not d.is_current(event.n):
        d.change_attempt(event.n, fate=Fate.REFUSED)
        d.do(Release(event.n), NoteFate(event.n))
        return
    heard = d.attempt(event.n).heard
    if heard is not None:  # a callback knows better: a task was made
        _accept(d, event.n, (heard,))
        return
    d.change_attempt(event.n, fate=Fate.REFUSED)
    again = event.pause is not None and not d.submission.cancelled and not d.context.closed
    if again and event.pause is not None:
        # The money stays, so that nobody else takes its place under the cap meanwhile.
        d.change(state=State.WAITING, held=event.n)
        d.do(Hold(event.n), NoteFate(event.n), Pause(event.error, event.pause))
        return
    d.do(Release(event.n), NoteFate(event.n))
    if d.submission.cancelled and event.error.transient:
        _end(d, NotSubmittedError("withdrawn; its create made nothing"))
        return
    if event.stops_batch:
        d.do(StopBatch(event.error))
    _end(d, event.error)


def _answer_lost(d: _Draft, event: AnswerLost) -> None:
    """The task may exist. It is looked for; nothing is sent."""
    if d.attempt(event.n).fate is not Fate.OUT:
        return  # its task is known, so the answer is not missed
    heard = d.attempt(event.n).heard
    current = d.is_current(event.n)
    if current and heard is not None:  # a callback took the place of the answer
        _accept(d, event.n, (heard,))
        return
    look = event.can_look and not d.context.closed and not event.stops_batch
    d.do(MarkUncertain(event.n))
    if event.stops_batch:
        d.do(StopBatch(event.error))
    if look:
        d.change_attempt(event.n, fate=Fate.LOST, error=event.error)
        if current:
            d.change(state=State.LOST)
        d.do(StartLook(event.n))
    elif not current:
        d.change_attempt(event.n, fate=Fate.DOUBTED, error=event.error)
        d.do(NoteFate(event.n))
    elif event.stops_batch or d.context.closed:
        # Not noted as in doubt: a later process, at the right address, can look for it.
        d.change_attempt(event.n, fate=Fate.DOUBTED, error=event.error)
        _end(d, event.error)
    else:
        _unknown(d, event.n, event.error)


def _interrupted(d: _Draft, event: Interrupted) -> None:
    """The program ends before the answer. The task may exist; the next process looks for it."""
    attempt = attempt_of(d.submission, event.n)
    # An attempt that never left is forgotten when its spec ends; its worker may be stopped later.
    if attempt is None or attempt.fate is not Fate.OUT:  # nothing was sent
        if d.is_current(event.n):
            _end(d, NotSubmittedError(CLOSED))
        return
    if d.is_current(event.n) and attempt.heard is not None:
        _accept(d, event.n, (attempt.heard,))
        return
    error = SubmissionUncertainError(event.reason, attempt.token)
    current = d.is_current(event.n)
    d.change_attempt(event.n, fate=Fate.DOUBTED, error=error)
    d.do(MarkUncertain(event.n))
    if current:
        _end(d, error)


def _found(d: _Draft, event: Found) -> None:
    """A list shows the token: the task exists, whatever was believed before."""
    _shown(d, event.n, event.task_ids, event.owner, listed=True)


def _called(d: _Draft, event: Called) -> None:
    """A callback names the token: the task exists, whatever was believed before."""
    attempt = d.attempt(event.n)
    if not (d.submission.state is State.IN_FLIGHT and d.is_current(event.n)):
        _shown(d, event.n, (event.task_id,), event.owner)
    elif event.owner is Owner.ANOTHER:
        pass  # that task is another spec's own; the answer decides
    elif attempt.heard is None:
        # Its answer is still to come, and brings the same id. If it is lost, this one is used.
        d.change_attempt(event.n, heard=event.task_id)
    elif attempt.heard != event.task_id:
        _surplus(d, event.n, event.task_id)


def _shown(
    d: _Draft, n: int, task_ids: tuple[str, ...], owner: Owner, *, listed: bool = False
) -> None:
    if owner is Owner.NOBODY and d.attempt(n).fate is Fate.MADE:
        _surplus(d, n, *task_ids)  # it is watched already, beside a task whose id was wrong
    elif owner is Owner.NOBODY:
        _accept(d, n, task_ids, listed=listed)
    elif d.submission.state is State.LOST and d.is_current(n):
        if d.attempt(n).disowned is not None:
            _end_disowned(d, n)
            return
        d.do(StopLook(n))
        _unknown(d, n, _given_twice(d.attempt(n), task_ids[0]))


def _is_of_other_attempt(d: _Draft, n: int, task_id: str) -> bool:
    """Whether the id is that of a task that another attempt of the spec has made."""
    others = (each for each in d.submission.attempts if each.n != n)
    return any(task_id in {each.task_id, *each.more_ids} for each in others)


def _given_twice(attempt: Attempt, task_id: str) -> SubmissionUncertainError:
    """The id is that of another spec's task. So nobody knows which task the attempt has made."""
    reason = f"the provider gave the id {task_id} to two tasks"
    return SubmissionUncertainError(reason, attempt.token)


def _shown_late(d: _Draft, event: Found | Called) -> None:
    """The task of an attempt is shown after its spec got a task or an end."""
    ids = event.task_ids if isinstance(event, Found) else (event.task_id,)
    if event.owner is Owner.ANOTHER or _is_of_other_attempt(d, event.n, ids[0]):
        return  # that task is counted under its own spec, and this attempt stays as it is
    attempt = d.attempt(event.n)
    if attempt.fate is Fate.MADE:
        _surplus(d, event.n, *ids)
        return
    _made_late(d, event.n, ids)


def _made_late(d: _Draft, n: int, task_ids: tuple[str, ...]) -> None:
    """Count a task that no caller waits for, and watch it for its money."""
    first, *others = task_ids
    duplicate = any(each.fate is Fate.MADE for each in d.submission.attempts)
    _take_money(d, n, first)
    if d.attempt(n).fate is Fate.LOST:
        d.do(StopLook(n))
    _note_wrong_ids(d, but=task_ids)
    d.change_attempt(n, fate=Fate.MADE, task_id=first, heard=None)
    d.do(NoteFate(n), WatchSurplus(n, first, duplicate, own_money=True))
    _surplus(d, n, *others)


def _surplus(d: _Draft, n: int, *task_ids: str) -> None:
    """Count further tasks of attempt *n*, each once.

    A gateway may repeat a POST, so one token may have made several tasks. All are billed.
    """
    for task_id in task_ids:
        attempt = d.attempt(n)
        if task_id != attempt.task_id and task_id not in attempt.more_ids:
            d.change_attempt(n, more_ids=(*attempt.more_ids, task_id))
            d.do(WatchSurplus(n, task_id, duplicate=True))


def _absent(d: _Draft, event: Absent) -> None:
    """It is proven that attempt *n* made nothing: the only ground that this client finds itself.

    A person may say so (`_resolved`), and the policy ``"always"`` needs no ground.
    """
    attempt = d.attempt(event.n)
    if attempt.fate not in {Fate.LOST, Fate.DOUBTED}:
        return  # it is known better by now, or its answer is still to come
    if attempt.disowned is not None:
        _end_disowned(d, event.n)
        return
    if not (d.submission.state is State.LOST and d.is_current(event.n)):
        # The spec goes its own way. Only the money and the note of this attempt change.
        d.change_attempt(event.n, fate=Fate.ABSENT, grade=event.grade)
        d.do(Release(event.n), NoteFate(event.n))
        return
    if d.context.policy.resubmit == "never" and not d.submission.cancelled:
        # The caller wants to decide about a second create. So it ends as uncertain, its money
        # stays, and nothing is noted: a later process looks again.
        d.do(StopLook(event.n))
        error = attempt.error or SubmissionUncertainError("its answer was lost", attempt.token)
        _end(d, error)
        return
    d.change_attempt(event.n, fate=Fate.ABSENT, grade=event.grade)
    d.do(NoteFate(event.n))
    nothing = NotSubmittedError("each of its creates was lost, and made nothing")
    nothing.__cause__ = attempt.error
    _resend(d, event.n, nothing)


def _cannot_tell(d: _Draft, event: CannotTell) -> None:
    if d.attempt(event.n).fate is not Fate.LOST:
        return  # it is known better by now
    if d.attempt(event.n).disowned is not None:
        _end_disowned(d, event.n)
        return
    if d.submission.state is State.LOST and d.is_current(event.n):
        _unknown(d, event.n, event.error)
        return
    d.change_attempt(event.n, fate=Fate.DOUBTED, error=event.error)
    d.do(NoteFate(event.n))


def _disowned(d: _Draft, event: Disowned) -> None:
    """Look for the task by its token. The spec has no id until it is found."""
    attempt = d.attempt(event.n)
    s = d.submission
    if s.state is not State.ACCEPTED or s.registered != event.n or attempt.task_id is None:
        return  # it is looked for already, or it goes by another id by now
    others = (each for each in d.submission.attempts if each.n != event.n)
    # The last attempt of a lost submission is the one that decides.
    d.change(state=State.LOST, registered=None, attempts=(*others, attempt))
    error = SubmissionUncertainError(str(event.error), attempt.token)
    wrong = {"task_id": None, "wrong_id": attempt.task_id, "disowned": event.error}
    d.change_attempt(event.n, fate=Fate.LOST, error=error, **wrong)
    keep_id = not isinstance(event.error, SubmissionUncertainError)
    d.do(Unregister(event.n, keep_id), MarkUncertain(event.n), StartLook(event.n))


def _end_disowned(d: _Draft, n: int) -> None:
    """No list shows the task. Its create was answered, so it is not sent again."""
    attempt = d.attempt(n)
    current = d.is_current(n) and d.submission.state is State.LOST
    d.change_attempt(n, fate=Fate.DOUBTED)
    d.do(StopLook(n))
    if current and attempt.disowned is not None:
        _end(d, attempt.disowned)


def _retracted(d: _Draft, event: Retracted) -> None:
    """The list was wrong: attempt *n* may have made a task after all."""
    if d.attempt(event.n).fate is not Fate.ABSENT:
        return
    d.change_attempt(event.n, fate=Fate.DOUBTED)
    if d.submission.held == event.n:
        d.change(held=None)
        d.do(MarkUncertain(event.n))
    else:
        d.do(Carry(event.n, uncertain=True))
    d.do(NoteFate(event.n))


def _resolved(d: _Draft, event: Resolved) -> None:
    """A person has seen on the account's pages what became of attempt *n*.

    An id is as good as one that a list shows. That nothing was made is final, and the spec may be
    sent again, whatever the policy is: the caller has decided.
    """
    attempt = d.attempt(event.n)
    if attempt.fate not in {Fate.LOST, Fate.DOUBTED, Fate.ABSENT, Fate.MADE}:
        return  # its answer is still to come, or it was refused
    if event.task_id is not None:
        if d.submission.state in {State.ACCEPTED, State.ENDED}:
            _shown_late(d, Found(event.n, (event.task_id,)))
        else:
            _shown(d, event.n, (event.task_id,), Owner.NOBODY)
        note, by_hand = NoteFate(event.n), NoteFate(event.n, by_hand=True)
        d.effects = [by_hand if each == note else each for each in d.effects]
        return
    if attempt.fate in {Fate.ABSENT, Fate.MADE}:
        return  # an id weighs more than that nobody has found one
    if attempt.fate is Fate.LOST:
        d.do(StopLook(event.n))
    _note_wrong_ids(d)
    d.change_attempt(event.n, fate=Fate.ABSENT, grade=Grade.WITNESSED)
    d.do(NoteFate(event.n, by_hand=True))
    if d.submission.state is State.LOST and d.is_current(event.n):
        nothing = NotSubmittedError("its create made nothing, as was said by hand")
        nothing.__cause__ = attempt.error
        _resend(d, event.n, nothing)
    else:
        d.do(Release(event.n))


def _cancelled_unsent(d: _Draft, event: Cancel) -> None:
    """Nothing of the current attempt has left, so the spec ends at once."""
    _remember_cancel(d, event)
    _end(d, NotSubmittedError(event.why))


def _cancelled_sent(d: _Draft, event: Cancel) -> None:
    """A task may exist. Only its id allows to cancel it, so its answer is awaited."""
    _remember_cancel(d, event)


def _remember_cancel(d: _Draft, event: Cancel) -> None:
    if event.scope is Cancelled.FOR_GOOD and d.submission.cancelled is not Cancelled.FOR_GOOD:
        d.do(NoteCancelled())
    d.change(cancelled=max(event.scope, d.submission.cancelled))


def _closed_unsent(d: _Draft, _: Close) -> None:
    _end(d, NotSubmittedError(CLOSED))


def _closed_lost(d: _Draft, _: Close) -> None:
    """Nobody knows yet whether it made a task. The note stays, so a later process can look."""
    current = current_of(d.submission)
    if current is not None:
        d.do(StopLook(current.n))
        _end(d, current.error or SubmissionUncertainError(CLOSED_EARLY, current.token))


def _nothing(_: _Draft, __: Event) -> None:
    """Nothing is to be done."""


_Handler = Callable[[_Draft, Any], None]

_IN_ANY: dict[type, _Handler] = {
    # What is told of an attempt by its own worker, a list or a callback, in any state.
    Answered: _answered,
    Refused: _refused,
    AnswerLost: _answer_lost,
    Interrupted: _interrupted,
    Absent: _absent,
    CannotTell: _cannot_tell,
    Retracted: _retracted,
    Resolved: _resolved,
}

_IN_STATE: dict[State, dict[type, _Handler]] = {
    State.QUEUED: {
        Taken: _taken,
        Found: _found,
        Called: _called,
        Cancel: _cancelled_unsent,
        Close: _closed_unsent,
    },
    State.WAITING: {
        Unpreparable: _unpreparable,
        TurnCame: _turn_came,
        Found: _found,
        Called: _called,
        Cancel: _cancelled_unsent,
        Close: _closed_unsent,
    },
    State.NOTING: {
        NoteWritten: _note_written,
        NoteFailed: _note_failed,
        Found: _found,
        Called: _called,
        Cancel: _cancelled_unsent,
        Close: _nothing,  # the write ends soon, and then nothing is sent
    },
    State.IN_FLIGHT: {
        Found: _found,
        Called: _called,
        Cancel: _cancelled_sent,
        Close: _nothing,  # the answer has a few seconds left
    },
    State.LOST: {
        Found: _found,
        Called: _called,
        Disowned: _disowned,  # told twice
        Cancel: _cancelled_sent,
        Close: _closed_lost,
    },
    State.ACCEPTED: {
        Unpreparable: _nothing,
        NoteWritten: _nothing,  # its id came meanwhile, so it does not leave
        NoteFailed: _nothing,
        Found: _shown_late,
        Called: _shown_late,
        Disowned: _disowned,
        Cancel: _nothing,  # the provider is asked
        Close: _nothing,
    },
    State.ENDED: {
        Unpreparable: _nothing,
        NoteWritten: _nothing,  # it ended meanwhile, so it does not leave
        NoteFailed: _nothing,
        Found: _shown_late,
        Called: _shown_late,
        Disowned: _disowned,  # told twice
        Cancel: _cancelled_sent,  # a later process does not send it, whatever it finds
        Close: _nothing,
    },
}

TABLE: dict[tuple[State, type], _Handler] = {
    (state, event): handler
    for state, row in _IN_STATE.items()
    for event, handler in {**_IN_ANY, **row}.items()
}
"""State and event, and what happens. Read it together with the functions above."""
