"""Reading local pictures and clips."""

from __future__ import annotations

import base64
import io
import os
import struct
import sys
import threading
import wave
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from callsheet._io.media import data_url, data_urls, inspect, inspect_all
from callsheet._models.media import AudioRef, Image, MediaFacts, VideoRef
from callsheet._models.spec import TaskSpec
from callsheet.errors import ConfigurationError, SpecError


def picture(name="PNG", size=(640, 360), **options):
    """The content of a picture."""
    file = io.BytesIO()
    Pillow.new("RGB", size, (20, 90, 200)).save(file, name, **options)
    return file.getvalue()


def clip(seconds=0.1):
    """The content of a wav file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(int(seconds * 16_000)))
    return file.getvalue()


def boxes(brand):
    """The content of a picture in ISO boxes, as phones write it: 640 x 480, no pixels."""

    def box(kind, *parts):
        body = b"".join(parts)
        return struct.pack(">I", len(body) + 8) + kind + body

    sides = box(b"ispe", bytes(4), struct.pack(">II", 640, 480))
    item = box(b"infe", b"\2\0\0\0", struct.pack(">HH", 1, 0), b"hvc1", b"\0")
    tied = box(b"ipma", bytes(4), struct.pack(">IHBB", 1, 1, 1, 1))
    meta = box(
        b"meta",
        bytes(4),
        box(b"pitm", bytes(4), struct.pack(">H", 1)),
        box(b"iinf", bytes(4), struct.pack(">H", 1), item),
        box(b"iprp", box(b"ipco", sides), tied),
    )
    return box(b"ftyp", brand, bytes(4), brand) + meta


PNG = picture()
PNG_FACTS = MediaFacts(format="png", size=len(PNG), width=640, height=360)
PNG_URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


@pytest.fixture
def png(tmp_path):
    """A picture on disk."""
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("jpeg", {}),
        ("jpeg", {"progressive": True}),
        ("png", {}),
        ("webp", {}),
        ("webp", {"lossless": True}),
        ("bmp", {}),
        ("tiff", {}),
        ("tiff", {"big_tiff": True}),
        ("gif", {}),
    ],
)
def test_pictures_tell_format_size_and_sides(name, options):
    """Every format the provider takes is told from its content, not from a name."""
    content = picture(name.upper(), **options)
    facts = MediaFacts(format=name, size=len(content), width=640, height=360)
    assert inspect(Image(content)) == facts


def test_extended_webp_is_a_webp():
    """A picture with alpha stands in another kind of chunk."""
    file = io.BytesIO()
    Pillow.new("RGBA", (640, 360), (1, 2, 3, 4)).save(file, "WEBP")
    assert file.getvalue()[12:16] == b"VP8X"
    facts = inspect(Image(file.getvalue()))
    assert (facts.format, facts.width, facts.height) == ("webp", 640, 360)


@pytest.mark.parametrize(
    ("brand", "name"), [(b"heic", "heic"), (b"mif1", "heif"), (b"avif", "avif")]
)
def test_pictures_of_phones_are_told_apart(brand, name):
    """Heic, heif and avif share a container and differ in their brand."""
    facts = inspect(Image(boxes(brand)))
    assert (facts.format, facts.width, facts.height) == (name, 640, 480)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (clip(), "wav"),
        (b"ID3\x04" + bytes(20), "mp3"),
        (b"\xff\xfb\x90\x64" + bytes(20), "mp3"),
        (b"\xff\xf3\x40\xc0" + bytes(20), "mp3"),
    ],
)
def test_clips_tell_format_and_size(content, name):
    """Sound has no sides."""
    assert inspect(AudioRef(content)) == MediaFacts(format=name, size=len(content))


def test_a_medium_of_another_kind_tells_what_it_is():
    """A clip in the place of a picture is left for the preflight to refuse by its format."""
    assert inspect(Image(clip())).format == "wav"
    assert inspect(AudioRef(picture())).format == "png"


def test_a_file_is_read_like_bytes(png):
    """A path and its content tell the same."""
    assert inspect(Image(png)) == inspect(Image(PNG)) == PNG_FACTS


def test_only_the_header_of_a_large_file_is_read(tmp_path):
    """A file of many gigabytes is looked at in no time, and its size told."""
    path = tmp_path / "large.png"
    path.write_bytes(picture())
    os.truncate(path, 2**36)
    assert inspect(Image(path)) == MediaFacts(format="png", size=2**36, width=640, height=360)


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
        ("https://cdn.test/a.png", "a file or bytes"),
    ],
)
def test_what_cannot_be_read_is_told_in_words(source, told):
    """The reason comes back as text, never as an exception."""
    assert told in inspect(Image(source))


def test_a_file_without_permission_is_told(tmp_path, monkeypatch):
    """What the system refuses is told in its words."""

    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "a.png"
    path.write_bytes(picture())
    monkeypatch.setattr(Path, "open", refuse)
    assert "permission denied" in inspect(Image(path))


@given(st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", None]), st.data())
def test_broken_pictures_never_raise(name, data):
    """Whatever a file holds, there are facts or words."""
    content = bytearray(picture(name, size=(9, 7)) if name else boxes(b"heic"))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    found = inspect(Image(content[: data.draw(st.integers(0, len(content)))]))
    assert isinstance(found, (MediaFacts, str))


def test_pictures_need_imagesize(png, monkeypatch):
    """Without the extra a local picture says what to install, and clips are read all the same."""
    monkeypatch.setitem(sys.modules, "imagesize", None)
    with pytest.raises(ConfigurationError, match=r'pip install "callsheet\[media\]"'):
        inspect(Image(png))
    assert inspect(AudioRef(clip())).format == "wav"


def test_content_travels_as_a_data_url(png):
    """The URL names the format in lower case and holds the content."""
    assert data_url(Image(png)) == data_url(Image(PNG)) == PNG_URL
    assert data_url(AudioRef(clip())).startswith("data:audio/wav;base64,UklGR")


def test_a_url_is_sent_as_it_is():
    """Nothing is read for a medium that is somewhere else."""
    assert data_url(Image("https://cdn.test/a.png")) == "https://cdn.test/a.png"


def test_a_video_is_never_read(tmp_path):
    """A local video has no form to be sent in, so it is named."""
    path = tmp_path / "a.mp4"
    path.write_bytes(b"\0\0\0\x20ftypisom")
    for source in (path, b"ftyp"):
        with pytest.raises(SpecError, match="where it can be fetched"):
            data_url(VideoRef(source))


def test_a_file_that_vanished_is_named(png):
    """The error tells the field, the path and the reason."""
    png.unlink()
    with pytest.raises(SpecError) as caught:
        data_url(Image(png), "first_frame")
    (row,) = caught.value.problems
    assert row.field == "first_frame"
    assert "Path(" not in row.value
    assert "no such file" in row.allowed


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"junk", "begins like none"), (b"", "empty"), (picture(size=(9, 9)), "300 to 6000")],
)
def test_a_file_that_changed_is_named(png, content, told):
    """What is read is what is checked: a file may change after the preflight."""
    png.write_bytes(content)
    with pytest.raises(SpecError, match=told):
        data_url(Image(png))


def test_a_file_that_grew_is_not_read_whole(png):
    """No more than the largest picture is brought into memory."""
    os.truncate(png, 2**36)
    with pytest.raises(SpecError, match=r"at most 30\.0 MB"):
        data_url(Image(png))


async def test_each_medium_is_looked_at_once(png):
    """A picture that many specs share is one entry, and URLs are none."""
    same, other = Image(png), Image(str(png))
    specs = [
        TaskSpec("a", first_frame=same, last_frame=other),
        TaskSpec("b", references=[same, Image("https://cdn.test/a.png"), AudioRef(clip())]),
        TaskSpec("c", references=[7, Image(["odd"])]),
        "no spec",
    ]
    found = await inspect_all(specs)
    assert list(found) == [same, AudioRef(clip())]
    assert found[same] == PNG_FACTS


async def test_disk_is_touched_in_worker_threads_only(png, monkeypatch):
    """Neither looking nor reading happens in the thread of the event loop."""
    seen = set()
    opened = Path.open

    def noting(path, *args, **options):
        seen.add(threading.get_ident())
        return opened(path, *args, **options)

    monkeypatch.setattr(Path, "open", noting)
    spec = TaskSpec(first_frame=png)
    await inspect_all([spec])
    await data_urls(spec)
    assert seen
    assert threading.get_ident() not in seen


async def test_without_local_media_no_thread_starts(monkeypatch):
    """Specs of text and URLs cost nothing."""
    monkeypatch.setattr("anyio.to_thread.run_sync", None)
    spec = TaskSpec("a", first_frame="https://cdn.test/a.png")
    assert await inspect_all([spec, TaskSpec("b")]) == {}
    assert await data_urls(spec) == {}


async def test_missing_extra_arrives_bare(png, monkeypatch):
    """The error about imagesize is the caller's to catch, not a member of a group."""
    monkeypatch.setitem(sys.modules, "imagesize", None)
    with pytest.raises(ConfigurationError):
        await inspect_all([TaskSpec(first_frame=png)])


async def test_every_local_medium_becomes_a_url_once(png):
    """Paths and bytes are read, each once; media elsewhere are left out."""
    first, sound = Image(png), AudioRef(clip())
    away = Image("https://cdn.test/a.png")
    spec = TaskSpec("a", references=[first, away, sound, Image(str(png))])
    urls = await data_urls(spec)
    assert urls == {first: PNG_URL, sound: data_url(sound)}


async def test_all_files_that_vanished_are_named(png, tmp_path):
    """One error holds a problem for each file, at its place."""
    gone = [Image(tmp_path / "1.png"), Image(tmp_path / "2.png")]
    spec = TaskSpec("a", references=[gone[0], Image(png), gone[1]])
    with pytest.raises(SpecError) as caught:
        await data_urls(spec)
    assert [row.field for row in caught.value.problems] == ["references[0]", "references[2]"]
