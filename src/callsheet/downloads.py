"""Bring finished videos to disk before their URLs die.

A video is written beside its place and renamed at the end, so a file under its final name is
always whole. The storage host is never sent a key. Works on asyncio and trio.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import attrs

from callsheet._core.backoff import pause_before
from callsheet._io.part import Part
from callsheet._io.storage import Storage
from callsheet._io.writer import Writer
from callsheet._models.outcome import Video
from callsheet._models.policy import RetryPolicy
from callsheet.errors import CallsheetError, ClosedError, DownloadError, TransportError


if TYPE_CHECKING:
    import os

    from callsheet._io.answer import Answer
    from callsheet._io.transport import TransportChoice


__all__ = ["Downloader", "download"]

Refresh = Callable[[], Awaitable[Video]]

_PIECE = 4 * 1024 * 1024
"""Bytes written at once: each hop to a worker thread costs both threads a fight for the
interpreter, and the loop is free while it writes."""

_REQUESTS = 99
"""Most requests for one URL; Seedance 2.5 allows 100 downloads of each (Ark 2.5 guide)."""

_REFUSED = {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
_AGAIN = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
_LONGEST_PAUSE = 30.0


class _RefusedError(Exception):
    """The storage host does not take this URL (any more)."""


class _AgainError(Exception):
    """This request did not bring the whole file, another one may."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Downloader:
    """Fetches videos side by side, used as ``async with Downloader() as downloader``.

    Args:
        parallel: Most downloads at once, >= 1; further ones wait for their turn.
        attempts: Most requests in a row that bring nothing, >= 1; after one that brought a piece
            the count starts again.
        timeout: Seconds without a single byte after which a request is given up, > 0.
        transport: ``"aiohttp"`` fetches over that library instead of `httpx`, about twice as fast
            and on asyncio alone (``pip install 'callsheet[fast]'``); or an `httpx` transport, which
            answers instead of the network and is left open.

    Raises:
        ConfigurationError: The transport cannot be had; on entering, if it does not work with trio.
    """

    def __init__(
        self,
        *,
        parallel: int = 4,
        attempts: int = 6,
        timeout: float = 30.0,
        transport: TransportChoice | None = None,
    ) -> None:
        self._turns = anyio.Semaphore(parallel)
        self._policy = RetryPolicy(attempts=attempts, ceiling=_LONGEST_PAUSE, timeout=timeout)
        self._rng = random.Random()  # noqa: S311 - jitter, not a secret
        self._storage = Storage(parallel, transport=transport)
        self._entered = False
        self._active: set[Path] = set()

    async def __aenter__(self) -> Self:
        await self._storage.__aenter__()
        self._entered = True
        return self

    async def __aexit__(self, *details: object) -> None:
        self._entered = False
        await self._storage.__aexit__(*details)

    async def fetch(
        self,
        video: Video | str,
        path: str | os.PathLike[str],
        *,
        refresh: Refresh | None = None,
        on_bytes: Callable[[int], None] | None = None,
    ) -> Path:
        """Fetch one video, or anything else by its URL, to *path*; a file there is replaced.

        A cut connection is resumed where it broke. If this call is cancelled, what has arrived
        stays beside *path* as ``.<name>.part`` and the next call for the same path goes on there.

        Args:
            video: The video, or a URL.
            path: Where it goes; the folder must exist.
            refresh: Asked once, if the URL is refused, for the video with a fresh URL.
            on_bytes: Told the number of bytes of each piece that has reached the disk.

        Returns:
            *path*.

        Raises:
            DownloadError: It could not be brought, or not be written; nothing stands at *path*
                that was not there before.
            ClosedError: The downloader is used outside its ``async with``.
        """
        if not self._entered:
            raise ClosedError("use the downloader inside its own async with")
        target = Path(path)
        url, task_id = (video, None) if isinstance(video, str) else (video.url, video.task_id)
        if target in self._active:
            raise DownloadError(f"{target} is being downloaded already", task_id)
        self._active.add(target)
        try:
            async with self._turns:
                fetching = _Fetch(
                    storage=self._storage,
                    part=Part(target),
                    url=url,
                    refresh=refresh,
                    policy=self._policy,
                    rng=self._rng,
                    on_bytes=on_bytes or _ignore,
                )
                await fetching.run()
        except DownloadError as exc:
            raise DownloadError(exc.reason, task_id) from exc.__cause__
        except OSError as exc:
            reason = exc.strerror or type(exc).__name__
            raise DownloadError(f"cannot write {target}: {reason}", task_id) from exc
        finally:
            self._active.discard(target)
        return target


async def download(
    video: Video | str, path: str | os.PathLike[str], *, refresh: Refresh | None = None
) -> Path:
    """Fetch one video to *path*; see `Downloader.fetch`."""
    async with Downloader(parallel=1) as downloader:
        return await downloader.fetch(video, path, refresh=refresh)


