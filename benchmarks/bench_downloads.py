"""Downloading a large file to disk: the downloader with both transports, and ``curl -o``.

All download the same file over loopback HTTP from one server in another process, into the same
folder, each in its own process, one after the other. A task in the same event loop reads the clock
every millisecond. The stall is the longest time for which this task did not run. The part of it for
which the loop's own thread was computing is how long the loop was held. Python's garbage collector
is also measured separately, because its pauses depend on all objects in the process. During curl
the loop is idle, so its stalls there come from the machine.

    python benchmarks/bench_downloads.py [MiB ...] [--repeats R]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from _table import keep, show

from callsheet.downloads import Downloader


if TYPE_CHECKING:
    from collections.abc import Callable

    from callsheet._http.transport import TransportChoice


MIB = 1024 * 1024

TICK = 0.001
"""Seconds between two readings of the clock by the task that measures stalls."""

CURL = "curl -o, an idle loop"

VARIANTS: dict[str, tuple[str, TransportChoice | None, bool]] = {
    CURL: ("asyncio", None, False),
    "httpx, asyncio": ("asyncio", None, False),
    "httpx, trio": ("trio", None, False),
    "aiohttp": ("asyncio", "aiohttp", False),
    "aiohttp, uvloop": ("asyncio", "aiohttp", True),
}
"""Backend, transport, and whether it runs on uvloop."""


def serve(path: str) -> None:
    """Send one file to every connection until killed; print the port."""
    size = Path(path).stat().st_size
    head = f"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: {size}\r\n\r\n"

    def answer(peer: socket.socket) -> None:
        with peer, Path(path).open("rb") as file:
            while peer.recv(65536):
                peer.sendall(head.encode())
                sent = 0
                while sent < size:
                    sent += os.sendfile(peer.fileno(), file.fileno(), sent, size - sent)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            peer, _ = listener.accept()
            threading.Thread(target=answer, args=(peer,), daemon=True).start()


async def by_curl(url: str, path: str) -> float:
    """Download the file with curl; return the seconds."""
    done = await anyio.run_process(["curl", "-s", "-o", path, "-w", "%{time_total}", url])
    return float(done.stdout)


async def by_us(
    url: str, path: str, transport: TransportChoice | None, begin: Callable[[], None]
) -> float:
    """Open a downloader, call *begin*, then download the file; return the seconds."""
    async with Downloader(transport=transport) as downloader:
        await anyio.sleep(0.05)
        begin()
        start = time.perf_counter()
        await downloader.fetch(url, path)
        return time.perf_counter() - start


class Collector:
    """Counts the seconds of the garbage collector in the thread that made this object."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._thread = threading.get_ident()
        gc.callbacks.append(self._collecting)

    def _collecting(self, phase: str, _: dict[str, int]) -> None:
        if threading.get_ident() == self._thread:
            self.seconds += time.thread_time() * (1 if phase == "stop" else -1)


def child(variant: str, url: str, path: str) -> None:
    """Download the file once and print what it took."""
    backend, transport, uvloop = VARIANTS[variant]
    looks: list[tuple[float, float, float]] = []
    collector = Collector()

    async def watch() -> None:
        while True:
            wall, computing, collected = time.perf_counter(), time.thread_time(), collector.seconds
            await anyio.sleep(TICK)
            held = time.thread_time() - computing
            stall = time.perf_counter() - wall - TICK
            looks.append((stall, held, held - (collector.seconds - collected)))

    async def fetch() -> float:
        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            if variant == CURL:
                seconds = await by_curl(url, path)
            else:
                seconds = await by_us(url, path, transport, looks.clear)
            group.cancel_scope.cancel()
        return seconds

    options = {"use_uvloop": True} if uvloop else {}
    before = resource.getrusage(resource.RUSAGE_SELF)
    seconds = anyio.run(fetch, backend=backend, backend_options=options)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = {
        "seconds": seconds,
        "cpu": cpu,
        "peak": (after.ru_maxrss - before.ru_maxrss) / 1024,
        "stall": max(stall for stall, _, _ in looks),
        "held": max(held for _, held, _ in looks),
        "ours": max(ours for _, _, ours in looks),
    }
    print(json.dumps(found))


def available() -> list[str]:
    """The variants that can run here; the others are printed."""
    variants = []
    for name, (_, transport, uvloop) in VARIANTS.items():
        missing = [
            wanted
            for wanted, there in (
                ("curl", name != CURL or shutil.which("curl")),
                ("aiohttp", transport is None or find_spec("aiohttp")),
                ("uvloop", not uvloop or find_spec("uvloop")),
            )
            if not there
        ]
        if missing:
            print(f"{name} is left out: no {missing[0]} here", file=sys.stderr)
        else:
            variants.append(name)
    return variants


def measure(size: int, repeats: int, folder: Path) -> list[dict[str, object]]:
    """Every variant on a file of *size* MiB."""
    source = folder / "source"
    with source.open("wb") as file:
        for _ in range(size):
            file.write(os.urandom(MIB))
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve", str(source)], stdout=subprocess.PIPE, text=True
    )
    found: dict[str, list[dict[str, float]]] = {name: [] for name in available()}
    try:
        assert server.stdout
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}/video.mp4"
        for _ in range(repeats):
            for name, runs in found.items():
                target = folder / "target"
                command = [sys.executable, __file__, "--child", name, url, str(target)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                runs.append(json.loads(done.stdout))
                assert target.stat().st_size == size * MIB
                target.unlink()
    finally:
        server.kill()
        server.wait()
    rows: list[dict[str, object]] = []
    for name, runs in found.items():
        middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        row: dict[str, object] = {
            "MiB": size,
            "variant": name,
            "baseline": name == CURL,
            "MiB/s": size / middle["seconds"],
            "of curl": None,
            "CPU s/GiB": middle["cpu"] * 1024 / size,
            "peak MiB more": max(run["peak"] for run in runs),
            "held ms": 1000 * middle["held"],
            "worst": 1000 * max(run["held"] for run in runs),
            "no gc": 1000 * middle["ours"],
            "worst, no gc": 1000 * max(run["ours"] for run in runs),
            "stall ms": 1000 * middle["stall"],
            "worst stall": 1000 * max(run["stall"] for run in runs),
        }
        if CURL in found:
            pairs = zip(found[CURL], runs, strict=True)
            row["of curl"] = statistics.median(a["seconds"] / b["seconds"] for a, b in pairs)
        rows.append(row)
    return rows


def main() -> None:
    """Measure, print and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=[512, 1024])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--folder", help="where the files go; by default the system's own")
    parser.add_argument("--serve")
    parser.add_argument("--child", nargs=3)
    parser.add_argument("--keep-nothing", action="store_true", help="leave the results folder")
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
    if options.child:
        child(*options.child)
        return
    rows: list[dict[str, object]] = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            rows += measure(size, options.repeats, Path(folder))
    show("one file to disk", rows)
    packages = [name for name in ("aiohttp", "trio", "uvloop") if find_spec(name)]
    keep("downloads", rows, packages=packages, really=not options.keep_nothing)


if __name__ == "__main__":
    main()
