"""The rules of a submission, one example for each: what happened, and what is done about it."""

from __future__ import annotations

import pytest

from callsheet._models.policy import RetryPolicy
from callsheet._state.fate import Fate, Grade
from callsheet._state.moment import Moment
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
from callsheet._submission.states import Cancelled, Context, State, Submission
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
from callsheet._submission.transition import UnexpectedEventError, step
from callsheet.errors import (
    JournalError,
    NotFoundError,
    NotSubmittedError,
    SpendLimitError,
    SubmissionUncertainError,
)
from making import BAD_REQUEST, BUSY, UNWRITABLE, WRONG_KEY


AT = Moment(1.0, 1.0)
NO_ANSWER = SubmissionUncertainError("no answer", "one")
NOT_LISTED = SubmissionUncertainError("not in the list", "one")
FULL = SpendLimitError("full")
NO_DISK = JournalError("no disk")

TAKEN = (Taken("one"),)
NOTING = (*TAKEN, TurnCame(1, AT))
SENT = (*NOTING, NoteWritten(1))
BUSY_NOW = (*SENT, Refused(1, BUSY, pause=1.0))
LOST = (*SENT, AnswerLost(1, NO_ANSWER, can_look=True))
DOUBTED = (*LOST, CannotTell(1, NOT_LISTED))
ABSENT = (*LOST, Absent(1))
AGAIN = (Taken("two"), TurnCame(2, AT))
SENT_AGAIN = (*AGAIN, NoteWritten(2))
CANCEL = Cancel(Cancelled.FOR_GOOD, "unwanted")


def play(
    *events: Event, resubmit: str = "if-absent", attempts: int = 3, **context: object
) -> tuple[Submission, tuple[Effect, ...]]:
    """A submission after these events, and what is done about the last one.

    The context is that of the last event: the client may have closed just before it.
    """
    policy = RetryPolicy(resubmit=resubmit, attempts=attempts)
    submission = Submission()
    for event in events[:-1]:
        submission, _ = step(submission, event, Context(policy=policy))
    return step(submission, events[-1], Context(policy=policy, **context))


def fates(submission: Submission) -> list[Fate]:
    """The fate of each attempt, the oldest first."""
    return [each.fate for each in submission.attempts]


def end_of(effects: tuple[Effect, ...]) -> Exception:
    """The outcome that the spec is given."""
    (end,) = [each.error for each in effects if isinstance(each, Settle)]
    return end


# --- before anything is sent -----------------------------------------------------------------


def test_money_and_note_come_before_the_request():
    """The money is set aside, then the note is written, and only then the request leaves."""
    _, effects = play(*NOTING)
    assert effects == (Reserve(1), NoteFirst(1, "one", 1))
    s, effects = play(*SENT)
    assert effects == (Send(1),)
    assert s.state is State.IN_FLIGHT


@pytest.mark.parametrize("events", [TAKEN, NOTING, SENT])
def test_nothing_of_a_stopped_batch_is_sent(events):
    """A batch that is stopped sends nothing more, however far the spec has come."""
    s, effects = play(*events, fatal=WRONG_KEY)
    assert s.state is State.ENDED
    assert isinstance(end_of(effects), NotSubmittedError)
    assert end_of(effects).__cause__ is WRONG_KEY
    assert not {type(each) for each in effects} & {StartAttempt, Reserve, Send}


@pytest.mark.parametrize("events", [TAKEN, NOTING, SENT])
def test_nothing_is_sent_while_the_client_closes(events):
    """A client that closes sends nothing more, however far the spec has come."""
    s, effects = play(*events, closed=True)
    assert s.state is State.ENDED
    assert isinstance(end_of(effects), NotSubmittedError)
    assert not {type(each) for each in effects} & {StartAttempt, Reserve, Send}


@pytest.mark.parametrize("events", [(), TAKEN])
def test_a_cancelled_spec_that_was_not_sent_ends_at_once(events):
    """A spec that is cancelled in the queue or in line ends without a wait."""
    s, effects = play(*events, CANCEL)
    assert s.state is State.ENDED
    assert effects[0] == NoteCancelled()
    assert isinstance(end_of(effects), NotSubmittedError)
    assert NoteEnded(end_of(effects)) in effects


