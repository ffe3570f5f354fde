"""The HTTP face of the service: two APIs, the files, and a look inside."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import attrs
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from callsheet.emulator.answers import Refusal, ark_error, comet_error, invalid, unauthorized
from callsheet.emulator.film import Film, FilmMaker, film_of, render
from callsheet.emulator.service import Service
from callsheet.emulator.settings import Settings
from callsheet.emulator.storage import Denied, Signer, find_range
from callsheet.emulator.views import Query, full_view, short_view


if TYPE_CHECKING:
    from callsheet.emulator.ledger import Ledger
    from callsheet.emulator.quota import Requests
    from callsheet.emulator.tasks import Task


ARK = "/api/v3/contents/generations/tasks"
"""Path of the task API on Ark and BytePlus."""

COMET = "/volc/v3/contents/generations/tasks"
"""Path of the task API on CometAPI."""

BODY_LIMIT = 64 * 1024 * 1024
"""Largest create body, bytes (Ark create reference, Aug 2026)."""

DOWNLOAD_LIMIT = 100
"""Most downloads of one video URL of 2.5 (Ark 2.5 tutorial, Sep 2026)."""

_FILMS = 32
_NOT_FOUND = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"

_Answer = Callable[[Request], Awaitable[Response]]


class Emulator:
    """An emulated provider as an ASGI application.

    Emulated time starts at the first use, at the wall clock's time or ``settings.epoch``, and goes
    on only by the clock: nothing runs in the background.

    Args:
        settings: How it behaves.
        clock: Seconds on any steady clock; default: the monotonic one. A virtual clock makes hours
            pass in no time.
        film: Makes the bytes of a video or still, in place of the renderer. It is called on the
            event loop and should be quick.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        clock: Callable[[], float] | None = None,
        film: FilmMaker | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self._service = Service(self.settings)
        self._clock = clock or time.monotonic
        self._origin: tuple[float, float] | None = None
        self._signer = Signer(f"emulator/{self.settings.seed}")
        self._film = film
        self._films: dict[Film, bytes] = {}
        self._renders = anyio.CapacityLimiter(os.cpu_count() or 1)
        self._answered = 0
        self.app = self._build()

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
        self._service.advance(self.now())
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
            "requests": attrs.asdict(self.requests),
        }
        return state | {"tasks": ledger.rows()} if rows else state

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
                Route("/files/{task_id}/{name}", self._download, methods=["GET", "HEAD"]),
                Route("/_emulator/state", self._state),
            ],
            exception_handlers={HTTPException: _page},
        )

    def _guarded(self, answer: _Answer, *, error: Callable[..., dict[str, Any]]) -> _Answer:
        """Turn refusals into the face's error body."""

        async def endpoint(request: Request) -> Response:
            self._answered += 1
            request_id = f"02{int(self.now() * 1000)}{self._answered:017x}"
            try:
                response = await answer(request)
            except Refusal as refusal:
                response = _json(error(refusal, request_id), refusal.status)
            response.headers["X-Request-Id"] = request_id
            return response

        return endpoint

    async def _create(self, request: Request) -> Response:
        self.requests.create.seen += 1
        key = _key(request)
        self._service.account(key)  # a wrong key is refused before the body is looked at
        body = await _body(request)
        comet = request.url.path.startswith(COMET)
        task = self._service.create(key, body, self.now(), comet=comet)
        answer = {"id": task.id}
        if task.order.safety_identifier is not None and self._is_full(request):
            answer["safety_identifier"] = task.order.safety_identifier
        return _json(answer)

    async def _get(self, request: Request) -> Response:
        self.requests.get.seen += 1
        task = self._service.get(_key(request), request.path_params["task_id"], self.now())
        view = full_view if self._is_full(request) else short_view
        return _json(view(task, partial(self._link, request)))

    async def _list(self, request: Request) -> Response:
        self.requests.list.seen += 1
        account = self._service.look(_key(request), self.now())
        query = Query.read(request.query_params)
        return _json(query.run(account, partial(self._link, request)))

    async def _delete(self, request: Request) -> Response:
        self.requests.delete.seen += 1
        self._service.delete(_key(request), request.path_params["task_id"], self.now())
        return _json({})

    async def _state(self, request: Request) -> Response:
        return _json(self.state(rows=request.query_params.get("rows") != "false"))

    def _is_full(self, request: Request) -> bool:
        return self.settings.comet_full or not request.url.path.startswith(COMET)

    def _link(self, request: Request, task: Task, suffix: str) -> str:
        """Make a signed URL on the host that the request came to."""
        path = f"/files/{task.id}/{task.index:08x}.{suffix}"
        query = self._signer.query(path, task.updated_at)
        return f"{request.url.scheme}://{request.url.netloc}{path}?{query}"

    async def _download(self, request: Request) -> Response:
        self.requests.download.seen += 1
        data = b""
        try:
            task = self._open(request)
            data = await self._bytes(film_of(task, request.url.path.rpartition(".")[2]))
            return _file(request, data)
        except Denied as denied:
            headers = {"Content-Range": f"bytes */{len(data)}"} if denied.status == 416 else {}  # noqa: PLR2004
            return Response(denied.xml(), denied.status, headers, "application/xml")

    def _open(self, request: Request) -> Task:
        """Find the task whose file a request may read."""
        now = self.now()
        self._service.advance(now)
        if "authorization" in request.headers:
            message = "Only one auth mechanism is allowed: the query signature."
            raise Denied(400, "InvalidArgument", message)
        if request.method == "HEAD":
            raise Denied(403, "SignatureDoesNotMatch", "The URL is signed for GET.")
        self._signer.check(request.url.path, request.query_params, now)
        task = self._service.files.get(request.path_params["task_id"])
        if task is None:
            raise Denied(404, "NoSuchKey", "The specified key does not exist.")
        if not request.url.path.endswith(".png"):
            if task.order.model.era == "2.5" and task.downloads >= DOWNLOAD_LIMIT:
                self.requests.download.refused += 1
                raise Denied(403, "AccessDenied", "The URL was downloaded too often.")
            task.downloads += 1
        return task

    async def _bytes(self, film: Film) -> bytes:
        if film in self._films:
            data = self._films.pop(film)
        elif self._film is not None:
            data = self._film(film)
        else:
            data = await anyio.to_thread.run_sync(render, film, limiter=self._renders)
        self._films[film] = data  # the latest used is the last
        if len(self._films) > _FILMS:
            del self._films[next(iter(self._films))]
        return data


