"""Looks in the provider's list for the tasks of creates whose answer was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from callsheet._http.api import Api
from callsheet._models.policy import RetryPolicy
from callsheet._polling.planner import ListSupport, Planner
from callsheet._state.clock import Clock, WakeEvent
from callsheet._state.fate import Fate, Grade
from callsheet._state.moment import Moment
from callsheet._state.rate_limit import RateLimit
from callsheet._state.record import Record
from callsheet._state.registry import MadeTask, Registry
from callsheet._submission import evidence
from callsheet._submission.evidence import Contradiction, Doubt, Presumed, Scope, Verdict
from callsheet._submission.list_scan import FIRST_GAP, ListScan, LostCreate
from callsheet._submission.states import Attempt, State
from callsheet._submission.submission_events import (
    Absent,
    CannotTell,
    Disowned,
    Found,
    Owner,
    Retracted,
)
from callsheet._submission.transition import attempt_of, current_of
from callsheet.errors import CallsheetError, NotFoundError, SubmissionUncertainError
from callsheet.events import ListDoubted


if TYPE_CHECKING:
    from collections.abc import Iterable

    from callsheet._models.snapshot import Snapshot
    from callsheet._submission.submissions import Submissions


MOST_PAGES = 500
"""Most pages that one look reads. A list that is longer is not read to its end."""

GAP_FOR_POLLS = 0.1
"""Seconds before each further page. A list request of a poll that waits can be sent in them."""

RECHECK_GAP = 2.0
"""Seconds between two checks whether the circuit breaker still stops requests."""

LONGEST_SEARCH_GAP = 60.0
"""Most seconds between two looks. A task may be in the list only minutes after its create
(Source: an incident of August 2026, which took 96 s)."""

MOST_WINDOWS = 4
"""Windows after which a search ends if no look could be believed, or none could be finished."""

LONGEST_OUTAGE = 3600.0
"""Most seconds by which an outage of the whole service delays the end of a search."""

Key = tuple[Record, int]
"""A record, and the number of one of its attempts."""

Finding = Found | Absent | CannotTell | Retracted | Disowned


@attrs.frozen
class Findings:
    """What a look has brought.

    Attributes:
        events: What it says of single attempts. The state machine of each decides what follows.
        doubts: What the caller is told about the list.
    """

    events: list[tuple[Record, Finding]] = attrs.field(factory=list[tuple[Record, Finding]])
    doubts: list[ListDoubted] = attrs.field(factory=list[ListDoubted])


@attrs.define(eq=False, kw_only=True)
class Reconciler:
    """Finds the tasks of lost creates, or proves that they made none.

    One look through the list serves all lost creates of a tier. The gaps between looks grow,
    because a task may appear in the list late. What a look shows is always believed. What it does
    not show was not made only by the rules of `callsheet._submission.evidence`: the look began
    after the window, read the list to its end, and contradicts nothing that this client knows. For
    a create without a token of ours, absence is never proven. The error then names the tasks that
    may be its own.

    The result decides about money. A wrong `Absent` pays for a task twice; a wrong `CannotTell`
    only asks the caller. So whenever something is not certain, the result is `CannotTell`.

    Attributes:
        api: Sends list requests.
        policy: How long a task is looked for, and whether its create may be sent again.
        lists: The rate limit of list requests.
        planner: Knows whether the provider lists tasks, and whether the service answers.
        registry: The pending tasks, and those that were made here.
        clock: The client's clock.
    """

    api: Api
    policy: RetryPolicy
    lists: RateLimit
    planner: Planner
    registry: Registry
    clock: Clock
    _lost: dict[Key, LostCreate] = attrs.field(factory=dict[Key, LostCreate], init=False)
    """What is looked for: the attempts whose fate is `Fate.LOST`."""
    _scopes: dict[str | None, Scope] = attrs.field(factory=dict[str | None, Scope], init=False)
    """What is remembered about the lists, by service tier."""
    _disowned: list[tuple[Record, Disowned]] = attrs.field(
        factory=list[tuple[Record, Disowned]], init=False
    )
    """Records whose id is not that of their task, until they are looked for."""
    _wake_up: WakeEvent = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Make the wake-up event, which needs the client's clock."""
        self._wake_up = WakeEvent(self.clock)

    # --- what is looked for ------------------------------------------------------------------

    def can_look(self, record: Record) -> bool:
        """Whether a list or a callback can tell of a lost create of this record."""
        return self._is_listed(record) or record.tells_token

    def look_for(self, record: Record, attempt: Attempt) -> None:
        """Start to look for the task of an attempt whose answer was lost."""
        if attempt.error is None or attempt.sent is None:
            raise ValueError(f"{attempt!r} is not lost")
        own, listed = record.has_own_mark, self._is_listed(record)
        # The window begins now and not when the create was sent: the request may have waited long
        # before the provider read it.
        now = self.clock.now()
        self._lost[record, attempt.n] = LostCreate(
            record=record,
            n=attempt.n,
            mark=record.own_mark if own else attempt.token,
            ours=not own,
            at=attempt.sent.wall,
            sent=attempt.sent.now,
            error=attempt.error,
            lost_at=now,
            look_at=now + self._first_gap(attempt, listed=listed),
            once=isinstance(attempt.disowned, NotFoundError),
            listed=listed,
            called=attempt.token is not None and record.tells_token,
        )
        self._wake_up.set()

    def _first_gap(self, attempt: Attempt, *, listed: bool) -> float:
        """Seconds until the first look. The task of a disowned one may be listed already."""
        if attempt.disowned is not None:
            return 0.0
        return FIRST_GAP if listed else self.policy.lookup

    def disown(self, record: Record, error: CallsheetError) -> bool:
        """Look for the task of a record whose id is not that of its task.

        Returns:
            Whether it can be looked for: the id was a claim, and lists show our tokens.
        """
        made = self.registry.made_task(record.task_id or "")
        if made is None or made.proven or made.mark is None or record.surplus or record.twin:
            return False
        if made.sent is None:
            return False  # too little is known of its create
        if isinstance(error, NotFoundError) and made.confirmed:
            return False  # it existed, and its record was deleted
        if record.has_own_mark or not self._is_listed(record):
            return False
        self._disowned.append((record, Disowned(made.n, error)))
        self._wake_up.set()
        return True

    def stop_looking(self, record: Record, n: int) -> None:
        """Do not look for the task of an attempt any longer."""
        self._lost.pop((record, n), None)

    def made(self, record: Record, attempt: Attempt, *, proven: bool, listed: bool) -> None:
        """Remember a task that was created now: lists must show it.

        Args:
            record: Its record.
            attempt: The attempt that made it.
            proven: Whether its token was shown with its id.
            listed: Whether it was found in a list.
        """
        task = self.made_task(record, record.task_id or "", attempt.n, attempt.token)
        task.sent, task.proven, task.listed = attempt.sent, proven, listed
        self.remember(record.tier, task)

    def contradict(self, record: Record, task_id: str, submissions: Submissions) -> Findings:
        """Note that a task exists although the list has shown that its create made none.

        Until a list shows that task, no absence is believed in its tier any more. Those that were
        believed before are taken back.
        """
        scope = self._scope(record.tier)
        refuted = Contradiction.refuted(task_id)
        scope.add(refuted)
        found = Findings()
        self._doubt(found, scope, record.tier, (refuted,), submissions)
        return found

    def doubts(self) -> list[str]:
        """Why lists are not believed at the moment, one sentence for each reason."""
        scopes = self._scopes.values()
        return [each.why for scope in scopes for each in scope.lasting.values()]

    # --- looking -----------------------------------------------------------------------------

    async def look(self, submissions: Submissions) -> Findings:
        """Wait until a look is due, read the list once, and return what it has shown.

        Args:
            submissions: All attempts about which news may still come, looked for or not.
        """
        # First those that are not looked for yet: a look may always be due.
        while self._disowned or (scan := self._begin(submissions)) is None:
            if self._disowned:
                return Findings(self._take_disowned())
            due = min((each.look_at for each in self._lost.values()), default=None)
            await self._wake_up.wait(due)
        witnesses: list[MadeTask] = []
        existing: list[MadeTask] = []
        try:
            if any(lost.listed for lost in scan.lost):
                await self._read(scan)
                await self._ask_about_claims(scan)
                witnesses = self._obliged(scan)
                if witnesses:
                    existing = await self._existing(scan, evidence.missing(scan, witnesses))
        except CallsheetError as error:
            # The list could not be read, so `scan` is not finished and proves nothing. If the
            # provider's documents promise no list, a definite error means that it has none.
            scan.finished = False
            if self.planner.support is not ListSupport.YES and not error.transient:
                self.planner.support = ListSupport.NO
        witnesses = [task for task in witnesses if not task.denied]
        return self._conclude(scan, witnesses, existing, submissions)

    def _take_disowned(self) -> list[tuple[Record, Finding]]:
        """The events of the records that were disowned, each once."""
        events: list[tuple[Record, Finding]] = [*self._disowned]
        self._disowned.clear()
        return events

    def _begin(self, submissions: Submissions) -> ListScan | None:
        """Begin a look for all lost creates of one tier, if one is due."""
        now, lost = self.clock.now(), self._lost.values()
        due = min(lost, key=lambda each: each.look_at, default=None)
        if due is None or due.look_at > now:
            return None
        together = [each for each in lost if each.tier == due.tier]
        for each in together:
            each.look_at = now + each.gap
            each.gap = min(2.0 * each.gap, LONGEST_SEARCH_GAP)
        return ListScan(
            began=now,
            wall=self.clock.wall(),
            lost=together,
            tokens=submissions.with_token(),
            known=self._known,
            local=self.planner.schedule.local,
            proving=any(self._is_over(each, now) for each in together),
        )

    async def _read(self, scan: ListScan) -> None:
        """Read the pages of one look, within the rate limit of lists."""
        for _ in range(MOST_PAGES):
            await self._service_is_up()
            await self.clock.sleep_until(self.lists.take(now=self.clock.now()))
            page = await self.api.list(
                page_num=scan.page_num, page_size=scan.page_size, service_tier=scan.tier
            )
            if not scan.read(page):
                return
            ready = self.lists.ready_at(now=self.clock.now())
            await self.clock.sleep_until(ready + GAP_FOR_POLLS)

    async def _service_is_up(self) -> None:
        """Wait while the whole service is down, if polls find out when it is back.

        The searches end later by as much, since nobody could have been told anything.
        """
        while self.planner.breaker.tripped and len(self.registry) > 0:
            waiting = [each for each in self._lost.values() if each.paused < LONGEST_OUTAGE]
            if not waiting:
                return
            await self.clock.sleep(RECHECK_GAP)
            for each in waiting:
                each.paused += RECHECK_GAP

    async def _ask_about_claims(self, scan: ListScan) -> None:
        """Ask for each task that shows the token of a lost create, and that another spec claims.

        A list may show marks of other tasks. If the task itself shows the mark of the spec that was
        answered with its id, that spec keeps it. If it shows none, the list is believed. If there
        is no answer, that is decided after the window.
        """
        for (record, _), snapshots in scan.found.items():
            for task_id in [each.task_id for each in snapshots]:
                made = self.registry.made_task(task_id)
                taken = self.owner_of(task_id, record) is Owner.ANOTHER
                if made is None or made.proven or not taken:
                    continue
                await self.clock.sleep_until(self.planner.gets.take(now=self.clock.now()))
                try:
                    self.registry.is_of_another(await self.api.get(task_id))
                except CallsheetError:
                    scan.undecided.add(task_id)

    def _obliged(self, scan: ListScan) -> list[MadeTask]:
        """The tasks that this look must have shown to be believed."""
        if not scan.finished or not scan.proving:
            return []
        return evidence.obliged(
            self.registry.made.get(scan.tier, {}).values(),
            deleted=self.api.deleted,
            began=Moment(scan.began, scan.wall),
            window=self.policy.lookup,
        )

    async def _existing(self, scan: ListScan, missing: list[MadeTask]) -> list[MadeTask]:
        """Which of the tasks that the list should have shown exist.

        A task whose record was deleted is no contradiction, so the provider is asked for each. If
        it does not say, the look proves nothing.
        """
        if len(missing) > evidence.MOST_ASKED:
            return missing
        existing: list[MadeTask] = []
        for task in missing:
            await self.clock.sleep_until(self.planner.gets.take(now=self.clock.now()))
            try:
                await self.api.get(task.task_id)
            except NotFoundError as error:
                task.denied = error.code is not None
                scan.finished &= task.denied  # a page of something in between says nothing
            except CallsheetError:
                scan.finished = False
            else:
                existing.append(task)
        return existing

    # --- what a look has shown -----------------------------------------------------------------

    def _conclude(
        self,
        scan: ListScan,
        witnesses: list[MadeTask],
        existing: list[MadeTask],
        submissions: Submissions,
    ) -> Findings:
        """What a look has shown of each create; nothing of those that are looked for again."""
        # Those come first that were disowned meanwhile. This look may give their ids to others, and
        # then nothing is known any more of the creates that had brought these ids.
        findings, scope = Findings(self._take_disowned()), self._scope(scan.tier)
        # What a look has found is certain, even if the look was not finished: no other task carries
        # the token.
        now = evidence.contradictions(scan, witnesses, existing) if scan.proving else []
        for (record, n), snapshots in scan.found.items():
            found = self._found(record, n, snapshots, scan, findings)
            if found is None:
                continue
            self.stop_looking(record, n)
            if _was_absent(submissions, record, n):
                # Tasks come into this list later than a window after their create. So this look
                # may not show the others yet, either.
                now.append(Contradiction.refuted(found.task_ids[0]))
            findings.events.append((record, found))
        if scan.shown or scan.nearly or scope.lasting:
            scope.observe(scan)
        marks = [
            each
            for other in self._scopes.values()
            for each in other.lasting.values()
            # A gateway changes or drops marks of a model in every tier alike.
            if other is scope or each.kind in {Doubt.MARK, Doubt.NO_MARK}
        ]
        self._doubt(findings, scope, scan.tier, (*now, *marks), submissions)
        self._free_canary(scope, scan)
        lost_without_list: list[LostCreate] = []
        if self.planner.support is ListSupport.NO and not scan.finished:
            lost_without_list = self._stop_reading_lists()
        for lost in [each for each in scan.lost if self._lost.get(each.key) is each]:
            verdict = evidence.judge(
                scan,
                lost,
                now=now,
                lasting=marks,
                witnesses=witnesses,
                documented=self.api.provider.lists is True,
            )
            event = self._resolve(lost, scan, verdict, submissions)
            if event is not None:
                del self._lost[lost.key]
                findings.events.append((lost.record, event))
        events = ((each.record, CannotTell(each.n, each.error)) for each in lost_without_list)
        findings.events.extend(events)
        if scan.finished and scan.proving and not now:
            scope.confirm_presumed(scan, witnesses)
        return findings

    def _found(
        self,
        record: Record,
        n: int,
        snapshots: list[Snapshot],
        scan: ListScan,
        findings: Findings,
    ) -> Found | None:
        """The event of an attempt whose token is shown; ``None`` if it is to be looked for again.

        A gateway may have repeated the create. The task that was made first is the spec's.
        """
        ids = [each.task_id for each in sorted(snapshots, key=_age)]
        free = tuple(each for each in ids if self.owner_of(each, record) is Owner.NOBODY)
        if free:
            return Found(n, free)
        lost = self._lost.get((record, n))
        if ids[0] in scan.undecided and lost is not None and not self._is_over(lost, scan.began):
            return None  # the next look asks again; after the window the list is believed
        owner = Owner.ANOTHER
        if ids[0] in scan.exactly:
            owner = self._displace(ids[0], findings)
        return Found(n, (ids[0],), owner)

    def _displace(self, task_id: str, findings: Findings) -> Owner:
        """Take an id from the spec that was answered with it: a token says more than an answer.

        Returns:
            Who has the id then. A spec keeps it whose own token was shown with it, too.
        """
        made, other = self.registry.made_task(task_id), self.registry.get(task_id)
        if made is None or made.proven or (other is not None and other.twin is not None):
            return Owner.ANOTHER
        if made.sent is None:
            return Owner.ANOTHER  # too little is known of that spec's create to look for its task
        if other is not None and not other.surplus:
            reason = f"the list shows that the task {task_id} is that of another create"
            error = SubmissionUncertainError(reason, made.mark)
            findings.events.append((other, Disowned(made.n, error)))
        return Owner.NOBODY

    def _resolve(
        self, lost: LostCreate, scan: ListScan, verdict: Verdict, submissions: Submissions
    ) -> Absent | CannotTell | None:
        """What a look says of one create that it has not shown; ``None`` to look again."""
        if lost.once:  # its id was denied, and the list does not show its token, either
            return CannotTell(lost.n, lost.error)
        # A look that began within the window says nothing, however long it took: the task may have
        # come into the list after its page was read.
        if not self._is_over(lost, scan.began if lost.listed else self.clock.now()):
            return None
        if ids := scan.candidates.get(lost.key):
            # One of these tasks may be the lost one. Sending again could pay for it twice.
            return CannotTell(lost.n, _ambiguous(lost, ids))
        if not (lost.listed and lost.mark):
            return CannotTell(lost.n, lost.error)
        grade, why, most = verdict.grade, verdict.why, MOST_WINDOWS if verdict.again else 0
        if grade is Grade.PRESUMED and self._must_wait(lost, submissions):
            grade, why = None, "the list has not yet shown that it is up to date"
            most = self.policy.attempts
        if grade is not None:
            if grade is Grade.PRESUMED and lost.ours:
                self._scope(lost.tier).presumed[lost.mark] = Presumed.of(lost)
            # Only this allows a second create without the policy "always".
            return Absent(lost.n, grade)
        waited = self.clock.now() - lost.lost_at - lost.paused
        return (
            None if waited < most * self.policy.lookup else CannotTell(lost.n, _because(lost, why))
        )

    def _must_wait(self, lost: LostCreate, submissions: Submissions) -> bool:
        """Whether another record is sent again first on a presumed absence.

        A list that is believed without a witness may be wrong in the same way for each lost create.
        So one of them is sent again, and the others wait for what the list says of it.
        """
        if not self._is_sent_again(lost, submissions):
            return False
        scope = self._scope(lost.tier)
        if scope.canary is None:
            scope.canary = lost.record
        return scope.canary is not lost.record

    def _is_sent_again(self, lost: LostCreate, submissions: Submissions) -> bool:
        """Whether its spec is sent once more if this attempt made no task."""
        submission = submissions.of(lost.record)
        if submission is None or self.policy.resubmit != "if-absent":
            return False
        current = current_of(submission)
        if submission.state is not State.LOST or current is None or current.n != lost.n:
            return False
        return current.disowned is None and not submission.cancelled

    def _free_canary(self, scope: Scope, scan: ListScan) -> None:
        """Let another record be the canary, if no more can be learned from this one.

        It is the canary until it ends without an id, or until a finished look has begun a window
        after its task was sent. If that look had to show the task, then the task is a witness for
        all others, or a contradiction. If it had not, because the task was cancelled or found in a
        list, no later look can say more.
        """
        canary = scope.canary
        if canary is None:
            return
        made = self.registry.made.get(scan.tier, {}).get(canary.task_id or "")
        if made is None or made.sent is None or made.sent.now is None:
            over = canary.settled or canary.task_id is not None
        else:
            old = scan.began - made.sent.now >= self.policy.lookup
            # A task that a list has shown is no witness, so nothing more is learned from it.
            learned = made.listed or (scan.finished and scan.proving and old)
            over = made.denied or learned
        if over:
            scope.canary = None

    def _doubt(
        self,
        findings: Findings,
        scope: Scope,
        tier: str | None,
        contradictions: Iterable[Contradiction],
        submissions: Submissions,
    ) -> None:
        """Tell of contradictions, once of each kind, and take back what was presumed."""
        for each in contradictions:
            if each.kind not in scope.told:
                scope.told.add(each.kind)
                doubted = ListDoubted(kind=each.kind.value, reason=each.why, service_tier=tier)
                findings.doubts.append(doubted)
            for token in scope.take_back(each):
                kept = submissions.by_token(token)
                if kept is not None:
                    record, n = kept
                    findings.events.append((record, Retracted(n)))

    def _stop_reading_lists(self) -> list[LostCreate]:
        """Stop using lists; remove and return the lost creates that have no callback, either."""
        without_callback: list[LostCreate] = []
        for lost in [lost for lost in self._lost.values() if lost.listed]:
            lost.listed, lost.look_at = False, lost.lost_at + self.policy.lookup
            if not lost.called:
                without_callback.append(self._lost.pop(lost.key))
        return without_callback

    def _is_over(self, lost: LostCreate, now: float) -> bool:
        """Whether its window has passed, on the client's clock, which nobody can set."""
        return now >= lost.lost_at + self.policy.lookup

    def _scope(self, tier: str | None) -> Scope:
        return self._scopes.setdefault(tier, Scope())

    # --- the tasks that were made here ---------------------------------------------------------

    def owner_of(self, task_id: str, record: Record) -> Owner:
        """Whether another spec of ours has this id, pending or ended."""
        taken = record.task_id != task_id and self.registry.is_of_spec(task_id)
        return Owner.ANOTHER if taken else Owner.NOBODY

    def made_task(self, record: Record, task_id: str, n: int, token: str | None) -> MadeTask:
        """What lists must show of a task of this record.

        Args:
            record: The record.
            task_id: The id of the task.
            n: The number of the attempt that made it.
            token: The token that its create carried, if it is known.
        """
        own = record.has_own_mark
        marked = record.own_mark is not None if own else self.api.provider.token
        mark = record.own_mark if own else token
        return MadeTask(task_id, n, record.model, marked, mark if marked else None)

    def remember(self, tier: str | None, task: MadeTask) -> None:
        """Remember a task of ours. Only the latest are kept, and all while a create is lost."""
        self.registry.remember(tier, task, keep_all=bool(self._lost))

    def _known(self, task_id: str) -> MadeTask | None:
        """What is known of a task that was made here; ``None`` for any other task."""
        pending = self.registry.get(task_id)
        own_id = task_id if pending is None else pending.task_id or ""
        made = self.registry.made_task(own_id)
        if made is not None or pending is None or pending.spec is None:
            return made
        return self.made_task(pending, own_id, 0, None)

    def _is_listed(self, record: Record) -> bool:
        """Whether lists can show the task of a lost create of this record."""
        shown = record.has_own_mark or self.api.provider.token
        return shown and self.planner.support is not ListSupport.NO


def _was_absent(submissions: Submissions, record: Record, n: int) -> bool:
    """Whether a list had shown that an attempt made no task."""
    submission = submissions.of(record)
    attempt = None if submission is None else attempt_of(submission, n)
    return attempt is not None and attempt.fate is Fate.ABSENT


def _age(snapshot: Snapshot) -> float:
    """When a task was made; one without a time comes last."""
    return float("inf") if snapshot.created_at is None else snapshot.created_at


def _ambiguous(lost: LostCreate, ids: list[str]) -> SubmissionUncertainError:
    """The error of a lost create, with the tasks that may be its own."""
    these = ", ".join(ids[:5]) + (" and others" if len(ids) > 5 else "")  # noqa: PLR2004
    alike = "with the same safety_identifier" if lost.mark else "of its model and time"
    reason = f"{lost.error.reason}; ambiguous: tasks {alike} may be it: {these}"
    return SubmissionUncertainError(reason, lost.error.token)


def _because(lost: LostCreate, why: str) -> SubmissionUncertainError:
    """The error of a lost create, with the reason why no look could prove anything."""
    return SubmissionUncertainError(f"{lost.error.reason}; {why}", lost.error.token)
