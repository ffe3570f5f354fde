"""The task API with typed requests and answers: the object behind ``client.tasks``."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import attrs

from callsheet._http.api import Api
from callsheet._http.retry import repeat
from callsheet._models.policy import RetryPolicy
from callsheet._models.spec import TaskSpec
from callsheet._state.backoff import pause_before
from callsheet._state.clock import Clock
from callsheet._state.rate_limit import RateLimit
from callsheet.errors import RateLimitError


if TYPE_CHECKING:
    from callsheet._models.snapshot import Page, Snapshot, Status
    from callsheet.errors import CallsheetError


T = TypeVar("T")

MOST_PAGES = 500


@attrs.frozen(kw_only=True)
class Tasks:
    """Single requests of the task API, within the rate limits of the client.

    The client does not watch tasks that are created here. Reads and cancels are repeated after a
    `transient` error as the client's `RetryPolicy` says. A create is sent again only if it provably
    made no task.
    """

    submit: Callable[[TaskSpec], Awaitable[str]]
    api: Api
    clock: Clock
    gets: RateLimit
    lists: RateLimit
    cancels: RateLimit
    policy: RetryPolicy
    rng: random.Random

    async def create(self, spec: TaskSpec) -> str:
        """Create a task and return its id; the spec is not checked beforehand.

        The most that it can cost counts as `Spend.reserved` until the task has ended, which the
        client learns only if the id is attached. The task is not in the journal. If this call is
        cancelled before its turn, nothing is sent; later, only the waiting stops.

        Raises:
            SpendLimitError: It would exceed the client's limit; nothing was sent.
            SubmissionUncertainError: The answer is lost; the task may exist and be billed.
            CallsheetError: No task was created.
            TypeError: *spec* is not a `TaskSpec`.
        """
        if not isinstance(spec, TaskSpec):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"a {type(spec).__name__}, not a TaskSpec")
        return await self.submit(spec)

    async def get(self, task_id: str) -> Snapshot:
        """Ask for one task; records are kept for 7 days (Ark "retrieve task" reference).

        Raises:
            NotFoundError: The provider does not know the id.
            CallsheetError: No answer after all attempts.
        """

        async def attempt() -> Snapshot:
            await self._within(self.gets)
            try:
                return await self.api.get(task_id)
            except RateLimitError:
                self.gets.refused(now=self.clock.now())
                raise

        return await self.persist(attempt)

    async def list(
        self,
        *,
        task_ids: Sequence[str] | None = None,
        status: Status | str | None = None,
        page_num: int = 1,
        page_size: int = 20,
        service_tier: str | None = None,
    ) -> Page:
        """Ask for one page of the tasks of the last 7 days (Ark "list tasks" reference).

        Args:
            task_ids: List only these; set *page_size* to their number or more.
            status: List only tasks of this status.
            page_num: From 1 to 500.
            page_size: From 1 to 500.
            service_tier: ``"flex"`` to list flex tasks, which are not shown without it.

        Raises:
            CallsheetError: No answer after all attempts; CometAPI documents no list.
        """

        async def attempt() -> Page:
            await self._within(self.lists)
            return await self.api.list(
                task_ids=task_ids or (),
                status=None if status is None else str(status),
                page_num=page_num,
                page_size=page_size,
                service_tier=service_tier,
            )

        return await self.persist(attempt)

    async def iter(
        self,
        *,
        status: Status | str | None = None,
        page_size: int = 100,
        service_tier: str | None = None,
    ) -> AsyncIterator[Snapshot]:
        """Every task of the last 7 days, page by page, each once.

        It ends at a page without new tasks. It also ends at a page that is not full, if all tasks
        that the provider counts were read; a page may hold fewer tasks than were asked for, so
        a short page alone is not the end. Tasks that are created meanwhile may shift the pages
        (it is not documented whether pages are stable).

        Raises:
            CallsheetError: A page could not be read after all attempts.
        """
        seen: set[str] = set()
        count = 0
        for page_num in range(1, MOST_PAGES + 1):
            page = await self.list(
                status=status, page_num=page_num, page_size=page_size, service_tier=service_tier
            )
            before, on_page = len(seen), len(page.items) + page.unreadable
            for snapshot in page.items:
                if snapshot.task_id not in seen:
                    seen.add(snapshot.task_id)
                    yield snapshot
            count += on_page
            whole = page.total is not None and count >= page.total and on_page < page_size
            if whole or (len(seen) == before and not page.unreadable):
                return

    async def cancel(self, task_id: str) -> None:
        """Send a delete: it cancels a queued task and removes the record of an ended one.

        Use `TaskHandle.cancel`, which reads the status first, unless you want the record removed.

        Raises:
            ConflictError: The task runs.
            CallsheetError: No answer after all attempts.
        """

        async def attempt() -> None:
            await self.turn_to_cancel()
            await self.api.cancel(task_id)

        await self.persist(attempt)

    async def turn_to_cancel(self) -> None:
        """Wait until the rate limit allows one more cancel."""
        await self._within(self.cancels)

    async def persist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Repeat an idempotent request after `transient` errors.

        Raises:
            CallsheetError: The error of the last attempt.
        """
        return await repeat(
            attempt,
            again=lambda error, attempts, _: error.transient and attempts < self.policy.attempts,
            pause=self._pause,
            sleep=self.clock.sleep,
        )

    async def _within(self, budget: RateLimit) -> None:
        await self.clock.sleep_until(budget.take(now=self.clock.now()))

    def _pause(self, error: CallsheetError, attempts: int) -> float:
        asked = getattr(error, "retry_after", None)
        return pause_before(attempts + 1, self.policy, rng=self.rng, retry_after=asked)