def test_a_cancel_during_the_note_takes_the_attempt_back():
    """A cancel while the note is written frees the money, and nothing is sent after it."""
    s, effects = play(*NOTING, CANCEL)
    assert fates(s) == [Fate.REFUSED]
    assert {Release(1), NoteFate(1)} <= set(effects)
    assert isinstance(end_of(effects), NotSubmittedError)
    assert play(*NOTING, CANCEL, NoteWritten(1))[1] == ()


def test_a_cancel_for_here_is_not_noted_as_one_for_good():
    """Only a cancel for good is noted as such."""
    _, effects = play(*TAKEN, Cancel(Cancelled.HERE, "unwanted"))
    assert NoteCancelled() not in effects


@pytest.mark.parametrize("events", [(), TAKEN])
def test_a_close_ends_what_was_not_sent(events):
    """A spec that was not sent when the client closes ends as not submitted."""
    s, effects = play(*events, Close(), closed=True)
    assert s.state is State.ENDED
    assert isinstance(end_of(effects), NotSubmittedError)
    assert not any(isinstance(each, NoteEnded) for each in effects)


def test_a_spec_that_cannot_be_written_ends():
    """A request that cannot be written ends its spec with that error."""
    _, effects = play(*TAKEN, Unpreparable(1, UNWRITABLE))
    assert end_of(effects) is UNWRITABLE


def test_a_spec_that_does_not_fit_the_limit_ends():
    """A task that the spend limit does not allow is not sent."""
    s, effects = play(*TAKEN, TurnCame(1, AT, FULL))
    assert effects == (LeaveLine(), Settle(FULL))
    assert s.attempts == ()


def test_nothing_is_sent_without_a_note():
    """A note that cannot be written ends the spec, frees its money and stops the batch."""
    _, effects = play(*NOTING, NoteFailed(1, NO_DISK))
    assert effects == (Release(1), StopBatch(NO_DISK), LeaveLine(), Settle(NO_DISK))


# --- the answer --------------------------------------------------------------------------------


def test_an_answer_brings_the_task():
    """The id of the answer is noted and watched, and the rest of the batch may go."""
    s, effects = play(*SENT, Answered(1, "a"))
    assert s.state is State.ACCEPTED
    assert fates(s) == [Fate.MADE]
    assert effects == (
        Confirm(1),
        NoteFate(1),
        LeaveLine(),
        MarkAccepted(),
        Register(1, "a", answered=True),
    )


def test_an_answer_with_the_id_of_another_spec_leaves_a_doubt():
    """An answer with the id of another spec's task does not tell which task was made."""
    s, effects = play(*SENT, Answered(1, "a", Owner.ANOTHER, can_look=True))
    assert fates(s) == [Fate.LOST]
    assert effects == (MarkUncertain(1), StartLook(1))
    s, effects = play(*SENT, Answered(1, "a", Owner.ANOTHER))
    assert fates(s) == [Fate.DOUBTED]
    assert MarkUncertain(1) in effects
    end = end_of(effects)
    assert isinstance(end, SubmissionUncertainError)
    assert end.token == "one"


def test_a_late_answer_with_the_id_of_another_spec_leaves_a_doubt():
    """Such an answer to a second create leaves that one in doubt beside the task of the first."""
    events = (*DOUBTED, *SENT_AGAIN, Called(1, "a"), Answered(2, "b", Owner.ANOTHER))
    s, effects = play(*events, resubmit="always")
    assert fates(s) == [Fate.MADE, Fate.DOUBTED]
    assert effects == (MarkUncertain(2), NoteFate(2))


def test_a_callback_is_believed_before_the_answer():
    """A callback carries our token, so its id wins. The other task is billed, so it is watched."""
    for events in (SENT, (*BUSY_NOW, TurnCame(1, AT), NoteWritten(1))):
        s, effects = play(*events, Called(1, "a"), Answered(1, "b"))
        assert s.attempts[0].task_id == "a"
        assert effects[-1] == WatchSurplus(1, "b", duplicate=True)


