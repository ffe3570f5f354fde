"""Connections that really break: reset or closed, at any byte."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from callsheet.emulator.faulty import FAULT, ConnectionCut, Faulty, until_gone


if TYPE_CHECKING:
    from callsheet.emulator.faults import Fault


_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: a close sends a reset


class _Line:
    """The transport of a connection; it can be told to let only so many bytes out."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._left: int | None = None
        self._how = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def allow(self, count: int | None, how: str = "") -> None:
        """Cut the connection after *count* more bytes; None: never."""
        self._left, self._how = count, how

    def write(self, data: bytes) -> None:
        """Send *data*, or as much of it as is still let out."""
        if self._left is None:
            self._transport.write(data)
        elif not self._transport.is_closing():
            self._transport.write(data[: self._left])
            self._left -= min(self._left, len(data))
            if self._left == 0:
                self.cut(self._how)

    def cut(self, how: str) -> None:
        """End the connection by a ``reset`` or a ``close``, if it has not ended yet."""
        if self._transport.is_closing():
            return
        if how == "reset":
            connection = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self._transport.abort()
        else:
            self._transport.close()


class Connection(H11Protocol):
    """A connection of the server. It draws the fault of a request when its first line is in."""

    def connection_made(self, transport: Any) -> None:
        """Put a line between the protocol and its transport, and this between it and the app."""
        self._line = _Line(transport)
        self._faulty, self._app = cast("Faulty", self.config.app), self.app
        super().connection_made(cast("Any", self._line))
        self.app = cast("Any", self._answer)
        self._forget()

    def data_received(self, data: bytes) -> None:
        """Read on, unless the request is to be cut before the end of *data*."""
        self._count += len(data)
        if not self._drawn and self.conn.their_state is h11.IDLE:
            self._head += data
            self._draw()
        fault = self._fault
        if fault is not None and _is_cut(fault, "lost") and self._count >= (fault.cut_at or 0):
            self._line.cut(str(fault.answer))
        else:
            super().data_received(data)

    def _forget(self) -> None:
        """Be ready for the next request."""
        self._count = 0
        self._head = b""
        self._drawn = False
        self._fault: Fault | None = None

    def _draw(self) -> None:
        line, end, _ = self._head.partition(b"\r\n")
        words = line.decode("latin-1").split()
        if end and len(words) > 1:
            self._drawn = True
            self._fault = self._faulty.draw(words[0], words[1].partition("?")[0])

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        fault = self._fault
        if fault is not None and _is_cut(fault, "taken"):
            self._line.allow(fault.cut_at, str(fault.answer))
            fault = None
        if self._drawn:
            scope[FAULT] = fault
        try:
            await self._app(scope, receive, send)
        except ConnectionCut as cut:
            self._line.cut(cut.how)
            await until_gone(receive)
        finally:
            self._line.allow(None)
            self._forget()


def _is_cut(fault: Fault, request: str) -> bool:
    return fault.request == request and fault.cut_at is not None
