"""HTTP over aiohttp, which needs asyncio. No other module imports it; it is an optional extra."""

from __future__ import annotations

from contextlib import asynccontextmanager
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
    from collections.abc import AsyncGenerator, Mapping


AUTOMATIC = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
"""Headers that aiohttp adds unless it is told not to."""

LARGE = 1024 * 1024
"""Bytes. aiohttp warns if a body of this size or more is passed in one piece."""


class Session:
    """The connections of one owner, used as ``async with Session(…) as session``.

    It keeps no cookies and follows no redirects. The only headers that it adds are ``Host`` and
    ``Content-Length``. From the environment it takes the proxies and nothing else.

    Args:
        ssl_context: For https.
        keepalive: Seconds that an idle connection is kept.
        decode: Whether compressed bodies are unpacked.
        buffer: Bytes of a body that are read ahead.

    Attributes:
        library: Name and version of the HTTP library.

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
        """Check that aiohttp supports the proxies that the environment names.

        Raises:
            ConfigurationError: One is of an unknown kind.
        """
        _proxies()

    async def __aenter__(self) -> Self:
        try:
            connector = aiohttp.TCPConnector(
                limit=0, ssl=self._ssl_context, keepalive_timeout=self._keepalive
            )
        except RuntimeError:  # no asyncio loop runs
            raise ConfigurationError('transport="aiohttp" works on asyncio alone') from None
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=AUTOMATIC,
            auto_decompress=self._decode,
            read_bufsize=self._buffer,
            middlewares=(_send_once,),
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
        read: float | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        """Send a request once and yield its answer, whatever its status.

        Cancellation closes the connection.

        Args:
            method: The HTTP method.
            url: Is sent unchanged if it holds only characters that URLs may hold.
            headers: All headers to send.
            body: ``None`` for a request without one.
            connect: Seconds for the host's address, the connection and the TLS handshake.
            read: Seconds without progress after which the request is given up; by default never.

        Raises:
            ConnectFailedError: Nothing was sent.
            TransportError: Something was sent, but no complete answer came back.
            ConfigurationError: Nothing was sent: aiohttp does not accept the URL.
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
                data=body if body is None or len(body) < LARGE else _in_pieces(body),
                allow_redirects=False,
                proxy=self._proxy(address),
                timeout=aiohttp.ClientTimeout(total=None, connect=connect, sock_read=read),
            )
        except ValueError as error:
            raise ConfigurationError(f"no URL that aiohttp takes ({_error_text(error)})") from None
        try:
            yield StreamedResponse(
                status_code=reply.status,
                headers=_joined_headers(reply),
                chunks=partial(_chunks, reply.content),
            )
        finally:  # no effect once the answer was read to its end
            reply.close()

    def _proxy(self, url: URL) -> URL | None:
        proxy = self._proxies.get(url.scheme) or self._proxies.get("all")
        return None if proxy is None or proxy_bypass(url.host or "") else proxy


def _address(url: str) -> URL:
    address = URL(url, encoded=url.isascii() and url.isprintable() and " " not in url)
    # for some of these aiohttp would fail an assertion
    if address.scheme not in {"http", "https"} or not address.host:
        raise ValueError("no http(s) URL")
    return address


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Send a request and convert its errors, so that aiohttp does not repeat it.

    Only an error while the connection is being made proves that nothing was sent. Every other error
    becomes a `TransportError`. So a `ValueError` in `Session.open` comes from before the sending.
    """
    try:
        return await handler(request)
    except (
        aiohttp.ClientConnectorError,
        aiohttp.ConnectionTimeoutError,
        aiohttp.ClientHttpProxyError,
        aiohttp.InvalidURL,
    ) as error:
        raise ConnectFailedError(_error_text(error)) from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise TransportError(_error_text(error)) from None


async def _chunks(content: aiohttp.StreamReader) -> AsyncGenerator[bytes]:
    """The pieces of a body as they arrive; errors of reading it are converted."""
    try:
        async for chunk, _ in content.iter_chunks():
            if chunk:
                yield chunk
    except (aiohttp.ClientError, OSError) as error:
        raise TransportError(_error_text(error)) from None


async def _in_pieces(body: bytes) -> AsyncGenerator[bytes]:
    for start in range(0, len(body), LARGE):
        yield body[start : start + LARGE]


def _joined_headers(reply: aiohttp.ClientResponse) -> dict[str, str]:
    """The headers with lower-case names; repeated ones are joined with commas."""
    joined: dict[str, str] = {}
    for name, value in reply.headers.items():
        key = name.lower()
        joined[key] = f"{joined[key]}, {value}" if key in joined else value
    return joined


def _proxies() -> dict[str, URL]:
    """The proxies that the environment names, by scheme.

    Raises:
        ConfigurationError: aiohttp does not support one of them.
    """
    found: dict[str, URL] = {}
    for scheme, address in getproxies().items():
        if scheme in {"http", "https", "all"}:
            found[scheme] = URL(address if "://" in address else f"http://{address}")
            if found[scheme].scheme not in {"http", "https"}:
                kind = found[scheme].scheme
                raise ConfigurationError(f'transport="aiohttp" speaks to no {kind} proxy')
    return found


def _error_text(error: Exception) -> str:
    """The error's text, without a URL (it may hold a signature) and without bytes of the answer."""
    text = str(error)
    if isinstance(error, aiohttp.ClientResponseError):
        text = f"{error.status} {error.message}".partition("\n")[0]
    name = type(error).__name__
    return f"{name}: {text}" if text and "://" not in text else name