def test_after_a_refusal_the_same_attempt_is_sent_again():
    """A refused attempt waits with its money, and is then noted and sent once more."""
    s, effects = play(*BUSY_NOW)
    assert s.state is State.WAITING
    assert effects == (Hold(1), NoteFate(1), Pause(BUSY, 1.0))
    s, effects = play(*BUSY_NOW, TurnCame(1, AT))
    assert effects == (Reserve(1, instead_of=1), NoteFirst(1, "one", 2))
    assert s.attempts[0].tries == 2


def test_a_refusal_for_good_ends_the_spec():
    """A refusal that is final frees the money, and no later process sends the spec."""
    _, effects = play(*SENT, Refused(1, BAD_REQUEST))
    assert effects[:2] == (Release(1), NoteFate(1))
    assert NoteEnded(BAD_REQUEST) in effects
    assert end_of(effects) is BAD_REQUEST


def test_a_wrong_key_stops_the_batch():
    """A refusal that every other create would meet stops the batch."""
    _, effects = play(*SENT, Refused(1, WRONG_KEY, stops_batch=True))
    assert StopBatch(WRONG_KEY) in effects
    assert not any(isinstance(each, NoteEnded) for each in effects)


def test_a_cancelled_create_that_is_refused_is_not_sent_again():
    """A refusal ends a cancelled spec, although it could be sent again."""
    s, effects = play(*SENT, CANCEL, Refused(1, BUSY, pause=1.0))
    assert s.state is State.ENDED
    assert isinstance(end_of(effects), NotSubmittedError)


@pytest.mark.parametrize(
    "answer",
    [
        Refused(1, BUSY, pause=1.0),
        AnswerLost(1, NO_ANSWER, can_look=True),
        Interrupted(1, "closed"),
    ],
)
def test_a_callback_takes_the_place_of_an_answer(answer):
    """Once a callback has brought the id, no refusal and no loss unsays it."""
    s, effects = play(*SENT, Called(1, "a"), answer)
    assert s.state is State.ACCEPTED
    assert Register(1, "a", answered=False) in effects


def test_a_callback_waits_for_the_answer():
    """A callback that is faster than the answer is only remembered."""
    s, effects = play(*SENT, Called(1, "a"))
    assert s.state is State.IN_FLIGHT
    assert s.attempts[0].heard == "a"
    assert effects == ()


def test_a_callback_with_the_task_of_another_spec_is_not_remembered():
    """A callback that names another spec's task leaves the answer to decide."""
    s, effects = play(*SENT, Called(1, "a", Owner.ANOTHER))
    assert s.attempts[0].heard is None
    assert effects == ()


def test_two_callbacks_with_two_ids_are_two_tasks():
    """A second id for the token of a create in flight is watched: a gateway has repeated it."""
    s, effects = play(*SENT, Called(1, "a"), Called(1, "b"))
    assert s.attempts[0].heard == "a"
    assert effects == (WatchSurplus(1, "b", duplicate=True),)


def test_a_refused_create_is_not_sent_again_while_the_client_closes():
    """A refusal ends the spec when the client closes, although it could be sent again."""
    _, effects = play(*BUSY_NOW, closed=True)
    assert effects == (Release(1), NoteFate(1), LeaveLine(), Settle(BUSY))


def test_a_loss_is_not_looked_for_while_the_client_closes():
    """An answer that is lost during the close is left to the next process, whatever the policy."""
    s, effects = play(*LOST, resubmit="always", closed=True)
    assert fates(s) == [Fate.DOUBTED]
    assert effects == (MarkUncertain(1), LeaveLine(), Settle(NO_ANSWER))


def test_a_cancel_waits_for_the_answer():
    """A spec that is cancelled while a task may exist goes on: only its id allows to stop it."""
    for events, state in ((SENT, State.IN_FLIGHT), (LOST, State.LOST)):
        s, effects = play(*events, CANCEL)
        assert s.state is state
        assert effects == (NoteCancelled(),)


def test_a_close_leaves_time_for_the_answer():
    """A close ends neither a create in flight nor a note that is being written."""
    for events in (NOTING, SENT):
        assert play(*events, Close(), closed=True)[1] == ()


