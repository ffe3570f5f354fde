"""The front of the house."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Self

import anyio
import attrs

from callsheet._batch import Batch
from callsheet._core.groups import Group
from callsheet._handle import TaskHandle
from callsheet._io.access import check_settings, key_for, provider_at
from callsheet._io.books import Books
from callsheet._io.engine import Engine
from callsheet._io.home import Home
from callsheet._io.preflight import check, checked
from callsheet._io.recall import Recall
from callsheet._io.transport import Transport, TransportChoice, check_transport
from callsheet._models.policy import Limits, Polling, RetryPolicy, SpendLimit
from callsheet._models.provider import Provider, without_secrets
from callsheet._stream import OutcomeStream
from callsheet._wire import parse_callback
from callsheet.errors import ClosedError, ConfigurationError


if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable

    from callsheet._io.tasks import Tasks
    from callsheet._models.outcome import Video
    from callsheet._models.spec import TaskSpec
    from callsheet._models.spend import Spend
    from callsheet.events import Event


class Client(anyio.AsyncContextManagerMixin):
    """Submits specs and watches their tasks, all in one poller. Works on asyncio and trio.

    Used as ``async with Client() as client``; nothing runs outside of it, and a client serves one
    event loop once. Leaving it stops watching and never cancels a task at the provider, unless
    *cancel_on_exit* says so; creates on their way get a few seconds to bring their id.

    Args:
        api_key: The key; by default from the provider's environment variable (``COMETAPI_KEY``,
            ``ARK_API_KEY``, ``BYTEPLUS_API_KEY``).
        provider: ``"cometapi"``, ``"ark"``, ``"byteplus"``, ``"emulator"`` (one is started on a
            free loopback port, faster than life, and stopped again) or a `Provider`.
        base_url: Another address than the provider's own; by default ``CALLSHEET_BASE_URL``.
        limits: How much of the quota may be used.
        polling: How soon an end should be noticed.
        retry: How often requests are repeated.
        journal: A file (SQLite) in which every submission is written down before it is sent, and
            each step after; `resume` takes up from there what another process has left. One client
            has it open at a time. No key is written.
        spend: What may be spent in all; a create that would pass it is not sent, and its spec ends
            with `SpendLimitError`.
        observer: Called with every event of `callsheet.events`.
        transport: ``"aiohttp"`` sends over that library instead of `httpx` for a fraction of the
            CPU time, on asyncio alone (``pip install 'callsheet[fast]'``); or an `httpx` transport,
            which answers requests instead of the network.
        cancel_on_exit: Cancel what has not started when the client is left.

    Raises:
        ConfigurationError: The key is missing or unusable, the provider or address is unknown, or
            the transport cannot be had; on entering, if trio or a proxy does not fit it, or if the
            journal is of another provider, address or key, in use, or no journal.
        JournalError: On leaving: something could not be written into the journal; it names the ids.
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
        spend: SpendLimit | None = None,
        observer: Callable[[Event], None] | None = None,
        transport: TransportChoice | None = None,
        cancel_on_exit: bool = False,
    ) -> None:
        self.provider, elsewhere = provider_at(provider, base_url)
        network = transport is None or isinstance(transport, str)
        self._embedded = provider == "emulator" and not elsewhere and network
        self._key = key_for(api_key, self.provider)
        check_settings(limits, polling, retry, spend, observer)
        self._limits, self._polling, self._retry = limits, polling, retry
        self._custom: TransportChoice | None = transport
        self._observer, self._cancel_on_exit = observer, cancel_on_exit
        self._books = Books.kept(self.provider, spend, path=journal, key=self._key)
        self._engine: Engine | None = None
        self._home = Home()
        self._entered = False
        self._recall: Recall | None = None
        check_transport(self.provider.base_url, transport)

    def __repr__(self) -> str:
        address, state = without_secrets(self.provider.base_url), self._engine and "open"
        return f"<Client of {self.provider.name} at {address}, {state or 'closed'}>"

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        """Run the submitter and the poller for as long as the block lasts.

        The block's own exception leaves bare, not in an ``ExceptionGroup``.
        """
        if self._entered:
            raise ClosedError("a client can be entered once; make another one")
        self._entered = True
        failure: BaseException | None = None
        async with AsyncExitStack() as stack:
            if self._embedded:
                from callsheet import emulator  # noqa: PLC0415 - an extra, needed only here

                origin = await stack.enter_async_context(
                    emulator.running(speed=self.provider.speed)
                )
                self.provider = attrs.evolve(self.provider, base_url=f"{origin}/api/v3")
            if self._books.journal is not None:
                await stack.enter_async_context(self._books.journal)
                self._recall = Recall.of(self._books.journal)
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
                books=self._books,
                observer=self._observer,
                rng=random.Random(),  # noqa: S311 - jitter
            )
            async with anyio.create_task_group() as background:
                self._engine = engine
                engine.start(background)
                try:
                    with self._home.lived_in():
                        yield self
                except (anyio.get_cancelled_exc_class(), GeneratorExit):
                    raise
                except BaseException as error:  # noqa: BLE001 - leaves bare, below
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
        """Check a spec, send it, and return as soon as the provider has given an id.

        Cancelling this before the spec's turn sends nothing; later the task is created and
        watched all the same, and only this waiting ends.

        Args:
            spec: What to make.
            priority: See `submit_many`; all single specs of one priority share a turn.

        Raises:
            SpecError: The provider would refuse it; nothing was sent.
            SubmissionUncertainError: The answer is lost; the task may exist and be billed.
            CallsheetError: No task came to be.
            ClosedError: The client is not open in this event loop.
        """
        engine = self._open_engine()
        await check([spec], provider=self.provider)
        record = engine.record(spec)
        await engine.submit([record], priority=priority)
        await engine.wait_for_id(record)
        return TaskHandle(engine, record)

    async def submit_many(
        self, specs: Iterable[TaskSpec], *, name: str | None = None, priority: int = 0
    ) -> Batch:
        """Check all specs, then send them in order in the background; return at once.

        Batches of one priority take turns, one create each, so that a small one is not stuck
        behind a large one.

        Args:
            specs: Any number; they are held in memory. For an endless source use `map`.
            name: What to call the batch.
            priority: While anything of a higher priority waits to be sent, nothing of a lower one
                is. This is the order of sending; the provider's own is `TaskSpec.priority`.

        Raises:
            SpecError: With every problem of every spec; nothing was sent.
            ClosedError: The client is not open in this event loop.
        """
        engine = self._open_engine()
        good = await checked(specs, provider=self.provider)
        group = Group(total=len(good))
        records = await engine.records(good, group)
        await engine.submit(records, name=name, priority=priority)
        return Batch(engine, group, records, name)

    def map(
        self,
        source: Iterable[TaskSpec] | AsyncIterable[TaskSpec],
        *,
        window: int = 100,
        priority: int = 0,
    ) -> OutcomeStream:
        """Iterate over the outcomes of specs that are pulled from *source* as places become free.

        A spec that fails its check is an outcome with a `SpecError`; nothing was sent for it.

        Args:
            source: Sync or async, also endless.
            window: Most specs that are under way or undelivered at once, >= 1.
            priority: See `submit_many`.

        Raises:
            ConfigurationError: The window is below 1.
            ClosedError: The client is not open in this event loop.
        """
        if window < 1:
            raise ConfigurationError(f"window={window}: at least 1")
        return OutcomeStream(self._open_engine(), source, window=window, priority=priority)

    async def run(
        self,
        spec: TaskSpec,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - patience
        cancel_on_timeout: bool = False,
        priority: int = 0,
    ) -> Video:
        """Submit a spec and wait for its video, at most *timeout* seconds.

        The timeout and a cancellation are patience only and never cancel the provider's task,
        unless *cancel_on_timeout* asks for that: then a task that still waits there when time is up
        is stopped, and one that runs goes on; `TaskTimeoutError.cancelled` tells which.

        Raises:
            SpecError: The provider would refuse it; nothing was sent.
            TaskTimeoutError: Time is up; with the id, if there is one.
            TaskError: The task ended without a video.
            CallsheetError: No task came to be.
            ClosedError: The client is not open in this event loop, or was closed first.
        """
        engine = self._open_engine()
        await check([spec], provider=self.provider)
        record = engine.record(spec)
        await engine.submit([record], priority=priority)
        with anyio.move_on_after(timeout):
            await engine.wait_for_id(record)
            return await TaskHandle(engine, record)
        raise await engine.canceller.out_of_time(record, timeout, cancel=cancel_on_timeout)

    def attach(self, task_id: str) -> TaskHandle:
        """Watch a task that was created earlier, here or elsewhere.

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
        engine = self._open_engine()
        group = Group()
        return Batch(engine, group, engine.attacher.attach(list(task_ids), group, name), name)

    async def resume(self) -> Batch:
        """Take up everything that the journal held when the client was entered, in its order.

        Specs that have ended have their outcomes at once; tasks that have ids are watched; creates
        that left and whose answer is not known are looked for as `RetryPolicy` says; what neither
        left nor was cancelled is sent. Call it once, also after others; failed or cancelled, again.

        Raises:
            ConfigurationError: The client has no journal, or has resumed already.
            JournalError: The journal cannot be read.
            ClosedError: The client is not open in this event loop.
        """
        engine = self._open_engine()
        if self._recall is None:
            raise ConfigurationError("there is nothing to resume from: pass journal= to the client")
        group, records, name = await self._recall.take_up(engine)
        return Batch(engine, group, records, name)

    def take_callback(self, body: bytes, *, token: str | None = None) -> bool:
        """Take what the provider has posted to a spec's ``callback_url``.

        Callbacks are not signed, may come twice, late and out of order: this one is only a hint,
        upon which the task is asked about at once.

        Args:
            body: The body of the request.
            token: What stood in the place of ``{token}`` in the spec's ``callback_url``. A
                submission whose answer was lost gets its id by it.

        Returns:
            Whether it is about a pending task of this client.

        Raises:
            WebhookError: The body holds no task.
            ClosedError: The client is not open in this event loop.
        """
        return self._open_engine().called(parse_callback(body), token)

    @property
    def spend(self) -> Spend:
        """What was spent, is under way, or may have to be paid, and the limit, at this moment.

        Creates of ``tasks.create`` stay reserved until they were attached and have ended; other
        attached tasks do not count.
        """
        return self._books.ledger.spend

    @property
    def tasks(self) -> Tasks:
        """The task API itself: create, get, list, iter, cancel; nothing there is watched.

        Raises:
            ClosedError: The client is not open in this event loop.
        """
        return self._open_engine().tasks

    def _open_engine(self) -> Engine:
        if self._engine is None:
            raise ClosedError("the client is closed: use it inside its own 'async with'")
        self._home.check()
        return self._engine
