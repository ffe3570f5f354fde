"""`Client`: submits specs, watches their tasks, and holds everything that this needs.

What only an open client needs is imported when it is needed. Otherwise importing the package and
making a client would take twice as long as importing its four dependencies
(``benchmarks/bench_import.py``).
"""

from __future__ import annotations

import random
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Self

import anyio
import attrs

from callsheet._http.transport import Transport, TransportChoice, check_transport
from callsheet._models.policy import Limits, Polling, RetryPolicy, SpendLimit
from callsheet._models.provider import Provider, without_secrets
from callsheet._runtime.configuration import (
    check_settings,
    check_timeout,
    key_for,
    provider_at,
    with_prices,
)
from callsheet.errors import ClosedError, ConfigurationError


if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping

    from callsheet._batch import Batch
    from callsheet._handle import TaskHandle
    from callsheet._http.tasks_api import Tasks
    from callsheet._models.outcome import Stats
    from callsheet._models.snapshot import Video
    from callsheet._models.spec import TaskSpec
    from callsheet._models.spend import Price, Spend
    from callsheet._runtime.engine import Engine
    from callsheet._runtime.lifetime import LoopGuard
    from callsheet._runtime.resume import Resumption
    from callsheet._stream import OutcomeStream
    from callsheet._submission.bookkeeping import Bookkeeping
    from callsheet.events import Event