def test_an_interrupted_create_is_not_noted_as_doubted():
    """A create without an answer when the program ends is left to the next process to look for."""
    s, effects = play(*SENT, Interrupted(1, "closed"), closed=True)
    assert fates(s) == [Fate.DOUBTED]
    assert effects[0] == MarkUncertain(1)
    assert not any(isinstance(each, NoteFate | NoteEnded) for each in effects)
    assert isinstance(end_of(effects), SubmissionUncertainError)


def test_a_worker_may_be_stopped_after_its_spec_has_ended():
    """A worker whose attempt was forgotten may still say that it was interrupted."""
    assert play(*TAKEN, CANCEL, Interrupted(1, "closed"))[1] == ()


# --- after a lost answer -----------------------------------------------------------------------


def test_a_lost_create_is_looked_for():
    """After a lost answer nothing is sent: the money is uncertain, and the task is looked for."""
    s, effects = play(*LOST)
    assert s.state is State.LOST
    assert effects == (MarkUncertain(1), StartLook(1))


def test_a_page_at_a_wrong_address_stops_the_batch():
    """An answer that is no answer of this API stops the batch, and nobody looks at that address."""
    lost = AnswerLost(1, NO_ANSWER, can_look=True, stops_batch=True)
    s, effects = play(*SENT, lost, resubmit="always")
    assert fates(s) == [Fate.DOUBTED]
    assert effects == (MarkUncertain(1), StopBatch(NO_ANSWER), LeaveLine(), Settle(NO_ANSWER))


@pytest.mark.parametrize("resubmit", ["if-absent", "never"])
def test_in_doubt_nothing_is_sent(resubmit):
    """When nobody can tell what became of a create, its spec ends as uncertain."""
    lost = AnswerLost(1, NO_ANSWER, can_look=False)
    for events in (DOUBTED, (*SENT, lost)):
        s, effects = play(*events, resubmit=resubmit)
        assert fates(s) == [Fate.DOUBTED]
        assert isinstance(end_of(effects), SubmissionUncertainError)
        assert not any(isinstance(each, Release) for each in effects)


def test_in_doubt_it_is_sent_again_if_the_caller_says_always():
    """Under "always" a create in doubt is sent again, and the money of both is counted."""
    s, effects = play(*DOUBTED, resubmit="always")
    assert s.state is State.QUEUED
    assert effects == (MarkUncertain(1), NoteFate(1), Requeue())
    assert play(*DOUBTED, *AGAIN, resubmit="always")[1] == (Reserve(2), NoteFirst(2, "two", 1))


def test_a_list_shows_the_task():
    """A lost create whose token is in the list has its task."""
    s, effects = play(*LOST, Found(1, ("a",)))
    assert s.state is State.ACCEPTED
    assert effects[:2] == (Confirm(1), StopLook(1))
    assert Register(1, "a", answered=False, listed=True) in effects


def test_a_token_on_two_tasks_is_two_tasks():
    """The oldest of several tasks with one token is the spec's, and the others are watched."""
    _, effects = play(*LOST, Found(1, ("a", "b")))
    assert Register(1, "a", answered=False, listed=True) in effects
    assert effects[-1] == WatchSurplus(1, "b", duplicate=True)


def test_a_list_shows_the_task_of_another_spec():
    """A lost create whose id is that of another spec's task stays in doubt."""
    s, effects = play(*LOST, Found(1, ("a",), Owner.ANOTHER))
    assert fates(s) == [Fate.DOUBTED]
    assert StopLook(1) in effects
    assert isinstance(end_of(effects), SubmissionUncertainError)


WRONG = NotFoundError("no such task", 404, "ResourceNotFound")
CLAIMED = (*SENT, Answered(1, "a"))
"""The answer to the create has brought an id."""


def test_a_task_whose_id_is_denied_is_looked_for_by_its_token():
    """The id was a claim. The money stays, and nothing is sent."""
    s, effects = play(*CLAIMED, Disowned(1, WRONG))
    assert s.state is State.LOST
    assert effects == (Unregister(1, keep_id=True), MarkUncertain(1), StartLook(1))


