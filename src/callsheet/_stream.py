"""`OutcomeStream`: the outcomes of any number of specs, in bounded memory."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self

import anyio
import attrs

from callsheet._models.spec import TaskSpec
from callsheet._state.group import Group
from callsheet._state.record import Observable, Record
from callsheet.errors import CallsheetError, JournalError, SpecError


if TYPE_CHECKING:
    from callsheet._models.outcome import Outcome
    from callsheet._runtime.engine import Engine


@attrs.define(eq=False)
class _AsyncSource(Observable):
    """Takes one item at a time from an async iterable, and only on request.

    It runs as a background task of the client, so that outcomes can be delivered while the next
    item is awaited.
    """

    items: AsyncIterator[TaskSpec]
    _asked: anyio.Event = attrs.field(factory=anyio.Event)
    _waiting: bool = False
    _hand: TaskSpec | None = None
    _ended: Exception | None = None
    _stopped: bool = False

    def ask(self) -> TaskSpec | None:
        """Return the next item if it is ready. Otherwise request it and return ``None``.

        Waiters are woken when the item is ready.

        Raises:
            StopIteration: There are no more items.
            Exception: The error that the iterable raised.
        """
        if self._hand is not None:
            item, self._hand = self._hand, None
            return item
        if self._ended is not None:
            raise self._ended
        self._asked.set()
        return None

    def stop(self) -> None:
        """Take no more items."""
        self._stopped = True
        self._asked.set()

    async def run(self) -> None:
        """Take an item for each request, until there are no more items or `stop` is called."""
        while self._ended is None:
            await self._asked.wait()
            self._asked = anyio.Event()
            if self._stopped:
                return
            try:
                self._hand = await anext(self.items)
            except StopAsyncIteration:
                self._ended = StopIteration()
            except Exception as error:  # noqa: BLE001 - raised again for the consumer
                self._ended = error
            self.wake()


class OutcomeStream:
    """The result of `Client.map`: an async iterator of outcomes, in the order in which specs end.

    A spec is taken from the source only while the caller waits for the next outcome, and only while
    fewer specs than the window are unfinished or undelivered. So memory is bounded, and no more
    specs are taken after you leave the loop. Submitted tasks stay watched, and you can continue to
    iterate later.
    """

    def __init__(
        self,
        engine: Engine,
        source: Iterable[TaskSpec] | AsyncIterable[TaskSpec],
        *,
        window: int,
        priority: int,
    ) -> None:
        self._engine = engine
        self._group = Group()
        self._window = window
        self._priority = priority
        self._ready: deque[Record] = deque()
        self._pulled: deque[Any] = deque()  # from the source, but the submission was cancelled
        self._delivered = 0
        self._failure: Exception | None = None
        self._exhausted = False
        self._fetch: _AsyncSource | None = None
        self._items: Iterator[TaskSpec] = iter(())
        if isinstance(source, AsyncIterable):
            self._fetch = _AsyncSource(aiter(source))
            weakref.finalize(self, self._fetch.stop)
            engine.spawn(self._fetch.run)
        else:
            self._items = iter(source)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome:
        """Wait for the next outcome. Cancelling this call only ends the waiting.

        Raises:
            StopAsyncIteration: The source has no more specs, and all outcomes are delivered.
            Exception: The error that the source raised, after all earlier outcomes are delivered.
                An error that every further spec would also get, such as a refused key, is raised in
                the same way.
            ClosedError: The client was closed first.
        """
        while True:
            await self._refill()
            self._ready.extend(self._group.finished)
            self._group.finished.clear()
            if self._ready:
                self._delivered += 1
                return self._ready.popleft().outcome
            if self._exhausted and self._group.unfinished == 0:
                if self._failure is not None:
                    failure, self._failure = self._failure, None
                    raise failure
                raise StopAsyncIteration
            await self._wait()

    async def _refill(self) -> None:
        while not self._exhausted and self._group.total - self._delivered < self._window:
            if self._pulled:
                await self._submit(self._pulled.popleft())
                continue
            if self._group.fatal_error is not None:
                self._end(self._group.fatal_error)
                return
            try:
                spec = next(self._items) if self._fetch is None else self._fetch.ask()
            except StopIteration:
                self._end(None)
                return
            except Exception as error:  # noqa: BLE001 - raised after all earlier outcomes
                self._end(error)
                return
            if spec is None and self._fetch is not None:
                return
            await self._submit(spec)

    async def _submit(self, spec: Any) -> None:
        refusal: CallsheetError | None = None
        try:
            await self._engine.intake.check([spec])
        except TypeError as error:
            self._end(error)
            return
        except SpecError as error:
            refusal = error
        except BaseException:
            self._pulled.append(spec)
            raise
        record = self._engine.intake.record(spec, index=self._group.total, group=self._group)
        if refusal is None:
            try:
                await self._engine.intake.submit([record], priority=self._priority)
            except JournalError as error:
                refusal = error
            except BaseException:
                self._pulled.append(spec)
                raise
        self._group.total += 1
        if refusal is not None:
            self._engine.intake.refuse(record, refusal)

    def _end(self, failure: Exception | None) -> None:
        self._exhausted, self._failure = True, failure
        if self._fetch is not None:
            self._fetch.stop()

    async def _wait(self) -> None:
        group, fetch = self._group, self._fetch
        watched = (group,) if fetch is None else (group, fetch)
        await self._engine.waiting.wait_for_change(watched, lambda: bool(group.finished))
