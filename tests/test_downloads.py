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
"""Bytes of several pieces: of 4 MiB each are those that are written at once."""


def stop_at(scope: anyio.CancelScope, size: int):
    """A listener that cancels *scope* once *size* bytes have arrived."""
    arrived = 0

    def listen(count: int) -> None:
        nonlocal arrived
        arrived += count
        if arrived >= size:
            scope.cancel()

    return listen


async def test_file_arrives_whole_and_alone(tmp_path):
    """A download leaves exactly the file, with every byte."""
    host = Host(whole())
    async with Downloader(transport=host) as downloader:
        path = await downloader.fetch(video(), tmp_path / "a.mp4")
    assert path.read_bytes() == VIDEO
    assert names_in(tmp_path) == ["a.mp4"]


async def test_storage_host_is_sent_no_key(tmp_path):
    """Neither a key nor a cookie goes to the storage host, and no re-encoded body is asked for."""
    host = Host(whole())
    async with Downloader(transport=host) as downloader:
        await downloader.fetch(video(), tmp_path / "a.mp4")
    headers = host.seen[0].headers
    assert "authorization" not in headers
    assert "cookie" not in headers
    assert headers["accept-encoding"] == "identity"


async def test_cut_connection_is_resumed_where_it_broke(tmp_path):
    """After a cut only the missing bytes are asked for, if the file is still the same."""
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


