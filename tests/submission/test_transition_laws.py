"""The laws of a submission, in a small model world where everything may go wrong.

The world has a provider, a ledger, a journal, a worker and someone who looks for lost tasks. It
lists every event that may come next, one of them is drawn, and after it every law is checked.
"""

from __future__ import annotations

import copy
import random
from collections import defaultdict
from typing import get_args

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet._models.policy import RetryPolicy
from callsheet._state.fate import Fate, Grade
from callsheet._state.moment import Moment
from callsheet._submission.effects import (
    Carry,
    Confirm,
    Effect,
    Hold,
    LeaveLine,
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
    WatchSurplus,
)
from callsheet._submission.states import OPEN, Attempt, Cancelled, Context, State, Submission
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
from callsheet._submission.submissions import Submissions
from callsheet._submission.transition import (
    TABLE,
    attempt_of,
    current_of,
    first_open,
    judges_spec,
    step,
)
from callsheet.errors import (
    JournalError,
    NotSubmittedError,
    SpendLimitError,
    SubmissionUncertainError,
)
from making import BAD_REQUEST, BUSY, REFUSED, UNKNOWN_ID, UNWRITABLE, WRONG_KEY, record


AT = Moment(1.0, 1.0)
THEIRS = "task of another spec"
FULL = SpendLimitError("full")
NO_DISK = JournalError("no disk")
NEVER_AGAIN = (StartAttempt, Reserve, NoteFirst, Send, Pause, Requeue)
"""Effects that lead to a paid request."""

OF_WORKERS = (
    Unpreparable,
    TurnCame,
    NoteWritten,
    NoteFailed,
    Answered,
    Refused,
    AnswerLost,
    Interrupted,
)
"""Events that tell how the work on an attempt went."""

REFUSALS = (
    (BAD_REQUEST, None, False),
    (BUSY, 1.0, False),
    (BUSY, None, False),
    (REFUSED, None, True),
    (WRONG_KEY, None, True),
)
"""What the provider may say to refuse a create, the pause after it, and if it stops the batch."""

CLIMBS = {
    (Fate.READY, Fate.NOTED),
    (Fate.NOTED, Fate.OUT),
    (Fate.NOTED, Fate.REFUSED),
    (Fate.NOTED, Fate.MADE),  # an earlier try of it was refused, and has made a task all the same
    (Fate.OUT, Fate.REFUSED),
    (Fate.OUT, Fate.LOST),
    (Fate.OUT, Fate.DOUBTED),
    (Fate.OUT, Fate.MADE),
    (Fate.REFUSED, Fate.NOTED),  # the next try of the same attempt
    (Fate.REFUSED, Fate.MADE),
    (Fate.LOST, Fate.DOUBTED),
    (Fate.LOST, Fate.ABSENT),
    (Fate.LOST, Fate.MADE),
    (Fate.DOUBTED, Fate.ABSENT),
    (Fate.DOUBTED, Fate.MADE),
    (Fate.ABSENT, Fate.MADE),
}
"""The steps that a fate may take."""

UNREACHABLE = {
    # Whoever waits for an answer has sent, and the spec is in flight or has a task by then.
    *(
        (state, event)
        for state in (State.QUEUED, State.WAITING, State.NOTING, State.LOST, State.ENDED)
        for event in (Answered, Refused, AnswerLost)
    ),
    # And where nobody waits, nobody is interrupted.
    (State.QUEUED, Interrupted),
    (State.LOST, Interrupted),
    # In one process only the last attempt is looked for, until there is a task. A resume looks for
    # all of them.
    *(
        (state, CannotTell)
        for state in (State.QUEUED, State.WAITING, State.NOTING, State.IN_FLIGHT, State.ENDED)
    ),
}
"""What stands in the table, and cannot happen in this world."""


@attrs.frozen
class Make:
    """The provider makes a task for the create of attempt *n* that is under way."""

    n: int


