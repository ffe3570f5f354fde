"""Downloads: complete files, resumed downloads, refused answers and errors of the disk."""

from __future__ import annotations

import errno
import itertools
import os
import ssl
import stat
from io import FileIO
from pathlib import Path

import anyio
import attrs
import httpx
import pytest

from callsheet.downloads import Downloader, download
from callsheet.errors import ClosedError, DownloadError
from filehost import ETAG, URL, VIDEO, Body, Host, names_in, rest, video, whole
from loopback import answer, answering, listening


MIB = 1024 * 1024
LONG = VIDEO * 2048
"""A file of 20 MiB, which is written in pieces of 4 MiB."""


def stop_at(scope: anyio.CancelScope, size: int):
    """A listener that cancels *scope* once *size* bytes have arrived."""
    arrived = 0

    def listen(count: int) -> None:
        nonlocal arrived
        arrived += count
        if arrived >= size:
            scope.cancel()

    return listen


async def test_download_leaves_only_the_complete_file(tmp_path):
    """A download leaves the complete file and no other."""
    host = Host(whole())
    async with Downloader(transport=host) as downloader:
        path = await downloader.fetch(video(), tmp_path / "a.mp4")
    assert path.read_bytes() == VIDEO
    assert names_in(tmp_path) == ["a.mp4"]


async def test_storage_host_gets_no_key(tmp_path):
    """No key and no cookie is sent to the storage host, and no compressed body is requested."""
    host = Host(whole())
    async with Downloader(transport=host) as downloader:
        await downloader.fetch(video(), tmp_path / "a.mp4")
    headers = host.seen[0].headers
    assert "authorization" not in headers
    assert "cookie" not in headers
    assert headers["accept-encoding"] == "identity"


async def test_download_resumes_after_a_lost_connection(tmp_path):
    """After a lost connection only the missing bytes are requested, if the file is the same."""
    host = Host(whole(cut_at=3500, **ETAG), rest(3500, cut_at=1200), rest(4700))
    counted: list[int] = []
    async with Downloader(transport=host) as downloader:
        await downloader.fetch(video(), tmp_path / "a.mp4", on_bytes=counted.append)
    assert [request.headers.get("range") for request in host.seen] == [
        None,
        "bytes=3500-",
        "bytes=4700-",
    ]
    assert host.seen[1].headers["if-range"] == '"one"'
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    assert sum(counted) == len(VIDEO)


