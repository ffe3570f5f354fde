"""A client and its provider in one process, and an event loop that measures how long it is held."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import httpx

from callsheet import Client, Limits, Polling, Provider


if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


FREE = 1e9
"""A quota that never limits."""


class Meter(asyncio.SelectorEventLoop):
    """An event loop that measures how long it is held; all times are CPU time of its thread."""

    def __init__(self) -> None:
        super().__init__()
        self.foreign = self._collected = 0.0
        self.reset()
        gc.callbacks.append(self._collecting)
        wait = self._selector.select

        def select(timeout: float | None = None) -> object:
            self._end()
            found = wait(timeout)
            self._start()
            return found

        self._selector.select = select

    def reset(self) -> None:
        """Forget all measurements, and start to measure here."""
        self.held = self.held_by_us = 0.0
        self.pauses: list[float] = []
        self._start()

    def end(self) -> None:
        """Stop to measure here."""
        self._end()

    def used(self) -> float:
        """Seconds of CPU time that were used, without the provider's."""
        return time.thread_time() - self.foreign

    def _start(self) -> None:
        self._from, self._collected_from = self.used(), self._collected

    def _end(self) -> None:
        held = self.used() - self._from
        self.held = max(self.held, held)
        self.held_by_us = max(self.held_by_us, held - (self._collected - self._collected_from))

    def _collecting(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._collecting_from = time.thread_time()
        else:
            pause = time.thread_time() - self._collecting_from
            self._collected += pause
            if info["generation"] == 2:
                self.pauses.append(pause)

    def figures(self) -> dict[str, object]:
        """The longest times, in milliseconds."""
        return {
            "held ms": 1e3 * self.held,
            "held ms, no gc": 1e3 * self.held_by_us,
            "full gc ms": 1e3 * max(self.pauses, default=0.0),
        }


class Desk(httpx.AsyncBaseTransport):
    """The provider: it gives ids, and reports for each task the `status` of its number."""

    def __init__(self, meter: Meter, status: Callable[[int], str]) -> None:
        self.status = status
        self.lists = self.created = self.ids = 0
        self._meter = meter

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a create or a list."""
        start = time.thread_time()
        if request.method == "POST":
            self.created += 1
            body: object = {"id": name(self.created - 1)}
        else:
            query = parse_qsl(request.url.query.decode())
            rows = [self._row(value) for key, value in query if key == "filter.task_ids"]
            self.lists += 1
            self.ids += len(rows)
            body = {"total": len(rows), "items": rows}
        answer = httpx.Response(200, content=json.dumps(body).encode(), request=request)
        self._meter.foreign += time.thread_time() - start
        await asyncio.sleep(0)
        return answer

    def _row(self, task_id: str) -> dict[str, object]:
        status, now = self.status(int(task_id[-7:])), int(time.time())
        row: dict[str, object] = {
            "id": task_id,
            "model": "doubao-seedance-1-5-pro-251215",
            "status": status,
            "created_at": now - 200,
            "updated_at": now,
        }
        if status == "succeeded":
            row |= {
                "content": {"video_url": f"https://storage.test/{task_id}.mp4?signed=" + "x" * 200},
                "usage": {"completion_tokens": 108_900, "total_tokens": 108_900},
                "seed": 10,
                "resolution": "720p",
                "ratio": "16:9",
                "duration": 5,
                "framespersecond": 24,
                "service_tier": "default",
            }
        return row


def name(number: int) -> str:
    """An id as long as the provider's."""
    return f"cgt-20261122183159-{number:07d}"


def client(
    desk: Desk, *, lists: float = FREE, delay: float = 5.0, journal: Path | None = None
) -> Client:
    """A client of this provider without quotas, except the quota of lists if it is given."""
    provider = Provider(
        name="bench",
        base_url="https://bench.test/api/v3",
        default_model="doubao-seedance-1-5-pro-251215",
        lists=True,
        limits=Limits(
            creates_per_minute=FREE,
            gets_per_second=FREE,
            lists_per_second=lists,
            cancels_per_second=FREE,
        ),
    )
    polling = Polling(delay=delay)
    return Client(provider=provider, transport=desk, polling=polling, journal=journal)
