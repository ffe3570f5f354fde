"""Disks that are slow, quick or full, made where the package meets them: at its worker threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.to_thread


if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


def slow_disk(monkeypatch: pytest.MonkeyPatch, seconds: Callable[[], float]) -> None:
    """Whatever a worker thread does takes some more *seconds*, asked for as it has begun."""
    work = anyio.to_thread.run_sync

    async def slowly(*args: object, **options: object) -> object:
        more = seconds()
        done = await work(*args, **options)
        await anyio.sleep(more)
        return done

    monkeypatch.setattr(anyio.to_thread, "run_sync", slowly)


def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a worker thread does is done at once, in one turn of the event loop."""

    async def at_once(work: Callable[..., object], *args: object, **_: object) -> object:
        await anyio.lowlevel.checkpoint()
        return work(*args)

    monkeypatch.setattr(anyio.to_thread, "run_sync", at_once)