@attrs.frozen
class Gone:
    """The worker of attempt *n* has left the line without a word."""

    n: int


@attrs.frozen
class BeginClosing:
    """The client begins to close; the specs hear of it one after the other."""


@attrs.frozen
class OthersFail:
    """Another create of the batch meets an error that stops the batch."""


@attrs.frozen
class OthersSpend:
    """Another spec sets one unit of money aside."""


@attrs.frozen(kw_only=True)
class Rules:
    """What the caller allows, and what may go wrong in this world."""

    resubmit: str
    attempts: int
    cap: int
    troubles: frozenset[str]


TROUBLES = (
    "lists lie",
    "people err",
    "refusals lie",
    "posts are repeated",
    "ids clash",
    "ids are wrong",
    "others spend",
    "others fail",
    "cancels",
    "closes",
    "is torn down",
)
RULES = st.builds(
    Rules,
    # Most of what can go wrong goes wrong after a second attempt, so there is one more often.
    resubmit=st.sampled_from(["always", "if-absent", "never"]),
    attempts=st.sampled_from([3, 2, 1]),
    cap=st.sampled_from([9, 2, 1]),
    # Each world has few troubles, so that it comes far enough to meet them.
    troubles=st.frozensets(st.sampled_from(TROUBLES), max_size=4),
)


class Ledger:
    """One unit for each attempt that may be billed, and for each task beyond the first of one."""

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self.others = 0
        self.reserved: set[int | str] = set()
        self.uncertain: set[int | str] = set()

    @property
    def own(self) -> set[int | str]:
        """What is counted for this spec."""
        return self.reserved | self.uncertain

    def fits(self, *, held: bool) -> bool:
        """Whether one more task fits, in place of the unit that is held."""
        return self.others + len(self.own) - held + 1 <= self.cap

    def execute(self, effect: Effect, after: Submission) -> None:
        """Do one effect. What is not there can be neither freed nor counted otherwise."""
        before = len(self.own)
        match effect:
            case Reserve(n, held):
                assert held is None or held in self.reserved
                self.reserved.discard(held)
                assert n not in self.own
                self.reserved.add(n)
                assert self.others + len(self.own) <= self.cap, "only Carry may pass the cap"
            case Hold(n) | Confirm(n):
                assert n in self.own
                self.uncertain.discard(n)
                self.reserved.add(n)
            case MarkUncertain(n):
                assert n in self.own
                self.reserved.discard(n)
                self.uncertain.add(n)
            case Release(n):
                assert n in self.own
                self.reserved.discard(n)
                self.uncertain.discard(n)
            case Carry(n, uncertain):
                assert n not in self.own
                (self.uncertain if uncertain else self.reserved).add(n)
            case WatchSurplus(n, task_id):
                attempt = attempt_of(after, n)
                if attempt is not None and attempt.task_id == task_id:
                    assert n in self.reserved, "the task of an attempt has that attempt's unit"
                else:
                    self.reserved.add(task_id)
            case _:
                pass
        if not isinstance(effect, Reserve | Carry | WatchSurplus):
            assert len(self.own) <= before, "only these count more than before"


@attrs.frozen
class Past:
    """An attempt that is behind the spec when its world begins.

    Attributes:
        end: What became of it: ``"doubted"``, ``"absent"``, or ``"refused"`` and sent once more.
        made: Whether it has made a task all the same.
    """

    end: str
    made: bool


STAGES = [State.IN_FLIGHT, State.NOTING, State.WAITING, State.QUEUED]
PASTS = [Past(end, made) for end in ("doubted", "absent", "refused") for made in (True, False)]


