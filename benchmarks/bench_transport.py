"""What a request costs the client: CPU time by transport and by the number of requests in flight.

A small server in another process answers every request with the status of a task, at once or after
50 ms as over a network, on loopback, HTTP/1.1 kept alive. Each variant runs in its own process, one
after the other, with connections that are already open. Rows of one block have the same baseline, a
plain `httpx.AsyncClient` with its default pool.

    python benchmarks/bench_transport.py [--seconds S] [--repeats R]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from importlib.util import find_spec
from typing import cast

import httpx
from _table import keep, show

from callsheet._http.transport import Transport, TransportChoice
from callsheet._wire import Request


TARGET = "/api/v3/contents/generations/tasks/cgt-20261122183159-abcde"

BODY = json.dumps(
    {
        "id": "cgt-20261122183159-abcde",
        "model": "doubao-seedance-1-5-pro-251215",
        "status": "running",
        "created_at": 1763828319,
        "updated_at": 1763828329,
        "seed": 1234567,
        "resolution": "720p",
        "ratio": "16:9",
        "duration": 5,
        "framespersecond": 24,
    }
).encode()

AT_ONCE = (1, 16, 64)
DELAYS = (0.0, 0.05)
WARM_UP = 3
"""Requests per worker before anything is counted."""

Ask = Callable[[], Awaitable[bytes]]
Open = Callable[[AsyncExitStack, str, int], Awaitable[Ask]]


class Answering(asyncio.Protocol):
    """A server that reads only the head of each request."""

    delay = 0.0
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    answer += b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer."""
        if not data.endswith(b"\r\n\r\n"):
            raise ValueError("a request in pieces")
        if self.delay:
            asyncio.get_running_loop().call_later(self.delay, self.transport.write, self.answer)
        else:
            self.transport.write(self.answer)


async def serve(delay: float) -> None:
    """Serve until killed; print the port."""
    Answering.delay = delay
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def bare_httpx(stack: AsyncExitStack, origin: str, _at_once: int) -> Ask:
    """One client with its defaults."""
    client = await stack.enter_async_context(httpx.AsyncClient())

    async def ask() -> bytes:
        return (await client.get(origin + TARGET)).content

    return ask


def pools_of(size: int) -> Open:
    """Clients with *size* connections each, and at most as many requests at once on each client."""

    async def opened(stack: AsyncExitStack, origin: str, at_once: int) -> Ask:
        verify = httpx.create_ssl_context()
        limits = httpx.Limits(max_connections=size, max_keepalive_connections=size)
        free: list[httpx.AsyncClient] = []
        for number in range(0, at_once, size):
            client = httpx.AsyncClient(verify=verify, limits=limits)
            await stack.enter_async_context(client)
            free += [client] * min(size, at_once - number)

        async def ask() -> bytes:
            client = free.pop()
            try:
                return (await client.get(origin + TARGET)).content
            finally:
                free.append(client)

        return ask

    return opened


def ours(choice: TransportChoice | None) -> Open:
    """The transport of a client of this package."""

    async def opened(stack: AsyncExitStack, origin: str, at_once: int) -> Ask:
        transport = await stack.enter_async_context(
            Transport(base_url=origin, api_key="k" * 36, connections=at_once, custom=choice)
        )
        request = Request(method="GET", target=TARGET)

        async def ask() -> bytes:
            return (await transport.send(request, timeout=30)).body

        return ask

    return opened


async def bare_aiohttp(stack: AsyncExitStack, origin: str, _at_once: int) -> Ask:
    """One session with its defaults."""
    import aiohttp  # noqa: PLC0415 - an extra

    session = await stack.enter_async_context(aiohttp.ClientSession())

    async def ask() -> bytes:
        async with session.get(origin + TARGET) as answer:
            return await answer.read()

    return ask


async def httpx_aiohttp(stack: AsyncExitStack, origin: str, _at_once: int) -> Ask:
    """The transport of the httpx-aiohttp package."""
    import httpx_aiohttp  # noqa: PLC0415 - not a dependency

    client = await stack.enter_async_context(httpx_aiohttp.HttpxAiohttpClient())

    async def ask() -> bytes:
        return (await client.get(origin + TARGET)).content

    return ask