def test_a_task_that_was_found_under_another_id_is_the_specs():
    """The wrong id is taken out of the journal, and the right one is watched."""
    s, effects = play(*CLAIMED, Disowned(1, WRONG), Found(1, ("b",)))
    assert s.state is State.ACCEPTED
    assert effects[:3] == (Confirm(1), StopLook(1), NoteDisowned(1, "a"))
    assert Register(1, "b", answered=False, listed=True) in effects


def test_a_list_may_show_the_id_that_was_denied():
    """Then the id is right after all, and stays in the journal."""
    _, effects = play(*CLAIMED, Disowned(1, WRONG), Found(1, ("a",)))
    assert not any(isinstance(each, NoteDisowned) for each in effects)


@pytest.mark.parametrize(
    "event", [Absent(1, Grade.WITNESSED), CannotTell(1, NOT_LISTED)], ids=["absent", "unknown"]
)
@pytest.mark.parametrize("resubmit", ["if-absent", "always"])
def test_an_answered_create_is_not_sent_again(event, resubmit):
    """The provider has said that it made a task, so its spec ends with the error of its id."""
    s, effects = play(*CLAIMED, Disowned(1, WRONG), event, resubmit=resubmit)
    assert s.state is State.ENDED
    assert end_of(effects) is WRONG
    assert not any(isinstance(each, Release) for each in effects), "it may be billed"


def test_an_id_that_is_no_longer_the_specs_can_be_told_twice():
    """Only the id that the record goes by is taken from it."""
    first = (*CLAIMED, Disowned(1, WRONG))
    s, effects = play(*first, Disowned(1, WRONG))
    assert (s.state, fates(s), effects) == (State.LOST, [Fate.LOST], ())


def test_what_made_nothing_is_sent_again():
    """A create that is proven to have made nothing is sent again, with the money of the first."""
    s, effects = play(*ABSENT)
    assert s.state is State.QUEUED
    assert effects == (NoteFate(1), Hold(1), Requeue())
    assert play(*ABSENT, *AGAIN)[1] == (Reserve(2, instead_of=1), NoteFirst(2, "two", 1))


def test_the_last_attempt_that_made_nothing_ends_the_spec():
    """After the last attempt the spec ends as not submitted, and its money is free."""
    s, effects = play(*ABSENT, attempts=1)
    assert s.state is State.ENDED
    assert Release(1) in effects
    assert isinstance(end_of(effects), NotSubmittedError)


@pytest.mark.parametrize("context", [{"closed": True}, {"fatal": WRONG_KEY}])
def test_what_made_nothing_is_not_queued_in_vain(context):
    """A proof that comes when nothing more is sent ends the spec at once, and frees its money."""
    s, effects = play(*ABSENT, **context)
    assert s.state is State.ENDED
    assert Release(1) in effects
    assert isinstance(end_of(effects), NotSubmittedError)


def test_what_made_nothing_is_not_sent_again_beside_a_doubt():
    """A second create that made nothing is no reason for a third while the first is in doubt."""
    lost = AnswerLost(2, NO_ANSWER, can_look=True)
    s, effects = play(*ABSENT, *SENT_AGAIN, Retracted(1), lost, Absent(2))
    assert fates(s) == [Fate.DOUBTED, Fate.ABSENT]
    assert {NoteFate(2), Release(2)} <= set(effects)
    end = end_of(effects)
    assert isinstance(end, SubmissionUncertainError)
    assert end.token == "one"


def test_what_made_nothing_ends_if_it_is_cancelled():
    """A cancelled create that made nothing is not sent again, also by no later process."""
    _, effects = play(*LOST, Cancel(Cancelled.HERE, "unwanted"), Absent(1))
    assert effects[:2] == (NoteFate(1), Release(1))
    assert NoteEnded(end_of(effects)) in effects


def test_what_made_nothing_stays_uncertain_if_the_caller_says_never():
    """Under "never" the spec ends as uncertain, and a later process looks again."""
    s, effects = play(*ABSENT, resubmit="never")
    assert fates(s) == [Fate.LOST]
    assert effects == (StopLook(1), LeaveLine(), Settle(NO_ANSWER))


