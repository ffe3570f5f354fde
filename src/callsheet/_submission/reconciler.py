"""Looks for tasks whose create was answered by nothing: in the list, by what tells them there."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import attrs

from callsheet._http.api import Api
from callsheet._polling.planner import ListSupport, Planner
from callsheet._state.clock import Clock, Moment, WakeEvent
from callsheet._state.rate_limit import RateLimit
from callsheet._state.record import Record
from callsheet._state.registry import Registry
from callsheet._submission.correlation_token import has_own, own_mark
from callsheet._submission.list_scan import FIRST_GAP, ListScan, LostCreate
from callsheet._submission.lost_creates import LostCreates
from callsheet.errors import CallsheetError, SubmissionUncertainError


MOST_PAGES = 500

GAP_FOR_POLLS = 0.1
"""Seconds for which a list that polls wait for may leave before the next page is asked for."""

MOST_KNOWN = 1000
"""Most tasks that are remembered once they have ended, unless something is looked for."""

RECHECK_GAP = 2.0
"""Seconds until it is seen again whether a service that is down has come back."""


@attrs.define(eq=False, kw_only=True)
class Reconciler:
    """Finds lost creates, or proves that they never were.

    One look through the list serves all that are lost, with growing gaps, because a task may
    surface late. What is not there when the window is over was never made, provided that the list
    could be read to the end and shows marks at all. A create that carried nothing to tell its task
    by is never proven absent: the tasks that may be its own are named.

    Attributes:
        api: The wire.
        lost_creates: What is lost.
        lists: Budget of lists.
        planner: Knows whether the provider lists tasks, and whether it serves at all.
        registry: The tasks that are known.
        clock: The client's clock.
        found: Called with a record and the id of its task.
        absent: Called with a record that provably has no task, and its error.
        unknown: Called with a record of which nobody can say whether it has one, and its error.
    """

    api: Api
    lost_creates: LostCreates
    lists: RateLimit
    planner: Planner
    registry: Registry
    clock: Clock
    found: Callable[[Record, str], None] = attrs.field(init=False)
    absent: Callable[[Record, SubmissionUncertainError], None] = attrs.field(init=False)
    unknown: Callable[[Record, SubmissionUncertainError], None] = attrs.field(init=False)
    _made: dict[str, bool] = attrs.field(factory=dict[str, bool], init=False)
    _wake_up: WakeEvent = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Make what sleeps on the client's clock."""
        self._wake_up = WakeEvent(self.clock)

    def look_for(
        self,
        record: Record,
        error: SubmissionUncertainError,
        *,
        mark: str | None,
        ours: bool,
        sent: Moment,
        called: bool,
    ) -> bool:
        """Look for a create that left at *sent*; tell whether that is possible at all.

        Args:
            record: Its record.
            error: What became of its answer.
            mark: What it carries; ``None`` if that is nothing that lists show.
            ours: Whether that is, or would be, a token that nothing else carries.
            sent: When it left.
            called: Whether a callback would tell of it, too.
        """
        shown = not ours or (mark is not None and self.api.provider.token)
        listed = shown and self.planner.support is not ListSupport.NO
        if not (listed or called):
            return False
        now = self.clock.now()
        look_at = now + (FIRST_GAP if listed else self.lost_creates.window)
        self.lost_creates.add(
            LostCreate(
                record=record,
                mark=mark,
                ours=ours,
                at=sent.wall,
                sent=sent.now,
                error=error,
                lost_at=now,
                look_at=look_at,
                listed=listed,
                called=called,
            )
        )
        self._wake_up.set()
        return True

    def made(self, record: Record) -> None:
        """Remember a task that was created now, also once it has ended."""
        self.remember(record)
        if len(self._made) > MOST_KNOWN and not self.lost_creates:
            for known in tuple(itertools.islice(self._made, 2)):  # and what came meanwhile
                del self._made[known]

    def remember(self, record: Record) -> None:
        """Remember a task of ours, if it is one, however many there are."""
        marked = self._marked(record)
        if record.task_id is not None and marked is not None:
            self._made[record.task_id] = marked

    def close(self) -> list[LostCreate]:
        """Look no more; gives what is still lost."""
        left = list(self.lost_creates)
        for lost in left:
            self.lost_creates.drop(lost.record)
        return left

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            now, wall = self.clock.now(), self.clock.wall()
            scan = self.lost_creates.scan(now=now, wall=wall, known=self._known)
            if scan is None:
                await self._wake_up.wait(self.lost_creates.next_look())
                continue
            try:
                if any(lost.listed for lost in scan.lost):
                    await self._read(scan)
            except CallsheetError as error:
                if self.planner.support is not ListSupport.YES and not error.transient:
                    self.planner.support = ListSupport.NO
            self._conclude(scan)

    async def _read(self, scan: ListScan) -> None:
        for _ in range(MOST_PAGES):
            while (
                self.planner.breaker.tripped and len(self.registry) > 0
            ):  # polls find out when it is up
                await self.clock.sleep(RECHECK_GAP)
            await self.clock.sleep_until(self.lists.take(now=self.clock.now()))
            page = await self.api.list(
                page_num=scan.page_num, page_size=scan.page_size, service_tier=scan.tier
            )
            if not scan.read(page, local=self.planner.schedule.local):
                return
            ready = self.lists.ready_at(now=self.clock.now())
            await self.clock.sleep_until(ready + GAP_FOR_POLLS)

    def _conclude(self, scan: ListScan) -> None:
        for record, snapshot in scan.found.items():
            if self.lost_creates.drop(record) is not None:
                self.found(record, snapshot.task_id)
        now = self.clock.now()
        over = self.lost_creates.over(scan, now=now)
        if self.planner.support is ListSupport.NO and not scan.finished:
            over += self._stop_reading_lists()
        for lost in over:
            ids = scan.candidates.get(lost.record)
            if ids:
                self.unknown(lost.record, _ambiguous(lost, ids))
            elif lost.listed and lost.mark and self._proves(scan, lost):
                self.absent(lost.record, lost.error)
            else:
                self.unknown(lost.record, lost.error)

    def _stop_reading_lists(self) -> list[LostCreate]:
        """Look into no list any more; give those of which no callback will tell, either."""
        listed = [lost for lost in self.lost_creates if lost.listed]
        for lost in listed:
            lost.listed, lost.look_at = False, lost.lost_at + self.lost_creates.window
        return [lost for lost in listed if not lost.called and self.lost_creates.drop(lost.record)]

    def _proves(self, scan: ListScan, lost: LostCreate) -> bool:
        """Whether what is not in the list was never made.

        Ark documents that lists echo the mark, and is believed unless a task is listed without one
        that may be ours. Of a provider whose lists are not known to, a task of ours in the list
        must have shown it.
        """
        shown = self.api.provider.lists is True or scan.echoes(lost)
        return scan.finished and scan.covers(lost) and shown and not scan.may_hide(lost)

    def _known(self, task_id: str) -> bool | None:
        """Whether lists must show a mark on a task that was created here; ``None`` for others."""
        pending = self.registry.get(task_id)
        marked = self._made.get(task_id)
        return self._marked(pending) if marked is None and pending is not None else marked

    def _marked(self, record: Record) -> bool | None:
        if record.spec is None:
            return None
        return own_mark(record) is not None if has_own(record.spec) else self.api.provider.token


def _ambiguous(lost: LostCreate, ids: list[str]) -> SubmissionUncertainError:
    these = ", ".join(ids[:5]) + (" and others" if len(ids) > 5 else "")  # noqa: PLR2004
    alike = "with the same safety_identifier" if lost.mark else "of its model and time"
    reason = f"{lost.error.reason}; ambiguous: tasks {alike} may be it: {these}"
    return SubmissionUncertainError(reason, lost.error.token)
