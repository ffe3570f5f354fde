"""Plain GETs of the hosts that keep finished videos: no key is ever sent there."""

from __future__ import annotations

import functools
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import attrs
import httpx

from callsheet.errors import ConnectFailedError, DownloadError, TransportError


REDIRECTS = 5

_BASE_HEADERS = {"accept": "*/*", "user-agent": "callsheet"}


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    """One for the process: making one takes 18 ms."""
    return ssl.create_default_context()


@attrs.frozen(kw_only=True)
class Answer:
    """The head of an answer, and its body as it arrives.

    Attributes:
        status_code: 100 to 599.
        headers: With lower-case names.
        chunks: Starts reading the body, undecoded; to be called once.
    """

    status_code: int
    headers: Mapping[str, str]
    chunks: Callable[[], AsyncIterator[bytes]]


class Storage:
    """A small pool of connections, used as ``async with Storage() as storage``.

    Args:
        connections: Most connections at once.
        transport: An `httpx` transport to use instead of the network.
    """

    def __init__(
        self, connections: int = 4, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._client = httpx.AsyncClient(
            verify=_ssl_context(),
            transport=transport,
            limits=httpx.Limits(
                max_connections=connections, max_keepalive_connections=connections
            ),
            headers=_BASE_HEADERS,
            follow_redirects=True,
            max_redirects=REDIRECTS,
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    @asynccontextmanager
    async def open(
        self, url: str, *, headers: Mapping[str, str], timeout: float
    ) -> AsyncIterator[Answer]:
        """Send one GET and give its answer, whatever its status.

        Args:
            url: An ``http://`` or ``https://`` URL.
            headers: Sent beside ``Accept`` and ``User-Agent``.
            timeout: Seconds without any progress after which the request is given up.

        Raises:
            ConnectFailedError: No connection came up.
            TransportError: The connection broke, or nothing came for *timeout* seconds.
            DownloadError: The URL cannot be asked at all, or redirects without end.
        """
        try:
            async with self._client.stream(
                "GET",
                url,
                headers=dict(headers),
                timeout=httpx.Timeout(timeout, pool=None),
            ) as response:
                yield Answer(
                    status_code=response.status_code,
                    headers={name.lower(): value for name, value in response.headers.items()},
                    chunks=response.aiter_raw,
                )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as exc:
            raise ConnectFailedError(_words(exc)) from None
        except httpx.TooManyRedirects:
            raise DownloadError(f"the storage host redirected more than {REDIRECTS} times") from None
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as exc:
            raise DownloadError(f"not a URL that can be fetched ({_words(exc)})") from None
        except httpx.RequestError as exc:
            raise TransportError(_words(exc)) from None


def _words(exc: Exception) -> str:
    """What happened; `httpx` leaves many of its errors without a text."""
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
