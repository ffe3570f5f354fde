"""The HTTP interface of the service: two APIs, the files, and the emulator's own state."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import attrs
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from callsheet.emulator.answers import Refusal, ark_error, comet_error
from callsheet.emulator.callback_sender import CallbackSender, Post, post_on_loopback
from callsheet.emulator.callbacks import Callback, Callbacks
from callsheet.emulator.faults import Fault, Faults, read_faults
from callsheet.emulator.faulty import LATE, LIE, FaultInjector
from callsheet.emulator.lies import Ids
from callsheet.emulator.messages import dump, json_answer, read_body, read_key, wrong_route
from callsheet.emulator.routes import ARK, COMET, FILES
from callsheet.emulator.service import Service
from callsheet.emulator.settings import Settings
from callsheet.emulator.store import Store
from callsheet.emulator.views import Query, full_view, short_view


if TYPE_CHECKING:
    from callsheet.emulator.film import FilmMaker
    from callsheet.emulator.ledger import Ledger
    from callsheet.emulator.quota import Requests
    from callsheet.emulator.tasks import Task


_Answer = Callable[[Request], Awaitable[Response]]


class Emulator:
    """An emulated provider as an ASGI application.

    Emulated time starts at the first use, at the wall clock's time or at ``settings.epoch``. From
    then on it follows *clock*. The only background work is `send_callbacks`. A server starts it
    through the application's ASGI lifespan.

    Args:
        settings: How the emulator behaves.
        clock: Returns seconds on any steady clock; default: the monotonic clock. With a virtual
            clock, hours of emulated time take no real time.
        film: Makes the bytes of a video or of a last frame, instead of the renderer. It is called
            on the event loop, so it should be quick.
        post: Sends a callback. The default sends to receivers on this machine only.

    Attributes:
        settings: How the emulator behaves.
        app: The ASGI application. For a fault that ends the connection it raises `ConnectionCut`.
        faults: Which requests fail, and how many did.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        clock: Callable[[], float] | None = None,
        film: FilmMaker | None = None,
        post: Post = post_on_loopback,
    ) -> None:
        self.settings = settings or Settings()
        self.faults = Faults(self.settings.seed, self.settings.faults)
        self._service = Service(self.settings, self._queue_callback)
        self._clock = clock or time.monotonic
        self._origin: tuple[float, float] | None = None
        self._store = Store(self._service, self._advance, film)
        self._ids = Ids()
        self._answered = 0
        self._callbacks = Callbacks(
            self.settings.seed,
            doubled=self.settings.callbacks_doubled,
            held=self.settings.callbacks_held,
        )
        self._callback_sender = CallbackSender(
            self._callbacks,
            post,
            advance=self._advance,
            next_change=lambda: (
                self._service.next_change if self._service.has_callbacks else math.inf
            ),
            speed=self.settings.speed,
        )
        self.app = FaultInjector(self._build(), self.faults, self.now)

    def now(self) -> float:
        """Return the emulated time in unix seconds."""
        clock = self._clock()
        if self._origin is None:
            epoch = self.settings.epoch
            self._origin = clock, time.time() if epoch is None else epoch
        start, epoch = self._origin
        return epoch + (clock - start) * self.settings.speed

    @property
    def ledger(self) -> Ledger:
        """What the service has accepted and billed until now."""
        self._advance()
        return self._service.ledger

    @property
    def requests(self) -> Requests:
        """How many requests of each verb came in, and how many a quota refused."""
        return self._service.requests

    def state(self, *, rows: bool = True) -> dict[str, Any]:
        """Return ledger, request counts and callback counts as one JSON object.

        Args:
            rows: Whether to add one row per task.
        """
        ledger = self.ledger
        state: dict[str, Any] = {
            "now": self.now(),
            "created": ledger.created,
            "billed": ledger.billed,
            "tokens": ledger.tokens,
            "usd": f"{ledger.usd.normalize():f}",
            "cny": f"{ledger.cny.normalize():f}",
            "created_twice": ledger.created_twice,
            "billed_twice": ledger.billed_twice,
            "requests": attrs.asdict(self.requests),
            "callbacks": self._callbacks.counts(),
        }
        return state | {"tasks": ledger.rows()} if rows else state

    def set_faults(self, *faults: Fault) -> None:
        """Replace all faults by *faults* from now on. Without arguments, all requests work."""
        self.faults.replace(*faults, now=self.now())

    async def send_callbacks(self) -> None:
        """Send each callback at its time, until cancelled."""
        await self._callback_sender.run()

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncGenerator[None, None]:
        async with anyio.create_task_group() as background:
            background.start_soon(self.send_callbacks)
            yield
            background.cancel_scope.cancel()

    def _advance(self) -> float:
        now = self.now()
        self._service.advance(now)
        return now

    def _build(self) -> Starlette:
        ark = partial(self._with_error_body, error=ark_error)
        comet = partial(self._with_error_body, error=comet_error)
        one = "/{task_id}"
        routes = [
            # the service has no POST "cancel": a POST to any path below is a create (seen live)
            Route(ARK, ark(self._create), methods=["POST"]),
            Route(ARK + "/{rest:path}", ark(self._create), methods=["POST"]),
            Route(ARK, ark(self._list), methods=["GET"]),
            Route(ARK + one, ark(self._get), methods=["GET"]),
            Route(ARK + one, ark(self._delete), methods=["DELETE"]),
            Route(COMET, comet(self._create), methods=["POST"]),
            Route(COMET + one, comet(self._get), methods=["GET"]),
        ]
        if self.settings.comet_full:
            routes += [
                Route(COMET, comet(self._list), methods=["GET"]),
                Route(COMET + one, comet(self._delete), methods=["DELETE"]),
            ]
        return Starlette(
            routes=[
                *routes,
                Route(FILES + "/{task_id}/{name}", self._store.download, methods=["GET", "HEAD"]),
                Route("/_emulator/state", self._state),
                Route("/_emulator/faults", self._faults, methods=["GET", "PUT"]),
            ],
            exception_handlers={HTTPException: wrong_route},
            lifespan=self._lifespan,
        )

    def _with_error_body(self, answer: _Answer, *, error: Callable[..., dict[str, Any]]) -> _Answer:
        """Wrap an endpoint: answer a refusal with the error body of its API."""

        async def endpoint(request: Request) -> Response:
            self._answered += 1
            request_id = f"02{int(self.now() * 1000)}{self._answered:017x}"
            try:
                response = await answer(request)
            except Refusal as refusal:
                response = json_answer(error(refusal, request_id), refusal.status)
            response.headers["X-Request-Id"] = request_id
            return response

        return endpoint

    async def _create(self, request: Request) -> Response:
        self.requests.create.seen += 1
        key = read_key(request)
        self._service.account(key)  # a wrong key is refused before the body is read
        body = await read_body(request)
        task = self._service.create(
            key,
            body,
            self.now(),
            comet=_is_comet(request),
            origin=_origin(request),
            delay=request.scope.get(LATE, 0.0),
        )
        if self._service.has_callbacks:
            self._callback_sender.wake()
        if task is None:
            return json_answer({})  # a late create: the fault discards this answer
        answer = {"id": self._ids.told(task.id, key, request.scope.get(LIE))}
        if task.order.safety_identifier is not None and self._is_full(comet=_is_comet(request)):
            answer["safety_identifier"] = task.order.safety_identifier
        return json_answer(answer)

    async def _get(self, request: Request) -> Response:
        self.requests.get.seen += 1
        task_id = self._ids.real(request.path_params["task_id"])
        task = self._service.get(read_key(request), task_id, self.now())
        return json_answer(self._show(task, _origin(request), comet=_is_comet(request)))

    async def _list(self, request: Request) -> Response:
        self.requests.list.seen += 1
        account = self._service.account_to_list(read_key(request), self.now())
        query = Query.read(request.query_params)
        link = partial(self._store.link, _origin(request))
        return json_answer(query.run(account, link, request.scope.get(LIE)))

    async def _delete(self, request: Request) -> Response:
        self.requests.delete.seen += 1
        task_id = self._ids.real(request.path_params["task_id"])
        self._service.delete(read_key(request), task_id, self.now())
        return json_answer({})

    async def _state(self, request: Request) -> Response:
        return json_answer(self.state(rows=request.query_params.get("rows") != "false"))

    async def _faults(self, request: Request) -> Response:
        if request.method == "PUT":
            try:
                self.set_faults(*read_faults(await request.json()))
            except (TypeError, ValueError) as error:
                return json_answer({"error": str(error)}, 400)
        return json_answer(self.faults.rows())

    def _is_full(self, *, comet: bool) -> bool:
        return self.settings.comet_full or not comet

    def _show(self, task: Task, origin: str, *, comet: bool) -> dict[str, Any]:
        view = full_view if self._is_full(comet=comet) else short_view
        return view(task, partial(self._store.link, origin))

    def _queue_callback(self, task: Task) -> None:
        """Queue a callback about a task's new status. A cancellation causes no callback."""
        url = task.order.callback_url
        if url is not None and task.status != "cancelled":
            body = dump(self._show(task, task.origin, comet=task.comet)).encode()
            callback = Callback(task_id=task.id, status=task.status, url=url, body=body)
            self._callbacks.put(callback, task.updated_at)


def _is_comet(request: Request) -> bool:
    return request.url.path.startswith(COMET)


def _origin(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}"
