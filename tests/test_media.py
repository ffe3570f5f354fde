"""How local pictures and clips are checked before sending, and how they are sent."""

from __future__ import annotations

import base64
import itertools
import json
import os
import sys
import threading
from pathlib import Path

import anyio.to_thread
import httpx
import pytest

from callsheet import AudioRef, ConfigurationError, Image, SpecError, TaskSpec, VideoRef
from emulation import Script, client
from pictures import boxes, clip, picture, with_alpha


PNG = picture()
PNG_URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
AWAY = "https://cdn.test/a.png"
FOR_ALL = "doubao-seedance-2-0-260128"
"""A model that accepts pictures and clips as references."""


@pytest.fixture
def png(tmp_path):
    """A picture on disk."""
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    return path


def accepting_provider():
    """A provider that accepts every create."""
    numbers = itertools.count()
    return Script(lambda: httpx.Response(200, json={"id": f"cgt-{next(numbers)}"}))


async def sent(spec):
    """The URLs of all media in a create, in order."""
    script = accepting_provider()
    async with client(script) as c:
        await c.tasks.create(spec)
    parts = json.loads(script.seen[0].content)["content"]
    return [part[part["type"]]["url"] for part in parts if part["type"] != "text"]


async def refused(spec, *, checked=True):
    """The error of a spec that is refused before sending, also without an earlier check."""
    script = accepting_provider()
    async with client(script) as c:
        with pytest.raises(SpecError) as caught:
            await (c.submit if checked else c.tasks.create)(spec)
    assert not script.seen
    return caught.value


FORMATS = [
    ("jpeg", {}),
    ("jpeg", {"progressive": True}),
    ("png", {}),
    ("webp", {}),
    ("webp", {"lossless": True}),
    ("bmp", {}),
    ("tiff", {}),
    ("tiff", {"big_tiff": True}),
    ("gif", {}),
]


@pytest.mark.parametrize(("name", "options"), FORMATS)
async def test_format_and_size_of_pictures_are_detected(name, options):
    """Every accepted format is detected from the content and not from a file name."""
    content = picture(name.upper(), **options)
    (url,) = await sent(TaskSpec("a", first_frame=content))
    assert url == f"data:image/{name};base64,{base64.b64encode(content).decode()}"
    small = picture(name.upper(), size=(200, 120), **options)
    assert "has 200x120" in str(await refused(TaskSpec("a", first_frame=small)))


async def test_extended_webp_is_a_webp():
    """A webp picture with alpha is detected, although it has another kind of chunk."""
    (url,) = await sent(TaskSpec("a", first_frame=with_alpha((640, 360))))
    assert url.startswith("data:image/webp;")
    assert "has 200x120" in str(await refused(TaskSpec("a", first_frame=with_alpha((200, 120)))))


@pytest.mark.parametrize(("brand", "name"), [(b"heic", "heic"), (b"mif1", "heif")])
async def test_heic_and_heif_are_distinguished(brand, name):
    """Heic and heif have the same container and differ in their brand."""
    (url,) = await sent(TaskSpec("a", first_frame=boxes(brand)))
    assert url.startswith(f"data:image/{name};")
    assert "has 64x48" in str(await refused(TaskSpec("a", first_frame=boxes(brand, 64, 48))))


async def test_avif_is_refused():
    """It has the same container as heic, and the error gives its name and size."""
    error = str(await refused(TaskSpec("a", first_frame=boxes(b"avif", 64, 48))))
    assert "this is 'avif'" in error
    assert "has 64x48" in error


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (clip(), "wav"),
        (b"ID3\x04" + bytes(20), "mp3"),
        (b"\xff\xfb\x90\x64" + bytes(20), "mp3"),
        (b"\xff\xf3\x40\xc0" + bytes(20), "mp3"),
    ],
)
async def test_format_of_clips_is_detected(content, name):
    """Wav and mp3 are detected from the content."""
    (url,) = await sent(TaskSpec("a", references=[AudioRef(content)]))
    assert url == f"data:audio/{name};base64,{base64.b64encode(content).decode()}"


