"""The preflight's checks of media."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from callsheet._models.media import AudioRef, Image, Media, MediaFacts, VideoRef
from callsheet._models.spec import TaskSpec
from catalog.checking import CLIP, PICTURE, SOUND, allowed, problems, wrong


MB = 1024 * 1024
PRO, PRO_1_5 = "doubao-seedance-1-0-pro-250528", "doubao-seedance-1-5-pro-251215"


def data(kind, name, size):
    """A data URL with *size* bytes of content."""
    return f"data:{kind}/{name};base64,{base64.b64encode(bytes(size)).decode()}"


def facts(**changes):
    """The facts of a valid picture, with changes."""
    return MediaFacts(**{"format": "png", "size": 9_000, "width": 640, "height": 360} | changes)


@pytest.mark.parametrize(
    "source",
    [
        "https://cdn.test/图片.png?x=1#y",
        "HTTP://cdn.test",
        "https://[::1]:8443/a.png",
        "asset://asset-2026",
        data("image", "png", 10),
        data("image", "jpg", 11),
        data("image", "tif", 12),
    ],
)
def test_urls_of_pictures_pass(source):
    """A picture may be an http(s) URL, an asset or a data URL."""
    assert wrong(TaskSpec(first_frame=source)) == []


@pytest.mark.parametrize("name", ["wav", "mp3", "mpeg", "x-wav"])
def test_urls_of_clips_pass(name):
    """A clip may also be a data URL, under any usual name of its format."""
    assert wrong(TaskSpec("x", references=[AudioRef(data("audio", name, 10))])) == []


@pytest.mark.parametrize(
    "source",
    [
        "https://",
        "http:///a.png",
        "https://cdn.test/a b.png",
        "https://cdn.test/a\nb.png",
        "https://cdn.test/\ud83d.png",
        "https://[::1/a.png",
        "https://cdn.test:port/a.png",
        "asset://",
        "asset://a b",
        "data:",
        "data:image/png,abc",
        "data:image/png;base64,",
        "data:image/png;base64,abc",
        "data:image/png;base64,ab\ncd",
        "data:image/png;base64,ab=d",
        "data:image/png;base64,\ud83d\ud83d\ud83d\ud83d",
        "data:image/PNG;base64,AAAA",
        "data:image/svg+xml;base64,AAAA",
        "data:image/;base64,AAAA",
        "data:audio/wav;base64,AAAA",
        "DATA:image/png;base64,AAAA",
    ],
)
def test_broken_urls_are_named(source):
    """A URL that cannot be one of a picture is a problem of its field."""
    assert wrong(TaskSpec(first_frame=source)) == ["first_frame"]


def test_a_video_has_no_inline_form():
    """A video as a file, bytes or a data URL is a problem that says what to do instead."""
    for source in (b"ftyp", Path("a.mp4"), data("video", "mp4", 8)):
        spec = TaskSpec("x", references=[VideoRef(source)])
        assert "put it where it can be fetched" in allowed(spec, "references[0]")


def test_size_of_a_data_url_follows_from_its_length():
    """A picture must have less than 30 MB, and a clip at most 15 MB."""
    fits = Image(data("image", "png", 30 * MB - 1))
    large = Image(data("image", "png", 30 * MB))
    loud = AudioRef(data("audio", "wav", 15 * MB))
    louder = AudioRef(data("audio", "wav", 15 * MB + 1))
    assert wrong(TaskSpec("x", references=[fits])) == []
    assert wrong(TaskSpec("x", references=[large])) == ["references[0]"]
    assert wrong(TaskSpec("x", references=[PICTURE, loud])) == []
    assert wrong(TaskSpec("x", references=[PICTURE, louder])) == ["references[1]"]


@pytest.mark.parametrize("item", ["https://cdn.test/a.png", 7, None, Media("a"), TaskSpec])
def test_references_of_the_wrong_type_are_named(item):
    """A reference must be a picture, a video or a clip."""
    spec = TaskSpec("x", references=[PICTURE, item])
    assert wrong(spec) == ["references[1]"]
    assert allowed(spec, "references[1]") == "an Image, a VideoRef or an AudioRef"


@pytest.mark.parametrize("source", [7, ["a"], {}, PICTURE])
def test_sources_of_the_wrong_type_are_named(source):
    """The source of a medium must be a URL, a path or bytes."""
    assert wrong(TaskSpec(first_frame=Image(source))) == ["first_frame"]


def test_local_media_without_facts_are_not_checked():
    """The preflight itself reads no file."""
    assert wrong(TaskSpec(first_frame="missing.png")) == []
    assert wrong(TaskSpec(first_frame=b"junk")) == []


def test_the_reason_of_an_unreadable_file_is_the_problem():
    """The reason that the reader gives becomes the problem."""
    picture = Image("missing.png")
    (row,) = problems(TaskSpec(first_frame=picture), facts={picture: "a file: there is none"})
    assert row.field == "first_frame"
    assert "missing.png" in row.value
    assert row.allowed == "a file: there is none"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"format": "heic"},
        {"format": "tiff"},
        {"size": 30 * MB - 1},
        {"width": 300, "height": 300},
        {"width": 6000, "height": 6000},
        {"width": 300, "height": 750},
        {"width": 750, "height": 300},
        {"width": None, "height": None},
    ],
)
def test_pictures_within_the_limits_pass(changes):
    """Values at the limits are allowed, except for the size in bytes."""
    picture = Image("a.png")
    assert wrong(TaskSpec(first_frame=picture), facts={picture: facts(**changes)}) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"format": "avif"}, "this is 'avif'"),
        ({"format": "wav"}, "this is 'wav'"),
        ({"format": ""}, "this is ''"),
        ({"size": 30 * MB}, "30.0 MB"),
        ({"width": 299, "height": 299}, "299x299"),
        ({"width": 6001, "height": 6000}, "6001x6000"),
        ({"width": 300, "height": 751}, "0.4 to 2.5"),
        ({"width": 751, "height": 300}, "0.4 to 2.5"),
    ],
)
def test_pictures_outside_the_limits_are_named(changes, told):
    """Format, size, sides and aspect ratio each have their own problem."""
    picture = Image("a.png")
    known = {picture: facts(**changes)}
    assert told in allowed(TaskSpec(first_frame=picture), "first_frame", facts=known)


def test_every_problem_of_a_picture_is_named():
    """One picture can have several problems at once."""
    picture = Image(b"x")
    known = {picture: facts(format="psd", size=40 * MB, width=9, height=90_000)}
    assert len(problems(TaskSpec(first_frame=picture), facts=known)) == 4


@pytest.mark.parametrize(("model", "taken"), [(PRO, False), (PRO_1_5, True), ("ep-1", True)])
def test_heic_depends_on_the_model(model, taken):
    """Heic is allowed from 1.5 on, and for unknown models."""
    picture = Image("a.heic")
    spec = TaskSpec(model=model, first_frame=picture)
    assert (wrong(spec, facts={picture: facts(format="heic")}) == []) is taken
    inline = TaskSpec(model=model, first_frame=data("image", "heic", 9))
    assert (wrong(inline) == []) is taken


def test_clips_have_a_format_and_a_size():
    """A clip that is neither wav nor mp3, or has more than 15 MB, is a problem."""
    clip = AudioRef("a.wav")
    spec = TaskSpec("x", references=[PICTURE, clip])
    assert wrong(spec, facts={clip: MediaFacts(format="wav", size=15 * MB)}) == []
    known = {clip: MediaFacts(format="png", size=16 * MB, width=640, height=360)}
    assert len(problems(spec, facts=known)) == 2


def test_all_media_together_must_fit_into_one_body():
    """The sum includes the third that base64 adds, and the problem is at the largest medium."""
    pictures = [Image(f"{i}.png") for i in range(3)]
    known = {row: facts(size=size * MB) for row, size in zip(pictures, (8, 29, 10), strict=True)}
    spec = TaskSpec("x", references=[*pictures, CLIP, 7])
    assert wrong(spec, facts=known) == ["references[4]"]
    known[pictures[0]] = facts(size=10 * MB)
    assert wrong(spec, facts=known) == ["references[1]", "references[4]"]
    (row,) = [row for row in problems(spec, facts=known) if row.field == "references[1]"]
    assert row.value == "'65.3 MB in all'"


def test_unreadable_media_do_not_count_for_the_sum():
    """An unreadable file adds no problem about the sum."""
    broken = Image(["x"])
    spec = TaskSpec("x", references=[broken, Image("a.png"), Image("b.png"), SOUND])
    known = {Image("a.png"): "gone"}
    assert wrong(spec, facts=known) == ["references[0]", "references[1]"]


def test_the_same_file_counts_each_time_it_is_sent():
    """A picture that is given twice is sent twice."""
    picture = Image("a.png")
    spec = TaskSpec("x", references=[picture] * 3)
    assert wrong(spec, facts={picture: facts(size=20 * MB)}) == ["references[2]"]