class World:
    """One spec, and everything around it."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.submission = Submission()
        self.context = Context(policy=RetryPolicy(resubmit=rules.resubmit, attempts=rules.attempts))
        self.ledger = Ledger(rules.cap)
        self.journal: dict[int, str] = {}
        """The last note of each attempt."""
        self.unnoted: set[int] = set()
        """Attempts whose note could not be written."""
        self.workers: dict[int, str] = {}
        """What each worker is doing: its next event tells how it went."""
        self.looked_for: set[int] = set()
        self.tasks: defaultdict[int, list[str]] = defaultdict(list)
        """The tasks that exist at the provider, by attempt. Each is billed."""
        self.made_by_post: list[str] = []
        """The tasks that the create under way has made."""
        self.told: defaultdict[int, set[str]] = defaultdict(set)
        """The ids that this client was told."""
        self.claims: set[int] = set()
        """Attempts whose id came with an answer, and with nothing of ours."""
        self.disowned: set[int] = set()
        """Attempts whose id was found to be wrong. Their creates were answered."""
        self.lied_about: set[int] = set()
        """Attempts that were called refused or absent, and have made a task."""
        self.posts: defaultdict[int, int] = defaultdict(int)
        self.refused: defaultdict[int, int] = defaultdict(int)
        self.written: set[int] = set()
        """Attempts whose next try has its note on disk."""
        self.outcomes: list[Effect] = []
        self.close_told = False
        self.visited: set[tuple[State, type]] = set()
        self.index = Submissions()
        self.record = record(callback_url="https://hook.test/?token={token}")
        self.index.put([self.record])

    # --- what may happen next ---------------------------------------------------------------

    def moves(self) -> list[object]:
        """All that may happen now."""
        moves: list[object] = []
        if self._may("others fail") and self.context.fatal is None:
            moves.append(OthersFail())
        if self._may("others spend") and self.ledger.fits(held=False):
            moves.append(OthersSpend())
        if self.context.closed and not self.close_told:
            moves.append(Close())
        elif self._may("closes") and not self.context.closed:
            moves.append(BeginClosing())
        if self._may("cancels"):
            moves += [Cancel(scope, "unwanted") for scope in (Cancelled.HERE, Cancelled.FOR_GOOD)]
        if self.submission.state is State.QUEUED:
            moves.append(Taken(f"token {len(self.submission.attempts) + 1}"))
        for n, stage in self.workers.items():
            moves += getattr(self, f"_{stage}")(n)
            moves += [Interrupted(n, "torn down")] if self._may("is torn down") else []
        for attempt in self.submission.attempts:
            moves += self._rumours(attempt)
        return moves or [OthersFail()]

    def _may(self, trouble: str) -> bool:
        return trouble in self.rules.troubles

    def _turn(self, n: int) -> TurnCame:
        fits = self.ledger.fits(held=self.submission.held is not None)
        return TurnCame(n, AT, None if fits else FULL)

    def _prepare(self, n: int) -> list[object]:
        return [self._turn(n), Unpreparable(n, UNWRITABLE)]

    def _prepare_in_vain(self, n: int) -> list[object]:
        return [Gone(n), Unpreparable(n, UNWRITABLE)]

    def _pause(self, n: int) -> list[object]:
        return [self._turn(n)]

    def _pause_in_vain(self, n: int) -> list[object]:
        return [Gone(n)]

    def _note(self, n: int) -> list[object]:
        return [NoteWritten(n), NoteFailed(n, NO_DISK)]

    def _send(self, n: int) -> list[object]:
        error = SubmissionUncertainError("no answer", f"token {n}")
        # It is lost more often than not: that is what this world is about.
        moves: list[object] = [AnswerLost(n, error, can_look=True)] * 2
        moves.append(AnswerLost(n, error, can_look=False))
        if self._may("others fail"):
            moves.append(AnswerLost(n, error, can_look=True, stops_batch=True))
        if not self.made_by_post or self._may("posts are repeated"):
            moves.append(Make(n))
        moves += [Answered(n, each) for each in self.made_by_post]
        if not self.made_by_post or self._may("refusals lie"):
            moves += [Refused(n, *refusal) for refusal in REFUSALS]
        if self._may("ids clash"):
            moves.append(Answered(n, THEIRS, Owner.ANOTHER))
        if self._may("ids are wrong"):
            moves += [Answered(n, f"wrong id for {n}")] * 2
        return moves

    def _rumours(self, attempt: Attempt) -> list[object]:
        """What lists and callbacks may tell of an attempt."""
        n, tasks = attempt.n, tuple(self.tasks[attempt.n])
        moves: list[object] = [Called(n, each) for each in tasks]
        open_ = attempt.fate in {Fate.LOST, Fate.DOUBTED}
        if tasks and (open_ or attempt.fate is Fate.MADE):
            moves += [Found(n, tasks), Found(n, tasks[:1])]
        if open_ and not tasks:
            moves += [Absent(n), Absent(n, Grade.WITNESSED)]
        if open_:
            moves += [Resolved(n, each) for each in tasks or (None,)]
        if open_ and tasks and self._may("people err"):
            moves.append(Resolved(n, None))
        if open_ and tasks and self._may("lists lie"):
            moves.append(Absent(n))
        registered = self.submission.state is State.ACCEPTED and self.submission.registered == n
        if registered and n in self.claims:
            error = SubmissionUncertainError("of another", attempt.token)
            moves += [Disowned(n, error), Disowned(n, UNKNOWN_ID)]
        if n in self.disowned and self.submission.state is not State.ACCEPTED:
            moves.append(Disowned(n, UNKNOWN_ID))  # told twice
        if n in self.looked_for:
            error = SubmissionUncertainError("not in the list", attempt.token)
            moves.append(CannotTell(n, error))
        if attempt.fate is Fate.ABSENT and attempt.grade is Grade.PRESUMED:
            moves.append(Retracted(n))
        if self._may("ids clash") and self.posts[n]:
            moves.append(Called(n, THEIRS, Owner.ANOTHER))
            if open_ or attempt.fate is Fate.MADE:
                moves.append(Found(n, (THEIRS,), Owner.ANOTHER))
        return moves

    # --- how a world begins -----------------------------------------------------------------

    def begin(self, pasts: list[Past], until: State) -> None:
        """Begin after these attempts, with the next one so far, if the caller allows it."""
        for past in pasts:
            if not self._go_on(State.IN_FLIGHT):
                return
            n = len(self.submission.attempts)
            error = SubmissionUncertainError("no answer", f"token {n}")
            if past.made:
                self.do(Make(n))
            if past.end == "refused":
                self.do(Refused(n, BUSY, 1.0))
                continue
            self.do(AnswerLost(n, error, can_look=True))
            self.do(CannotTell(n, error) if past.end == "doubted" else Absent(n))
        self._go_on(until)

    def _go_on(self, until: State) -> bool:
        unsent = {State.QUEUED, State.WAITING, State.NOTING} - {until}
        while self.submission.state in unsent:
            self.do(self._fair_move())
        return self.submission.state is until

    # --- what happens -----------------------------------------------------------------------

    def do(self, move: object) -> None:
        """Let one thing happen."""
        match move:
            case Make(n):
                task_id = f"task {len(self.tasks[n]) + 1} of {n}"
                self.tasks[n].append(task_id)
                self.made_by_post.append(task_id)
            case Gone(n):
                del self.workers[n]
            case BeginClosing():
                self.context = attrs.evolve(self.context, closed=True)
            case OthersFail():
                self.context = attrs.evolve(self.context, fatal=WRONG_KEY)
            case OthersSpend():
                self.ledger.others += 1
            case _:
                assert isinstance(move, get_args(Event))
                self._observe(move)
                self.tell(move)

    def _observe(self, event: Event) -> None:
        """Remember what the world has said with an event."""
        if isinstance(event, OF_WORKERS):
            del self.workers[event.n]
        if isinstance(event, Found | Absent | CannotTell | Resolved):
            self.looked_for.discard(event.n)
        match event:
            case NoteWritten(n):
                self.written.add(n)
            case NoteFailed(n):
                self.unnoted.add(n)
            case Refused(n):
                self.refused[n] += 1
                self._lie(n)
            case Absent(n) | Resolved(n, None):
                self._lie(n)
            case Answered(n, task_id, Owner.NOBODY):
                attempt = attempt_of(self.submission, n)
                # An answer that contradicts the callback is not believed, if there was one try.
                if attempt.heard in {None, task_id} or attempt.tries > 1:
                    self.told[n].add(task_id)
            case Called(n, task_id, Owner.NOBODY) | Resolved(n, str(task_id)):
                self.told[n].add(task_id)
            case Found(n, task_ids, Owner.NOBODY):
                self.told[n].update(task_ids)
            case Close():
                self.close_told = True
            case _:
                pass
        self._observe_id(event)

    def _observe_id(self, event: Event) -> None:
        """Remember which ids are claims, and which were wrong."""
        if isinstance(event, Disowned):
            self._disown(event.n)
        answered = isinstance(event, Answered) and event.owner is Owner.NOBODY
        if answered and attempt_of(self.submission, event.n).heard is None:
            self.claims.add(event.n)
        if isinstance(event, Called | Found | Resolved):
            self.claims.discard(event.n)
        if isinstance(event, Resolved) and event.task_id is None:
            self.disowned.discard(event.n)  # a person has decided

    def _disown(self, n: int) -> None:
        """Forget an id, as the client does. If it was right, a list has lied about its task."""
        if n not in self.claims:
            return
        self.claims.discard(n)
        self.disowned.add(n)
        wrong = attempt_of(self.submission, n).task_id
        self.told[n].discard(wrong)
        self.outcomes.clear()

    def _lie(self, n: int) -> None:
        if self.tasks[n]:
            self.lied_about.add(n)

    def tell(self, event: Event) -> None:
        """Step, execute the effects in their order, and check every law."""
        before = self.submission
        self.visited.add((before.state, type(event)))
        assert (before.state, type(event)) in TABLE
        as_it_was = plain(before)
        after, effects = step(before, event, self.context)
        assert plain(step(before, event, self.context)) == plain((after, effects))
        assert plain(before) == as_it_was
        check_climb(before, after, event)
        self._check_effects(before, after, effects)
        self.submission = after
        self._keep(before, after, event)
        if any(isinstance(effect, Requeue) for effect in effects):
            self.index.put_first(self.record)
        for effect in effects:
            self.ledger.execute(effect, after)
            self._execute(effect)
        self._check_rest()
        self._check_indexes()
        self._check_money()
        self._check_journal()

    def _keep(self, before: Submission, after: Submission, event: Event) -> None:
        """Keep the submission as a client does; it was dropped if nothing was awaited of it."""
        if isinstance(event, Taken):
            assert self.index.take(most=9, most_ready=9) is self.record
        if self.index.of(self.record) is None:
            self.index.keep(self.record, before)
        self.index.replace(self.record, after)

    def _execute(self, effect: Effect) -> None:
        match effect:
            case StartAttempt(n):
                self._start(n, "prepare")
            case NoteFirst(n=n):
                self.journal[n] = "attempt"
                self._start(n, "note")
            case Pause():
                self._start(self.submission.attempts[-1].n, "pause")
            case Send(n):
                self._check_send(n)
                self.written.discard(n)
                self.posts[n] += 1
                self.made_by_post = []
                self._start(n, "send")
            case LeaveLine():
                for n, stage in self.workers.items():
                    if stage in {"prepare", "pause"}:
                        self.workers[n] = f"{stage}_in_vain"
            case StartLook(n):
                self.looked_for.add(n)
            case StopLook(n):
                self.looked_for.discard(n)
            case NoteFate(n) | NoteDisowned(n):
                of_fate = isinstance(effect, NoteFate)
                fate = attempt_of(self.submission, n).fate.value
                self.journal[n] = fate if of_fate else "disowned"
            case StopBatch(error):
                self.context = attrs.evolve(self.context, fatal=error)
            case _:
                pass

    def _start(self, n: int, stage: str) -> None:
        assert n not in self.workers, "at most one event of an attempt is awaited"
        self.workers[n] = stage

    # --- the laws ---------------------------------------------------------------------------

    def _check_send(self, n: int) -> None:
        """Laws 1 to 3: what must be so when a paid request leaves."""
        s = self.submission
        assert self.posts[n] == self.refused[n], "a second try only after a refusal"
        assert n in self.written, "the note is on disk first"
        assert n in self.ledger.reserved, "and the money set aside"
        assert not s.cancelled
        assert not self.context.closed
        assert self.context.fatal is None
        assert self.posts[n] > 0 or sum(map(bool, self.posts.values())) < self.rules.attempts
        others = [each for each in s.attempts if each.n != n]
        assert not any(each.fate is Fate.MADE for each in others)
        if self.rules.resubmit != "always":
            assert not any(each.fate in OPEN for each in others)
            assert not any(self.tasks[each.n] for each in others if each.n not in self.lied_about)
        # Whatever the policy is: a task that this client was told of is not paid for again.
        assert not any(self.told.values())

    def _check_effects(
        self, before: Submission, after: Submission, effects: tuple[Effect, ...]
    ) -> None:
        """Laws 7, 10 and the honest end: what may be done now."""
        for effect in effects:
            if self.outcomes:
                assert not isinstance(effect, (*NEVER_AGAIN, Settle, Register, NoteEnded))
            if self.disowned:
                assert not isinstance(effect, NEVER_AGAIN), "its create was answered"
            if after.cancelled:
                assert not isinstance(effect, NEVER_AGAIN), "no attempt begins after a cancel"
            if isinstance(effect, Settle | Register):
                self.outcomes.append(effect)
            if isinstance(effect, Register | WatchSurplus):
                assert effect.task_id != THEIRS, "the task of another spec is not taken"
            if isinstance(effect, Settle):
                self._check_end(after, effect.error)
            if isinstance(effect, NoteEnded):
                assert not isinstance(effect.error, SubmissionUncertainError)
        durable = any(isinstance(effect, NoteCancelled) for effect in effects)
        rises = before.cancelled is not after.cancelled is Cancelled.FOR_GOOD
        assert durable is rises, "a cancel for good is on disk"
        told = {State.ACCEPTED: Register, State.ENDED: Settle}.get(after.state)
        assert [type(each) for each in self.outcomes] == ([] if told is None else [told])

    def _check_end(self, after: Submission, error: Exception) -> None:
        """A spec never ends as "nothing was made" while an attempt may have made a task."""
        doubt = first_open(after)
        if doubt is not None and not judges_spec(error):
            assert isinstance(error, SubmissionUncertainError)
            assert error.token == doubt.token
        if isinstance(error, NotSubmittedError | SpendLimitError | JournalError):
            made = [n for n, tasks in self.tasks.items() if tasks]
            assert set(made) <= self.lied_about

    def _check_rest(self) -> None:
        """Nothing stays behind: no money for a next try, no attempt, no look."""
        s = self.submission
        told = s.state in {State.ACCEPTED, State.ENDED}
        assert s.held is None or s.state in {State.QUEUED, State.WAITING}
        assert not told or not any(each.fate in {Fate.READY, Fate.NOTED} for each in s.attempts)
        assert all(attempt_of(s, n).fate is Fate.LOST for n in self.looked_for)

    def _check_indexes(self) -> None:
        """Law 14: each index is that of the submissions that are kept."""
        index, kept = self.index, {each: self.index.of(each) for each in self.index}
        own = kept.get(self.record)
        assert own is None or own is self.submission
        waits = self.submission.state is State.QUEUED
        assert index.queued() == ([self.record] if waits else [])
        under_way = {State.WAITING, State.NOTING, State.IN_FLIGHT}
        assert {*index._under_way} == {each for each, s in kept.items() if s.state in under_way}
        for token, (of, n) in index.with_token().items():
            assert attempt_of(kept[of], n).token == token
        known = {each.token for s in kept.values() for each in s.attempts}
        assert known == {*index.with_token()}
        for each in () if own is None else own.attempts:
            assert index.by_token(each.token) == (self.record, each.n)

    def _check_money(self) -> None:
        """Law 4: the ledger is the fold of the fates, and covers all that may be billed."""
        s, ledger = self.submission, self.ledger
        known = {fate: {each.n for each in s.attempts if each.fate is fate} for fate in Fate}
        units = {each for each in ledger.reserved if isinstance(each, int)}
        held = set() if s.held is None else {s.held}
        assert units == known[Fate.NOTED] | known[Fate.OUT] | known[Fate.MADE] | held
        assert ledger.uncertain == known[Fate.LOST] | known[Fate.DOUBTED]
        for n, tasks in self.tasks.items():
            told = self.told[n]
            if tasks and (told or n not in self.lied_about):
                assert n in ledger.own
            if told:
                # One unit is that of the attempt, and each further task has its own.
                further = {each for each in ledger.reserved if each in tasks or each in told}
                assert 1 + len(further) >= len(told)
                attempt = attempt_of(s, n)
                waits = s.state is State.IN_FLIGHT and current_of(s) is attempt
                own = attempt.heard if waits else attempt.task_id
                assert told <= further | {own}, "no task that was told of is dropped"

    def _check_journal(self) -> None:
        """Law 3, later on: after a crash now, the next process would know as much."""
        for attempt in self.submission.attempts:
            note = self.journal.get(attempt.n)
            if attempt.disowned is not None and attempt.fate in {Fate.LOST, Fate.DOUBTED}:
                # The next process asks about the id once more, or looks for the token.
                assert note == ("made" if attempt.wrong_id is not None else "disowned")
                continue
            match attempt.fate:
                case Fate.READY:
                    assert note is None
                case Fate.NOTED | Fate.OUT | Fate.LOST:
                    assert note == "attempt"
                case Fate.DOUBTED:
                    assert note in {"attempt", "doubted"}
                case Fate.REFUSED:
                    assert note == "refused" or attempt.n in self.unnoted
                case Fate.ABSENT | Fate.MADE:
                    assert note == attempt.fate.value

    # --- law 6 ------------------------------------------------------------------------------

    def finish(self) -> None:
        """Let everything be answered, by a fair provider and a fair list."""
        for _ in range(100):
            move = self._fair_move()
            if move is None:
                return
            self.do(move)
        raise AssertionError(f"it comes to no end: {self.submission}")

    def _fair_move(self) -> object | None:
        if self.context.closed and not self.close_told:
            return Close()
        for n, stage in self.workers.items():
            if stage == "send":
                return Answered(n, self.made_by_post[0]) if self.made_by_post else Make(n)
            return getattr(self, f"_{stage}")(n)[0]
        for n in sorted(self.looked_for):
            tasks = tuple(self.tasks[n])
            return Found(n, tasks) if tasks else Absent(n)
        if self.submission.state is State.QUEUED:
            return Taken(f"token {len(self.submission.attempts) + 1}")
        return None


def check_climb(before: Submission, after: Submission, event: Event) -> None:
    """Law 8: fates only climb, and law 10: so does the cancellation."""
    assert after.cancelled >= before.cancelled
    # A disowned attempt comes last.
    assert sorted(each.n for each in after.attempts) == list(range(1, len(after.attempts) + 1))
    for old in before.attempts:
        new = attempt_of(after, old.n)
        if new is None:
            assert old.fate is Fate.READY, "only what never left is forgotten"
        elif new.fate is not old.fate:
            back = isinstance(event, Retracted) and old.grade is Grade.PRESUMED
            retracted = back and (old.fate, new.fate) == (Fate.ABSENT, Fate.DOUBTED)
            disowned = isinstance(event, Disowned) and (old.fate, new.fate) == (
                Fate.MADE,
                Fate.LOST,
            )
            assert retracted or disowned or (old.fate, new.fate) in CLIMBS
        elif old.fate is Fate.MADE:
            assert new.task_id == old.task_id


def plain(value: object) -> object:
    """The value with its errors as text: two errors are never equal."""
    match value:
        case tuple():
            return tuple(plain(each) for each in value)
        case Exception():
            return type(value), value.args, plain(value.__cause__)
        case _ if attrs.has(type(value)):
            fields = attrs.fields(type(value))
            return type(value), tuple(plain(getattr(value, each.name)) for each in fields)
        case _:
            return value


def walk(data: st.DataObject, rules: Rules, *, most: int, least: int = 0) -> World:
    """A world after some things have happened in it."""
    world = World(rules)
    pasts = data.draw(st.lists(st.sampled_from(PASTS), min_size=least, max_size=2), label="before")
    world.begin(pasts, data.draw(st.sampled_from(STAGES), label="and now"))
    for _ in range(data.draw(st.integers(0, most), label="how much happens")):
        world.do(data.draw(st.sampled_from(world.moves()), label="then"))
    return world


@settings(max_examples=1000)
@given(rules=RULES, data=st.data())
def test_every_law_holds_whatever_happens(rules, data):
    """After each event every law holds, and when all is answered the spec has its task or end."""
    world = walk(data, rules, most=30)
    world.finish()
    assert world.submission.state in {State.ACCEPTED, State.ENDED}
    assert not world.workers
    assert not world.looked_for


@settings(max_examples=600)
@given(rules=RULES, data=st.data())
def test_lists_and_callbacks_may_come_in_any_order(rules, data):
    """Between two sends, any order of what is told gives the same fates and the same sums."""
    world = walk(data, rules, most=3, least=1)
    for n, stage in world.workers.items():
        if stage == "send" and not world.made_by_post:
            world.do(Make(n))  # so that there is more to tell
    facts = [
        fact
        for attempt in world.submission.attempts
        for fact in world._rumours(attempt)
        if isinstance(fact, Called | Found | Absent | Resolved)
        if getattr(fact, "owner", Owner.NOBODY) is Owner.NOBODY
    ]
    some = [fact for fact in facts if data.draw(st.integers(0, 2), label=f"{fact}, unless 0")]
    ends = []
    for order in (some, data.draw(st.permutations(some), label="other order")):
        other = copy.deepcopy(world)
        for fact in order:
            other.do(fact)
        ends.append(fates_and_sums(other))
    assert ends[0] == ends[1]


def fates_and_sums(world: World) -> tuple[object, ...]:
    """What must not depend on the order of facts.

    Money that is held for a next try is left out: it says that there may be a next try, and nothing
    of what was made.
    """
    s, ledger = world.submission, world.ledger
    fates = {each.n: each.fate for each in s.attempts if each.fate is not Fate.READY}
    return fates, len(ledger.reserved - {s.held}), len(ledger.uncertain)


def test_the_world_visits_the_whole_table():
    """Each pair of state and event in the table comes up in some world, but for those named."""
    chance = random.Random(2)
    wanted, visited = TABLE.keys() - UNREACHABLE, set[tuple[State, type]]()
    for _ in range(20_000):
        rules = Rules(
            resubmit=chance.choice(["if-absent", "always", "never"]),
            attempts=chance.randint(1, 3),
            cap=chance.choice([1, 2, 9]),
            troubles=frozenset(chance.sample(TROUBLES, k=chance.randint(0, 4))),
        )
        world = World(rules)
        world.begin(chance.choices(PASTS, k=chance.randint(0, 2)), chance.choice(STAGES))
        for _ in range(15):
            world.do(chance.choice(world.moves()))
        visited |= world.visited
        if visited >= wanted:
            break
    assert visited == wanted
