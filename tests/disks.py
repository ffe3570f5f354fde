"""Slow, quick and full disks. Slow and quick ones are simulated at the worker threads."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def slow_disk(monkeypatch: pytest.MonkeyPatch, seconds: Callable[[], float]) -> None:
    """Make all work in worker threads take longer, by ``seconds()`` at its start."""
    work = anyio.to_thread.run_sync

    async def slowly(*args: object, **options: object) -> object:
        more = seconds()
        done = await work(*args, **options)
        await anyio.sleep(more)
        return done

    monkeypatch.setattr(anyio.to_thread, "run_sync", slowly)


def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do all work of worker threads at once, in one turn of the event loop."""

    async def at_once(work: Callable[..., object], *args: object, **_: object) -> object:
        await anyio.lowlevel.checkpoint()
        return work(*args)

    monkeypatch.setattr(anyio.to_thread, "run_sync", at_once)


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """No file can grow beyond so many bytes."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def full_disk(path: Path, *, room: int = 0) -> Iterator[None]:
    """No file can grow beyond the present size of the log of the journal *path*, plus *room*."""
    with no_file_beyond(path.with_name(f"{path.name}-wal").stat().st_size + room):
        yield
