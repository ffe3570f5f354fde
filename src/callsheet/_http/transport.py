"""HTTP to the provider, with httpx or with another library that the caller has chosen."""

from __future__ import annotations

import reprlib
from contextlib import aclosing
from functools import cache, lru_cache
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
"""The values of ``transport=``: a transport object, or the name of a library."""

MOST_ANSWER_BYTES = 8 * 1024 * 1024
"""Largest answer that is read: a page of 500 tasks is below 1 MB."""

READ_AHEAD = 64 * 1024

CONNECT_TIMEOUT = 10.0

HIGHEST_PORT = 65_535

ENCODED = b"xn--"
"""Prefix of a host name's label that encodes letters outside ASCII."""

KEEPALIVE = 15.0
"""Seconds that an idle connection is kept. Servers close theirs after about a minute. This is much
shorter, because the answer of a create is lost if its connection closes meanwhile."""

SHORTEST_SECRET = 16
"""Characters. A key of this length or more is removed from answers. Shorter keys are not real ones,
and may be common words."""

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
"""The errors that a network can cause, `NOT_SENT` included. The last four are raised by streams:
httpx converts most of them, but not that of a damaged TLS record. `InvalidURL` and `UnicodeError`
come from a redirect to an invalid URL: httpx parses it although it does not follow it."""


@cache
def shared_ssl_context() -> ssl.SSLContext:
    """One context per process, because making one takes as long as twenty requests.

    Raises:
        ConfigurationError: The certificates that the environment names cannot be read.
    """
    try:
        return httpx.create_ssl_context()
    except OSError as error:
        where = "SSL_CERT_FILE or SSL_CERT_DIR"
        raise ConfigurationError(f"the certificates in {where} cannot be read: {error}") from error


def http_client(transport: BaseTransport | None, **options: Any) -> httpx.AsyncClient:
    """An httpx client, which takes certificates and proxies from the environment.

    Raises:
        ConfigurationError: httpx does not accept what the environment says.
    """
    if transport is None:
        options["verify"] = shared_ssl_context()
    try:
        return httpx.AsyncClient(transport=transport, **options)
    except (ImportError, OSError, ValueError, httpx.InvalidURL) as error:
        raise ConfigurationError(f"httpx cannot be set up: {error}") from error


def check_transport(base_url: str, custom: TransportChoice | None) -> None:
    """Check that a `Transport` can be made with these arguments, without making one.

    Raises:
        ConfigurationError: As for `Transport`.
    """
    base_of(base_url)
    if isinstance(custom, str):
        session = _session_class(custom)
        shared_ssl_context()
        session.check_environment()


def session_for(name: str, *, decode: bool, buffer: int) -> Session:
    """The session of the library that the caller chose by name.

    Args:
        name: ``"aiohttp"``.
        decode: Whether compressed bodies are unpacked.
        buffer: Bytes of a body that are read ahead.

    Raises:
        ConfigurationError: There is no such choice, it is not installed, or it cannot work with the
            certificates or proxies that the environment names.
    """
    return _session_class(name)(
        ssl_context=shared_ssl_context(), keepalive=KEEPALIVE, decode=decode, buffer=buffer
    )


