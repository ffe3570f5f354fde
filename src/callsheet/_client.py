"""The front of the house."""

from __future__ import annotations

import os
import random
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Self

import anyio
import attrs
from anyio.lowlevel import RunVar

from callsheet._batch import Batch
from callsheet._catalog import PROVIDERS
from callsheet._core.groups import Group
from callsheet._handle import TaskHandle
from callsheet._io.engine import Engine
from callsheet._io.preflight import check
from callsheet._io.transport import BaseTransport, Transport
from callsheet._models.policy import Limits, Polling, RetryPolicy
from callsheet._models.provider import Provider
from callsheet._stream import OutcomeStream
from callsheet.errors import ClosedError, ConfigurationError, TaskTimeoutError


if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable

    from callsheet._io.tasks import Tasks
    from callsheet._models.outcome import Video
    from callsheet._models.spec import TaskSpec
    from callsheet.events import Event


CANCEL_ON_EXIT = 30.0
"""Seconds that a closing client spends on cancelling, if it was asked to."""


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
        observer: Called with every event of `callsheet.events`.
        transport: Answers requests instead of the network (an `httpx` transport).
        cancel_on_exit: Cancel what has not started when the client is left.

    Raises:
        ConfigurationError: The key is missing or unusable, or the provider or address is unknown.
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
        observer: Callable[[Event], None] | None = None,
        transport: BaseTransport | None = None,
        cancel_on_exit: bool = False,
    ) -> None:
        known = _provider(provider)
        address = base_url or os.environ.get("CALLSHEET_BASE_URL")
        if address is not None:  # an emulator at an address of its own runs as it was told to
            speed = 1.0 if provider == "emulator" else known.speed
            known = attrs.evolve(known, base_url=address, speed=speed)
        self.provider = known
        self._embedded = provider == "emulator" and address is None and transport is None
        self._key = _key(api_key, self.provider)
        self._limits, self._polling, self._retry = limits, polling, retry
        self._observer, self._custom = observer, transport
        self._cancel_on_exit = cancel_on_exit
        self._engine: Engine | None = None
        self._home: RunVar[bool] = RunVar("callsheet client")
        self._entered = False
        # fails on a bad address before any I/O
        Transport(base_url=self.provider.base_url, api_key=self._key, connections=1)

    def __repr__(self) -> str:
        state = "open" if self._engine else "closed"
        return f"<Client of {self.provider.name} at {self.provider.base_url}, {state}>"

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
            transport = await stack.enter_async_context(self._transport())
            engine = Engine(
                provider=self.provider,
                transport=transport,
                limits=self._limits,
                polling=self._polling,
                retry=self._retry,
                observer=self._observer,
                rng=random.Random(),  # noqa: S311 - jitter
            )
            async with anyio.create_task_group() as background:
                self._engine = engine
                home = self._home.set(True)
                engine.start(background)
                try:
                    yield self
                except (anyio.get_cancelled_exc_class(), GeneratorExit):
                    raise
                except BaseException as error:  # noqa: BLE001 - leaves bare, below
                    failure = error
                finally:
                    if self._cancel_on_exit:
                        with anyio.move_on_after(CANCEL_ON_EXIT, shield=True):
                            await engine.cancel_all()
                    engine.close()
                    self._engine = None
                    self._home.reset(home)
                    background.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def submit(self, spec: TaskSpec) -> TaskHandle:
        """Check a spec, send it, and return as soon as the provider has given an id.

        Cancelling this before the spec's turn sends nothing; later the task is created and
        watched all the same, and only this waiting ends.

        Raises:
            SpecError: The provider would refuse it; nothing was sent.
            SubmissionUncertainError: The answer is lost; the task may exist and be billed.
            CallsheetError: No task came to be.
            ClosedError: The client is not open in this event loop.
        """
        engine = self._open_engine()
        await check([spec], provider=self.provider)
        record = engine.record(spec)
        engine.submit([record])
        await engine.wait_for_id(record)
        return TaskHandle(engine, record)

    async def submit_many(self, specs: Iterable[TaskSpec], *, name: str | None = None) -> Batch:
        """Check all specs, then send them in order in the background; return at once.

        Args:
            specs: Any number; they are held in memory. For an endless source use `map`.
            name: What to call the batch.

        Raises:
            SpecError: With every problem of every spec; nothing was sent.
            ClosedError: The client is not open in this event loop.
        """
        engine = self._open_engine()
        every = list(specs)
        await check(every, provider=self.provider)
        group = Group(total=len(every))
        records = [engine.record(spec, index=i, group=group) for i, spec in enumerate(every)]
        engine.submit(records)
        return Batch(engine, group, records, name)

    def map(
        self, source: Iterable[TaskSpec] | AsyncIterable[TaskSpec], *, window: int = 100
    ) -> OutcomeStream:
        """Iterate over the outcomes of specs that are pulled from *source* as places become free.

        A spec that fails its check is an outcome with a `SpecError`; nothing was sent for it.

        Args:
            source: Sync or async, also endless.
            window: Most specs that are under way or undelivered at once, >= 1.

        Raises:
            ConfigurationError: The window is below 1.
            ClosedError: The client is not open in this event loop.
        """
        if window < 1:
            raise ConfigurationError(f"window={window}: at least 1")
        return OutcomeStream(self._open_engine(), source, window=window)

    async def run(self, spec: TaskSpec, *, timeout: float | None = None) -> Video:  # noqa: ASYNC109 - patience
        """Submit a spec and wait for its video, at most *timeout* seconds.

        The timeout and a cancellation are patience only and never cancel the provider's task.

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
        engine.submit([record])
        with anyio.move_on_after(timeout):
            await engine.wait_for_id(record)
            return await TaskHandle(engine, record)
        raise TaskTimeoutError(record.task_id, timeout or 0.0)

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
        ids = list(task_ids)
        for task_id in ids:
            if not task_id.strip():
                raise ConfigurationError(f"{task_id!r} is no task id")
        group = Group(total=len(ids))
        records = [engine.record(None, index=i, group=group) for i in range(len(ids))]
        for record, task_id in zip(records, ids, strict=True):
            engine.adopt(record, task_id)
        return Batch(engine, group, records, name)

    @property
    def tasks(self) -> Tasks:
        """The task API itself: create, get, list, iter, cancel; nothing there is watched.

        Raises:
            ClosedError: The client is not open in this event loop.
        """
        return self._open_engine().tasks

    def _transport(self) -> Transport:
        return Transport(
            base_url=self.provider.base_url,
            api_key=self._key,
            connections=self._limits.connections,
            custom=self._custom,
        )

    def _open_engine(self) -> Engine:
        if self._engine is None:
            raise ClosedError("the client is closed: use it inside its own 'async with'")
        try:
            here = self._home.get(False)
        except Exception:  # noqa: BLE001 - no event loop at all; the library has several names for it
            here = False
        if not here:
            raise ClosedError("the client was opened in another event loop; open one in this loop")
        return self._engine


def _provider(provider: str | Provider) -> Provider:
    if isinstance(provider, Provider):
        return provider
    if provider not in PROVIDERS:
        raise ConfigurationError(f"provider {provider!r} is not one of {', '.join(PROVIDERS)}")
    return PROVIDERS[provider]


def _key(given: str | None, provider: Provider) -> str | None:
    """The key to use.

    Raises:
        ConfigurationError: There is none, or it cannot stand in a header; it is not repeated.
    """
    variable = provider.key_variable
    key = given
    if key is None and variable is not None:
        key = os.environ.get(variable)
    if key is None or not key.strip():
        if variable is None:
            return "emulator"
        raise ConfigurationError(
            f"no key for {provider.name}: set {variable} or pass api_key= to the client"
        )
    key = key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError(f"the key for {provider.name} holds characters that no key has")
    return key
