"""Downloads finished videos before their URLs expire. Works on asyncio and trio.

A file is first written under another name in the same folder, flushed to disk, and then renamed. So
a file with its final name is always complete. The API key is never sent to the storage host.
"""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

import anyio

from callsheet._download.fetch import Allowance, Fetch
from callsheet._download.http import StorageClient
from callsheet._download.partial_file import PartialFile
from callsheet._models.policy import RetryPolicy
from callsheet.errors import CallsheetError, ClosedError, DownloadError, NotFoundError


if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from callsheet._client import Client
    from callsheet._http.transport import TransportChoice
    from callsheet._models.snapshot import Video


__all__ = ["Downloader", "download"]

_LONGEST_RETRY_PAUSE = 30.0


class Downloader:
    """Downloads several videos at once, used as ``async with Downloader(client) as downloader``.

    Args:
        client: Used to get a fresh URL when the URL of a video is refused, as it is after 24 h. The
            client must be open at that time. Without a client, a refused URL ends the download.
        parallel: Most downloads at once, >= 1; further ones wait.
        attempts: Most requests in a row that bring no data, >= 1. A request that brings data resets
            the count.
        timeout: Seconds without any data after which a request is stopped, > 0.
        transport: ``"aiohttp"`` uses that library instead of `httpx`. It needs less CPU time, works
            on asyncio only, and is installed with ``pip install 'callsheet[fast]'``. An `httpx`
            transport answers the requests instead of the network, and is not closed here.

    Raises:
        ConfigurationError: The transport is not available; on entering, if it does not work with
            trio.
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
        self._policy = RetryPolicy(attempts=attempts, ceiling=_LONGEST_RETRY_PAUSE, timeout=timeout)
        self._rng = random.Random()  # noqa: S311 - jitter, not a secret
        self._storage = StorageClient(parallel, transport=transport)
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
        """Download one video, or any other URL, to *path*. A file at *path* is replaced.

        If the connection breaks, the download continues after the last byte. If this call is
        cancelled, the data so far stays in the same folder as ``.<name>.part``. The next call for
        the same path continues from it.

        If the URL is refused, the provider is asked for the current URL of the task, once. It keeps
        the record of a task for 7 days (Ark "retrieve task" reference). One downloader requests one
        URL at most 100 times, because Seedance 2.5 allows no more (Ark 2.5 guide). After that, the
        URL counts as refused. A fresh URL has a count of its own.

        Args:
            video: The video, or a URL. A plain URL cannot be replaced when it is refused.
            path: The file to write; its folder must exist.
            last_frame: Download the picture of the video's last frame instead of the video.
            on_bytes: Called with the number of bytes each time data was written to disk.

        Returns:
            *path* as a `Path`.

        Raises:
            DownloadError: The file could not be downloaded or not be written. *path* is unchanged.
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
        absolute = _absolute(target)
        if absolute in self._active:
            raise DownloadError(f"{target} is being downloaded already")
        self._active.add(absolute)
        try:
            async with self._slots:
                fetch = Fetch(
                    storage=self._storage,
                    part=PartialFile(target),
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
            self._active.discard(absolute)


async def download(
    video: Video | str,
    path: str | os.PathLike[str],
    *,
    client: Client | None = None,
    last_frame: bool = False,
) -> Path:
    """Download one video to *path* with a `Downloader` of its own; see `Downloader.fetch`.

    Args:
        video: The video, or a URL. A plain URL cannot be replaced when it is refused.
        path: The file to write; its folder must exist.
        client: Used to get a fresh URL when the URL of the video is refused.
        last_frame: Download the picture of the video's last frame instead of the video.

    Returns:
        *path* as a `Path`.

    Raises:
        DownloadError: The file could not be downloaded or not be written. *path* is unchanged.
    """
    async with Downloader(client, parallel=1) as downloader:
        return await downloader.fetch(video, path, last_frame=last_frame)


async def _current_url(client: Client, task_id: str, *, last_frame: bool) -> str:
    """The current URL of a task's video or last frame, from the provider.

    Raises:
        CallsheetError: The provider gives none, or the request failed.
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
    """The absolute path, so that a relative and an absolute one can be compared. No disk access."""
    return path.absolute()


def _ignore_bytes(_count: int) -> None:
    """Do nothing; used if the caller gave no ``on_bytes``."""