def test_nothing_is_called_absent_while_its_answer_is_awaited():
    """A list says nothing about a create that may still make its task."""
    s, effects = play(*SENT, Absent(1))
    assert fates(s) == [Fate.OUT]
    assert effects == ()


def test_a_close_leaves_a_lost_create_to_the_next_process():
    """A lost create ends as uncertain when the client closes, and its note stays as it is."""
    s, effects = play(*LOST, Close(), closed=True)
    assert fates(s) == [Fate.LOST]
    assert effects == (StopLook(1), LeaveLine(), Settle(NO_ANSWER))


# --- several attempts --------------------------------------------------------------------------


@pytest.mark.parametrize("after", [(), AGAIN[:1], AGAIN, SENT_AGAIN])
def test_the_task_of_an_earlier_attempt_is_taken(after):
    """When the first create turns out to have made a task, nothing more is sent."""
    s, effects = play(*DOUBTED, *after, Called(1, "a"), resubmit="always")
    assert s.state is State.ACCEPTED
    assert effects[0] == Confirm(1)
    assert Register(1, "a", answered=False) in effects
    assert not any(isinstance(each, Send) for each in effects)


def test_an_attempt_that_had_not_left_is_taken_back():
    """When the first create has a task, the second is taken back while its note is written."""
    s, effects = play(*DOUBTED, *AGAIN, Called(1, "a"), resubmit="always")
    assert fates(s) == [Fate.MADE, Fate.REFUSED]
    assert {Release(2), NoteFate(2)} <= set(effects)
    last = (Called(1, "a"), NoteWritten(2))
    assert play(*DOUBTED, *AGAIN, *last, resubmit="always")[1] == ()


def test_the_task_of_a_refused_try_is_taken_between_two_tries():
    """A refusal may be wrong: its task is taken, with the money that was kept for the next try."""
    s, effects = play(*BUSY_NOW, Called(1, "a"))
    assert fates(s) == [Fate.MADE]
    assert not any(isinstance(each, Carry | Release) for each in effects)
    assert Register(1, "a", answered=False) in effects


def test_money_that_is_kept_for_a_next_try_is_freed_when_there_is_none():
    """The money of an absent attempt is free when an earlier one turns out to have a task."""
    lost = AnswerLost(2, NO_ANSWER, can_look=True)
    events = (*DOUBTED, *SENT_AGAIN, lost, Absent(2), Called(1, "a"))
    s, effects = play(*events, resubmit="always")
    assert effects[:2] == (Confirm(1), Release(2))
    assert s.held is None


def test_the_task_of_an_absent_attempt_is_counted_beyond_the_cap():
    """A task whose money was passed on is counted once more: it is billed all the same."""
    s, effects = play(*ABSENT, *SENT_AGAIN, Called(1, "a"))
    assert fates(s) == [Fate.MADE, Fate.OUT]
    assert effects[:2] == (Contradict("a"), Carry(1))


BOTH = (*DOUBTED, *SENT_AGAIN, Called(1, "a"))
"""The first create has its task while the second is in flight."""


def test_the_answer_to_the_second_create_is_a_surplus_task():
    """The task of the second create is noted and watched for its money."""
    s, effects = play(*BOTH, Answered(2, "b"), resubmit="always")
    assert fates(s) == [Fate.MADE, Fate.MADE]
    surplus = WatchSurplus(2, "b", duplicate=True, own_money=True)
    assert effects == (Confirm(2), NoteFate(2), surplus)


def test_an_answer_with_another_id_than_the_callback_is_one_task_more():
    """The answer to a second create whose task is known brings one more task to watch."""
    s, effects = play(*BOTH, Called(2, "b"), Answered(2, "c"), resubmit="always")
    assert s.attempts[1].task_id == "b"
    assert effects == (WatchSurplus(2, "c", duplicate=True),)


def test_the_refusal_of_the_second_create_frees_its_money():
    """A second create that is refused beside a task is not sent again."""
    _, effects = play(*BOTH, Refused(2, BUSY, pause=1.0), resubmit="always")
    assert effects == (Release(2), NoteFate(2))


