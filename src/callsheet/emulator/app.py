"""The HTTP face of the service: two APIs, the files, and a look inside."""

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
from callsheet.emulator.callbacks import Callback, Callbacks
from callsheet.emulator.courier import Courier, Post, post_on_loopback
from callsheet.emulator.faults import Fault, Faults, read_faults
from callsheet.emulator.faulty import LATE, Faulty
from callsheet.emulator.messages import dump, json_answer, read_body, read_key, stray
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

    Emulated time starts at the first use, at the wall clock's time or ``settings.epoch``, and goes
    on only by the clock. Nothing runs in the background but `send_callbacks`, which a server starts
    as the application's lifespan.

    Args:
        settings: How it behaves.
        clock: Seconds on any steady clock; default: the monotonic one. A virtual clock makes hours
            pass in no time.
        film: Makes the bytes of a video or still, in place of the renderer. It is called on the
            event loop and should be quick.
        post: Posts a callback in place of the one that reaches receivers on this machine only.

    Attributes:
        settings: How it behaves.
        app: The ASGI application. Faults that end a connection leave it as `ConnectionCut`.
        faults: What goes wrong, and how often it did.
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
        self._service = Service(self.settings, self._call_back)
        self._clock = clock or time.monotonic
        self._origin: tuple[float, float] | None = None
        self._store = Store(self._service, self._advance, film)
        self._answered = 0
        self._callbacks = Callbacks(
            self.settings.seed,
            doubled=self.settings.callbacks_doubled,
            held=self.settings.callbacks_held,
        )
        self._courier = Courier(
            self._callbacks,
            post,
            advance=self._advance,
            next_change=lambda: self._service.next_change if self._service.listened else math.inf,
            speed=self.settings.speed,
        )
        self.app = Faulty(self._build(), self.faults, self.now)

    def now(self) -> float:
        """Tell the emulated time, unix seconds."""
        clock = self._clock()
        if self._origin is None:
            epoch = self.settings.epoch
            self._origin = clock, time.time() if epoch is None else epoch
        start, epoch = self._origin
        return epoch + (clock - start) * self.settings.speed

    @property
    def ledger(self) -> Ledger:
        """What was taken and billed until now."""
        self._advance()
        return self._service.ledger

    @property
    def requests(self) -> Requests:
        """What was asked, and how much of it was refused by quota."""
        return self._service.requests

    def state(self, *, rows: bool = True) -> dict[str, Any]:
        """Put ledger and requests into one JSON object; *rows* adds a row per task."""
        ledger = self.ledger
        state: dict[str, Any] = {
            "now": self.now(),
            "created": ledger.created,
            "billed": ledger.billed,
            "tokens": ledger.tokens,
            "created_twice": ledger.created_twice,
            "billed_twice": ledger.billed_twice,
            "requests": attrs.asdict(self.requests),
            "callbacks": self._callbacks.counts(),
        }
        return state | {"tasks": ledger.rows()} if rows else state

    def set_faults(self, *faults: Fault) -> None:
        """Let *faults* happen from now on in place of all others; none: nothing goes wrong."""
        self.faults.replace(*faults, now=self.now())

    async def send_callbacks(self) -> None:
        """Post callbacks, each at its time, until cancelled."""
        await self._courier.run()

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
        ark = partial(self._guarded, error=ark_error)
        comet = partial(self._guarded, error=comet_error)
        one = "/{task_id}"
        faces = [
            # a POST below a task is no "cancel": it falls into the create handler (seen live)
            Route(ARK, ark(self._create), methods=["POST"]),
            Route(ARK + "/{rest:path}", ark(self._create), methods=["POST"]),
            Route(ARK, ark(self._list), methods=["GET"]),
            Route(ARK + one, ark(self._get), methods=["GET"]),
            Route(ARK + one, ark(self._delete), methods=["DELETE"]),
            Route(COMET, comet(self._create), methods=["POST"]),
            Route(COMET + one, comet(self._get), methods=["GET"]),
        ]
        if self.settings.comet_full:
            faces += [
                Route(COMET, comet(self._list), methods=["GET"]),
                Route(COMET + one, comet(self._delete), methods=["DELETE"]),
            ]
        return Starlette(
            routes=[
                *faces,
                Route(FILES + "/{task_id}/{name}", self._store.download, methods=["GET", "HEAD"]),
                Route("/_emulator/state", self._state),
                Route("/_emulator/faults", self._faults, methods=["GET", "PUT"]),
            ],
            exception_handlers={HTTPException: stray},
            lifespan=self._lifespan,
        )

    def _guarded(self, answer: _Answer, *, error: Callable[..., dict[str, Any]]) -> _Answer:
        """Turn refusals into the face's error body."""

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
        self._service.account(key)  # a wrong key is refused before the body is looked at
        body = await read_body(request)
        task = self._service.create(
            key,
            body,
            self.now(),
            comet=_is_comet(request),
            origin=_origin(request),
            delay=request.scope.get(LATE, 0.0),
        )
        if self._service.listened:
            self._courier.ring()
        if task is None:
            return json_answer({})  # on its way to nobody
        answer = {"id": task.id}
        if task.order.safety_identifier is not None and self._is_full(comet=_is_comet(request)):
            answer["safety_identifier"] = task.order.safety_identifier
        return json_answer(answer)

    async def _get(self, request: Request) -> Response:
        self.requests.get.seen += 1
        task = self._service.get(read_key(request), request.path_params["task_id"], self.now())
        return json_answer(self._show(task, _origin(request), comet=_is_comet(request)))

    async def _list(self, request: Request) -> Response:
        self.requests.list.seen += 1
        account = self._service.look(read_key(request), self.now())
        query = Query.read(request.query_params)
        return json_answer(query.run(account, partial(self._store.link, _origin(request))))

    async def _delete(self, request: Request) -> Response:
        self.requests.delete.seen += 1
        self._service.delete(read_key(request), request.path_params["task_id"], self.now())
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

    def _call_back(self, task: Task) -> None:
        """Note that a task's receiver is to hear of its status; nobody hears of a cancellation."""
        url = task.order.callback_url
        if url is not None and task.status != "cancelled":
            body = dump(self._show(task, task.origin, comet=task.comet)).encode()
            callback = Callback(task_id=task.id, status=task.status, url=url, body=body)
            self._callbacks.put(callback, task.updated_at)


def _is_comet(request: Request) -> bool:
    return request.url.path.startswith(COMET)


def _origin(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}"
