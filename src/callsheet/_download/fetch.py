"""The download of one file: which requests are sent, and what the answers mean."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import attrs

from callsheet._download.file_writer import FileWriter
from callsheet._download.http import StorageClient
from callsheet._download.partial_file import PartialFile
from callsheet._models.policy import RetryPolicy
from callsheet._state.backoff import pause_before
from callsheet.errors import CallsheetError, DownloadError, TransportError


if TYPE_CHECKING:
    from callsheet._http.streamed_response import StreamedResponse


MOST_REQUESTS = 100
"""Most requests for one URL: Seedance 2.5 allows 100 downloads of each (Ark 2.5 guide)."""

_KNOWN_URLS = 10_000

_PIECE = 4 * 1024 * 1024
"""Bytes that are written at once. Pieces are large because each call to a worker thread makes two
threads compete for the interpreter; the event loop is free while the thread writes."""

_REFUSED_STATUS = {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
_RETRY_STATUS = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


class _RefusedError(Exception):
    """The storage host refuses this URL, or does so now."""


class _RetryError(Exception):
    """This request did not bring the whole file; another one may."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


@attrs.define
class Allowance:
    """Counts the requests for each URL. Only the most recently used URLs are remembered."""

    _asked: dict[int, int] = attrs.field(factory=dict[int, int], init=False)

    def take(self, url: str) -> bool:
        """Count one more request for *url*; ``False`` if the limit is reached."""
        key = hash(url)  # shorter than a signed URL
        asked = self._asked.pop(key, 0)
        self._asked[key] = min(asked + 1, MOST_REQUESTS)
        if len(self._asked) > _KNOWN_URLS:
            del self._asked[next(iter(self._asked))]
        return asked < MOST_REQUESTS


