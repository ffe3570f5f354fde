"""Plain GETs of the hosts that keep finished videos: no key is ever sent there."""

from __future__ import annotations

from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self, cast
from urllib.parse import urljoin

import anyio
import httpx

from callsheet._http.streamed_response import StreamedResponse
from callsheet._http.transport import BROKEN_CONNECTION, BaseTransport, chosen, host_of, http_client
from callsheet.errors import ConfigurationError, ConnectFailedError, DownloadError, TransportError


if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Mapping

    from callsheet._http.aiohttp_session import Session
    from callsheet._http.transport import TransportChoice


REDIRECTS = 5

_READ = 256 * 1024
"""Bytes that are read at once over `httpx`: fewer cost more turns, and more are written in chunks
that ext4 takes slower. It is what asyncio reads, too."""

_FILE_READ_AHEAD = 1024 * 1024
"""Bytes that aiohttp reads before they are wanted, so that nobody waits for anybody."""

_REDIRECT_STATUS = {
    HTTPStatus.MOVED_PERMANENTLY,
    HTTPStatus.FOUND,
    HTTPStatus.SEE_OTHER,
    HTTPStatus.TEMPORARY_REDIRECT,
    HTTPStatus.PERMANENT_REDIRECT,
}

_BASE_HEADERS = {"accept": "*/*", "user-agent": "callsheet"}


class StorageClient:
    """A small pool of connections, used as ``async with Storage() as storage``.

    Args:
        connections: Most connections at once.
        transport: Answers instead of the network and is left open, or ``"aiohttp"``.

    Raises:
        ConfigurationError: The choice cannot be had.
    """

    def __init__(self, connections: int = 4, *, transport: TransportChoice | None = None) -> None:
        self._borrowed = isinstance(transport, BaseTransport)
        self._over: httpx.AsyncClient | Session
        if isinstance(transport, str):
            self._over = chosen(transport, decode=False, buffer=_FILE_READ_AHEAD)
            return
        self._over = http_client(
            transport,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            follow_redirects=True,
            max_redirects=REDIRECTS,
            event_hooks={"request": [_check]},
        )

    async def __aenter__(self) -> Self:
        if not isinstance(self._over, httpx.AsyncClient):
            await self._over.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        if not isinstance(self._over, httpx.AsyncClient):
            await self._over.__aexit__()
        elif not self._borrowed:
            with anyio.CancelScope(shield=True):
                await self._over.aclose()

    def open(
        self, url: str, *, headers: Mapping[str, str], stall: float
    ) -> AbstractAsyncContextManager[StreamedResponse]:
        """Send one GET and give its answer, whatever its status.

        Args:
            url: An ``http://`` or ``https://`` URL.
            headers: Sent beside ``Accept`` and ``User-Agent``.
            stall: Seconds without any progress after which the request is given up.

        Raises:
            ConnectFailedError: No connection came up.
            TransportError: The connection broke, or nothing came for *stall* seconds.
            DownloadError: The URL cannot be asked at all, or redirects without end.
        """
        every = {**_BASE_HEADERS, **headers}
        if isinstance(self._over, httpx.AsyncClient):
            return _over_httpx(self._over, url, every, stall)
        return _over_aiohttp(self._over, url, every, stall)


async def _check(request: httpx.Request) -> None:
    host_of(request.url)  # also that of a redirect


@asynccontextmanager
async def _over_httpx(
    client: httpx.AsyncClient, url: str, headers: Mapping[str, str], stall: float
) -> AsyncGenerator[StreamedResponse]:
    with _our_errors():
        request = client.build_request(
            "GET", url, headers=headers, timeout=httpx.Timeout(stall, pool=None)
        )
        response = await client.send(request, stream=True)
    try:  # what the block raises, as for a full disk, is none of these errors
        _widen(response)
        yield StreamedResponse(
            status_code=response.status_code,
            headers={name.lower(): value for name, value in response.headers.items()},
            chunks=partial(_chunks, response),
        )
    finally:
        with _our_errors():
            await response.aclose()


async def _chunks(response: httpx.Response) -> AsyncGenerator[bytes]:
    with _our_errors():
        pieces = cast("AsyncGenerator[bytes]", response.aiter_raw())
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece


def _widen(response: httpx.Response) -> None:
    """Read more at once than the 64 KiB that `httpx` asks for, which halve the speed.

    Only the size of the reads is changed, so a stream that is not what it was stays as it is.
    """
    stream: Any = response.extensions.get("network_stream")
    read: Callable[..., Any] | None = getattr(stream, "read", None)
    if read is None or "read" in getattr(stream, "__dict__", {}):
        return

    def wide(*args: Any, **more: Any) -> Any:
        if args and isinstance(args[0], int):
            args = (max(args[0], _READ), *args[1:])
        return read(*args, **more)

    with suppress(AttributeError):
        stream.read = wide


@asynccontextmanager
async def _over_aiohttp(
    session: Session, url: str, headers: Mapping[str, str], stall: float
) -> AsyncGenerator[StreamedResponse]:
    for _ in range(1 + REDIRECTS):
        async with AsyncExitStack() as stack:
            try:
                request = session.open("GET", url, headers=headers, connect=stall, read=stall)
                answer = await stack.enter_async_context(request)
            except ConfigurationError:
                raise DownloadError("not a URL that can be fetched") from None
            location = answer.headers.get("location")
            if answer.status_code not in _REDIRECT_STATUS or location is None:
                yield answer
                return
            try:
                url = urljoin(url, location)
            except ValueError:
                raise DownloadError("redirects to what is no URL") from None
    raise DownloadError(f"more than {REDIRECTS} redirects in a row")


@contextmanager
def _our_errors() -> Generator[None]:
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as exc:
        raise ConnectFailedError(_words(exc)) from None
    except httpx.TooManyRedirects:
        raise DownloadError(f"more than {REDIRECTS} redirects in a row") from None
    except (httpx.UnsupportedProtocol, httpx.InvalidURL, UnicodeError) as exc:
        raise DownloadError(f"not a URL that can be fetched ({_words(exc)})") from None
    except BROKEN_CONNECTION as exc:
        raise TransportError(_words(exc)) from None


def _words(exc: Exception) -> str:
    """What happened; `httpx` leaves many of its errors without a text."""
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
