"""HTTP to the provider, by httpx or by the library of the caller's choice."""

from __future__ import annotations

import reprlib
from contextlib import aclosing
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Self, cast, overload

import anyio
import httpx

from callsheet._models.provider import without_secrets
from callsheet._wire.messages import Request, Response
from callsheet._wire.task_requests import TASKS
from callsheet.errors import (
    ClosedError,
    ConfigurationError,
    ConnectFailedError,
    Problem,
    ProtocolError,
    SpecError,
    TransportError,
)


if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Mapping

    from callsheet._http.aiohttp_session import Session


BaseTransport = httpx.AsyncBaseTransport
"""Anything that answers an HTTP request."""

TransportChoice = BaseTransport | Literal["aiohttp"]
"""What ``transport=`` takes: a transport of the caller's, or the name of a library."""

MOST_ANSWER_BYTES = 8 * 1024 * 1024
"""Largest answer that is read: a page of 500 tasks is below 1 MB."""

READ_AHEAD = 64 * 1024

CONNECT_TIMEOUT = 10.0

HIGHEST_PORT = 65_535

ENCODED = b"xn--"
"""How a label begins that holds other letters than ASCII."""

KEEPALIVE = 15.0
"""Seconds an idle connection is kept: well below the minute after which servers close theirs,
since a create that meets a closing connection is a create whose answer is lost."""

SHORTEST_SECRET = 16
"""Characters of a key from which on it is kept out of answers; shorter ones are made up, and may
be words."""

NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.PoolTimeout)

BROKEN_CONNECTION = (
    httpx.HTTPError,
    httpx.StreamError,
    httpx.InvalidURL,
    UnicodeError,
    OSError,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
)
"""What a network can do to a request, `NOT_SENT` included. The last four are what streams raise:
httpx renames most of these, but not that of a damaged TLS record. The two before them come of a
redirect to nowhere, which httpx reads although it does not follow it."""


@cache
def shared_ssl_context() -> ssl.SSLContext:
    """One context per process: making one costs as much as twenty requests.

    Raises:
        ConfigurationError: The certificates that the environment names cannot be read.
    """
    try:
        return httpx.create_ssl_context()
    except OSError as error:
        where = "SSL_CERT_FILE or SSL_CERT_DIR"
        raise ConfigurationError(f"the certificates in {where} cannot be read: {error}") from error


def http_client(transport: BaseTransport | None, **options: Any) -> httpx.AsyncClient:
    """A client of httpx, which takes certificates and proxies from the environment.

    Raises:
        ConfigurationError: httpx cannot work with what it finds there.
    """
    if transport is None:
        options["verify"] = shared_ssl_context()
    try:
        return httpx.AsyncClient(transport=transport, **options)
    except (ImportError, OSError, ValueError, httpx.InvalidURL) as error:
        raise ConfigurationError(f"httpx cannot be set up: {error}") from error


def check_transport(base_url: str, custom: TransportChoice | None) -> None:
    """See that a `Transport` can be made of these, without making one.

    Raises:
        ConfigurationError: As for `Transport`.
    """
    base_of(base_url)
    if isinstance(custom, str):
        session = _library(custom)
        shared_ssl_context()
        session.check_environment()


def chosen(name: str, *, decode: bool, buffer: int) -> Session:
    """Connections of the library that the caller chose by name.

    Args:
        name: ``"aiohttp"``.
        decode: Whether bodies are unpacked.
        buffer: Bytes of a body that are read ahead.

    Raises:
        ConfigurationError: There is no such choice, it is not installed, or it cannot work with the
            certificates or proxies that the environment names.
    """
    return _library(name)(
        ssl_context=shared_ssl_context(), keepalive=KEEPALIVE, decode=decode, buffer=buffer
    )