@attrs.define(kw_only=True)
class Fetch:
    """The download of one file.

    Attributes:
        storage: Sends the requests.
        part: Gets the bytes.
        url: Where the file is.
        fresh: Gives another URL. It is called once, if the URL is refused or at its limit.
        allowance: Counts the requests for each URL.
        policy: How often a request that brings nothing is repeated, and how long one may stall.
        rng: For the pauses.
        on_bytes: Called with the size of each piece that was written.
    """

    storage: StorageClient
    part: PartialFile
    url: str
    fresh: Callable[[], Awaitable[str]] | None
    allowance: Allowance
    policy: RetryPolicy
    rng: random.Random
    on_bytes: Callable[[int], None]

    async def run(self) -> None:
        """Download the file to its place.

        Raises:
            DownloadError: It could not be downloaded.
            OSError: It could not be written.
        """
        keep = True
        try:
            await anyio.to_thread.run_sync(self.part.open)
            await self._fetch()
            await anyio.to_thread.run_sync(self.part.finish)
        except BaseException as exc:
            keep = not isinstance(exc, OSError)  # on a full disk the space is needed
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(lambda: self.part.close(keep=keep))
            raise

    async def _fetch(self) -> None:
        failures, requests = 0, 0
        while True:
            if not self.allowance.take(self.url):
                where = _without_query(self.url)
                said = f"{where} was asked for {MOST_REQUESTS} times, which is the limit"
                await self._take_fresh_url(said)
                continue
            requests += 1
            before = self.part.size
            try:
                await self._request()
            except _RefusedError as exc:
                await self._take_fresh_url(str(exc))
            except (_RetryError, TransportError) as exc:
                failures = 1 if self.part.size > before else failures + 1
                if failures >= self.policy.attempts:
                    raise DownloadError(f"{exc} (the last of {requests} requests)") from None
                asked = exc.retry_after if isinstance(exc, _RetryError) else None
                await anyio.sleep(
                    pause_before(failures + 1, self.policy, rng=self.rng, retry_after=asked)
                )
            else:
                return

    async def _take_fresh_url(self, reason: str) -> None:
        fresh, self.fresh = self.fresh, None
        if fresh is None:
            raise DownloadError(reason)
        try:
            self.url = await fresh()
        except CallsheetError as exc:
            raise DownloadError(f"{reason}; no fresh URL: {exc}") from exc

    async def _request(self) -> None:
        """Send one request for the bytes that are missing."""
        headers = {"accept-encoding": "identity"}
        if self.part.size and self.part.validator:
            headers |= {"range": f"bytes={self.part.size}-", "if-range": self.part.validator}
        async with self.storage.open(
            self.url, headers=headers, stall=self.policy.timeout
        ) as answer:
            total = await self._accept(answer, resuming="range" in headers)
            await self._write_body(answer)
        if total is not None and self.part.size != total:
            raise _RetryError(f"the connection ended after {self.part.size} of {total} bytes")
        if self.part.size == 0:
            raise DownloadError(f"{_without_query(self.url)} answered with 0 bytes")

    async def _accept(self, answer: StreamedResponse, *, resuming: bool) -> int | None:
        """Check an answer's head and prepare the part for its body; return the file's full size."""
        status, headers = answer.status_code, answer.headers
        where = f"{_without_query(self.url)} answered HTTP {status}"
        if status in _REFUSED_STATUS:
            raise _RefusedError(f"{where}: the URL has expired or is refused")
        if status in _RETRY_STATUS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _RetryError(where, _retry_after(headers))
        if status == HTTPStatus.PARTIAL_CONTENT and resuming:
            start, total = _content_range(headers)
            if start == self.part.size:
                return total
        if resuming and status != HTTPStatus.OK:
            await anyio.to_thread.run_sync(self.part.restart)
            raise _RetryError(f"{where} to a request for the rest of a file")
        if status != HTTPStatus.OK:
            raise DownloadError(where)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind.startswith("text/") or kind in {"application/json", "application/xml"}:
            raise DownloadError(f"{where} with {kind} instead of a video")
        if headers.get("content-encoding", "identity") != "identity":
            raise DownloadError(f"{where} in an encoding that was not asked for")
        if self.part.size:  # only if needed: the thread's work delays the first read
            await anyio.to_thread.run_sync(self.part.restart)
        self.part.validator = _validator(headers)
        length = headers.get("content-length", "")
        return int(length) if length.isdecimal() else None

    async def _write_body(self, answer: StreamedResponse) -> None:
        """Write the body to disk in large pieces. Each is written while the next one arrives."""
        failure: Exception | None = None
        writer = FileWriter(part=self.part, on_bytes=self.on_bytes)
        async with writer.group:
            try:
                await self._gather(answer, writer)
            except Exception as exc:  # noqa: BLE001 - raised below, without an exception group
                failure = exc
            finally:
                await writer.flush()
        failure = writer.failure or failure
        if failure is not None:
            raise failure

    async def _gather(self, answer: StreamedResponse, writer: FileWriter) -> None:
        begun = self.part.size > 0
        async with aclosing(answer.chunks()) as chunks:
            async for chunk in chunks:
                if not begun and chunk.lstrip().startswith((b"<", b"{")):
                    said = f"{_without_query(self.url)} answered with a page instead of a video"
                    writer.fail(DownloadError(said))
                begun = True
                if writer.gather(chunk) >= _PIECE:
                    await writer.flush()


def _without_query(url: str) -> str:
    """A URL without its query: until it expires, its signature gives access like a key."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the URL"
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"


def _validator(headers: Mapping[str, str]) -> str | None:
    etag = headers.get("etag", "")
    found = etag if etag.startswith('"') else headers.get("last-modified", "")
    # a weak ETag does not identify the exact bytes
    return found if found and found.isascii() else None


def _content_range(headers: Mapping[str, str]) -> tuple[int | None, int | None]:
    """First byte and full size, read from a header such as ``bytes 7-99/100``."""
    span, _, total = headers.get("content-range", "").removeprefix("bytes ").partition("/")
    start = span.partition("-")[0]
    return int(start) if start.isdecimal() else None, int(total) if total.isdecimal() else None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("retry-after", "")
    return float(text) if text.isdecimal() else None
