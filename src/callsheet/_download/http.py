"""Plain GETs to the hosts that store finished videos. The API key is never sent there."""

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
from callsheet._http.transport import (
    BROKEN_CONNECTION,
    BaseTransport,
    host_of,
    http_client,
    session_for,
)
from callsheet.errors import ConfigurationError, ConnectFailedError, DownloadError, TransportError


if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Mapping

    from callsheet._http.aiohttp_session import Session
    from callsheet._http.transport import TransportChoice


REDIRECTS = 5

_READ = 256 * 1024
"""Bytes that are read at once over `httpx`, the same as asyncio reads. Fewer need more turns of the
event loop; more make chunks that ext4 writes more slowly."""

_FILE_READ_AHEAD = 1024 * 1024
"""Bytes that aiohttp reads ahead, so that neither the network nor the disk has to wait."""

_REDIRECT_STATUS = {
    HTTPStatus.MOVED_PERMANENTLY,
    HTTPStatus.FOUND,
    HTTPStatus.SEE_OTHER,
    HTTPStatus.TEMPORARY_REDIRECT,
    HTTPStatus.PERMANENT_REDIRECT,
}

_BASE_HEADERS = {"accept": "*/*", "user-agent": "callsheet"}


class StorageClient:
    """A small pool of connections, used as ``async with StorageClient() as storage``.

    Args:
        connections: Most connections at once.
        transport: Answers instead of the network and is not closed here, or ``"aiohttp"``.

    Raises:
        ConfigurationError: The chosen library cannot be used.
    """

    def __init__(self, connections: int = 4, *, transport: TransportChoice | None = None) -> None:
        self._borrowed = isinstance(transport, BaseTransport)
        self._client: httpx.AsyncClient | Session
        if isinstance(transport, str):
            self._client = session_for(transport, decode=False, buffer=_FILE_READ_AHEAD)
            return
        self._client = http_client(
            transport,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            follow_redirects=True,
            max_redirects=REDIRECTS,
            event_hooks={"request": [_check_host]},
        )

    async def __aenter__(self) -> Self:
        if not isinstance(self._client, httpx.AsyncClient):
            await self._client.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        if not isinstance(self._client, httpx.AsyncClient):
            await self._client.__aexit__()
        elif not self._borrowed:
            with anyio.CancelScope(shield=True):
                await self._client.aclose()

    def open(
        self, url: str, *, headers: Mapping[str, str], stall: float
    ) -> AbstractAsyncContextManager[StreamedResponse]:
        """Send one GET and yield its answer, whatever its status.

        Args:
            url: An ``http://`` or ``https://`` URL.
            headers: Sent in addition to ``Accept`` and ``User-Agent``.
            stall: Seconds without progress after which the request is given up.

        Raises:
            ConnectFailedError: No connection could be made.
            TransportError: The connection broke, or nothing came for *stall* seconds.
            DownloadError: The URL is not valid, or there are too many redirects.
        """
        every = {**_BASE_HEADERS, **headers}
        if isinstance(self._client, httpx.AsyncClient):
            return _over_httpx(self._client, url, every, stall)
        return _over_aiohttp(self._client, url, every, stall)


async def _check_host(request: httpx.Request) -> None:
    host_of(request.url)  # runs for redirects, too


@asynccontextmanager
async def _over_httpx(
    client: httpx.AsyncClient, url: str, headers: Mapping[str, str], stall: float
) -> AsyncGenerator[StreamedResponse]:
    with _errors_converted():
        request = client.build_request(
            "GET", url, headers=headers, timeout=httpx.Timeout(stall, pool=None)
        )
        response = await client.send(request, stream=True)
    try:  # errors of the caller's block, such as a full disk, are not converted
        _widen(response)
        yield StreamedResponse(
            status_code=response.status_code,
            headers={name.lower(): value for name, value in response.headers.items()},
            chunks=partial(_chunks, response),
        )
    finally:
        with _errors_converted():
            await response.aclose()


async def _chunks(response: httpx.Response) -> AsyncGenerator[bytes]:
    with _errors_converted():
        pieces = cast("AsyncGenerator[bytes]", response.aiter_raw())
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece


def _widen(response: httpx.Response) -> None:
    """Read more at once than the 64 KiB of `httpx`, which would halve the speed.

    Only the size of the reads is changed. A stream of an unknown kind is not changed.
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
def _errors_converted() -> Generator[None]:
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as exc:
        raise ConnectFailedError(_error_text(exc)) from None
    except httpx.TooManyRedirects:
        raise DownloadError(f"more than {REDIRECTS} redirects in a row") from None
    except (httpx.UnsupportedProtocol, httpx.InvalidURL, UnicodeError) as exc:
        raise DownloadError(f"not a URL that can be fetched ({_error_text(exc)})") from None
    except BROKEN_CONNECTION as exc:
        raise TransportError(_error_text(exc)) from None


def _error_text(exc: Exception) -> str:
    """The error's type and text; many errors of `httpx` have no text."""
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