BASELINE = "httpx"
VARIANTS: dict[str, tuple[Open, tuple[str, ...]]] = {
    BASELINE: (bare_httpx, ()),
    "httpx, pools of 4": (pools_of(4), ()),
    "httpx, pools of 1": (pools_of(1), ()),
    "httpx over httpx-aiohttp": (httpx_aiohttp, ("httpx-aiohttp",)),
    "aiohttp": (bare_aiohttp, ("aiohttp",)),
    "aiohttp, uvloop": (bare_aiohttp, ("aiohttp", "uvloop")),
    "callsheet": (ours(None), ()),
    "callsheet, uvloop": (ours(None), ("uvloop",)),
    "callsheet, aiohttp": (ours("aiohttp"), ("aiohttp",)),
    "callsheet, aiohttp, uvloop": (ours("aiohttp"), ("aiohttp", "uvloop")),
}
"""How each variant opens its client, and the packages that it needs beyond the core."""


def cpu() -> float:
    """Seconds of CPU time that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def child(variant: str, origin: str, at_once: int, seconds: float) -> None:
    """Send requests for *seconds*, and print what one took."""
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        ask = await VARIANTS[variant][0](stack, origin, at_once)

        async def work(until: float, least: int) -> int:
            asked = 0
            while asked < least or loop.time() < until:
                assert await ask() == BODY
                asked += 1
            return asked

        await asyncio.gather(*(work(0.0, WARM_UP) for _ in range(at_once)))
        before, start = cpu(), loop.time()
        done = sum(await asyncio.gather(*(work(start + seconds, 1) for _ in range(at_once))))
        print(json.dumps({"cpu": (cpu() - before) / done, "rate": done / (loop.time() - start)}))


def missing(packages: Iterable[str]) -> list[str]:
    """Those of *packages* that are not installed."""
    return [package for package in packages if find_spec(package.replace("-", "_")) is None]


def available() -> list[str]:
    """The variants that can run here; the others are printed."""
    found = []
    for name, (_, packages) in VARIANTS.items():
        if absent := missing(packages):
            print(f"{name} is left out: no {absent[0]} here", file=sys.stderr)
        else:
            found.append(name)
    return found


def measure(
    names: list[str], delay: float, seconds: float, repeats: int
) -> list[dict[str, object]]:
    """All variants with each number of requests in flight, against one server."""
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve", str(delay)], stdout=subprocess.PIPE, text=True
    )
    rows: list[dict[str, object]] = []
    try:
        assert server.stdout
        origin = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        for at_once in AT_ONCE:
            runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
            for _ in range(repeats):
                for name, results in runs.items():
                    arguments = ["--child", name, origin, str(at_once), str(seconds)]
                    command = [sys.executable, __file__, *arguments]
                    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                    results.append(json.loads(done.stdout))
            rows += [
                {
                    "answers after ms": 1000 * delay,
                    "at once": at_once,
                    "variant": name,
                    "baseline": name == BASELINE,
                    "CPU us": 1e6 * statistics.median(run["cpu"] for run in results),
                    "requests/s": statistics.median(run["rate"] for run in results),
                }
                for name, results in runs.items()
            ]
    finally:
        server.kill()
        server.wait()
    return rows


def main() -> None:
    """Measure, print and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--serve", type=float)
    parser.add_argument("--child", nargs=4)
    parser.add_argument("--keep-nothing", action="store_true", help="leave the results folder")
    options = parser.parse_args()
    if options.serve is not None:
        asyncio.run(serve(options.serve))
    if options.child:
        variant, origin, at_once, seconds = options.child
        running = child(variant, origin, int(at_once), float(seconds))
        if "uvloop" in VARIANTS[variant][1]:
            import uvloop  # noqa: PLC0415 - an extra

            uvloop.run(running)
        else:
            asyncio.run(running)
        return
    rows: list[dict[str, object]] = []
    names = available()
    for delay in DELAYS:
        rows += measure(names, delay, options.seconds, options.repeats)
    show("what a request costs the client", rows, ratios=["CPU us"])
    packages = sorted({package for name in names for package in VARIANTS[name][1]})
    keep("transport", rows, packages=packages, really=not options.keep_nothing)


if __name__ == "__main__":
    main()
