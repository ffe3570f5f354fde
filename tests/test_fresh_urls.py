"""How often a URL is requested, and how a refused URL is renewed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import attrs
import httpx
import pytest

from callsheet import TaskSpec
from callsheet.downloads import Downloader
from callsheet.errors import DownloadError, NotFoundError
from emulation import Wire, body_of, client
from filehost import ETAG, URL, VIDEO, Host, names_in, rest, video, whole


if TYPE_CHECKING:
    from callsheet._models.snapshot import Video


def without_content(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
    """Remove the files from the answer for a task."""
    if "/tasks/" not in request.url.path:
        return None
    return httpx.Response(response.status_code, json=body_of(response) | {"content": {}})


class Dripping(Host):
    """Gives one byte per request."""

    def __init__(self) -> None:
        super().__init__(httpx.Response(500))
        self.film = VIDEO[:250]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Give the first of the missing bytes."""
        self.seen.append(request)
        span = request.headers.get("range")
        if span is None:
            return whole(self.film, cut_at=1, **ETAG)
        return rest(int(span[6:-1]), self.film, cut_at=int(span == "bytes=249-") or 1)


async def test_one_url_is_requested_at_most_a_hundred_times(tmp_path):
    """A slow download stops after 100 requests of one URL, the provider's limit."""
    host = Dripping()
    async with Downloader(transport=host) as downloader:
        with pytest.raises(DownloadError, match="asked for 100 times"):
            await downloader.fetch(video(), tmp_path / "a.mp4")
    assert len(host.seen) == 100


async def test_requests_are_counted_by_url_and_not_by_download(tmp_path):
    """Downloads of one URL share its 100 requests, and another URL has its own."""
    host = Host(whole)
    async with Downloader(transport=host) as downloader:
        for number in range(100):
            await downloader.fetch(video(), tmp_path / f"{number}.mp4")
        with pytest.raises(DownloadError, match="asked for 100 times"):
            await downloader.fetch(video(), tmp_path / "more.mp4")
        await downloader.fetch(video(URL + "2"), tmp_path / "more.mp4")
    assert len(host.seen) == 101
    assert len(names_in(tmp_path)) == 101


@contextlib.asynccontextmanager
async def rendered(**options: object):
    """An emulated provider, its client, a downloader, and a finished video with a last frame."""
    wire = Wire(render_seconds=30.0)
    spec = TaskSpec("A boat", duration=5, return_last_frame=True)
    async with client(wire) as made, Downloader(made, transport=wire, **options) as downloader:
        yield wire, made, downloader, await made.run(spec)


def refused(url: str | None) -> str:
    """The same URL with a signature that the storage host refuses."""
    assert url is not None
    return url.replace("Signature=", "Signature=0")


def with_refused_urls(found: Video) -> Video:
    """The same video with URLs that the storage host refuses."""
    return attrs.evolve(found, url=refused(found.url), last_frame_url=refused(found.last_frame_url))


def requested_files(wire: Wire) -> list[str]:
    """The URLs of all files that were requested."""
    return [str(request.url) for request in wire.seen if "X-Tos" in str(request.url)]


@pytest.mark.parametrize("last_frame", [False, True], ids=["video", "last frame"])
async def test_refused_url_is_renewed_from_the_task(tmp_path, last_frame):
    """With a client, a downloader can renew the URL of a video or of its last frame."""
    async with rendered() as (wire, _, downloader, found):
        url = found.last_frame_url if last_frame else found.url
        path = await downloader.fetch(
            with_refused_urls(found), tmp_path / "a", last_frame=last_frame
        )
        good = await downloader.fetch(found, tmp_path / "b", last_frame=last_frame)
    assert requested_files(wire) == [refused(url), url, url]
    assert path.read_bytes() == good.read_bytes()
    assert path.read_bytes().startswith(b"\x89PNG") == last_frame


@pytest.mark.parametrize("last_frame", [False, True], ids=["video", "last frame"])
async def test_task_that_is_gone_is_named(tmp_path, last_frame):
    """If the provider has forgotten the task, the error says so."""
    async with rendered() as (_, made, downloader, found):
        await made.tasks.cancel(found.task_id)
        words = f"{found.task_id} .*HTTP 403.*no record of the task.*7 days"
        with pytest.raises(DownloadError, match=words) as caught:
            await downloader.fetch(with_refused_urls(found), tmp_path / "a", last_frame=last_frame)
    assert ("its last frame" in str(caught.value)) == last_frame
    assert isinstance(caught.value.__cause__.__cause__, NotFoundError)
    assert "X-Tos" not in str(caught.value)
    assert names_in(tmp_path) == []


