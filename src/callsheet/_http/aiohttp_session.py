"""HTTP over aiohttp, on asyncio alone: the one module that imports it, and itself an extra."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Self
from urllib.request import getproxies, proxy_bypass

import aiohttp
import anyio
from yarl import URL

from callsheet._http.streamed_response import StreamedResponse
from callsheet.errors import ConfigurationError, ConnectFailedError, TransportError


if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Generator, Mapping


AUTOMATIC = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
"""Headers that aiohttp would add of its own."""

LARGE = 1024 * 1024
"""Bytes of a body from which on aiohttp warns when it is handed over in one piece."""


class Session:
    """Connections of one owner, used as ``async with Session(…) as session``.

    It holds no cookies, follows no redirect, sends no header of its own but ``Host`` and
    ``Content-Length``, and takes proxies, but nothing else, from the environment.

    Args:
        ssl_context: For https.
        keepalive: Seconds that an idle connection is kept.
        decode: Whether bodies are unpacked.
        buffer: Bytes of a body that are read ahead.

    Attributes:
        library: Name and version of what is behind it.

    Raises:
        ConfigurationError: The environment names a proxy of an unknown kind.
    """

    library = f"aiohttp {aiohttp.__version__}"

    def __init__(
        self, *, ssl_context: ssl.SSLContext, keepalive: float, decode: bool, buffer: int
    ) -> None:
        self._ssl_context, self._keepalive = ssl_context, keepalive
        self._decode, self._buffer = decode, buffer
        self._proxies = _proxies()
        self._session: aiohttp.ClientSession | None = None

    @staticmethod
    def check_environment() -> None:
        """See that aiohttp can work with the proxies that the environment names.

        Raises:
            ConfigurationError: One is of an unknown kind.
        """
        _proxies()

    async def __aenter__(self) -> Self:
        try:
            connector = aiohttp.TCPConnector(
                limit=0, ssl=self._ssl_context, keepalive_timeout=self._keepalive
            )
        except RuntimeError:  # no loop of asyncio
            raise ConfigurationError('transport="aiohttp" works on asyncio alone') from None
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=AUTOMATIC,
            auto_decompress=self._decode,
            read_bufsize=self._buffer,
            middlewares=(_once,),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            with anyio.CancelScope(shield=True):
                await self._session.close()

    @asynccontextmanager
    async def open(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        connect: float,
        read: float,
    ) -> AsyncGenerator[StreamedResponse]:
        """Send a request once and give its answer, whatever its status.

        Cancellation closes the connection.

        Args:
            method: The verb.
            url: Goes out as it is written, if it is written in the characters of URLs.
            headers: All there are.
            body: If there is one.
            connect: Seconds for looking up the host, connecting and the handshake.
            read: Seconds without any progress after which the request is given up.

        Raises:
            ConnectFailedError: Nothing was sent.
            TransportError: Something was sent, and no complete answer came back.
            ConfigurationError: Nothing was sent: aiohttp asks nobody at such a URL.
        """
        assert self._session is not None, "enter it first"  # noqa: S101 - for the type checkers
        if body is not None:
            headers = {**headers, "Content-Length": str(len(body))}
        try:
            address = _address(url)
            reply = await self._session.request(
                method,
                address,
                headers=headers,
                data=body if body is None or len(body) < LARGE else _pieces(body),
                allow_redirects=False,
                proxy=self._proxy(address),
                timeout=aiohttp.ClientTimeout(total=None, connect=connect, sock_read=read),
            )
        except ValueError as error:
            raise ConfigurationError(f"no URL that aiohttp takes ({_words(error)})") from None
        try:
            yield StreamedResponse(
                status_code=reply.status,
                headers=_joined(reply),
                chunks=partial(_chunks, reply.content),
            )
        finally:  # a connection whose answer was read to its end has gone back already
            reply.close()

    def _proxy(self, url: URL) -> URL | None:
        proxy = self._proxies.get(url.scheme) or self._proxies.get("all")
        return None if proxy is None or proxy_bypass(url.host or "") else proxy


def _address(url: str) -> URL:
    address = URL(url, encoded=url.isascii() and url.isprintable() and " " not in url)
    if address.scheme not in {"http", "https"} or not address.host:  # aiohttp asserts some of it
        raise ValueError("no http(s) URL")
    return address


async def _once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Send a request and turn its errors into ours, which also keeps aiohttp from repeating it.

    Only what fails while a connection is being made counts as never sent: every other error that
    leaves here is a `TransportError`, so that `Session.open` can tell what it was before this.
    """
    try:
        return await handler(request)
    except (
        aiohttp.ClientConnectorError,
        aiohttp.ConnectionTimeoutError,
        aiohttp.ClientHttpProxyError,
        aiohttp.InvalidURL,
    ) as error:
        raise ConnectFailedError(_words(error)) from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise TransportError(_words(error)) from None


async def _chunks(content: aiohttp.StreamReader) -> AsyncGenerator[bytes]:
    with _lost():
        async for chunk, _ in content.iter_chunks():
            if chunk:
                yield chunk


@contextmanager
def _lost() -> Generator[None]:
    """What breaks while an answer is being read."""
    try:
        yield
    except (aiohttp.ClientError, OSError) as error:
        raise TransportError(_words(error)) from None


async def _pieces(body: bytes) -> AsyncGenerator[bytes]:
    for start in range(0, len(body), LARGE):
        yield body[start : start + LARGE]


def _joined(reply: aiohttp.ClientResponse) -> dict[str, str]:
    """Headers with lower-case names, repeated ones in one line."""
    joined: dict[str, str] = {}
    for name, value in reply.headers.items():
        key = name.lower()
        joined[key] = f"{joined[key]}, {value}" if key in joined else value
    return joined


def _proxies() -> dict[str, URL]:
    """The proxies that the environment names, by scheme.

    Raises:
        ConfigurationError: One is of a kind that aiohttp does not speak.
    """
    found: dict[str, URL] = {}
    for scheme, address in getproxies().items():
        if scheme in {"http", "https", "all"}:
            found[scheme] = URL(address if "://" in address else f"http://{address}")
            if found[scheme].scheme not in {"http", "https"}:
                kind = found[scheme].scheme
                raise ConfigurationError(f'transport="aiohttp" speaks to no {kind} proxy')
    return found


def _words(error: Exception) -> str:
    """What happened, without a URL, which may carry a signature, and without the answer's bytes."""
    said = str(error)
    if isinstance(error, aiohttp.ClientResponseError):
        said = f"{error.status} {error.message}".partition("\n")[0]
    name = type(error).__name__
    return f"{name}: {said}" if said and "://" not in said else name