def _library(name: str) -> type[Session]:
    if name != "aiohttp":
        raise ConfigurationError(f'transport={name!r}: neither "aiohttp" nor a transport')
    try:
        from callsheet._http.aiohttp_session import Session  # noqa: PLC0415 - an extra, needed only here
    except ImportError as error:
        reason = "transport=\"aiohttp\" needs an extra: pip install 'callsheet[fast]'"
        raise ConfigurationError(reason) from error
    return Session


class Transport:
    """Sends requests to the provider over a fixed number of connections.

    Each connection has a pool of its own, since a pool scans all its connections at every change;
    the callers wait here for a free one, in the order in which they came, and never inside httpx.

    Args:
        base_url: The provider's address.
        api_key: Goes into the ``Authorization`` header and nowhere else.
        connections: Most requests in flight, >= 1.
        custom: Answers instead of the network, or ``"aiohttp"``.

    Raises:
        ConfigurationError: The address is none, or the choice cannot be had.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str | None,
        connections: int,
        custom: TransportChoice | None = None,
    ) -> None:
        self._base = base_of(base_url)
        self._prefix = str(self._base).rstrip("/")
        self._fast: Session | None = None
        self._custom: BaseTransport | None = None
        library = f"httpx {httpx.__version__}"
        if isinstance(custom, str):
            self._fast = chosen(custom, decode=True, buffer=READ_AHEAD)
            library = self._fast.library
        else:
            self._custom = custom
        self._headers = {"Accept": "application/json", "User-Agent": f"callsheet ({library})"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        secret = (api_key or "").encode()
        self._secret = secret if len(secret) >= SHORTEST_SECRET else None
        self._clients: list[httpx.AsyncClient] = []
        self._idle: list[httpx.AsyncClient] = []
        self._closed = False
        self._free = anyio.Semaphore(connections, fast_acquire=True)

    def __repr__(self) -> str:
        return f"<Transport to {self._prefix}>"

    async def __aenter__(self) -> Self:
        if self._fast is not None:
            await self._fast.__aenter__()
        else:
            self._idle.append(self._open())  # tells of a bad environment before anything is sent
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        with anyio.CancelScope(shield=True):
            for client in self._clients:
                await client.aclose()
            if self._fast is not None:
                await self._fast.__aexit__()

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
            ConfigurationError: Nothing was sent: one more connection cannot be set up, or the
                library of the caller's choice takes no such address as the provider's.
            SpecError: Nothing was sent: the target is too long for a URL.
            ClosedError: The client that this belongs to was left.
        """
        if self._closed:
            raise ClosedError("the client was closed; nothing was sent")
        async with self._free:
            try:
                with anyio.fail_after(timeout):
                    return await self._exchange(request, timeout)
            except NOT_SENT as error:
                raise ConnectFailedError(self._from_here(_words(error))) from None
            except TimeoutError:
                raise TransportError(f"no complete answer within {timeout:g} s") from None
            except BROKEN_CONNECTION as error:
                raise TransportError(self._without_key(_words(error))) from None
            except ConnectFailedError as error:  # over aiohttp it is one of ours already
                raise ConnectFailedError(self._from_here(str(error))) from None
            except TransportError as error:
                raise type(error)(self._without_key(str(error))) from None

    async def _exchange(self, request: Request, seconds: float) -> Response:
        headers, connect = self._headers, min(CONNECT_TIMEOUT, seconds)
        if request.body is not None:
            headers = {**headers, "Content-Type": "application/json"}
        if self._fast is not None:
            async with self._fast.open(
                request.method,
                self._prefix + request.target,
                headers=headers,
                body=request.body,
                connect=connect,
                read=seconds,
            ) as answer:
                body = await _whole(answer.chunks())
            return self._response(answer.status_code, answer.headers, body)
        limits = httpx.Timeout(seconds, connect=connect, pool=None)
        try:
            outgoing = httpx.Request(
                request.method,
                self._prefix + request.target,
                headers=headers,
                content=request.body,
                extensions={"timeout": limits.as_dict()},
            )
        except httpx.InvalidURL as error:  # of the target, since the address was taken
            allowed = f"what can stand in an address ({error})"
            problem = Problem("target", reprlib.repr(request.target), allowed)
            raise SpecError([problem]) from None
        client = self._idle.pop() if self._idle else self._open()
        try:
            incoming = await client.send(outgoing, stream=True)
            try:
                body = await _whole(cast("AsyncGenerator[bytes]", incoming.aiter_bytes()))
            finally:
                await incoming.aclose()
                # httpx ties an answer and its stream in a knot that waits for the collector
                incoming.stream = httpx.ByteStream(b"")
        finally:
            self._idle.append(client)
        return self._response(incoming.status_code, incoming.headers, body)

    def _response(self, status: int, headers: Mapping[str, str], body: bytes) -> Response:
        return Response(
            status_code=status,
            headers={n.lower(): self._without_key(v) for n, v in headers.items()},
            body=self._without_key(body),
        )

    def _from_here(self, words: str) -> str:
        """Why there is no connection, and to where."""
        where = "" if self._base.host in words else f" ({self._base.netloc.decode()})"
        return self._without_key(words) + where

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
        client = http_client(
            None if self._custom is None else _Borrowed(self._custom),
            limits=httpx.Limits(
                max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEPALIVE
            ),
        )
        self._clients.append(client)
        return client