async def test_changed_file_is_begun_again(tmp_path):
    """A 200 to a range request replaces what has arrived."""
    other = VIDEO[::-1]
    host = Host(whole(cut_at=3500, **ETAG), whole(other))
    async with Downloader(transport=host) as downloader:
        await downloader.fetch(video(), tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == other


@pytest.mark.parametrize("strange", [lambda: rest(2000), lambda: httpx.Response(416)])
async def test_range_that_was_not_asked_for_is_thrown_away(tmp_path, strange):
    """An answer with other bytes than the missing ones starts the file afresh."""
    host = Host(whole(cut_at=3500, **ETAG), strange, whole())
    async with Downloader(transport=host) as downloader:
        await downloader.fetch(video(), tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    assert "range" not in host.seen[2].headers


async def test_file_that_cannot_be_vouched_for_is_not_resumed(tmp_path):
    """Without a strong validator a second request asks for everything."""
    host = Host(whole(cut_at=3500, etag='W/"weak"'), whole())
    async with Downloader(transport=host) as downloader:
        await downloader.fetch(video(), tmp_path / "a.mp4")
    assert "range" not in host.seen[1].headers
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO


async def test_short_body_is_a_cut(tmp_path):
    """A body that ends cleanly before its length is not taken for the file."""
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
async def test_passing_trouble_is_waited_out(tmp_path, trouble, request):
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
async def test_raw_error_of_the_network_is_a_cut_and_no_fault_of_the_disk(tmp_path, error):
    """Damaged TLS records end no download and throw nothing away of what has arrived."""

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


async def test_lasting_trouble_ends_after_the_attempts(tmp_path):
    """Requests that bring nothing end in an error that names the task and the last reason."""
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
async def test_what_is_no_video_is_refused(tmp_path, answer):
    """Pages, empty bodies, redirect loops and refusals leave no file."""
    async with Downloader(transport=Host(answer)) as downloader:
        with pytest.raises(DownloadError):
            await downloader.fetch(video(), tmp_path / "a.mp4")
    assert names_in(tmp_path) == []


async def test_word_that_is_no_url_is_refused(tmp_path):
    """A URL of an unknown kind is an error of ours."""
    async with Downloader() as downloader:
        with pytest.raises(DownloadError, match="not a URL"):
            await downloader.fetch("one.mp4", tmp_path / "a.mp4")


NOWHERE = [
    "http://xn--/x", "http://xn--zzzzzzzz/x", "http://a..b/x", f"http://{'a' * 64}/x",
    "http://storage.test:99999/x", "http://storage.test:-1/x", f"http://a.test/{'a' * 70_000}",
    "https:///x", "//storage.test/x", "http://[::1", "http://",
]  # fmt: skip


@pytest.mark.parametrize("url", [*NOWHERE, "http://storage.test/\udcff", "http://\udcff@a.test/x"])
async def test_url_to_nowhere_is_refused(tmp_path, url):
    """Whatever the library or a socket says of a URL, nothing but our error leaves the download."""
    async with Downloader(attempts=1) as downloader:
        with pytest.raises(DownloadError, match="not a URL"):
            await downloader.fetch(url, tmp_path / "a.mp4")
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("place", NOWHERE[:7])
async def test_redirect_to_nowhere_is_refused(tmp_path, place):
    """A place that no connection can be made to is no better for coming from a host."""
    host = Host(httpx.Response(302, headers={"location": place}))
    async with Downloader(attempts=1, transport=host) as downloader:
        with pytest.raises(DownloadError):
            await downloader.fetch(video(), tmp_path / "a.mp4")
    assert len(host.seen) == 1
    assert names_in(tmp_path) == []


async def test_url_that_cannot_be_taken_apart_is_not_shown(tmp_path):
    """The error about a strange URL that a host answers all the same shows nothing of it."""
    async with Downloader(transport=Host(httpx.Response(403))) as downloader:
        with pytest.raises(DownloadError, match="the URL answered HTTP 403") as caught:
            await downloader.fetch("http://a]b/?sesame", tmp_path / "a.mp4")
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("name", ["missing/a.mp4", "n" * 300, "folder"])
async def test_place_that_cannot_be_written_is_named(tmp_path, name):
    """A missing folder, a name that is too long and a folder in the way are named by path."""
    (tmp_path / "folder").mkdir()
    host = Host(whole())
    async with Downloader(transport=host) as downloader:
        with pytest.raises(DownloadError, match="cannot write .*" + name[-20:]):
            await downloader.fetch(video(), tmp_path / name)
    assert host.seen == []


def synced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is brought safely to disk from now on, and the names in *folder* at that moment."""
    steps: list[object] = []

    def fsync(descriptor: int) -> None:
        found = os.fstat(descriptor)
        steps.append((None if stat.S_ISDIR(found.st_mode) else found.st_size, *names_in(folder)))

    monkeypatch.setattr(os, "fsync", fsync)
    return steps


async def test_file_is_whole_under_its_name_also_after_a_power_cut(tmp_path, monkeypatch):
    """Its bytes are safe before it is renamed, and its name before the download is over."""
    steps = synced(tmp_path, monkeypatch)
    async with Downloader(transport=Host(whole())) as downloader:
        await downloader.fetch(video(), tmp_path / "a.mp4")
    assert steps == [(len(VIDEO), ".a.mp4.part"), (None, "a.mp4")]


async def test_mark_never_vouches_for_bytes_that_a_power_cut_takes(tmp_path, monkeypatch):
    """A part is safe before its mark is written, and the mark is gone before the part grows."""
    steps = synced(tmp_path, monkeypatch)
    host = Host(whole(cut_at=3000, hang=True, **ETAG), rest(3000))
    async with Downloader(transport=host) as downloader:
        with anyio.move_on_after(5):
            await downloader.fetch(video(), tmp_path / "a.mp4")
        assert steps == [(3000, ".a.mp4.part")]
        await downloader.fetch(video(), tmp_path / "a.mp4")
    assert steps[1] == (None, ".a.mp4.part")
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO


async def test_disk_that_loses_a_file_at_the_end_is_named(tmp_path, monkeypatch):
    """What the disk says only when it is asked to keep a file ends the download, too."""

    def broken(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    async with Downloader(transport=Host(whole())) as downloader:
        with pytest.raises(DownloadError, match="Input/output error"):
            await downloader.fetch(video(), tmp_path / "a.mp4")
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("size", [1, 900, 100_000])
@pytest.mark.parametrize("last_frame", [False, True], ids=["video", "last frame"])
async def test_full_disk_is_named_and_given_its_room_back(tmp_path, size, last_frame):
    """A full disk ends a download with its reason, leaves no part and changes no file."""
    (tmp_path / ".a.mp4.part").symlink_to("/dev/full")
    (tmp_path / "a.mp4").write_bytes(b"old")
    found = attrs.evolve(video(), last_frame_url=URL)
    async with Downloader(transport=Host(whole(VIDEO[:1] * size, **ETAG))) as downloader:
        words = r"task cgt-1 .*cannot write .*a.mp4: No space left"
        with pytest.raises(DownloadError, match=words) as caught:
            await downloader.fetch(found, tmp_path / "a.mp4", last_frame=last_frame)
    assert ("its last frame" in str(caught.value)) == last_frame
    assert names_in(tmp_path) == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"old"


async def test_disk_that_takes_a_little_takes_all_in_the_end(tmp_path, monkeypatch):
    """A write that takes less than it was given is gone on with."""
    opened = Path.open

    class Reluctant(FileIO):
        def write(self, data):
            return super().write(data[:700])

    def reluctant(self, mode, *args, **more):
        return Reluctant(self, mode) if mode == "wb" else opened(self, mode, *args, **more)

    monkeypatch.setattr(Path, "open", reluctant)
    async with Downloader(transport=Host(whole())) as downloader:
        await downloader.fetch(video(), tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO


async def test_mark_without_its_part_vouches_for_nothing(tmp_path):
    """A mark whose part was removed is thrown away, so that it never stands beside another part."""
    (tmp_path / ".a.mp4.part.etag").write_text('"one"', "ascii")
    host = Host(whole())
    async with Downloader(transport=host) as downloader:
        await downloader.fetch(video(), tmp_path / "a.mp4")
    assert "range" not in host.seen[0].headers
    assert names_in(tmp_path) == ["a.mp4"]


async def test_part_that_cannot_be_removed_hides_no_reason(tmp_path):
    """If even the part cannot be removed, the error is still the one that ended the download."""

    class Locking(Host):
        async def handle_async_request(self, request):
            (tmp_path / ".a.mp4.part").unlink()
            (tmp_path / ".a.mp4.part").mkdir()
            return await super().handle_async_request(request)

    async with Downloader(transport=Locking(httpx.Response(400))) as downloader:
        with pytest.raises(DownloadError, match="HTTP 400"):
            await downloader.fetch(video(), tmp_path / "a.mp4")


async def test_host_that_is_always_ready_leaves_turns_to_others(tmp_path):
    """A body that never waits lets others run at least once in 8 MiB."""
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


async def test_cancelled_download_goes_on_where_it_stopped(tmp_path):
    """What had arrived before a cancellation is not fetched again."""
    there = 8 * MIB
    host = Host(whole(LONG, cut_at=there, hang=True, piece=MIB, **ETAG), rest(there, LONG))
    async with Downloader(transport=host) as downloader:
        with anyio.CancelScope() as scope:
            await downloader.fetch(video(), tmp_path / "a.mp4", on_bytes=stop_at(scope, there))
        assert names_in(tmp_path) == [".a.mp4.part", ".a.mp4.part.etag"]
        await downloader.fetch(video(), tmp_path / "a.mp4")
    assert host.seen[1].headers["range"] == f"bytes={there}-"
    assert (tmp_path / "a.mp4").read_bytes() == LONG
    assert names_in(tmp_path) == ["a.mp4"]


async def test_cancelled_download_keeps_what_is_less_than_a_piece(tmp_path):
    """A cancellation loses nothing that has arrived, however little it is."""
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


async def test_pieces_reach_the_disk_in_order_while_others_arrive(tmp_path):
    """However slow the disk is, bytes are neither lost nor exchanged, and few are held at once."""
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
        ahead.append(arrived - written)  # all that was held until this was written
        written += count

    async with Downloader(transport=host) as downloader:
        await downloader.fetch(video(), tmp_path / "a.mp4", on_bytes=on_bytes)
    assert (tmp_path / "a.mp4").read_bytes() == LONG
    assert written == len(LONG)
    assert max(ahead) <= 12 * MIB


async def test_listener_that_raises_ends_the_download(tmp_path):
    """An error of the caller's own listener arrives as it is."""

    def on_bytes(_count: int) -> None:
        raise ZeroDivisionError

    async with Downloader(transport=Host(whole())) as downloader:
        with pytest.raises(ZeroDivisionError):
            await downloader.fetch(video(), tmp_path / "a.mp4", on_bytes=on_bytes)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
async def test_disk_that_fills_does_not_wait_for_a_silent_host(tmp_path):
    """What the disk says is said at once, whatever the host does."""
    (tmp_path / ".a.mp4.part").symlink_to("/dev/full")
    before = anyio.current_time()
    host = Host(whole(LONG, cut_at=8 * MIB, hang=True, piece=MIB))
    async with Downloader(transport=host) as downloader:
        with pytest.raises(DownloadError, match="No space left"):
            await downloader.fetch(video(), tmp_path / "a.mp4")
    assert anyio.current_time() - before < 1


async def test_part_of_unknown_origin_is_not_trusted(tmp_path):
    """A part without its mark, as a killed process leaves it, is begun again."""
    (tmp_path / ".a.mp4.part").write_bytes(b"something else")
    host = Host(whole())
    async with Downloader(transport=host) as downloader:
        await downloader.fetch(video(), tmp_path / "a.mp4")
    assert "range" not in host.seen[0].headers
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO


async def test_downloads_run_side_by_side_up_to_the_limit(tmp_path):
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


async def test_one_place_is_written_by_one_download(tmp_path, monkeypatch):
    """A second download to the same path, however it is spelt, is refused meanwhile."""
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
def test_number_out_of_range_is_refused(number):
    """A downloader that could bring nothing is not made."""
    with pytest.raises(ValueError, match=next(iter(number))):
        Downloader(**number)


async def test_downloader_is_used_inside_its_block(tmp_path):
    """Outside of ``async with`` nothing is fetched."""
    with pytest.raises(ClosedError):
        await Downloader().fetch(video(), tmp_path / "a.mp4")


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_large_file_comes_in_large_reads(tmp_path, monkeypatch):
    """Over a real connection, also one that is used again, a file comes in few pieces, in order."""
    film = VIDEO * 400
    sizes: list[int] = []
    read = httpx.Response.aiter_raw

    async def noting(response: httpx.Response):
        async for piece in read(response):
            sizes.append(len(piece))
            yield piece

    monkeypatch.setattr(httpx.Response, "aiter_raw", noting)
    async with listening(answering(answer(film))) as received, Downloader() as downloader:
        for _ in range(2):
            path = await downloader.fetch(f"{received.origin}/a", tmp_path / "a.mp4")
            assert path.read_bytes() == film
    assert received.connections == 1
    assert sum(sizes) == 2 * len(film)
    assert max(sizes) > 128 * 1024


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_one_file_needs_no_downloader_of_its_own(tmp_path):
    """`download` brings one file, from a plain URL, too."""
    async with listening(answering(answer(VIDEO))) as received:
        path = await download(f"{received.origin}/a.mp4", tmp_path / "a.mp4")
    assert path.read_bytes() == VIDEO


@pytest.mark.parametrize("how", ["frozen", "keyword", "gone"])
async def test_stream_that_is_not_what_it_was_is_read_as_it_is(tmp_path, how):
    """If reads cannot be made larger, as a library may change, they stay as they are."""
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