def _key(request: Request) -> str:
    """Read the API key from one ``Authorization: Bearer`` header."""
    headers = request.headers.getlist("authorization")
    scheme, _, key = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
    key = key.strip()
    if scheme.lower() != "bearer" or not key or set(key) & set(", \t"):
        raise unauthorized()
    return key


async def _body(request: Request) -> object:
    """Read a JSON body of at most 64 MB."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= BODY_LIMIT:
            chunks.append(chunk)
    if size > BODY_LIMIT:
        raise invalid("body", "it must not exceed 64 MB")
    try:
        body: object = json.loads(b"".join(chunks))
    except (ValueError, RecursionError):
        raise invalid("body", "it is not JSON") from None
    return body


def _json(body: Mapping[str, Any], status: int = 200) -> Response:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Response(text, status, media_type="application/json")


def _file(request: Request, data: bytes) -> Response:
    """Answer with a file or a part of it."""
    etag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
    headers = {"ETag": etag, "Accept-Ranges": "bytes"}
    kinds = {"png": "image/png", "mov": "video/quicktime"}
    kind = kinds.get(request.url.path.rpartition(".")[2], "video/mp4")
    span = None
    if request.headers.get("if-range", etag) == etag:
        span = find_range(request.headers.get("range"), len(data))
    if span is None:
        return Response(data, 200, headers, kind)
    start, end = span
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
    return Response(data[start:end], 206, headers, kind)


async def _page(_: Request, error: Exception) -> Response:
    """Answer a wrong path or method as a web server does: with a page."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    return HTMLResponse(_NOT_FOUND.format(status), status, headers)