def _session_class(name: str) -> type[Session]:
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

    Each connection has its own httpx pool, because a pool scans all its connections at every
    change. Callers wait here for a free connection, in order of arrival, and never inside httpx.

    Args:
        base_url: The provider's address.
        api_key: Is sent in the ``Authorization`` header and nowhere else.
        connections: Most requests in flight, >= 1.
        custom: Answers instead of the network, or ``"aiohttp"``.

    Raises:
        ConfigurationError: The address is not valid, or the chosen library cannot be used.
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
        self._aiohttp: Session | None = None
        self._custom: BaseTransport | None = None
        library = f"httpx {httpx.__version__}"
        if isinstance(custom, str):
            self._aiohttp = session_for(custom, decode=True, buffer=READ_AHEAD)
            library = self._aiohttp.library
        else:
            self._custom = custom
        headers = {"Accept": "application/json", "User-Agent": f"callsheet ({library})"}
        if api_key is not None:
            headers["Authorization"] = f"Bearer {api_key}"
        # httpx encodes the headers of each request, but not if they are `httpx.Headers` already.
        encoded = httpx.Headers if self._aiohttp is None else dict[str, str]
        self._headers = encoded(headers)
        self._headers_with_body = encoded({**headers, "Content-Type": "application/json"})
        secret = api_key or ""
        self._secret = secret if len(secret) >= SHORTEST_SECRET else None
        self._secret_bytes = secret.encode()
        self._clients: list[httpx.AsyncClient] = []
        self._idle: list[httpx.AsyncClient] = []
        self._closed = False
        self._free = anyio.Semaphore(connections, fast_acquire=True)

    def __repr__(self) -> str:
        return f"<Transport to {self._prefix}>"

    async def __aenter__(self) -> Self:
        if self._aiohttp is not None:
            await self._aiohttp.__aenter__()
        else:
            self._idle.append(self._open())  # raises for a bad environment before anything is sent
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        with anyio.CancelScope(shield=True):
            for client in self._clients:
                await client.aclose()
            if self._aiohttp is not None:
                await self._aiohttp.__aexit__()

    async def send(self, request: Request, *, timeout: float) -> Response:  # noqa: ASYNC109 - one attempt
        """Send a request once and read its whole answer, whatever its status.

        Redirects are not followed, because the key would be sent along. After a cancellation it is
        unknown whether the request has arrived.

        Args:
            request: What to send.
            timeout: Seconds for the whole request once a connection is free, > 0.

        Raises:
            ConnectFailedError: Nothing was sent.
            TransportError: Something was sent, but no complete answer came back.
            ProtocolError: The answer is larger than any valid one.
            ConfigurationError: Nothing was sent: one more connection cannot be set up, or the
                chosen library does not accept the provider's address.
            SpecError: Nothing was sent: the target is too long for a URL.
            ClosedError: The client was closed.
        """
        if self._closed:
            raise ClosedError("the client was closed; nothing was sent")
        async with self._free:
            try:
                with anyio.move_on_after(timeout):
                    return await self._exchange(request, timeout)
            except NOT_SENT as error:
                raise ConnectFailedError(self._connect_error_text(_error_text(error))) from None
            except BROKEN_CONNECTION as error:
                raise TransportError(self._without_key(_error_text(error))) from None
            except ConnectFailedError as error:  # over aiohttp the error is converted already
                raise ConnectFailedError(self._connect_error_text(str(error))) from None
            except TransportError as error:
                raise type(error)(self._without_key(str(error))) from None
            raise TransportError(f"no complete answer within {timeout:g} s")

    async def _exchange(self, request: Request, seconds: float) -> Response:
        headers = self._headers if request.body is None else self._headers_with_body
        connect = min(CONNECT_TIMEOUT, seconds)
        if self._aiohttp is not None:
            async with self._aiohttp.open(
                request.method,
                self._prefix + request.target,
                headers=headers,
                body=request.body,
                connect=connect,
            ) as answer:
                body = await _read_body(answer.chunks())
            return self._response(answer.status_code, answer.headers, body)
        # Only the connection has a limit of its own. `send` limits the whole request, so timers for
        # each write and read would change nothing.
        limits = {"connect": connect, "read": None, "write": None, "pool": None}
        try:
            outgoing = httpx.Request(
                request.method,
                _parsed(self._prefix + request.target),
                headers=headers,
                content=request.body,
                extensions={"timeout": limits},
            )
        except httpx.InvalidURL as error:  # the target is at fault: the base address was checked
            allowed = f"what can stand in an address ({error})"
            problem = Problem("target", reprlib.repr(request.target), allowed)
            raise SpecError([problem]) from None
        client = self._idle.pop() if self._idle else self._open()
        try:
            incoming = await client.send(outgoing, stream=True)
            try:
                is_whole = incoming.is_stream_consumed  # by a transport that the caller has given
                pieces = incoming.aiter_bytes() if is_whole else incoming.aiter_raw()
                body = await _read_body(cast("AsyncGenerator[bytes]", pieces))
            finally:
                await incoming.aclose()
                # breaks a reference cycle of httpx, which only the garbage collector would free
                incoming.stream = httpx.ByteStream(b"")
        finally:
            self._idle.append(client)
        if not is_whole:
            body = _decode(body, incoming.headers.get("content-encoding"))
        return self._response(incoming.status_code, incoming.headers, body)

    def _response(self, status: int, headers: Mapping[str, str], body: bytes) -> Response:
        return Response(
            status_code=status,
            headers={n.lower(): self._without_key(v) for n, v in headers.items()},
            body=self._without_key(body),
        )

    def _connect_error_text(self, text: str) -> str:
        """An error's text, with the host that could not be reached."""
        where = "" if self._base.host in text else f" ({self._base.netloc.decode()})"
        return self._without_key(text) + where

    @overload
    def _without_key(self, value: str) -> str: ...
    @overload
    def _without_key(self, value: bytes) -> bytes: ...
    def _without_key(self, value: str | bytes) -> str | bytes:
        """A part of an answer without the key: some providers repeat it in an error message."""
        if self._secret is None:
            return value
        if isinstance(value, str):
            return value.replace(self._secret, "***")
        return value.replace(self._secret_bytes, b"***")

    def _open(self) -> httpx.AsyncClient:
        client = http_client(
            None if self._custom is None else _Borrowed(self._custom),
            limits=httpx.Limits(
                max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEPALIVE
            ),
        )
        self._clients.append(client)
        return client


