"""Serve an emulator over HTTP until it is told to stop."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

import uvicorn

from callsheet.emulator.app import Emulator
from callsheet.emulator.connection import Connection


if TYPE_CHECKING:
    from collections.abc import Callable

    from callsheet.emulator.settings import Settings


class _Server(uvicorn.Server):
    """A server that calls *on_ready* once it answers requests."""

    on_ready: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.on_ready()


def serve(
    settings: Settings,
    *,
    port: int,
    on_ready: Callable[[str], None],
    until_stdin_closes: bool = False,
) -> None:
    """Serve on the loopback interface until interrupted. This call blocks.

    Args:
        settings: How the emulator behaves.
        port: TCP port, 0 to 65535; 0: any free port.
        on_ready: Called with the origin URL once requests are answered.
        until_stdin_closes: Whether to stop when standard input ends. A parent process that holds
            the other end of the pipe then never leaves the server running when it dies.

    Raises:
        OSError: If the port is taken.
    """
    config = uvicorn.Config(
        Emulator(settings).app,
        log_level="warning",
        access_log=False,
        http=Connection,
        lifespan="on",
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    with _listen(port) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.on_ready = lambda: on_ready(url)
        if until_stdin_closes:
            threading.Thread(target=_watch_stdin, args=(server,), daemon=True).start()
        server.run(sockets=[listener])


def _listen(port: int) -> socket.socket:
    """Open a listening loopback socket that names TCP as its protocol.

    asyncio switches off Nagle's algorithm only for such sockets. With the algorithm on, an answer
    in two parts waits 40 ms for an acknowledgement.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener


def _watch_stdin(server: uvicorn.Server) -> None:
    while os.read(0, 4096):  # sys.stdin would hold a lock that blocks the exit of the interpreter
        pass
    server.should_exit = True
