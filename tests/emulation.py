"""The emulator in process, in virtual time, behind a transport that can be made to fail."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import attrs
import httpx

from callsheet import Client, Provider
from callsheet._catalog import PROVIDERS
from callsheet.emulator import Emulator, Settings


Fault = Callable[[httpx.Request], Awaitable[httpx.Response | None]]
"""Answers in the emulator's place, raises, or returns ``None`` to let the request through."""

ARK: Provider = attrs.evolve(
    PROVIDERS["emulator"], base_url="http://emulator.test/api/v3", speed=1.0
)
COMET: Provider = attrs.evolve(
    PROVIDERS["cometapi"], base_url="http://emulator.test/volc/v3", key_variable=None
)


class Wire(httpx.AsyncBaseTransport):
    """The emulator as a transport; it keeps what was sent, and asks a fault before and after."""

    def __init__(self, *, latency: float = 0.03, **settings: object) -> None:
        self.emulator = Emulator(Settings(**settings), clock=anyio.current_time)
        self.latency = latency
        self.seen: list[httpx.Request] = []
        self.times: list[float] = []
        self.fault: Fault | None = None
        self.lose: Callable[[httpx.Request], Exception | None] = lambda _: None
        self._asgi = httpx.ASGITransport(app=self.emulator.app)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        self.times.append(anyio.current_time())
        await anyio.sleep(self.latency / 2)
        if self.fault is not None:
            answer = await self.fault(request)
            if answer is not None:
                return answer
        response = await self._asgi.handle_async_request(request)
        await anyio.sleep(self.latency / 2)
        lost = self.lose(request)
        if lost is not None:
            raise lost
        return response

    def sent(self, method: str) -> list[httpx.Request]:
        return [request for request in self.seen if request.method == method]


def client(wire: Wire, *, provider: Provider = ARK, **options: object) -> Client:
    """A client whose provider is the emulator behind *wire*."""
    return Client(provider=provider, transport=wire, **options)
