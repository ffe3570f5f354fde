"""Looks in the provider's list for the tasks of creates whose answer was lost."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import attrs

from callsheet._http.api import Api
from callsheet._polling.planner import ListSupport, Planner
from callsheet._state.clock import Clock, WakeEvent
from callsheet._state.rate_limit import RateLimit
from callsheet._state.record import Record
from callsheet._state.registry import Registry
from callsheet._submission.list_scan import FIRST_GAP, ListScan, LostCreate
from callsheet._submission.submission_events import Absent, CannotTell, Found, Owner
from callsheet.errors import CallsheetError, SubmissionUncertainError


if TYPE_CHECKING:
    from collections.abc import Mapping

    from callsheet._models.snapshot import Snapshot
    from callsheet._submission.states import Attempt


MOST_PAGES = 500
"""Most pages that one look reads. A list that is longer is not read to its end."""

GAP_FOR_POLLS = 0.1
"""Seconds before each further page. A list request of a poll that waits can be sent in them."""

MOST_KNOWN = 1000
"""Most tasks that are remembered. There is no limit while a create is lost."""

RECHECK_GAP = 2.0
"""Seconds between two checks whether the circuit breaker still stops requests."""


LONGEST_SEARCH_GAP = 60.0
"""Most seconds between two looks. A task may be in the list only minutes after its create
(Source: an incident of August 2026, which took 96 s)."""

GIVEN_UP = 1800.0
"""Seconds after the window at which a search ends that could never read the whole list."""

Key = tuple[Record, int]
"""A record, and the number of one of its attempts."""


@attrs.define(eq=False, kw_only=True)
class Reconciler:
    """Finds the tasks of lost creates, or proves that they made none.

    One look through the list serves all lost creates of a tier. The gaps between looks grow,
    because a task may appear in the list late. A task that is not there after the window was not
    made, if the list was read to its end and shows marks at all. For a create without any mark,
    absence is never proven. The error then names the tasks that may be its own.

    The result decides about money. A wrong `Absent` pays for a task twice; a wrong `CannotTell`
    only asks the caller. So whenever something is not certain, the result is `CannotTell`.

    Attributes:
        api: Sends list requests.
        window: Seconds after which a task that is in no list was not made, > 0.
        lists: The rate limit of list requests.
        planner: Knows whether the provider lists tasks, and whether the service answers.
        registry: The pending tasks.
        clock: The client's clock.
    """

    api: Api
    window: float
    lists: RateLimit
    planner: Planner
    registry: Registry
    clock: Clock
    _lost: dict[Key, LostCreate] = attrs.field(factory=dict[Key, LostCreate], init=False)
    """What is looked for: the attempts whose fate is `Fate.LOST`."""
    _made: dict[str, bool] = attrs.field(factory=dict[str, bool], init=False)
    """Ids of tasks that were created here, and whether lists must show a mark on them."""
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
            look_at=now + (FIRST_GAP if listed else self.window),
            listed=listed,
            called=attempt.token is not None and record.tells_token,
        )
        self._wake_up.set()

    def stop_looking(self, record: Record, n: int) -> None:
        """Do not look for the task of an attempt any longer."""
        self._lost.pop((record, n), None)

    def made(self, record: Record) -> None:
        """Remember a task that was created now. Only the latest ones are kept."""
        self.remember(record.task_id, marked=self.marked(record))
        if len(self._made) > MOST_KNOWN and not self._lost:
            # Two for one: the limit may have been passed while a create was lost.
            for known in tuple(itertools.islice(self._made, 2)):
                del self._made[known]

    def remember(self, task_id: str | None, *, marked: bool | None) -> None:
        """Remember a task if it was created by us, without a limit on their number.

        Args:
            task_id: Its id, if it has one.
            marked: What `marked` says of its record.
        """
        if task_id is not None and marked is not None:
            self._made[task_id] = marked

    def owner_of(self, task_id: str, record: Record) -> Owner:
        """Whether another spec of ours has this id, pending or ended."""
        if record.task_id == task_id:
            return Owner.NOBODY
        known = self.registry.is_of_spec(task_id) or task_id in self._made
        return Owner.ANOTHER if known else Owner.NOBODY

    # --- looking -----------------------------------------------------------------------------

    async def look(
        self, tokens: Mapping[str, Key]
    ) -> list[tuple[Record, Found | Absent | CannotTell]]:
        """Wait until a look is due, read the list once, and return what it has shown.

        Args:
            tokens: All tokens of attempts about which news may still come, looked for or not.
        """
        while (scan := self._begin(tokens)) is None:
            due = min((each.look_at for each in self._lost.values()), default=None)
            await self._wake_up.wait(due)
        try:
            if any(lost.listed for lost in scan.lost):
                await self._read(scan)
        except CallsheetError as error:
            # The list could not be read, so `scan` is not finished and proves nothing. If the
            # provider's documents promise no list, a definite error means that it has none.
            if self.planner.support is not ListSupport.YES and not error.transient:
                self.planner.support = ListSupport.NO
        return self._conclude(scan)

    def _begin(self, tokens: Mapping[str, Key]) -> ListScan | None:
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
            tokens=tokens,
            known=self._known,
            proving=any(self._is_over(each, now) for each in together),
        )

    async def _read(self, scan: ListScan) -> None:
        """Read the pages of one look, within the rate limit of lists."""
        for _ in range(MOST_PAGES):
            # While the service is down, polls find out when it is back, if there are any.
            while self.planner.breaker.tripped and len(self.registry) > 0:
                await self.clock.sleep(RECHECK_GAP)
            await self.clock.sleep_until(self.lists.take(now=self.clock.now()))
            page = await self.api.list(
                page_num=scan.page_num, page_size=scan.page_size, service_tier=scan.tier
            )
            if not scan.read(page, local=self.planner.schedule.local):
                return
            ready = self.lists.ready_at(now=self.clock.now())
            await self.clock.sleep_until(ready + GAP_FOR_POLLS)

    def _conclude(self, scan: ListScan) -> list[tuple[Record, Found | Absent | CannotTell]]:
        """What a look has shown of each create; nothing of those that are looked for again."""
        events: list[tuple[Record, Found | Absent | CannotTell]] = []
        # What a look has found is certain, even if the look was not finished: no other task carries
        # the token.
        for (record, n), snapshots in scan.found.items():
            self.stop_looking(record, n)
            # A gateway may have repeated the create. The task that was made first is the spec's.
            made = tuple(each.task_id for each in sorted(snapshots, key=_age))
            events.append((record, Found(n, made, self.owner_of(made[0], record))))
        over = self._take_over(scan)
        if self.planner.support is ListSupport.NO and not scan.finished:
            over += self._stop_reading_lists()
        for lost in over:
            ids = scan.candidates.get(lost.key)
            if ids:
                # One of these tasks may be the lost one. Sending again could pay for it twice.
                events.append((lost.record, CannotTell(lost.n, _ambiguous(lost, ids))))
            elif lost.listed and lost.mark and self._proves(scan, lost):
                # Only this allows a second create without the policy "always".
                events.append((lost.record, Absent(lost.n)))
            else:
                events.append((lost.record, CannotTell(lost.n, lost.error)))
        return events

    def _take_over(self, scan: ListScan) -> list[LostCreate]:
        """Remove and return those for which this look was the last.

        A look that read the whole list is the last if it *began* after the window had passed. If it
        began earlier, it is repeated, however long it took: the task may have come into the list
        after its page was read. A look that could not read the whole list proves nothing. It is
        repeated for at most `GIVEN_UP` seconds after the window.
        """
        given_up = self.clock.now() - GIVEN_UP

        def is_last(each: LostCreate) -> bool:
            conclusive = scan.finished or not each.listed
            return self._is_over(each, scan.began if conclusive else given_up)

        last = [each for each in scan.lost if self._lost.get(each.key) is each and is_last(each)]
        for each in last:
            del self._lost[each.key]
        return last

    def _stop_reading_lists(self) -> list[LostCreate]:
        """Stop using lists; remove and return the lost creates that have no callback, either."""
        without_callback: list[LostCreate] = []
        for lost in [lost for lost in self._lost.values() if lost.listed]:
            lost.listed, lost.look_at = False, lost.lost_at + self.window
            if not lost.called:
                without_callback.append(self._lost.pop(lost.key))
        return without_callback

    def _is_over(self, lost: LostCreate, now: float) -> bool:
        """Whether its window has passed, on the client's clock, which nobody can set."""
        return now >= lost.lost_at + self.window

    def _proves(self, scan: ListScan, lost: LostCreate) -> bool:
        """Whether the look proves that a lost create made no task.

        The list must have been read to its end, must reach back to the create, must show marks, and
        must hold no task without a mark that may be the lost one. Ark documents that lists show the
        mark, which is believed. For a provider that does not, a task of ours must have been listed
        with its mark.
        """
        shown = self.api.provider.lists is True or scan.echoes(lost)
        return scan.finished and scan.covers(lost) and shown and not scan.may_hide(lost)

    def _known(self, task_id: str) -> bool | None:
        """Whether lists must show a mark on a task of ours; ``None`` for any other task."""
        pending = self.registry.get(task_id)
        marked = self._made.get(task_id)
        return self.marked(pending) if marked is None and pending is not None else marked

    def _is_listed(self, record: Record) -> bool:
        """Whether lists can show the task of a lost create of this record."""
        shown = record.has_own_mark or self.api.provider.token
        return shown and self.planner.support is not ListSupport.NO

    def marked(self, record: Record) -> bool | None:
        """Whether lists must show a mark on a record's task; ``None`` if it was attached."""
        if record.spec is None:
            return None
        return record.own_mark is not None if record.has_own_mark else self.api.provider.token


def _age(snapshot: Snapshot) -> float:
    """When a task was made; one without a time comes last."""
    return float("inf") if snapshot.created_at is None else snapshot.created_at


def _ambiguous(lost: LostCreate, ids: list[str]) -> SubmissionUncertainError:
    """The error of a lost create, with the tasks that may be its own."""
    these = ", ".join(ids[:5]) + (" and others" if len(ids) > 5 else "")  # noqa: PLR2004
    alike = "with the same safety_identifier" if lost.mark else "of its model and time"
    reason = f"{lost.error.reason}; ambiguous: tasks {alike} may be it: {these}"
    return SubmissionUncertainError(reason, lost.error.token)