class Client(anyio.AsyncContextManagerMixin):
    """Submits specs, and watches all their tasks with one poller. Works on asyncio and trio.

    Use it as ``async with Client() as client``, once, in one event loop. On exit it stops watching.
    It does not cancel tasks at the provider, unless *cancel_on_exit* is set. Creates that were
    already sent get a few seconds to receive their id.

    Args:
        api_key: The key; by default from the provider's environment variable (``COMETAPI_KEY``,
            ``ARK_API_KEY``, ``BYTEPLUS_API_KEY``).
        provider: A `Provider`, or ``"cometapi"``, ``"ark"``, ``"byteplus"`` or ``"emulator"``. The
            emulator runs on a free loopback port, faster than real time, while the client is open.
        base_url: URL to use instead of the provider's own; by default ``CALLSHEET_BASE_URL``.
        limits: How much of the provider's quota the client may use.
        polling: How soon the end of a task should be noticed.
        retry: How often requests are repeated.
        journal: An SQLite file. Each submission is written to it before it is sent, and each later
            step, too. `resume` continues from it after another process has stopped. Only one client
            can have it open at a time. It never holds the key.
        journal_timeout: Seconds to wait, on entering, until another client or process closes the
            journal; by default long enough for one that is just about to. In a rolling deploy,
            give the new process as long as the old one may take to stop.
        journal_takeover: Whether to take over a journal that was written with another key of the
            same account. The key of this client owns it from then on. With a key of another account
            its tasks would not be found.
        spend: The most that may be spent in total. A create that would exceed it is not sent, and
            its spec ends with `SpendLimitError`.
        prices: What a million tokens of a model cost you, by model id, such as ``"USD 2.4"`` or a
            `pricing.Price`. They go before the list prices. With them a limit on money works where
            no price is known. The embedded emulator bills them.
        observer: Function that is called with every event of `callsheet.events`.
        transport: ``"aiohttp"`` uses that library instead of `httpx`: less CPU time, on asyncio
            only (``pip install 'callsheet[fast]'``). An `httpx` transport answers the requests
            instead of the network.
        cancel_on_exit: On exit, cancel all tasks that have not started.

    Raises:
        ConfigurationError: An argument is wrong, such as a missing key or an unknown provider. On
            entering: the transport does not work with trio or the proxy; or the journal is in use,
            is not a journal, or belongs to another provider, URL or key.
        JournalError: On exit: something could not be written to the journal; it names the ids.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        provider: str | Provider = "cometapi",
        base_url: str | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        polling: Polling = Polling(),  # noqa: B008 - frozen
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        journal: str | os.PathLike[str] | None = None,
        journal_timeout: float = 0.25,
        journal_takeover: bool = False,
        spend: SpendLimit | None = None,
        prices: Mapping[str, Price | str] | None = None,
        observer: Callable[[Event], None] | None = None,
        transport: TransportChoice | None = None,
        cancel_on_exit: bool = False,
    ) -> None:
        known, elsewhere = provider_at(provider, base_url)
        self.provider = with_prices(known, prices)
        network = transport is None or isinstance(transport, str)
        self._embedded = provider == "emulator" and not elsewhere and network
        self._key = key_for(api_key, self.provider)
        check_settings(limits, polling, retry, spend, observer)
        check_timeout(journal_timeout)
        self._limits, self._polling, self._retry = limits, polling, retry
        self._custom: TransportChoice | None = transport
        self._observer, self._cancel_on_exit = observer, cancel_on_exit
        self._limit, self._journal, self._journal_timeout = spend, journal, journal_timeout
        self._journal_takeover = journal_takeover
        if journal is not None:
            _ = self._bookkeeping  # a path that cannot be one is reported here
        self._engine: Engine | None = None
        self._loop_guard: LoopGuard | None = None
        self._entered = False
        self._resumption: Resumption | None = None
        check_transport(self.provider.base_url, transport)

    def __repr__(self) -> str:
        address, state = without_secrets(self.provider.base_url), self._engine and "open"
        return f"<Client of {self.provider.name} at {address}, {state or 'closed'}>"

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        """Run the submitter and the poller while the block runs.

        An exception of the block is raised as it is, not inside an ``ExceptionGroup``.
        """
        if self._entered:
            raise ClosedError("a client can be entered once; make another one")
        self._entered = True
        from callsheet._runtime.engine import Engine
        from callsheet._runtime.lifetime import LoopGuard

        import_module("callsheet._batch")  # now, so that no submission has to wait for it
        self._loop_guard = LoopGuard()
        bookkeeping = self._bookkeeping  # before the embedded emulator has an address
        failure: BaseException | None = None
        async with AsyncExitStack() as stack:
            if self._embedded:
                from callsheet import emulator

                origin = await stack.enter_async_context(
                    emulator.running(
                        speed=self.provider.speed,
                        prices={
                            model: f"{price.currency} {price.per_million:f}"
                            for model, price in self.provider.prices.items()
                        },
                    )
                )
                self.provider = attrs.evolve(self.provider, base_url=f"{origin}/api/v3")
            if bookkeeping.journal is not None:
                from callsheet._runtime.resume import Resumption

                await stack.enter_async_context(bookkeeping.journal)
                self._resumption = Resumption.of(bookkeeping.journal)
            transport = await stack.enter_async_context(
                Transport(
                    base_url=self.provider.base_url,
                    api_key=self._key,
                    connections=self._limits.connections,
                    custom=self._custom,
                )
            )
            engine = Engine(
                provider=self.provider,
                transport=transport,
                limits=self._limits,
                polling=self._polling,
                retry=self._retry,
                bookkeeping=bookkeeping,
                observer=self._observer,
                rng=random.Random(),  # noqa: S311 - jitter
            )
            await engine.learning.recall()
            async with anyio.create_task_group() as background:
                self._engine = engine
                engine.start(background)
                try:
                    with self._loop_guard.entered():
                        yield self
                except (anyio.get_cancelled_exc_class(), GeneratorExit):
                    raise
                except BaseException as error:  # noqa: BLE001 - raised again below
                    failure = error
                finally:
                    if self._cancel_on_exit:
                        await engine.canceller.cancel_all()
                    engine.close()
                    self._engine = None
                    background.cancel_scope.cancel()
            if failure is not None:
                raise failure

    async def submit(self, spec: TaskSpec, *, priority: int = 0) -> TaskHandle:
        """Check a spec, send it, and return when the provider has given an id.

        If this call is cancelled before the create is sent, nothing is sent. Later, only the
        waiting ends: the task is created and watched.

        Args:
            spec: The video to make.
            priority: See `submit_many`. All single specs of one priority count as one batch.

        Raises:
            SpecError: The provider would refuse it; nothing was sent.
            SubmissionUncertainError: The answer was lost; the task may exist and be billed.
            CallsheetError: No task was created.
            ClosedError: The client is not open in this event loop.
        """
        from callsheet._handle import TaskHandle

        engine = self._open_engine()
        record = await engine.intake.submit_one(spec, priority=priority)
        await engine.submitter.wait_for_id(record)
        return TaskHandle(engine, record)

    async def submit_many(
        self, specs: Iterable[TaskSpec], *, name: str | None = None, priority: int = 0
    ) -> Batch:
        """Check all specs and return. They are sent in their order in the background.

        Batches of the same priority take turns, one create at a time, so that a small batch does
        not wait for a large one.

        Args:
            specs: Any number of specs; all are held in memory. For an endless source use `map`.
            name: Name of the batch.
            priority: A spec is sent only when no spec with a higher priority waits to be sent. This
                is the order in the client; `TaskSpec.priority` is the order at the provider.

        Raises:
            SpecError: It names all problems of all specs; nothing was sent.
            JournalError: The journal cannot be written; nothing was sent.
            ClosedError: The client is not open in this event loop.
        """
        from callsheet._batch import Batch

        engine = self._open_engine()
        group, records = await engine.intake.submit_many(specs, name=name, priority=priority)
        return Batch(engine, group, records, name)

    def map(
        self,
        source: Iterable[TaskSpec] | AsyncIterable[TaskSpec],
        *,
        window: int = 100,
        priority: int = 0,
    ) -> OutcomeStream:
        """Iterate over the outcomes of the specs in *source*, which are taken as others end.

        A spec that fails its check has an outcome with a `SpecError`; nothing is sent for it.

        Args:
            source: A sync or async iterable, which may be endless.
            window: Most specs that are unfinished or undelivered at once, >= 1.
            priority: See `submit_many`.

        Raises:
            ConfigurationError: The window is below 1.
            ClosedError: The client is not open in this event loop.
        """
        from callsheet._stream import OutcomeStream

        if window < 1:
            raise ConfigurationError(f"window={window}: at least 1")
        return OutcomeStream(self._open_engine(), source, window=window, priority=priority)

    async def run(
        self,
        spec: TaskSpec,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - a part of the public API
        cancel_on_timeout: bool = False,
        priority: int = 0,
    ) -> Video:
        """Submit a spec and wait for its video, at most *timeout* seconds (>= 0).

        The timeout, or cancelling this call, only ends the waiting: a task at the provider
        continues. A spec that was not sent yet is never sent. With *cancel_on_timeout*, a task that
        is still queued after the timeout is stopped; `TaskTimeoutError.cancelled` says whether that
        was in time.

        Raises:
            SpecError: The provider would refuse it; nothing was sent.
            TaskTimeoutError: The timeout has passed; it holds the id, if there is one.
            TaskError: The task ended without a video.
            CallsheetError: No task was created; or the cancel failed or was refused.
            ClosedError: The client is not open in this event loop, or was closed first.
        """
        from callsheet._handle import TaskHandle

        engine = self._open_engine()
        record = await engine.intake.submit_one(spec, priority=priority)
        with anyio.move_on_after(timeout):
            await engine.submitter.wait_for_id(record)
            return await TaskHandle(engine, record)
        raise await engine.canceller.timeout_error(record, timeout, cancel=cancel_on_timeout)

    def attach(self, task_id: str) -> TaskHandle:
        """Watch a task that was created earlier, by any program.

        Raises:
            ConfigurationError: The id is blank.
            ClosedError: The client is not open in this event loop.
        """
        return self.attach_many([task_id])[0]

    def attach_many(self, task_ids: Iterable[str], *, name: str | None = None) -> Batch:
        """Watch tasks that were created earlier, as one batch in the order of their ids.

        Raises:
            ConfigurationError: An id is blank.
            ClosedError: The client is not open in this event loop.
        """
        from callsheet._batch import Batch
        from callsheet._state.group import Group

        engine = self._open_engine()
        group = Group()
        return Batch(engine, group, engine.attacher.attach(list(task_ids), group, name), name)

    async def resume(self, *, unfinished: bool = False) -> Batch:
        """Continue everything that the journal held when the client was entered, in its order.

        Ended specs have their outcomes at once. Tasks with an id are watched. Creates without a
        known answer are looked for as `RetryPolicy` says. Specs that were neither sent nor
        cancelled are sent. Call this once; if it fails or is cancelled, you can call it again.

        Args:
            unfinished: Leave out what has a final outcome: the batch holds only what is going on.
                What the rest has cost counts for the spend limit all the same.

        Raises:
            ConfigurationError: The client has no journal, or has already resumed it.
            JournalError: The journal cannot be read.
            ClosedError: The client is not open in this event loop.
        """
        from callsheet._batch import Batch

        engine = self._open_engine()
        if self._resumption is None:
            raise ConfigurationError("there is nothing to resume from: pass journal= to the client")
        group, records, name = await self._resumption.run(engine, unfinished=unfinished)
        return Batch(engine, group, records, name)

    async def prune(self, *, before: datetime) -> int:
        """Remove from the journal what ended before a time, for example a month ago.

        This removes specs, media, results and errors whose outcome is final. What is planned, is
        going on, or may have made a task that nobody knows is kept, however old. The room in the
        file is used again; the file does not shrink. Handles and batches of this client stay as
        they are. A spend limit of a later client no longer counts what was removed.

        Args:
            before: A time; without a time zone it is local time, as in all of Python.

        Returns:
            How many specs and attached tasks were removed.

        Raises:
            ConfigurationError: The client has no journal, or *before* is not a ``datetime``.
            JournalError: The journal cannot be read or written; nothing was removed.
            ClosedError: The client is not open in this event loop.
        """
        self._open_engine()
        journal = self._bookkeeping.journal
        if journal is None:
            raise ConfigurationError("there is nothing to prune: pass journal= to the client")
        if not isinstance(before, datetime):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(
                f"before is {before!r}; give a time, such as datetime.now() - timedelta(days=30)"
            )
        return await journal.prune(before=before.timestamp())

    async def backup_journal(self, path: str | os.PathLike[str]) -> None:
        """Copy the journal to a new file, while it is in use.

        The copy holds all that was known when it was complete. It is written beside its place under
        another name, and gets its name when it is whole. Only its owner can read it. Submitting and
        watching go on meanwhile. Cancelling this call stops the copy.

        Use a copy only in the place of a journal that is lost. What the client has sent after the
        copy was made is not in it, so a client that resumes the copy would send that again.

        Args:
            path: Where the copy is to be. A file that is there already is never replaced.

        Raises:
            ConfigurationError: The client has no journal; or there is something at the path, or no
                file can be made there.
            JournalError: The journal cannot be written, read or copied; there is no copy.
            ClosedError: The client is not open in this event loop, or was closed meanwhile.
        """
        self._open_engine()
        journal = self._bookkeeping.journal
        if journal is None:
            raise ConfigurationError("there is nothing to copy: pass journal= to the client")
        await journal.copy(path)

    def take_callback(self, body: bytes, *, token: str | None = None) -> bool:
        """Use a callback, which the provider has posted to a spec's ``callback_url``.

        Callbacks are not signed, and may come twice, late or out of order. So a callback is only a
        hint: the client asks the provider about the task at once.

        Args:
            body: The body of the request.
            token: The text in the place of ``{token}`` in the spec's ``callback_url``. With it, a
                submission whose answer was lost gets its id.

        Returns:
            Whether the callback is about a pending task of this client.

        Raises:
            WebhookError: The body holds no task.
            ClosedError: The client is not open in this event loop.
        """
        from callsheet._wire import parse_callback

        return self._open_engine().take_callback(parse_callback(body), token)

    async def stats(self) -> Stats:
        """What the client is doing at this moment, for health checks.

        It is computed when it is asked for, from memory alone; cancelling it changes nothing.

        Raises:
            ClosedError: The client is not open in this event loop.
        """
        from callsheet._runtime.statistics import stats_of

        return await stats_of(self._open_engine())

    @property
    def spend(self) -> Spend:
        """What was spent, what may still have to be paid, and the limit, at this moment.

        A task of ``tasks.create`` stays reserved until it was attached and has ended. Other
        attached tasks do not count.
        """
        return self._bookkeeping.ledger.spend

    @property
    def tasks(self) -> Tasks:
        """The task API: create, get, list, iter, cancel. The client does not watch these tasks.

        Raises:
            ClosedError: The client is not open in this event loop.
        """
        return self._open_engine().tasks

    @cached_property
    def _bookkeeping(self) -> Bookkeeping:
        from callsheet._submission.bookkeeping import Bookkeeping

        return Bookkeeping.for_client(
            self.provider,
            self._limit,
            path=self._journal,
            journal_timeout=self._journal_timeout,
            journal_takeover=self._journal_takeover,
            key=self._key,
        )

    def _open_engine(self) -> Engine:
        if self._engine is None or self._loop_guard is None:
            raise ClosedError("the client is closed: use it inside its own 'async with'")
        self._loop_guard.check()
        return self._engine
