"""Looks in the provider's list for the tasks of creates whose answer was lost."""

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
"""Most pages that one look reads. A list that is longer is not read to its end."""

GAP_FOR_POLLS = 0.1
"""Seconds before each further page. A list request of a poll that waits can be sent in them."""

MOST_KNOWN = 1000
"""Most tasks that are remembered. There is no limit while a create is lost."""

RECHECK_GAP = 2.0
"""Seconds between two checks whether the circuit breaker still stops requests."""


@attrs.define(eq=False, kw_only=True)
class Reconciler:
    """Finds the tasks of lost creates, or proves that they made none.

    One look through the list serves all lost creates of a tier. The gaps between looks grow,
    because a task may appear in the list late. A task that is not there after the window was not
    made, if the list was read to its end and shows marks at all. For a create without any mark,
    absence is never proven. The error then names the tasks that may be its own.

    The result decides about money. A wrong "absent" pays for a task twice; a wrong "unknown" only
    asks the caller. So whenever something is not certain, the result is "unknown".

    Attributes:
        api: Sends list requests.
        lost_creates: The creates that are looked for.
        lists: The rate limit of list requests.
        planner: Knows whether the provider lists tasks, and whether the service answers.
        registry: The pending tasks.
        clock: The client's clock.
        found: Called with a record and the id of its task.
        absent: Called with a record whose create certainly made no task, and with its error.
        unknown: Called with a record whose create may have made a task, and with its error.
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
    """Ids of tasks that were created here, and whether lists must show a mark on them."""
    _wake_up: WakeEvent = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Make the wake-up event, which needs the client's clock."""
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
        """Start to look for the task of a create; return ``False`` if nothing can tell of it.

        Args:
            record: The record of the create.
            error: Why there is no answer.
            mark: What lists show of it; ``None`` if they show nothing.
            ours: Whether the mark is, or would be, our token, which no other task carries.
            sent: When it was sent.
            called: Whether a callback would bring its token.
        """
        shown = not ours or (mark is not None and self.api.provider.token)
        listed = shown and self.planner.support is not ListSupport.NO
        if not (listed or called):
            return False
        # The window begins now and not when the create was sent: the request may have waited long
        # before the provider read it.
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
        """Remember a task that was created now. Only the latest ones are kept."""
        self.remember(record.task_id, marked=self.marked(record))
        if len(self._made) > MOST_KNOWN and not self.lost_creates:
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

    def close(self) -> list[LostCreate]:
        """Stop looking; return what is still lost."""
        left = list(self.lost_creates)
        for lost in left:
            self.lost_creates.drop(lost.record)
        return left

    async def run(self) -> None:
        """Look for lost creates until cancelled."""
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
                # The list could not be read, so `scan` is not finished and proves nothing. If the
                # provider's documents promise no list, a definite error means that it has none.
                if self.planner.support is not ListSupport.YES and not error.transient:
                    self.planner.support = ListSupport.NO
            self._conclude(scan)

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

    def _conclude(self, scan: ListScan) -> None:
        """Give the result of a look for each lost create: found, absent, unknown, or look again."""
        # What a look has found is certain, even if the look was not finished: no other task carries
        # the token.
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
                # One of these tasks may be the lost one. Sending again could pay for it twice.
                self.unknown(lost.record, _ambiguous(lost, ids))
            elif lost.listed and lost.mark and self._proves(scan, lost):
                # Only this allows a second create without the policy "always".
                self.absent(lost.record, lost.error)
            else:
                self.unknown(lost.record, lost.error)

    def _stop_reading_lists(self) -> list[LostCreate]:
        """Stop using lists; drop and return the lost creates that have no callback, either."""
        listed = [lost for lost in self.lost_creates if lost.listed]
        for lost in listed:
            lost.listed, lost.look_at = False, lost.lost_at + self.lost_creates.window
        return [lost for lost in listed if not lost.called and self.lost_creates.drop(lost.record)]

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

    def marked(self, record: Record) -> bool | None:
        """Whether lists must show a mark on a record's task; ``None`` if it was attached."""
        if record.spec is None:
            return None
        return own_mark(record) is not None if has_own(record.spec) else self.api.provider.token


def _ambiguous(lost: LostCreate, ids: list[str]) -> SubmissionUncertainError:
    """The error of a lost create, with the tasks that may be its own."""
    these = ", ".join(ids[:5]) + (" and others" if len(ids) > 5 else "")  # noqa: PLR2004
    alike = "with the same safety_identifier" if lost.mark else "of its model and time"
    reason = f"{lost.error.reason}; ambiguous: tasks {alike} may be it: {these}"
    return SubmissionUncertainError(reason, lost.error.token)