async def test_changed_file_is_downloaded_again(tmp_path):
    """If a range request is answered with 200, its body replaces the bytes that had arrived."""
    other = VIDEO[::-1]
    host = Host(whole(cut_at=3500, **ETAG), whole(other))
    async with Downloader(transport=host) as downloader:
        await downloader.fetch(video(), tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == other


@pytest.mark.parametrize("strange", [lambda: rest(2000), lambda: httpx.Response(416)])
async def test_range_that_was_not_requested_is_discarded(tmp_path, strange):
    """After an answer without the missing bytes the file is downloaded from its start."""
    host = Host(whole(cut_at=3500, **ETAG), strange, whole())
    async with Downloader(transport=host) as downloader:
        await downloader.fetch(video(), tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    assert "range" not in host.seen[2].headers


async def test_file_without_a_strong_validator_is_not_resumed(tmp_path):
    """Without a strong validator the second request asks for the whole file."""
    host = Host(whole(cut_at=3500, etag='W/"weak"'), whole())
    async with Downloader(transport=host) as downloader:
        await downloader.fetch(video(), tmp_path / "a.mp4")
    assert "range" not in host.seen[1].headers
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO


async def test_body_that_is_too_short_is_resumed(tmp_path):
    """A body that ends before its announced length is not taken for the whole file."""
    short = httpx.Response(
        200, headers={"content-length": str(len(VIDEO))} | ETAG, stream=Body(VIDEO[:2000])
    )
    host = Host(short, rest(2000))
    async with Downloader(transport=host) as downloader:
        await downloader.fetch(video(), tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("late"),
        lambda: httpx.Response(503),
        lambda: httpx.Response(429, headers={"retry-after": "7"}),
    ],
    ids=["refused", "late", "503", "429"],
)
async def test_temporary_errors_are_tried_again(tmp_path, trouble, request):
    """Network errors, 5xx and 429 are tried again after a pause."""
    host = Host(trouble, whole())
    before = anyio.current_time()
    async with Downloader(transport=host) as downloader:
        await downloader.fetch(video(), tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    waited = anyio.current_time() - before
    assert waited >= (7 if "429" in request.node.name else 0.3)


@pytest.mark.parametrize(
    "error",
    [ssl.SSLError(1, "[SSL] record layer failure"), anyio.ClosedResourceError()],
    ids=["damaged record", "closed"],
)
async def test_raw_network_error_is_not_taken_for_a_disk_error(tmp_path, error):
    """After a damaged TLS record or a closed socket the download resumes where it stopped."""

    class Damaged(Body):
        async def __aiter__(self):
            yield VIDEO[:3500]
            raise error

    host = Host(httpx.Response(200, headers=ETAG, stream=Damaged(VIDEO)), error, rest(3500))
    async with Downloader(transport=host) as downloader:
        await downloader.fetch(video(), tmp_path / "a.mp4")
    assert [request.headers.get("range") for request in host.seen] == [
        None,
        "bytes=3500-",
        "bytes=3500-",
    ]
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO


async def test_lasting_errors_end_the_download_after_the_last_attempt(tmp_path):
    """If every attempt fails, the error names the task and the last reason."""
    host = Host(httpx.Response(503))
    async with Downloader(transport=host, attempts=3) as downloader:
        with pytest.raises(DownloadError, match=r"task cgt-1 .*HTTP 503") as caught:
            await downloader.fetch(video(), tmp_path / "a.mp4")
    assert len(host.seen) == 3
    assert "sesame" not in str(caught.value)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    "answer",
    [
        lambda: httpx.Response(200, html="<html>sign in</html>"),
        lambda: whole(b"  <!doctype html>"),
        lambda: httpx.Response(200, json={"error": "no"}),
        lambda: whole(b""),
        lambda: httpx.Response(302, headers={"location": URL}),
        lambda: httpx.Response(302, headers={"location": "ftp://storage.test/x"}),
        lambda: httpx.Response(400),
        lambda: httpx.Response(200, headers={"content-encoding": "br"}, stream=Body(VIDEO)),
    ],
    ids=["html", "disguised", "json", "empty", "loop", "ftp", "400", "encoded"],
)
async def test_answer_without_a_video_is_refused(tmp_path, answer):
    """Web pages, JSON, empty bodies, redirect loops and HTTP errors leave no file."""
    async with Downloader(transport=Host(answer)) as downloader:
        with pytest.raises(DownloadError):
            await downloader.fetch(video(), tmp_path / "a.mp4")
    assert names_in(tmp_path) == []


async def test_text_that_is_not_a_url_is_refused(tmp_path):
    """A text without a scheme raises `DownloadError`."""
    async with Downloader() as downloader:
        with pytest.raises(DownloadError, match="not a URL"):
            await downloader.fetch("one.mp4", tmp_path / "a.mp4")


INVALID_URLS = [
    "http://xn--/x", "http://xn--zzzzzzzz/x", "http://a..b/x", f"http://{'a' * 64}/x",
    "http://storage.test:99999/x", "http://storage.test:-1/x", f"http://a.test/{'a' * 70_000}",
    "https:///x", "//storage.test/x", "http://[::1", "http://",
]  # fmt: skip


@pytest.mark.parametrize(
    "url", [*INVALID_URLS, "http://storage.test/\udcff", "http://\udcff@a.test/x"]
)
async def test_invalid_url_is_refused(tmp_path, url):
    """An invalid URL raises `DownloadError`, whatever error httpx or a socket raises for it."""
    async with Downloader(attempts=1) as downloader:
        with pytest.raises(DownloadError, match="not a URL"):
            await downloader.fetch(url, tmp_path / "a.mp4")
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("place", INVALID_URLS[:7])
async def test_redirect_to_an_invalid_url_is_refused(tmp_path, place):
    """A redirect to an invalid URL raises `DownloadError` without a second request."""
    host = Host(httpx.Response(302, headers={"location": place}))
    async with Downloader(attempts=1, transport=host) as downloader:
        with pytest.raises(DownloadError):
            await downloader.fetch(video(), tmp_path / "a.mp4")
    assert len(host.seen) == 1
    assert names_in(tmp_path) == []


async def test_url_that_cannot_be_parsed_is_not_shown(tmp_path):
    """The error about a URL that cannot be parsed shows no part of the URL."""
    async with Downloader(transport=Host(httpx.Response(403))) as downloader:
        with pytest.raises(DownloadError, match="the URL answered HTTP 403") as caught:
            await downloader.fetch("http://a]b/?sesame", tmp_path / "a.mp4")
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("name", ["missing/a.mp4", "n" * 300, "folder"])
async def test_path_that_cannot_be_written_is_named(tmp_path, name):
    """The error names the path if its folder is missing, its name too long or it is a folder."""
    (tmp_path / "folder").mkdir()
    host = Host(whole())
    async with Downloader(transport=host) as downloader:
        with pytest.raises(DownloadError, match="cannot write .*" + name[-20:]):
            await downloader.fetch(video(), tmp_path / name)
    assert host.seen == []


def record_fsyncs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Record each fsync: the size of a file or ``None`` for a folder, and the names in *folder*."""
    steps: list[object] = []

    def fsync(descriptor: int) -> None:
        found = os.fstat(descriptor)
        steps.append((None if stat.S_ISDIR(found.st_mode) else found.st_size, *names_in(folder)))

    monkeypatch.setattr(os, "fsync", fsync)
    return steps


async def test_file_is_complete_after_a_power_cut(tmp_path, monkeypatch):
    """The file is synced before its rename, and the folder after it."""
    steps = record_fsyncs(tmp_path, monkeypatch)
    async with Downloader(transport=Host(whole())) as downloader:
        await downloader.fetch(video(), tmp_path / "a.mp4")
    assert steps == [(len(VIDEO), ".a.mp4.part"), (None, "a.mp4")]


async def test_validator_never_covers_bytes_that_a_power_cut_loses(tmp_path, monkeypatch):
    """The validator is written after a sync of the part, and is deleted before the part grows."""
    steps = record_fsyncs(tmp_path, monkeypatch)
    host = Host(whole(cut_at=3000, hang=True, **ETAG), rest(3000))
    async with Downloader(transport=host) as downloader:
        with anyio.move_on_after(5):
            await downloader.fetch(video(), tmp_path / "a.mp4")
        assert steps == [(3000, ".a.mp4.part")]
        await downloader.fetch(video(), tmp_path / "a.mp4")
    assert steps[1] == (None, ".a.mp4.part")
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO


async def test_disk_error_in_the_last_fsync_is_reported(tmp_path, monkeypatch):
    """A disk error that only fsync raises ends the download, too."""

    def broken(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    async with Downloader(transport=Host(whole())) as downloader:
        with pytest.raises(DownloadError, match="Input/output error"):
            await downloader.fetch(video(), tmp_path / "a.mp4")
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("size", [1, 900, 100_000])
@pytest.mark.parametrize("last_frame", [False, True], ids=["video", "last frame"])
async def test_full_disk_is_reported_and_the_part_is_deleted(tmp_path, size, last_frame):
    """The error says that the disk is full, no part is left, and the old file is unchanged."""
    (tmp_path / ".a.mp4.part").symlink_to("/dev/full")
    (tmp_path / "a.mp4").write_bytes(b"old")
    found = attrs.evolve(video(), last_frame_url=URL)
    async with Downloader(transport=Host(whole(VIDEO[:1] * size, **ETAG))) as downloader:
        message = r"task cgt-1 .*cannot write .*a.mp4: No space left"
        with pytest.raises(DownloadError, match=message) as caught:
            await downloader.fetch(found, tmp_path / "a.mp4", last_frame=last_frame)
    assert ("its last frame" in str(caught.value)) == last_frame
    assert names_in(tmp_path) == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"old"


async def test_short_writes_are_continued(tmp_path, monkeypatch):
    """If a write takes only some of the bytes, the others are written after it."""
    opened = Path.open

    class ShortWrites(FileIO):
        def write(self, data):
            return super().write(data[:700])

    def open_short_writes(self, mode, *args, **more):
        return ShortWrites(self, mode) if mode == "wb" else opened(self, mode, *args, **more)

    monkeypatch.setattr(Path, "open", open_short_writes)
    async with Downloader(transport=Host(whole())) as downloader:
        await downloader.fetch(video(), tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO


async def test_validator_without_its_part_is_deleted(tmp_path):
    """A validator without its part is deleted, so that it is never used for another part."""
    (tmp_path / ".a.mp4.part.etag").write_text('"one"', "ascii")
    host = Host(whole())
    async with Downloader(transport=host) as downloader:
        await downloader.fetch(video(), tmp_path / "a.mp4")
    assert "range" not in host.seen[0].headers
    assert names_in(tmp_path) == ["a.mp4"]


async def test_part_that_cannot_be_deleted_does_not_hide_the_error(tmp_path):
    """The error is the one that ended the download, not that of the deletion."""

    class ReplacesPart(Host):
        async def handle_async_request(self, request):
            (tmp_path / ".a.mp4.part").unlink()
            (tmp_path / ".a.mp4.part").mkdir()
            return await super().handle_async_request(request)

    async with Downloader(transport=ReplacesPart(httpx.Response(400))) as downloader:
        with pytest.raises(DownloadError, match="HTTP 400"):
            await downloader.fetch(video(), tmp_path / "a.mp4")


async def test_host_that_never_waits_does_not_block_others(tmp_path):
    """While a body arrives without a pause, others run at least once per 8 MiB."""
    arrived, turns = 0, [0]

    class Ready(Body):
        async def __aiter__(self):
            nonlocal arrived
            for start in range(0, len(LONG), MIB // 2):
                arrived += MIB // 2
                yield LONG[start : start + MIB // 2]

    async def others() -> None:
        while True:
            turns.append(arrived)
            await anyio.lowlevel.checkpoint()

    host = Host(httpx.Response(200, headers={"content-type": "video/mp4"}, stream=Ready(LONG)))
    async with Downloader(transport=host) as downloader, anyio.create_task_group() as group:
        group.start_soon(others)
        await downloader.fetch(video(), tmp_path / "a.mp4")
        group.cancel_scope.cancel()
    gaps = [after - before for before, after in itertools.pairwise(turns)]
    assert max(gaps) <= 8 * MIB
    assert (tmp_path / "a.mp4").read_bytes() == LONG


async def test_cancelled_download_resumes_where_it_stopped(tmp_path):
    """Bytes that arrived before a cancellation are not requested again."""
    arrived = 8 * MIB
    host = Host(whole(LONG, cut_at=arrived, hang=True, piece=MIB, **ETAG), rest(arrived, LONG))
    async with Downloader(transport=host) as downloader:
        with anyio.CancelScope() as scope:
            await downloader.fetch(video(), tmp_path / "a.mp4", on_bytes=stop_at(scope, arrived))
        assert names_in(tmp_path) == [".a.mp4.part", ".a.mp4.part.etag"]
        await downloader.fetch(video(), tmp_path / "a.mp4")
    assert host.seen[1].headers["range"] == f"bytes={arrived}-"
    assert (tmp_path / "a.mp4").read_bytes() == LONG
    assert names_in(tmp_path) == ["a.mp4"]


async def test_cancelled_download_keeps_less_than_one_piece(tmp_path):
    """A cancellation keeps all bytes that have arrived, even if they are few."""
    silent = anyio.Event()

    class Silent(Body):
        async def __aiter__(self):
            yield VIDEO[:3500]
            silent.set()
            await anyio.sleep_forever()

    host = Host(httpx.Response(200, headers=ETAG, stream=Silent(VIDEO)), rest(3500))
    async with Downloader(transport=host) as downloader:
        async with anyio.create_task_group() as group:
            group.start_soon(downloader.fetch, video(), tmp_path / "a.mp4")
            await silent.wait()
            group.cancel_scope.cancel()
        await downloader.fetch(video(), tmp_path / "a.mp4")
    assert host.seen[1].headers["range"] == "bytes=3500-"
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO


async def test_pieces_are_written_in_order_while_others_arrive(tmp_path):
    """No byte is lost or out of order, and at most 12 MiB are held in memory at once."""
    arrived = 0

    class Counted(Body):
        async def __aiter__(self):
            nonlocal arrived
            async for piece in super().__aiter__():
                arrived += len(piece)
                yield piece
                await anyio.lowlevel.checkpoint()

    length = {"content-length": str(len(LONG)), "content-type": "video/mp4"}
    host = Host(httpx.Response(200, headers=length, stream=Counted(LONG, piece=MIB)))
    ahead: list[int] = []
    written = 0

    def on_bytes(count: int) -> None:
        nonlocal written
        ahead.append(arrived - written)  # bytes that were held before this write
        written += count

    async with Downloader(transport=host) as downloader:
        await downloader.fetch(video(), tmp_path / "a.mp4", on_bytes=on_bytes)
    assert (tmp_path / "a.mp4").read_bytes() == LONG
    assert written == len(LONG)
    assert max(ahead) <= 12 * MIB


async def test_listener_that_raises_ends_the_download(tmp_path):
    """An error of the caller's ``on_bytes`` is raised unchanged."""

    def on_bytes(_count: int) -> None:
        raise ZeroDivisionError

    async with Downloader(transport=Host(whole())) as downloader:
        with pytest.raises(ZeroDivisionError):
            await downloader.fetch(video(), tmp_path / "a.mp4", on_bytes=on_bytes)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
async def test_full_disk_is_reported_while_the_host_is_silent(tmp_path):
    """The error of the disk is raised at once, also while the host sends nothing."""
    (tmp_path / ".a.mp4.part").symlink_to("/dev/full")
    before = anyio.current_time()
    host = Host(whole(LONG, cut_at=8 * MIB, hang=True, piece=MIB))
    async with Downloader(transport=host) as downloader:
        with pytest.raises(DownloadError, match="No space left"):
            await downloader.fetch(video(), tmp_path / "a.mp4")
    assert anyio.current_time() - before < 1


async def test_part_without_a_validator_is_not_resumed(tmp_path):
    """A part without a validator, such as a killed process leaves, is downloaded again."""
    (tmp_path / ".a.mp4.part").write_bytes(b"something else")
    host = Host(whole())
    async with Downloader(transport=host) as downloader:
        await downloader.fetch(video(), tmp_path / "a.mp4")
    assert "range" not in host.seen[0].headers
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO


async def test_downloads_run_in_parallel_up_to_the_limit(tmp_path):
    """Never more than `parallel` requests are open at once."""
    running, most = 0, 0
    full = anyio.Event()

    class Counting(Host):
        async def handle_async_request(self, request):
            nonlocal running, most
            running += 1
            most = max(most, running)
            if running == 3:
                full.set()
            await full.wait()
            await anyio.lowlevel.checkpoint()
            running -= 1
            return whole()

    host = Counting(whole())
    async with (
        Downloader(parallel=3, transport=host) as downloader,
        anyio.create_task_group() as group,
    ):
        for number in range(10):
            group.start_soon(downloader.fetch, video(), tmp_path / f"{number}.mp4")
    assert most == 3
    assert len(names_in(tmp_path)) == 10


async def test_second_download_to_the_same_path_is_refused(tmp_path, monkeypatch):
    """During a download another one to the same path, relative or absolute, is refused."""
    monkeypatch.chdir(tmp_path)
    host = Host(whole(hang=True))
    async with Downloader(transport=host) as downloader, anyio.create_task_group() as group:
        group.start_soon(downloader.fetch, video(), tmp_path / "a.mp4")
        await anyio.sleep(1)
        for same in (tmp_path / "a.mp4", "a.mp4"):
            with pytest.raises(DownloadError, match="already"):
                await downloader.fetch(video(), same)
        group.cancel_scope.cancel()


@pytest.mark.parametrize("number", [{"parallel": 0}, {"attempts": 0}, {"timeout": 0}])
def test_setting_out_of_range_is_refused(number):
    """A downloader with settings that allow no download raises `ValueError`."""
    with pytest.raises(ValueError, match=next(iter(number))):
        Downloader(**number)


async def test_downloader_works_only_inside_its_block(tmp_path):
    """Outside of ``async with`` a download raises `ClosedError`."""
    with pytest.raises(ClosedError):
        await Downloader().fetch(video(), tmp_path / "a.mp4")


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_large_file_is_read_in_large_pieces(tmp_path, monkeypatch):
    """A real connection, also a reused one, is read in few large pieces, in order."""
    data = VIDEO * 400
    sizes: list[int] = []
    read = httpx.Response.aiter_raw

    async def recording(response: httpx.Response):
        async for piece in read(response):
            sizes.append(len(piece))
            yield piece

    monkeypatch.setattr(httpx.Response, "aiter_raw", recording)
    async with listening(answering(answer(data))) as received, Downloader() as downloader:
        for _ in range(2):
            path = await downloader.fetch(f"{received.origin}/a", tmp_path / "a.mp4")
            assert path.read_bytes() == data
    assert received.connections == 1
    assert sum(sizes) == 2 * len(data)
    assert max(sizes) > 128 * 1024


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_download_function_needs_no_downloader(tmp_path):
    """`download` saves one file, and also takes a plain URL."""
    async with listening(answering(answer(VIDEO))) as received:
        path = await download(f"{received.origin}/a.mp4", tmp_path / "a.mp4")
    assert path.read_bytes() == VIDEO


@pytest.mark.parametrize("how", ["frozen", "keyword", "gone"])
async def test_stream_that_a_library_has_changed_is_still_read(tmp_path, how):
    """If a library has changed so that reads cannot be made larger, they keep their size."""
    asked: list[object] = []

    class Stream:
        __slots__ = () if how == "frozen" else ("__dict__",)

        async def read(self, *sizes: int, amount: int = 0) -> bytes:
            asked.append(sizes or amount)
            return VIDEO

    class Reading(Body):
        async def __aiter__(self):
            read = getattr(stream, "read", None)
            if how == "gone":
                assert read is None
                yield VIDEO
            else:
                yield await (read(64) if how == "frozen" else read(amount=64))

    stream = object() if how == "gone" else Stream()
    host = Host(
        httpx.Response(
            200,
            headers={"content-type": "video/mp4"},
            stream=Reading(VIDEO),
            extensions={"network_stream": stream},
        )
    )
    async with Downloader(transport=host) as downloader:
        await downloader.fetch(video(), tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    assert asked == {"frozen": [(64,)], "keyword": [64], "gone": []}[how]
