"""One file on its way to disk: what is asked for, and what the answers mean."""

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
"""Bytes written at once: each hop to a worker thread costs both threads a fight for the
interpreter, and the loop is free while it writes."""

_REFUSED_STATUS = {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
_AGAIN = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


class _RefusedError(Exception):
    """The storage host does not take this URL (any more)."""


class _AgainError(Exception):
    """This request did not bring the whole file, another one may."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


@attrs.define
class Allowance:
    """How often each URL may still be asked for; the ones that were used last are known."""

    _asked: dict[int, int] = attrs.field(factory=dict[int, int], init=False)

    def take(self, url: str) -> bool:
        """Count one more request for *url*; ``False`` if it has had all that it may have."""
        key = hash(url)  # a signed URL is long
        asked = self._asked.pop(key, 0)
        self._asked[key] = min(asked + 1, MOST_REQUESTS)
        if len(self._asked) > _KNOWN_URLS:
            del self._asked[next(iter(self._asked))]
        return asked < MOST_REQUESTS


@attrs.define(kw_only=True)
class Fetch:
    """One file on its way.

    Attributes:
        storage: Who is asked.
        part: Where the bytes go.
        url: Where the file is.
        fresh: Asked once, if the URL is refused or used up, for another one.
        allowance: How often a URL may be asked for.
        policy: How often a request that brings nothing is repeated, and how long one may be silent.
        rng: For the pauses.
        on_bytes: Told the size of each piece that is on disk.
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
        """Bring the file to its place.

        Raises:
            DownloadError: It could not be brought.
            OSError: It could not be written.
        """
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
        while True:
            if not self.allowance.take(self.url):
                said = f"{_shown(self.url)} was asked for {MOST_REQUESTS} times, which is the limit"
                await self._take_fresh_url(said)
                continue
            requests += 1
            before = self.part.size
            try:
                await self._request()
            except _RefusedError as exc:
                await self._take_fresh_url(str(exc))
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

    async def _take_fresh_url(self, reason: str) -> None:
        fresh, self.fresh = self.fresh, None
        if fresh is None:
            raise DownloadError(reason)
        try:
            self.url = await fresh()
        except CallsheetError as exc:
            raise DownloadError(f"{reason}; no fresh URL: {exc}") from exc

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

    async def _accept(self, answer: StreamedResponse, *, resuming: bool) -> int | None:
        """Judge an answer's head, make the part ready for its body; gives the file's full size."""
        status, headers = answer.status_code, answer.headers
        where = f"{_shown(self.url)} answered HTTP {status}"
        if status in _REFUSED_STATUS:
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

    async def _pour(self, answer: StreamedResponse) -> None:
        """Write the body to disk, a large piece at a time, while the next one arrives."""
        failure: Exception | None = None
        writer = FileWriter(part=self.part, on_bytes=self.on_bytes)
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

    async def _gather(self, answer: StreamedResponse, writer: FileWriter) -> None:
        begun = self.part.size > 0
        async with aclosing(answer.chunks()) as chunks:
            async for chunk in chunks:
                if not begun and chunk.lstrip().startswith((b"<", b"{")):
                    said = f"{_shown(self.url)} answered with a page instead of a video"
                    writer.fail(DownloadError(said))
                begun = True
                if writer.gather(chunk) >= _PIECE:
                    await writer.flush()


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
