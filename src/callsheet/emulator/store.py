"""The object store over HTTP: check a download request and answer it with the file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import anyio.to_thread
from starlette.responses import Response

from callsheet.emulator.film import Film, FilmMaker, film_of
from callsheet.emulator.messages import file_answer
from callsheet.emulator.routes import FILES
from callsheet.emulator.storage import Denied, Signer


if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from callsheet.emulator.service import Service
    from callsheet.emulator.tasks import Task


DOWNLOAD_LIMIT = 100
"""Most downloads of one video URL of 2.5 (Ark 2.5 tutorial, Sep 2026)."""

_FILMS = 32


class Store:
    """Serves the files of finished tasks.

    Args:
        service: The service with the tasks.
        advance: Brings the service up to date and returns the time, unix seconds.
        film: Makes the bytes of a video, instead of the renderer; None for the renderer.
    """

    def __init__(
        self, service: Service, advance: Callable[[], float], film: FilmMaker | None
    ) -> None:
        self._service, self._advance, self._film = service, advance, film
        self._signer = Signer(f"emulator/{service.settings.seed}")
        self._films: dict[Film, bytes] = {}
        self._renders = anyio.CapacityLimiter(os.cpu_count() or 1)

    def link(self, origin: str, task: Task, suffix: str) -> str:
        """Build the signed URL of a task's file. *origin* is its scheme and host."""
        path = f"{FILES}/{task.id}/{task.index:08x}.{suffix}"
        return f"{origin}{path}?{self._signer.query(path, task.updated_at)}"

    async def download(self, request: Request) -> Response:
        """Answer with a file, a range of a file, or the store's error."""
        self._service.requests.download.seen += 1
        data = b""
        try:
            task = self._find_task(request)
            data = await self._bytes(film_of(task, request.url.path.rpartition(".")[2]))
            return file_answer(request, data)
        except Denied as denied:
            headers = {"Content-Range": f"bytes */{len(data)}"} if denied.status == 416 else {}  # noqa: PLR2004
            return Response(denied.xml(), denied.status, headers, "application/xml")

    def _find_task(self, request: Request) -> Task:
        """Return the task whose file a request may read.

        Raises:
            Denied: If the request may not read a file, or there is none.
        """
        now = self._advance()
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
            if task.order.model.generation == "2.5" and task.downloads >= DOWNLOAD_LIMIT:
                self._service.requests.download.refused += 1
                raise Denied(403, "AccessDenied", "The URL was downloaded too often.")
            task.downloads += 1
        return task

    async def _bytes(self, film: Film) -> bytes:
        if film in self._films:
            data = self._films.pop(film)
        elif self._film is not None:
            data = self._film(film)
        else:
            data = await anyio.to_thread.run_sync(_render, film, limiter=self._renders)
        self._films[film] = data  # insertion order: the most recently used is last
        if len(self._films) > _FILMS:
            del self._films[next(iter(self._films))]
        return data


def _render(film: Film) -> bytes:
    """Render *film*, in a thread: what draws is imported there, when the first task has ended."""
    from callsheet.emulator.rendering import render  # noqa: PLC0415 - as long as all other imports

    return render(film)