def test_the_second_create_is_looked_for_beside_a_task():
    """A second create whose answer is lost is looked for although its spec has a task."""
    lost = AnswerLost(2, NO_ANSWER, can_look=True)
    assert play(*BOTH, lost, resubmit="always")[1] == (MarkUncertain(2), StartLook(2))
    _, effects = play(*BOTH, lost, CannotTell(2, NO_ANSWER), resubmit="always")
    assert effects == (NoteFate(2),)


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_two_callbacks_may_come_in_any_order(order):
    """Callbacks for both creates while the second is in flight count both tasks."""
    calls = [Called(n, f"task {n}") for n in order]
    s, effects = play(*DOUBTED, *SENT_AGAIN, *calls, resubmit="always")
    assert fates(s) == [Fate.MADE, Fate.MADE]
    assert effects[-1] == WatchSurplus(2, "task 2", duplicate=True, own_money=True)
    refused = Refused(2, BUSY, pause=1.0)
    assert play(*DOUBTED, *SENT_AGAIN, *calls, refused, resubmit="always")[1] == ()


def test_the_absence_of_an_earlier_attempt_frees_its_money():
    """An attempt in doubt that is proven to have made nothing costs nothing any more."""
    s, effects = play(*DOUBTED, Absent(1), resubmit="always")
    assert s.state is State.QUEUED
    assert effects == (Release(1), NoteFate(1))


def test_a_spec_never_ends_as_nothing_made_beside_a_doubt():
    """While the first create may have made a task, the end is uncertain and names its token."""
    for last in (Unpreparable(2, UNWRITABLE), CANCEL, Close()):
        _, effects = play(*DOUBTED, Taken("two"), last, resubmit="always")
        end = end_of(effects)
        assert isinstance(end, SubmissionUncertainError)
        assert end.token == "one"
        assert not any(isinstance(each, Release | NoteEnded) for each in effects)


def test_a_judgement_on_the_spec_is_an_end_beside_a_doubt():
    """What the provider says of the spec itself, the first create met as well."""
    _, effects = play(*DOUBTED, *SENT_AGAIN, Refused(2, BAD_REQUEST), resubmit="always")
    assert end_of(effects) is BAD_REQUEST
    assert Release(1) not in effects


# --- after the end -----------------------------------------------------------------------------


@pytest.mark.parametrize("shown", [Found(1, ("a",)), Called(1, "a")])
def test_a_task_that_is_shown_after_the_end_is_counted(shown):
    """A task that is shown after its spec has ended is noted and watched for its money."""
    s, effects = play(*DOUBTED, shown)
    assert s.state is State.ENDED
    late = WatchSurplus(1, "a", duplicate=False, own_money=True)
    assert effects == (Confirm(1), NoteFate(1), late)


def test_a_callback_about_a_known_task_changes_nothing_here():
    """A callback with the known id brings nothing new here; the client asks for the status."""
    assert play(*SENT, Answered(1, "a"), Called(1, "a"))[1] == ()


@pytest.mark.parametrize("shown", [Found(1, ("a", "b")), Called(1, "b")])
def test_a_second_task_of_one_create_is_watched(shown):
    """A gateway may repeat a create: the second task with its token is billed, too."""
    _, effects = play(*SENT, Answered(1, "a"), shown)
    assert effects == (WatchSurplus(1, "b", duplicate=True),)
    told = (*SENT, Answered(1, "a"), shown)
    assert WatchSurplus(1, "b", duplicate=True) not in play(*told, shown)[1]


def test_the_task_of_another_spec_is_not_watched_twice():
    """An id that belongs to another spec is counted there, and nowhere else."""
    for events in ((*SENT, Answered(1, "a")), DOUBTED):
        assert play(*events, Called(1, "b", Owner.ANOTHER))[1] == ()


def test_an_absence_that_is_taken_back_is_counted_again():
    """When the list was wrong, the attempt is in doubt again, even beyond the cap."""
    s, effects = play(*ABSENT, Retracted(1), attempts=1)
    assert s.state is State.ENDED
    assert fates(s) == [Fate.DOUBTED]
    assert effects == (Carry(1, uncertain=True), NoteFate(1))