async def test_a_clip_that_is_too_large_is_refused():
    """The error gives its size."""
    large = b"ID3\x04" + bytes(16 * 1024 * 1024)
    spec = TaskSpec("a", references=[AudioRef(large), Image(AWAY)])
    assert "at most 15.0 MB; this audio has 16.0 MB" in str(await refused(spec))


async def test_a_medium_of_the_wrong_kind_is_refused():
    """The error of a clip as a picture, or a picture as a clip, gives its format."""
    assert "this is 'wav'" in str(await refused(TaskSpec("a", first_frame=clip())))
    sound = TaskSpec("a", references=[AudioRef(picture()), Image(AWAY)])
    assert "this is 'png'" in str(await refused(sound))


async def test_a_file_is_read_like_bytes(png):
    """A path and its content are sent as the same URL, with the format in lower case."""
    assert await sent(TaskSpec("a", first_frame=png)) == [PNG_URL]
    assert await sent(TaskSpec("a", first_frame=PNG)) == [PNG_URL]


async def test_only_the_header_of_a_large_file_is_read(tmp_path):
    """A file of many gigabytes is checked quickly, and the error gives its size."""
    path = tmp_path / "large.png"
    path.write_bytes(picture())
    os.truncate(path, 2**36)
    error = await refused(TaskSpec("a", first_frame=path))
    assert {problem.field for problem in error.problems} == {"first_frame"}
    assert "this image has 65536.0 MB" in str(error)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("missing.png", "no such file"),
        (".", "a directory"),
        (os.devnull, "no regular file"),
        ("a\0.png", "no valid path"),
        ("x" * 5000, "too long"),
        (b"", "empty"),
        (b"hello", "begins like none"),
        (b"<svg width='640' height='360'/>", "begins like none"),
        (b"\x89PNG\r\n\x1a\n", "broken or cut off"),
        (picture()[:20], "broken or cut off"),
        (picture("JPEG")[:30], "broken or cut off"),
        (picture("GIF", size=(1, 1)).replace(b"\1\0\1\0", bytes(4), 1), "broken or cut off"),
    ],
)
async def test_an_unreadable_medium_is_a_problem_with_a_reason(source, told):
    """The reason is the only problem of the spec."""
    (problem,) = (await refused(TaskSpec("a", first_frame=source))).problems
    assert problem.field == "first_frame"
    assert told in problem.allowed


async def test_a_file_without_permission_is_a_problem(png, monkeypatch):
    """The error has the reason of the operating system."""

    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert "permission denied" in str(await refused(TaskSpec("a", first_frame=png)))


async def test_pictures_need_imagesize(png, monkeypatch):
    """Without the extra, a local picture raises how to install it; clips still work."""
    monkeypatch.setitem(sys.modules, "imagesize", None)
    script = accepting_provider()
    async with client(script) as c:
        for send in (c.submit, c.tasks.create):
            with pytest.raises(ConfigurationError, match=r'pip install "callsheet\[media\]"'):
                await send(TaskSpec("a", first_frame=png))
    assert not script.seen
    (url,) = await sent(TaskSpec("a", references=[AudioRef(clip())]))
    assert url.startswith("data:audio/wav;base64,UklGR")


async def test_a_url_is_sent_unchanged():
    """Nothing is read for a medium that is given by its URL."""
    assert await sent(TaskSpec("a", first_frame=AWAY)) == [AWAY]


@pytest.mark.parametrize("checked", [True, False])
async def test_a_video_is_never_read(tmp_path, checked):
    """A local video cannot be sent, so it is refused without being read."""
    path = tmp_path / "a.mp4"
    path.write_bytes(b"\0\0\0\x20ftypisom")
    for source in (path, b"ftyp"):
        spec = TaskSpec("a", references=[VideoRef(source)])
        assert "where it can be fetched" in str(await refused(spec, checked=checked))


