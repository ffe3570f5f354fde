"""An ASGI application that applies faults to the requests of another one.

A lie is only passed on to it: the application itself knows what the true answer is.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from callsheet.emulator.answers import Refusal, ark_error, comet_error, failed, too_many_calls
from callsheet.emulator.faults import CUTS, USAGE, Fault, Faults
from callsheet.emulator.lies import Lie
from callsheet.emulator.messages import dump, json_answer, page_answer
from callsheet.emulator.routes import COMET, verb_of


if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


FAULT = "callsheet.fault"
"""Scope key of the fault that the server has chosen for a request."""

LATE = "callsheet.late"
"""Scope key of the number of seconds by which a create is late."""


LIE = "callsheet.lie"
"""Scope key of the `Lie` that the answer to a request tells."""


class ConnectionCut(ConnectionResetError):  # noqa: N818 - a wanted fault, not an error here
    """The connection must end without a complete answer.

    An ASGI application cannot end a connection itself, so the server or the test transport does.

    Attributes:
        how: ``reset`` or ``close``.
    """

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


class FaultInjector:
    """An ASGI application that makes some requests of *app* fail.

    Args:
        app: Answers the requests that work.
        faults: Decides which requests fail.
        now: Returns the emulated time, unix seconds.
    """

    def __init__(self, app: ASGIApp, faults: Faults, now: Callable[[], float]) -> None:
        self._app, self._faults, self._now = app, faults, now

    def draw(self, method: str, path: str) -> Fault | None:
        """Choose the fault of the next request; None: the request works."""
        return self._faults.strike(verb_of(method, path), self._now())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises:
            ConnectionCut: If the connection must end. A server then ends the real connection. A
                transport in the same process raises its own error.
        """
        fault: Fault | None = None
        if FAULT in scope:
            fault = scope.pop(FAULT)
        elif scope["type"] == "http":
            fault = self.draw(scope["method"], scope["path"])
        if fault is None:
            await self._app(scope, receive, send)
            return
        if fault.lie is not None:
            await self._app({**scope, LIE: self._lie(fault, fault.lie)}, receive, send)
            return
        if fault.answer == USAGE:
            await self._app(scope, receive, _LyingUsage(fault.tokens, send))
            return
        if fault.request == "lost":
            await _read(receive)
        else:
            late = {LATE: fault.delay} if fault.request == "late" else {}
            await self._app({**scope, **late}, receive, _discard)
        if fault.answer in CUTS:
            raise ConnectionCut(str(fault.answer))
        if isinstance(fault.answer, int):
            await _refuse(fault.answer, fault, scope["path"])(scope, receive, send)
        else:
            await wait_for_disconnect(receive)

    def _lie(self, fault: Fault, name: str) -> Lie:
        since = self._faults.began(fault)
        chosen = {"part": fault.part, "delay": fault.delay}
        return Lie(name=name, most=fault.most, now=self._now(), since=since, **chosen)


class _LyingUsage:
    """Passes an answer on, with another number of tokens in every ``usage``."""

    def __init__(self, tokens: int | None, send: Send) -> None:
        self._tokens, self._send = tokens, send
        self._start: Message | None = None

    async def __call__(self, message: Message) -> None:
        """Take a message of the application. Its answers have one piece each."""
        if message["type"] == "http.response.start":
            self._start = message  # its length is known only with the body
            return
        assert self._start is not None  # noqa: S101 - ASGI says so
        body = self._changed(message["body"])
        headers = [pair for pair in self._start["headers"] if pair[0] != b"content-length"]
        length = (b"content-length", str(len(body)).encode())
        await self._send({**self._start, "headers": [*headers, length]})
        await self._send({**message, "body": body})

    def _changed(self, body: bytes) -> bytes:
        if not body.startswith(b"{"):
            return body  # the page of a route that does not exist
        answer = json.loads(body)
        for task in answer.get("items", [answer]):
            if "usage" in task and self._tokens is None:
                del task["usage"]
            elif "usage" in task:
                said = {"completion_tokens": self._tokens, "total_tokens": self._tokens}
                task["usage"] |= said
        return dump(answer).encode()


async def wait_for_disconnect(receive: Receive) -> None:
    """Wait until the client, or anything between it and the server, ends the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read(receive: Receive) -> None:
    more = True
    while more:
        more = (await receive()).get("more_body", False)


async def _discard(_: Message) -> None:
    pass


def _refuse(status: int, fault: Fault, path: str) -> Response:
    refusals: dict[int, Callable[[], Refusal]] = {429: too_many_calls, 500: failed}
    headers: dict[str, Any] = {}
    if fault.retry_after is not None:
        headers["Retry-After"] = f"{fault.retry_after:g}"
    if status not in refusals:
        return page_answer(status, headers)
    error = comet_error if path.startswith(COMET) else ark_error
    answer = json_answer(error(refusals[status](), "02fault"), status)
    answer.headers.update(headers)
    return answer
