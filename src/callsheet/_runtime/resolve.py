"""Takes what a person says of a create whose answer was lost, after a look at the account's pages.

Nothing else can decide where the provider lists no tasks, or lists them wrongly. A wrong word buys
a video twice, or counts the task of another spec. So everything that can be checked here is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from callsheet._http.tasks_api import Tasks
from callsheet._models.outcome import UncertainAttempt
from callsheet._state.clock import Clock, Waiters
from callsheet._submission.bookkeeping import Bookkeeping
from callsheet._submission.submitter import Submitter
from callsheet.errors import ClosedError, ConfigurationError


if TYPE_CHECKING:
    from callsheet._models.snapshot import Snapshot
    from callsheet._state.record import Record


@attrs.frozen(kw_only=True)
class Resolver:
    """Settles attempts of one client by hand.

    Attributes:
        submitter: Knows the attempts, and takes what is said of them.
        tasks: Asks the provider for a task.
        bookkeeping: Keeps the journal.
        clock: The client's clock.
        waiting: Knows whether the client is closed.
    """

    submitter: Submitter
    tasks: Tasks
    bookkeeping: Bookkeeping
    clock: Clock
    waiting: Waiters

    def uncertain(self, record: Record) -> tuple[UncertainAttempt, ...]:
        """The attempts of a record that may have made a task, the oldest first."""
        return tuple(
            UncertainAttempt(
                attempt=each.n,
                token=each.token,
                sent_at=None if each.sent is None else each.sent.wall / self.clock.speed,
            )
            for each in sorted(self.submitter.uncertain_attempts(record), key=lambda each: each.n)
        )

    async def resolve(
        self, record: Record, task_id: str | None, *, attempt: int | None
    ) -> Snapshot | None:
        """Settle one attempt of a record; see `callsheet.TaskHandle.resolve`."""
        if self.waiting.closed:
            raise ClosedError("the client is closed")
        self._check(record, attempt)
        snapshot = None
        if task_id is not None:
            if not task_id.strip():
                raise ConfigurationError(f"{task_id!r} is no task id")
            # A misspelt id would never bring a video, and the spec would wait for it for ever. So
            # the provider is asked before anything is written.
            snapshot = await self.tasks.get(task_id)
            attempt = self._carrier(record, snapshot, attempt)
        # Once more, since the request took time. Nothing is awaited from here to `resolve`.
        n = self._one(record, attempt)
        if task_id is not None and self.submitter.has_task(task_id, record):
            raise ConfigurationError(f"task {task_id} is that of another spec or attempt")
        self.submitter.resolve(record, n, task_id)
        await self.bookkeeping.flush()
        return snapshot

    def _carrier(self, record: Record, snapshot: Snapshot, attempt: int | None) -> int | None:
        """The attempt whose token a task carries; *attempt* if it carries none of ours.

        Raises:
            ConfigurationError: It is the token of another spec, or of another attempt.
        """
        known = self.submitter.by_token(snapshot.safety_identifier or "")
        if known is None or known == (record, attempt):
            return attempt
        whose, n = known
        if whose is not record:
            raise ConfigurationError(f"task {snapshot.task_id} carries the token of another spec")
        if attempt is not None:
            raise ConfigurationError(f"task {snapshot.task_id} carries the token of attempt {n}")
        return n

    def _check(self, record: Record, attempt: int | None) -> None:
        """Check that there is something to settle.

        Raises:
            ConfigurationError: There is nothing, or not the attempt that is named.
        """
        open_ = [each.attempt for each in self.uncertain(record)]
        if not open_:
            raise ConfigurationError("it is not uncertain: what became of its creates is known")
        if attempt is not None and attempt not in open_:
            named = ", ".join(map(str, open_))
            raise ConfigurationError(f"attempt {attempt} is not uncertain; uncertain is {named}")

    def _one(self, record: Record, attempt: int | None) -> int:
        """The number of the attempt to settle.

        Raises:
            ConfigurationError: As `_check`; or several are uncertain, and none was named.
        """
        self._check(record, attempt)
        if attempt is not None:
            return attempt
        first, *others = (each.attempt for each in self.uncertain(record))
        if others:
            named = ", ".join(map(str, (first, *others)))
            raise ConfigurationError(
                f"it has {1 + len(others)} uncertain attempts: say which with attempt=, one of "
                f"{named}; TaskHandle.uncertain_attempts has their tokens and times"
            )
        return first
