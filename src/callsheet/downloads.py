"""Bring finished videos to disk before their URLs die.

A file is written beside its place, brought safely to disk and renamed at the end, so one under its
final name is always whole. The storage host is never sent a key. Works on asyncio and trio.
"""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

import anyio

from callsheet._io.fetch import Allowance, Fetch
from callsheet._io.part import Part
from callsheet._io.storage import Storage
from callsheet._models.policy import RetryPolicy
from callsheet.errors import CallsheetError, ClosedError, DownloadError, NotFoundError


if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from callsheet._client import Client
    from callsheet._io.transport import TransportChoice
    from callsheet._models.outcome import Video


__all__ = ["Downloader", "download"]

_LONGEST_PAUSE = 30.0


class Downloader:
    """Fetches videos side by side, used as ``async with Downloader(client) as downloader``.

    Args:
        client: Asked for a task once more when the URL of its video is refused, as it is after
            24 h; it must be open by then. Without one, a refused URL ends the download.
        parallel: Most downloads at once, >= 1; further ones wait for their turn.
        attempts: Most requests in a row that bring nothing, >= 1; after one that brought a piece
            the count starts again.
        timeout: Seconds without a single byte after which a request is given up, > 0.
        transport: ``"aiohttp"`` fetches over that library instead of `httpx`, with less CPU time
            and on asyncio alone (``pip install 'callsheet[fast]'``); or an `httpx` transport, which
            answers instead of the network and is left open.

    Raises:
        ConfigurationError: The transport cannot be had; on entering, if it does not work with trio.
        ValueError: A number is out of its range.
    """

    def __init__(
        self,
        client: Client | None = None,
        *,
        parallel: int = 4,
        attempts: int = 6,
        timeout: float = 30.0,
        transport: TransportChoice | None = None,
    ) -> None:
        if parallel < 1:
            msg = f"'parallel' must be >= 1: {parallel}"
            raise ValueError(msg)
        self._client = client
        self._slots = anyio.Semaphore(parallel)
        self._policy = RetryPolicy(attempts=attempts, ceiling=_LONGEST_PAUSE, timeout=timeout)
        self._rng = random.Random()  # noqa: S311 - jitter, not a secret
        self._storage = Storage(parallel, transport=transport)
        self._allowance = Allowance()
        self._entered = False
        self._active: set[Path] = set()

    async def __aenter__(self) -> Self:
        await self._storage.__aenter__()
        self._entered = True
        return self

    async def __aexit__(self, *details: object) -> None:
        self._entered = False
        await self._storage.__aexit__(*details)

    async def fetch(
        self,
        video: Video | str,
        path: str | os.PathLike[str],
        *,
        last_frame: bool = False,
        on_bytes: Callable[[int], None] | None = None,
    ) -> Path:
        """Fetch one video, or anything else by its URL, to *path*; a file there is replaced.

        A cut connection is resumed where it broke. If this call is cancelled, what has arrived
        stays beside *path* as ``.<name>.part`` and the next call for the same path goes on there.

        A URL that is refused is replaced, once, by the one that the provider gives for the task
        now; it keeps its record for 7 days (Ark "retrieve task" reference). One downloader asks for
        one URL at most 100 times, which is what Seedance 2.5 allows (Ark 2.5 guide); after that it
        counts as refused, and a fresh one is counted anew.

        Args:
            video: The video, or a URL, which cannot be replaced when it is refused.
            path: Where it goes; the folder must exist.
            last_frame: Fetch the picture of the video's last frame and not the video.
            on_bytes: Told the number of bytes of each piece that has reached the disk.

        Returns:
            *path*.

        Raises:
            DownloadError: It could not be brought, or not be written; nothing stands at *path*
                that was not there before.
            ClosedError: The downloader is used outside its ``async with``.
        """
        if not self._entered:
            raise ClosedError("use the downloader inside its own async with")
        target = Path(path)
        task_id = None if isinstance(video, str) else video.task_id
        try:
            await self._download(
                video, target, last_frame=last_frame, on_bytes=on_bytes or _ignore_bytes
            )
        except DownloadError as exc:
            reason = f"its last frame: {exc.reason}" if last_frame else exc.reason
            raise DownloadError(reason, task_id) from exc.__cause__
        return target

    async def _download(
        self, video: Video | str, target: Path, *, last_frame: bool, on_bytes: Callable[[int], None]
    ) -> None:
        fresh = None
        if isinstance(video, str):
            url = None if last_frame else video
        else:
            url = video.last_frame_url if last_frame else video.url
            if self._client is not None:
                fresh = partial(_current_url, self._client, video.task_id, last_frame=last_frame)
        if url is None:
            raise DownloadError("there is none: return_last_frame was not set, or this is a URL")
        place = _absolute(target)
        if place in self._active:
            raise DownloadError(f"{target} is being downloaded already")
        self._active.add(place)
        try:
            async with self._slots:
                fetch = Fetch(
                    storage=self._storage,
                    part=Part(target),
                    url=url,
                    fresh=fresh,
                    allowance=self._allowance,
                    policy=self._policy,
                    rng=self._rng,
                    on_bytes=on_bytes,
                )
                await fetch.run()
        except OSError as exc:
            reason = exc.strerror or type(exc).__name__
            raise DownloadError(f"cannot write {target}: {reason}") from exc
        finally:
            self._active.discard(place)


async def download(
    video: Video | str,
    path: str | os.PathLike[str],
    *,
    client: Client | None = None,
    last_frame: bool = False,
) -> Path:
    """Fetch one video to *path*; see `Downloader` and `Downloader.fetch`."""
    async with Downloader(client, parallel=1) as downloader:
        return await downloader.fetch(video, path, last_frame=last_frame)


async def _current_url(client: Client, task_id: str, *, last_frame: bool) -> str:
    """The URL that the provider gives for a task's file now.

    Raises:
        CallsheetError: It gives none.
    """
    try:
        snapshot = await client.tasks.get(task_id)
    except NotFoundError as exc:
        raise CallsheetError(
            "the provider has no record of the task (any more): one is kept for 7 days, unless it "
            f"is deleted ({exc})"
        ) from exc
    url = snapshot.last_frame_url if last_frame else snapshot.video_url
    if url is None:
        raise CallsheetError("the provider's record of the task holds none (any more)")
    return url


def _absolute(path: Path) -> Path:
    """The same for every spelling of one path; asks no disk."""
    return path.absolute()


def _ignore_bytes(_count: int) -> None:
    """Nobody wants to know."""
