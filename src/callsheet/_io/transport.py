"""HTTP: the one module that imports httpx."""

from __future__ import annotations

from contextlib import aclosing
from functools import cache
from typing import TYPE_CHECKING, Any, Self, cast, overload

import anyio
import httpx

from callsheet._wire.http import Request, Response
from callsheet.errors import (
    ClosedError,
    ConfigurationError,
    ConnectFailedError,
    ProtocolError,
    TransportError,
)


if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator


BaseTransport = httpx.AsyncBaseTransport
"""What `Client(transport=…)` takes: anything that answers an HTTP request."""

MOST_BYTES = 8 * 1024 * 1024
"""Largest answer that is read: a page of 500 tasks is below 1 MB."""

CONNECT_TIMEOUT = 10.0

KEEPALIVE = 15.0
"""Seconds an idle connection is kept: well below the minute after which servers close theirs,
since a create that meets a closing connection is a create whose answer is lost."""

SHORTEST_SECRET = 16
"""Characters of a key from which on it is kept out of answers; shorter ones are made up, and may
be words."""

NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.PoolTimeout)


@cache
def shared_ssl_context() -> ssl.SSLContext:
    """One context per process: making one costs as much as twenty requests."""
    return httpx.create_ssl_context()


class Transport:
    """Sends requests to the provider over a fixed number of connections.

    Each connection has a pool of its own, since a pool scans all its connections at every change;
    the callers wait here for a free one, in the order in which they came, and never inside httpx.

    Args:
        base_url: The provider's address.
        api_key: Goes into the ``Authorization`` header and nowhere else.
        connections: Most requests in flight, >= 1.
        custom: Answers instead of the network.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str | None,
        connections: int,
        custom: BaseTransport | None = None,
    ) -> None:
        try:
            self._base = httpx.URL(base_url)
        except (httpx.InvalidURL, TypeError) as error:
            raise ConfigurationError(f"{base_url!r} is no address: {error}") from error
        host = self._base.host
        if self._base.scheme not in {"http", "https"} or not host or set(host) & set(" %"):
            raise ConfigurationError(f"{base_url!r} is no http(s) address")
        self._prefix = str(self._base).rstrip("/")
        self._headers = {
            "Accept": "application/json",
            "User-Agent": f"callsheet (httpx {httpx.__version__})",
        }
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        secret = (api_key or "").encode()
        self._secret = secret if len(secret) >= SHORTEST_SECRET else None
        self._custom = custom
        self._clients: list[httpx.AsyncClient] = []
        self._idle: list[httpx.AsyncClient] = []
        self._closed = False
        self._free = anyio.Semaphore(connections, fast_acquire=True)

    def __repr__(self) -> str:
        return f"<Transport to {self._prefix}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        with anyio.CancelScope(shield=True):
            for client in self._clients:
                await client.aclose()

    async def send(self, request: Request, *, timeout: float) -> Response:  # noqa: ASYNC109 - one attempt
        """Send a request once and read its whole answer, whatever its status.

        Redirects are not followed: the key would travel along. Cancellation abandons the request;
        whether it arrived is then unknown.

        Args:
            request: What to send.
            timeout: Seconds that it may take in all once a connection is free, > 0.

        Raises:
            ConnectFailedError: Nothing was sent.
            TransportError: Something was sent, and no complete answer came back.
            ProtocolError: The answer is larger than any real one.
            ClosedError: The client that this belongs to was left.
        """
        if self._closed:
            raise ClosedError("the client was closed; nothing was sent")
        async with self._free:
            client = self._idle.pop() if self._idle else self._open()
            try:
                with anyio.fail_after(timeout):
                    return await self._exchange(client, request, timeout)
            except NOT_SENT as error:
                raise ConnectFailedError(_words(error)) from None
            except TimeoutError:
                raise TransportError(f"no complete answer within {timeout:g} s") from None
            except (httpx.HTTPError, httpx.StreamError) as error:
                raise TransportError(_words(error)) from None
            finally:
                self._idle.append(client)

    async def _exchange(
        self, client: httpx.AsyncClient, request: Request, seconds: float
    ) -> Response:
        headers = self._headers
        if request.body is not None:
            headers = {**headers, "Content-Type": "application/json"}
        limits = httpx.Timeout(seconds, connect=min(CONNECT_TIMEOUT, seconds), pool=None)
        outgoing = httpx.Request(
            request.method,
            self._prefix + request.target,
            headers=headers,
            content=request.body,
            extensions={"timeout": limits.as_dict()},
        )
        answer = await client.send(outgoing, stream=True)
        try:
            body = bytearray()
            pieces = cast("AsyncGenerator[bytes, None]", answer.aiter_bytes())
            async with aclosing(pieces):
                async for piece in pieces:
                    body += piece
                    if len(body) > MOST_BYTES:
                        reason = f"the answer is larger than {MOST_BYTES >> 20} MiB"
                        raise ProtocolError(reason)
        finally:
            await answer.aclose()
        return Response(
            status_code=answer.status_code,
            headers={n.lower(): self._without_key(v) for n, v in answer.headers.items()},
            body=self._without_key(bytes(body)),
        )

    @overload
    def _without_key(self, value: str) -> str: ...
    @overload
    def _without_key(self, value: bytes) -> bytes: ...
    def _without_key(self, value: str | bytes) -> str | bytes:
        """What an answer says, without the key: some providers repeat it in their complaint."""
        if self._secret is None:
            return value
        if isinstance(value, str):
            return value.replace(self._secret.decode(), "***")
        return value.replace(self._secret, b"***")

    def _open(self) -> httpx.AsyncClient:
        options: dict[str, Any] = (
            {"transport": _Borrowed(self._custom)}
            if self._custom is not None
            else {"verify": shared_ssl_context()}
        )
        client = httpx.AsyncClient(
            limits=httpx.Limits(
                max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEPALIVE
            ),
            **options,
        )
        self._clients.append(client)
        return client


class _Borrowed(httpx.AsyncBaseTransport):
    """A transport that belongs to somebody else and is left open."""

    def __init__(self, inner: BaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._inner.handle_async_request(request)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
