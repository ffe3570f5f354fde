"""Connections that really end early, by a reset or a close, after any number of bytes."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from callsheet.emulator.faulty import FAULT, ConnectionCut, FaultInjector, wait_for_disconnect


if TYPE_CHECKING:
    from callsheet.emulator.faults import Fault


_NO_LINGER = struct.pack("ii", 1, 0)  # SO_LINGER with 0 s: the close sends a reset


class _CuttableTransport:
    """A transport that can end its connection after a given number of sent bytes."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._left: int | None = None
        self._how = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def cut_after(self, count: int | None, how: str = "") -> None:
        """End the connection after *count* more sent bytes; None: never.

        Args:
            count: Number of bytes, or None.
            how: ``reset`` or ``close``.
        """
        self._left, self._how = count, how

    def write(self, data: bytes) -> None:
        """Send *data*, or as much of it as is still allowed."""
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
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self._transport.abort()
        else:
            self._transport.close()


class Connection(H11Protocol):
    """A connection of the server. It chooses the fault when the first line of a request is read."""

    def connection_made(self, transport: Any) -> None:
        """Wrap the transport and the application, so that both can be interrupted."""
        self._cuttable = _CuttableTransport(transport)
        self._injector, self._app = cast("FaultInjector", self.config.app), self.app
        super().connection_made(cast("Any", self._cuttable))
        self.app = cast("Any", self._answer)
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        """Pass *data* on, unless the connection must end before its last byte."""
        self._count += len(data)
        if not self._drawn and self.conn.their_state is h11.IDLE:
            self._head += data
            self._draw()
        fault = self._fault
        if fault is not None and _is_cut(fault, "lost") and self._count >= (fault.cut_at or 0):
            self._cuttable.cut(str(fault.answer))
        else:
            super().data_received(data)

    def _expect_request(self) -> None:
        """Reset the state of a request, ready for the next one."""
        self._count = 0
        self._head = b""
        self._drawn = False
        self._fault: Fault | None = None

    def _draw(self) -> None:
        line, end, _ = self._head.partition(b"\r\n")
        parts = line.decode("latin-1").split()
        if end and len(parts) > 1:
            self._drawn = True
            self._fault = self._injector.draw(parts[0], parts[1].partition("?")[0])

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        fault = self._fault
        if fault is not None and _is_cut(fault, "taken"):
            self._cuttable.cut_after(fault.cut_at, str(fault.answer))
            fault = None
        if self._drawn:
            scope[FAULT] = fault
        try:
            await self._app(scope, receive, send)
        except ConnectionCut as cut:
            self._cuttable.cut(cut.how)
            await wait_for_disconnect(receive)
        finally:
            self._cuttable.cut_after(None)
            self._expect_request()


def _is_cut(fault: Fault, request: str) -> bool:
    return fault.request == request and fault.cut_at is not None