async def test_a_deleted_file_is_named(png):
    """The error has the field, the path and the reason."""
    png.unlink()
    (row,) = (await refused(TaskSpec("a", first_frame=png), checked=False)).problems
    assert row.field == "first_frame"
    assert "Path(" not in row.value
    assert "no such file" in row.allowed


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"junk", "begins like none"), (b"", "empty"), (picture(size=(9, 9)), "300 to 6000")],
)
async def test_a_file_that_changed_is_named(png, content, told):
    """The file is checked again when it is read, because it may change after the preflight."""
    script = accepting_provider()
    async with client(script) as c:
        batch = await c.submit_many([TaskSpec("a", first_frame=png)])
        png.write_bytes(content)
        outcome = await batch[0].outcome()
    assert isinstance(outcome.error, SpecError)
    assert told in str(outcome.error)
    assert not script.seen


async def test_a_file_that_grew_is_not_read_whole(png):
    """No more bytes are read than the largest allowed picture has."""
    os.truncate(png, 2**36)
    error = await refused(TaskSpec("a", first_frame=png), checked=False)
    assert "at most 30.0 MB" in str(error)


def record_opened_files(monkeypatch):
    """The files that are opened from now on, each with its thread."""
    seen = []
    opens = Path.open

    def noting(path, *args, **options):
        seen.append((path, threading.get_ident()))
        return opens(path, *args, **options)

    monkeypatch.setattr(Path, "open", noting)
    return seen


async def test_each_medium_is_checked_once(png, monkeypatch):
    """A picture of several specs is read once for the check, and once for each create."""
    same, other = Image(png), Image(str(png))
    specs = [
        TaskSpec("a", first_frame=same, last_frame=other),
        TaskSpec("b", model=FOR_ALL, references=[same, Image(AWAY), AudioRef(clip())]),
    ]
    seen = record_opened_files(monkeypatch)
    script = accepting_provider()
    async with client(script) as c:
        with pytest.raises(SpecError) as caught:
            await c.submit_many([*specs, TaskSpec("c", references=[7, Image(("odd",))])])
        assert {problem.index for problem in caught.value.problems} == {2}
        assert len(seen) == 1
        batch = await c.submit_many(specs)
        assert len(seen) == 2
        await batch.submitted()
    assert len(seen) == 4


async def test_files_are_read_in_worker_threads_only(png, monkeypatch):
    """Files are checked and read outside the thread of the event loop."""
    seen = record_opened_files(monkeypatch)
    async with client(accepting_provider()) as c:
        await c.submit(TaskSpec(first_frame=png))
    assert len(seen) == 2
    assert threading.get_ident() not in {thread for _, thread in seen}


async def test_without_local_media_no_thread_starts(monkeypatch):
    """Specs of text and URLs need no worker thread."""
    monkeypatch.setattr(anyio.to_thread, "run_sync", None)
    async with client(accepting_provider()) as c:
        await c.submit(TaskSpec("a", first_frame=AWAY))
        await c.submit(TaskSpec("b"))


async def test_every_local_medium_is_sent_in_its_place(png):
    """Paths and bytes are read, and URLs stay unchanged."""
    sound = AudioRef(clip())
    spec = TaskSpec("a", references=[Image(png), Image(AWAY), sound, Image(str(png))])
    wav = f"data:audio/wav;base64,{base64.b64encode(clip()).decode()}"
    assert await sent(spec) == [PNG_URL, AWAY, wav, PNG_URL]


async def test_all_deleted_files_are_named(png, tmp_path):
    """One error has a problem for each file, with its position."""
    gone = [Image(tmp_path / "1.png"), Image(tmp_path / "2.png")]
    spec = TaskSpec("a", references=[gone[0], Image(png), gone[1]])
    error = await refused(spec, checked=False)
    assert [row.field for row in error.problems] == ["references[0]", "references[2]"]