@pytest.mark.parametrize("after", [(), AGAIN[:1], AGAIN])
def test_an_absence_that_is_taken_back_stops_the_next_attempt(after):
    """Whatever the next attempt was about to do, it does not leave beside a doubt."""
    left = (*AGAIN, NoteWritten(2))[len(after)]
    s, effects = play(*ABSENT, *after, Retracted(1), left)
    assert s.state is State.ENDED
    assert isinstance(end_of(effects), SubmissionUncertainError)
    assert not {type(each) for each in effects} & {StartAttempt, Reserve, Send}


def test_a_task_that_is_named_by_hand_is_accepted():
    """While it is looked for, its id counts as one that a list shows, and the note says by hand."""
    s, effects = play(*LOST, Resolved(1, "a"))
    assert s.state is State.ACCEPTED
    assert NoteFate(1, by_hand=True) in effects
    assert NoteFate(1) not in effects
    assert {Confirm(1), StopLook(1), Register(1, "a", answered=False)} <= set(effects)


def test_a_task_that_is_named_by_hand_after_the_end_is_watched_for_its_money():
    """The outcome stays, and a later process gives the video."""
    s, effects = play(*DOUBTED, Resolved(1, "a"))
    assert s.state is State.ENDED
    assert effects == (
        Confirm(1),
        NoteFate(1, by_hand=True),
        WatchSurplus(1, "a", duplicate=False, own_money=True),
    )


@pytest.mark.parametrize("resubmit", ["if-absent", "never", "always"])
def test_what_is_said_to_have_made_nothing_is_sent_again(resubmit):
    """A person decides, so the policy "never" does not keep the spec from being sent once more."""
    s, effects = play(*LOST, Resolved(1, None), resubmit=resubmit)
    assert s.state is State.QUEUED
    assert effects == (StopLook(1), NoteFate(1, by_hand=True), Hold(1), Requeue())
    assert s.attempts[0].grade is Grade.WITNESSED


def test_what_is_said_to_have_made_nothing_after_the_end_frees_its_money():
    """The outcome stays, and a later process sends the spec again."""
    s, effects = play(*DOUBTED, Resolved(1, None))
    assert (s.state, fates(s)) == (State.ENDED, [Fate.ABSENT])
    assert effects == (NoteFate(1, by_hand=True), Release(1))


def test_what_a_person_says_is_left_out_while_an_answer_is_awaited():
    """An answer that is still to come, and a refusal, are better than what a person says."""
    for events in (SENT, (*SENT, Refused(1, BUSY))):
        for said in ("b", None):
            assert play(*events, Resolved(1, said)) == (play(*events)[0], ())


def test_an_id_weighs_more_than_that_nothing_was_found():
    """In any order, an id that was named counts, and a second one is one more task."""
    absent, made = (*DOUBTED, Resolved(1, None)), (*DOUBTED, Resolved(1, "a"))
    assert fates(play(*absent, Resolved(1, "a"))[0]) == [Fate.MADE]
    assert play(*made, Resolved(1, None)) == (play(*made)[0], ())
    assert play(*made, Resolved(1, "b"))[1] == (WatchSurplus(1, "b", duplicate=True),)


def test_a_cancel_of_a_spec_with_a_task_changes_nothing_here():
    """The provider is asked to cancel the task; no create is left to stop."""
    assert play(*SENT, Answered(1, "a"), CANCEL)[1] == ()


def test_a_cancel_after_an_uncertain_end_is_noted():
    """A later process does not send the spec again, even if it proves that no task was made."""
    assert play(*DOUBTED, CANCEL)[1] == (NoteCancelled(),)


def test_an_event_that_cannot_come_is_an_error():
    """An event that no row names is an error, and nothing is sent."""
    with pytest.raises(UnexpectedEventError, match="TurnCame in state in_flight"):
        play(*SENT, TurnCame(1, AT))
    with pytest.raises(UnexpectedEventError, match="no attempt 7"):
        play(*SENT, Absent(7))
