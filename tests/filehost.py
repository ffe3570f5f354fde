"""A storage host for finished files that gives prepared answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import httpx

from callsheet._models.snapshot import Snapshot, Status, Video


if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


URL = "https://storage.test/videos/one.mp4?X-Tos-Signature=sesame"
VIDEO = bytes(range(256)) * 40
ETAG = {"etag": '"one"'}


class Body(httpx.AsyncByteStream):
    """A body in pieces of some bytes, which may break off or stall."""

    def __init__(
        self, data: bytes, *, cut_at: int | None = None, hang: bool = False, piece: int = 1000
    ) -> None:
        self.data, self.cut_at, self.hang, self.piece = data, cut_at, hang, piece

    async def __aiter__(self):
        """Give the pieces."""
        end = len(self.data) if self.cut_at is None else self.cut_at
        for start in range(0, end, self.piece):
            yield self.data[start : min(start + self.piece, end)]
        if self.hang:
            await anyio.sleep_forever()
        if self.cut_at is not None:
            raise httpx.ReadError("cut")


class Host(httpx.AsyncBaseTransport):
    """Gives prepared answers in order and keeps the requests."""

    def __init__(self, *script: httpx.Response | Exception | Callable[[], httpx.Response]) -> None:
        self.script = list(script)
        self.seen: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Give the next answer; the last one is repeated."""
        self.seen.append(request)
        await anyio.lowlevel.checkpoint()
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else answer


def whole(
    data: bytes = VIDEO,
    *,
    cut_at: int | None = None,
    hang: bool = False,
    piece: int = 1000,
    **headers: str,
):
    """A 200 with the whole file and its length."""
    length = {"content-length": str(len(data)), "content-type": "video/mp4"}
    body = Body(data, cut_at=cut_at, hang=hang, piece=piece)
    return httpx.Response(200, headers=length | headers, stream=body)


def rest(start: int, data: bytes = VIDEO, *, cut_at: int | None = None):
    """A 206 with the rest of the file from *start* on."""
    span = f"bytes {start}-{len(data) - 1}/{len(data)}"
    return httpx.Response(
        206, headers={"content-range": span} | ETAG, stream=Body(data[start:], cut_at=cut_at)
    )


def video(url: str = URL) -> Video:
    """A finished video at *url*."""
    snapshot = Snapshot(task_id="cgt-1", status=Status.SUCCEEDED, raw_status="succeeded")
    return Video(url=url, task_id="cgt-1", snapshot=snapshot)


def names_in(folder: Path) -> list[str]:
    """The sorted names of the files in *folder*."""
    return sorted(path.name for path in folder.iterdir())