@lru_cache(maxsize=4)
def _parsed(address: str) -> httpx.URL:
    """The URL of a request. All creates have the same one.

    Raises:
        httpx.InvalidURL: It cannot be a URL.
    """
    return httpx.URL(address)


class _Borrowed(httpx.AsyncBaseTransport):
    """A transport that belongs to the caller, so it is not closed."""

    def __init__(self, inner: BaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._inner.handle_async_request(request)


async def _read_body(pieces: AsyncGenerator[bytes]) -> bytes:
    """Read a body, up to the size that a valid answer can have."""
    body = bytearray()
    async with aclosing(pieces):
        async for piece in pieces:
            body += piece
            if len(body) > MOST_ANSWER_BYTES:
                raise _too_large()
    return bytes(body)


def _decode(body: bytes, encoding: str | None) -> bytes:
    """Undo the content encoding of a whole body, up to the size that a valid answer can have.

    This comes after reading. If httpx meets a broken encoding while it reads, it leaves generators
    behind that are not closed, and trio warns of them at some later time.
    """
    if encoding is None:
        return body
    pieces = (body[at : at + READ_AHEAD] for at in range(0, len(body), READ_AHEAD))
    whole = httpx.Response(200, headers={"content-encoding": encoding}, content=pieces)
    decoded = bytearray()
    for piece in whole.iter_bytes():
        decoded += piece
        if len(decoded) > MOST_ANSWER_BYTES:
            raise _too_large()
    return bytes(decoded)


def _too_large() -> ProtocolError:
    return ProtocolError(f"the answer is larger than {MOST_ANSWER_BYTES >> 20} MiB")


def _error_text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def host_of(url: httpx.URL) -> str:
    """The host of a URL, empty if it has none.

    Raises:
        httpx.InvalidURL: The host or the port is not valid. Without this check sockets would
            raise other errors, and only when they connect.
    """
    try:
        host, raw = url.host, url.raw_host
        raw.decode().encode("idna")
        for label in raw.lower().split(b"."):  # not every library checks these
            if label.startswith(ENCODED) and not label.removeprefix(ENCODED).decode("punycode"):
                raise UnicodeError("nothing is encoded in it")  # noqa: TRY301 - the error that a codec raises
    except UnicodeError as error:
        raise httpx.InvalidURL(f"Invalid host: {error}") from None
    if url.port is not None and not 0 <= url.port <= HIGHEST_PORT:
        raise httpx.InvalidURL(f"Invalid port: {url.port}")
    return host


def base_of(base_url: str) -> httpx.URL:
    """Check and parse the base address of a provider.

    Raises:
        ConfigurationError: It is not valid, holds a secret, or includes the path of the tasks. With
            that path twice, creates may work (seen live), but polls do not.
    """
    try:
        base = httpx.URL(base_url)
        host = host_of(base)
    except (httpx.InvalidURL, UnicodeError, TypeError) as error:
        why = "" if "@" in str(base_url) else f": {error}"  # the error may quote a password
        raise ConfigurationError(f"{_quoted(base_url)} is no address{why}") from None
    if base.scheme not in {"http", "https"} or not host or set(host) & set(" %"):
        raise ConfigurationError(f"{_quoted(base_url)} is no http(s) address")
    if base.userinfo or base.query or base.fragment:
        reason = "is given with a user, a password or a query: the key alone authenticates"
        raise ConfigurationError(f"{_quoted(base_url)} {reason}")
    if base.path.rstrip("/").endswith(TASKS):
        reason = f"ends in {TASKS}, which is added to it: give what comes before"
        raise ConfigurationError(f"{_quoted(base_url)} {reason}")
    return base


def _quoted(base_url: object) -> str:
    return repr(without_secrets(base_url) if isinstance(base_url, str) else base_url)
