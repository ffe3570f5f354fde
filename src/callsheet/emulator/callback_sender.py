"""Send callbacks in the background."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

from callsheet.emulator.callbacks import ANSWER_SECONDS


if TYPE_CHECKING:
    from callsheet.emulator.callbacks import Callback, Callbacks


Post = Callable[[str, bytes], Awaitable[int]]
"""Posts a JSON body to a URL and returns the status of the answer, or raises."""

_MOST_AT_ONCE = 64
_LONGEST_LINE = 4096


class CallbackSender:
    """Sends each callback when it is due, until cancelled.

    Args:
        callbacks: The callbacks that wait.
        post: Sends one callback.
        advance: Brings the service up to date and returns the time, unix seconds.
        next_change: Returns the unix time of the service's next own change; infinity: never.
        speed: Emulated seconds per second of the clock.
    """

    def __init__(
        self,
        callbacks: Callbacks,
        post: Post,
        *,
        advance: Callable[[], float],
        next_change: Callable[[], float],
        speed: float,
    ) -> None:
        self._callbacks, self._post = callbacks, post
        self._advance, self._next_change, self._speed = advance, next_change, speed
        self._wake_event: anyio.Event | None = None

    def wake(self) -> None:
        """Compute the next time again, because a callback may be due earlier than before."""
        if self._wake_event is not None:
            self._wake_event.set()

    async def run(self) -> None:
        """Send until cancelled. Deliveries in progress are then cancelled, too."""
        at_once = anyio.CapacityLimiter(_MOST_AT_ONCE)
        async with anyio.create_task_group() as deliveries:
            while True:
                self._wake_event = anyio.Event()
                now = self._advance()
                for callback in self._callbacks.due(now):
                    deliveries.start_soon(self._deliver, callback, at_once)
                wake_at = min(self._callbacks.next_at, self._next_change())
                with anyio.move_on_after(max(0.0, (wake_at - now) / self._speed)):
                    await self._wake_event.wait()

    async def _deliver(self, callback: Callback, at_once: anyio.CapacityLimiter) -> None:
        """Send one callback, then those of the same task that became due meanwhile."""
        following: Callback | None = callback
        while following is not None:
            callback = following
            async with at_once:
                sent_at = self._advance()
                accepted = await self._send(callback)
            following = self._callbacks.done(callback, sent_at, accepted=accepted)
            self.wake()

    async def _send(self, callback: Callback) -> bool:
        status = 0
        with anyio.move_on_after(ANSWER_SECONDS / self._speed):
            try:
                status = await self._post(callback.url, callback.body)
            except Exception:  # noqa: BLE001 - on any error the receiver has not accepted it
                return False
        return 200 <= status < 300  # noqa: PLR2004 - success


async def post_on_loopback(url: str, body: bytes) -> int:
    """Post a JSON body to a receiver on this machine.

    A trial run may use the callback URL of the real system, so nothing is sent to other machines.

    Raises:
        OSError: If the receiver cannot be reached, or is on another machine.
        anyio.IncompleteRead: If it does not answer.
        ValueError: If its answer is not HTTP.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not _is_loopback(host):
        raise OSError(f"{host} is not on this machine")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    head = (
        f"POST {target} HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\n"
        "Content-Type: application/json\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    connecting = (
        anyio.connect_tcp(host, parts.port or 443, tls=True)
        if parts.scheme == "https"
        else anyio.connect_tcp(host, parts.port or 80)
    )
    async with await connecting as stream:
        await stream.send(head.encode() + body)
        answer = BufferedByteReceiveStream(stream)
        line = await answer.receive_until(b"\r\n", _LONGEST_LINE)
    protocol, status, *_ = line.split()
    if not protocol.startswith(b"HTTP/"):
        raise ValueError(f"no HTTP: {line[:80]!r}")
    return int(status)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