async def test_task_without_the_file_is_named(tmp_path):
    """If the task no longer has the file, the error says so."""
    async with rendered() as (wire, _, downloader, found):
        wire.change = without_content
        with pytest.raises(DownloadError, match=r"403.*record of the task holds none"):
            await downloader.fetch(with_refused_urls(found), tmp_path / "a.mp4")


async def test_client_that_is_closed_is_named(tmp_path):
    """A closed client cannot renew a refused URL, but other URLs still work."""
    async with rendered() as (wire, _, _, found):
        pass
    tripped = client(wire)
    async with Downloader(tripped, transport=wire) as downloader:
        with pytest.raises(DownloadError, match="no fresh URL: the client is closed"):
            await downloader.fetch(with_refused_urls(found), tmp_path / "a.mp4")
        await downloader.fetch(found, tmp_path / "a.mp4")


async def test_provider_that_is_unavailable_is_named(tmp_path):
    """If the provider cannot give a new URL, the error says why."""
    async with rendered() as (wire, _, downloader, found):
        wire.lose = lambda request: None if "X-Tos" in str(request.url) else httpx.ReadError("away")
        with pytest.raises(DownloadError, match=r"403.*no fresh URL: .*away"):
            await downloader.fetch(with_refused_urls(found), tmp_path / "a.mp4")


async def test_fresh_url_that_is_refused_as_well_is_an_error(tmp_path):
    """A URL is renewed only once in a download."""
    async with rendered() as (wire, made, _, found):
        host = Host(httpx.Response(403))
        before = len(wire.seen)
        async with Downloader(made, transport=host) as downloader:
            with pytest.raises(DownloadError, match="403") as caught:
                await downloader.fetch(found, tmp_path / "a.mp4")
        assert len(wire.seen) == before + 1
    assert len(host.seen) == 2
    assert "X-Tos" not in str(caught.value)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("status", [403, 404, 410])
async def test_url_that_expires_during_a_download_is_renewed(tmp_path, status):
    """The bytes that have arrived are kept, and the new URL is requested for the rest."""
    async with rendered() as (_, made, _, found):
        host = Host(whole(cut_at=3500, **ETAG), httpx.Response(status), rest(3500))
        async with Downloader(made, transport=host) as downloader:
            await downloader.fetch(with_refused_urls(found), tmp_path / "a.mp4")
    assert [str(request.url) for request in host.seen] == [
        refused(found.url),
        refused(found.url),
        found.url,
    ]
    assert host.seen[2].headers["range"] == "bytes=3500-"
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO


async def test_used_up_url_is_renewed(tmp_path):
    """After 100 requests the task gives a new URL, which has its own 100 requests."""
    async with rendered() as (_, made, _, found):
        host = Dripping()
        async with Downloader(made, transport=host) as downloader:
            with pytest.raises(DownloadError, match="asked for 100 times"):
                await downloader.fetch(with_refused_urls(found), tmp_path / "a.mp4")
    urls = [str(request.url) for request in host.seen]
    assert urls == [refused(found.url)] * 100 + [found.url] * 100


async def test_refused_url_without_a_client_is_an_error(tmp_path):
    """Without a client the URL is not renewed, and the error says that it is refused."""
    host = Host(httpx.Response(403))
    async with Downloader(transport=host) as downloader:
        with pytest.raises(DownloadError, match=r"403.*expired or is refused"):
            await downloader.fetch(video(), tmp_path / "a.mp4")
    assert len(host.seen) == 1


@pytest.mark.parametrize("what", [video(), URL], ids=["video", "url"])
async def test_missing_last_frame_is_an_error(tmp_path, what):
    """A video without a last frame, and a bare URL, have no last frame to download."""
    host = Host(whole())
    async with Downloader(transport=host) as downloader:
        with pytest.raises(DownloadError, match="its last frame: there is none"):
            await downloader.fetch(what, tmp_path / "a.png", last_frame=True)
    assert host.seen == []