@attrs.define(kw_only=True)
class _Fetch:
    """One file on its way."""

    storage: Storage
    part: Part
    url: str
    refresh: Refresh | None
    policy: RetryPolicy
    rng: random.Random
    on_bytes: Callable[[int], None]

    async def run(self) -> None:
        keep = True
        try:
            await anyio.to_thread.run_sync(self.part.open)
            await self._fetch()
            await anyio.to_thread.run_sync(self.part.finish)
        except BaseException as exc:
            keep = not isinstance(exc, OSError)  # a full disk needs the room back
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(lambda: self.part.leave(keep=keep))
            raise

    async def _fetch(self) -> None:
        failures, requests = 0, 0
        while requests < _REQUESTS:
            requests += 1
            before = self.part.size
            try:
                await self._request()
            except _RefusedError as exc:
                await self._take_fresh_url(str(exc))
                requests = 0
            except (_AgainError, TransportError) as exc:
                failures = 1 if self.part.size > before else failures + 1
                if failures >= self.policy.attempts:
                    raise DownloadError(f"{exc} (the last of {requests} requests)") from None
                asked = exc.retry_after if isinstance(exc, _AgainError) else None
                await anyio.sleep(
                    pause_before(failures + 1, self.policy, rng=self.rng, retry_after=asked)
                )
            else:
                return
        raise DownloadError(f"{requests} requests for one URL, of which 100 are allowed")

    async def _take_fresh_url(self, reason: str) -> None:
        refresh, self.refresh = self.refresh, None
        if refresh is None:
            raise DownloadError(reason)
        try:
            video = await refresh()
        except CallsheetError as exc:
            raise DownloadError(f"{reason}; no fresh URL: {exc}") from exc
        self.url = video.url

    async def _request(self) -> None:
        """Ask for what is missing, once."""
        headers = {"accept-encoding": "identity"}
        if self.part.size and self.part.validator:
            headers |= {"range": f"bytes={self.part.size}-", "if-range": self.part.validator}
        async with self.storage.open(
            self.url, headers=headers, stall=self.policy.timeout
        ) as answer:
            total = await self._accept(answer, resuming="range" in headers)
            await self._pour(answer)
        if total is not None and self.part.size != total:
            raise _AgainError(f"the connection ended after {self.part.size} of {total} bytes")
        if self.part.size == 0:
            raise DownloadError(f"{_shown(self.url)} answered with 0 bytes")

    async def _accept(self, answer: Answer, *, resuming: bool) -> int | None:
        """Judge an answer's head, make the part ready for its body; gives the file's full size."""
        status, headers = answer.status_code, answer.headers
        where = f"{_shown(self.url)} answered HTTP {status}"
        if status in _REFUSED:
            raise _RefusedError(f"{where}: the URL has expired or is refused")
        if status in _AGAIN or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _AgainError(where, _retry_after(headers))
        if status == HTTPStatus.PARTIAL_CONTENT and resuming:
            start, total = _content_range(headers)
            if start == self.part.size:
                return total
        if resuming and status != HTTPStatus.OK:
            await anyio.to_thread.run_sync(self.part.restart)
            raise _AgainError(f"{where} to a request for the rest of a file")
        if status != HTTPStatus.OK:
            raise DownloadError(where)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind.startswith("text/") or kind in {"application/json", "application/xml"}:
            raise DownloadError(f"{where} with {kind} instead of a video")
        if headers.get("content-encoding", "identity") != "identity":
            raise DownloadError(f"{where} in an encoding that was not asked for")
        if self.part.size:  # or nothing would read while the first bytes arrive
            await anyio.to_thread.run_sync(self.part.restart)
        self.part.validator = _validator(headers)
        length = headers.get("content-length", "")
        return int(length) if length.isdecimal() else None

    async def _pour(self, answer: Answer) -> None:
        """Write the body to disk, a large piece at a time, while the next one arrives."""
        failure: Exception | None = None
        writer = Writer(part=self.part, on_bytes=self.on_bytes)
        async with writer.group:
            try:
                await self._gather(answer, writer)
            except Exception as exc:  # noqa: BLE001 - leaves bare, below
                failure = exc
            finally:
                await writer.flush()
        failure = writer.failure or failure
        if failure is not None:
            raise failure

    async def _gather(self, answer: Answer, writer: Writer) -> None:
        begun = self.part.size > 0
        async with aclosing(answer.chunks()) as chunks:
            async for chunk in chunks:
                if not begun and chunk.lstrip().startswith((b"<", b"{")):
                    said = f"{_shown(self.url)} answered with a page instead of a video"
                    writer.fail(DownloadError(said))
                begun = True
                if writer.gather(chunk) >= _PIECE:
                    await writer.flush()


def _ignore(_count: int) -> None:
    """Nobody wants to know."""


def _shown(url: str) -> str:
    """A URL without its query, which is as good as a key while it lives."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the URL"
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"


def _validator(headers: Mapping[str, str]) -> str | None:
    etag = headers.get("etag", "")
    found = etag if etag.startswith('"') else headers.get("last-modified", "")
    return found if found and found.isascii() else None  # a weak ETag does not vouch for bytes


def _content_range(headers: Mapping[str, str]) -> tuple[int | None, int | None]:
    """First byte and full size out of ``bytes 7-99/100``."""
    span, _, total = headers.get("content-range", "").removeprefix("bytes ").partition("/")
    start = span.partition("-")[0]
    return int(start) if start.isdecimal() else None, int(total) if total.isdecimal() else None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("retry-after", "")
    return float(text) if text.isdecimal() else None
