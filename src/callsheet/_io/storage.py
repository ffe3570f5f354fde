"""Plain GETs of the hosts that keep finished videos: no key is ever sent there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Self

import anyio
import attrs
import httpx

from callsheet._io.transport import BaseTransport, shared_ssl_context
from callsheet.errors import ConnectFailedError, DownloadError, TransportError


REDIRECTS = 5

_BASE_HEADERS = {"accept": "*/*", "user-agent": "callsheet"}


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
        transport: Answers instead of the network; it is left open.
    """

    def __init__(self, connections: int = 4, *, transport: BaseTransport | None = None) -> None:
        self._borrowed = transport is not None
        self._client = httpx.AsyncClient(
            verify=shared_ssl_context(),
            transport=transport,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            headers=_BASE_HEADERS,
            follow_redirects=True,
            max_redirects=REDIRECTS,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._borrowed:
            with anyio.CancelScope(shield=True):
                await self._client.aclose()

    @asynccontextmanager
    async def open(
        self, url: str, *, headers: Mapping[str, str], stall: float
    ) -> AsyncGenerator[Answer]:
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
        with _our_errors():
            async with self._client.stream(
                "GET",
                url,
                headers=dict(headers),
                timeout=httpx.Timeout(stall, pool=None),
            ) as response:
                yield Answer(
                    status_code=response.status_code,
                    headers={name.lower(): value for name, value in response.headers.items()},
                    chunks=partial(_chunks, response),
                )


async def _chunks(response: httpx.Response) -> AsyncGenerator[bytes]:
    with _our_errors():
        async for chunk in response.aiter_raw():
            yield chunk


@contextmanager
def _our_errors() -> Generator[None]:
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as exc:
        raise ConnectFailedError(_words(exc)) from None
    except httpx.TooManyRedirects:
        raise DownloadError(f"more than {REDIRECTS} redirects in a row") from None
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as exc:
        raise DownloadError(f"not a URL that can be fetched ({_words(exc)})") from None
    except httpx.RequestError as exc:
        raise TransportError(_words(exc)) from None


def _words(exc: Exception) -> str:
    """What happened; `httpx` leaves many of its errors without a text."""
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