class _Borrowed(httpx.AsyncBaseTransport):
    """A transport that belongs to somebody else and is left open."""

    def __init__(self, inner: BaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._inner.handle_async_request(request)


async def _whole(pieces: AsyncGenerator[bytes]) -> bytes:
    """A body, unless it is larger than any real one."""
    body = bytearray()
    async with aclosing(pieces):
        async for piece in pieces:
            body += piece
            if len(body) > MOST_ANSWER_BYTES:
                raise ProtocolError(f"the answer is larger than {MOST_ANSWER_BYTES >> 20} MiB")
    return bytes(body)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def host_of(url: httpx.URL) -> str:
    """The host that a URL names, empty if it names none.

    Raises:
        httpx.InvalidURL: No connection can ever be made there; sockets say so in their own words,
            and only when they are asked to connect.
    """
    try:
        host, raw = url.host, url.raw_host
        raw.decode().encode("idna")
        for label in raw.lower().split(b"."):  # not every library looks into these
            if label.startswith(ENCODED) and not label.removeprefix(ENCODED).decode("punycode"):
                raise UnicodeError("nothing is encoded in it")  # noqa: TRY301 - as a codec says it
    except UnicodeError as error:
        raise httpx.InvalidURL(f"Invalid host: {error}") from None
    if url.port is not None and not 0 <= url.port <= HIGHEST_PORT:
        raise httpx.InvalidURL(f"Invalid port: {url.port}")
    return host


def base_of(base_url: str) -> httpx.URL:
    """The address that every request to a provider begins with.

    Raises:
        ConfigurationError: It is none, holds a secret, or is that of the tasks themselves: creates
            may pass below that (seen live), and no poll does.
    """
    try:
        base = httpx.URL(base_url)
        host = host_of(base)
    except (httpx.InvalidURL, UnicodeError, TypeError) as error:
        why = "" if "@" in str(base_url) else f": {error}"  # it may quote from a password
        raise ConfigurationError(f"{_shown(base_url)} is no address{why}") from None
    if base.scheme not in {"http", "https"} or not host or set(host) & set(" %"):
        raise ConfigurationError(f"{_shown(base_url)} is no http(s) address")
    if base.userinfo or base.query or base.fragment:
        reason = "is given with a user, a password or a query: the key alone authenticates"
        raise ConfigurationError(f"{_shown(base_url)} {reason}")
    if base.path.rstrip("/").endswith(TASKS):
        reason = f"ends in {TASKS}, which is added to it: give what comes before"
        raise ConfigurationError(f"{_shown(base_url)} {reason}")
    return base


def _shown(base_url: object) -> str:
    return repr(without_secrets(base_url) if isinstance(base_url, str) else base_url)
