"""What the preflight says about each medium."""

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
    """A data URL with that many bytes of content."""
    return f"data:{kind}/{name};base64,{base64.b64encode(bytes(size)).decode()}"


def facts(**changes):
    """What the header of a fine picture says, with changes."""
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
    """A picture comes by http(s), as an asset, or inside a data URL."""
    assert wrong(TaskSpec(first_frame=source)) == []


@pytest.mark.parametrize("name", ["wav", "mp3", "mpeg", "x-wav"])
def test_urls_of_clips_pass(name):
    """A clip comes inside a data URL, too, under any usual name of its format."""
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
    """A URL that cannot lead to a picture is a problem where it stands."""
    assert wrong(TaskSpec(first_frame=source)) == ["first_frame"]


def test_a_video_has_no_inline_form():
    """A video as file, bytes or data URL is a problem that tells what to do instead."""
    for source in (b"ftyp", Path("a.mp4"), data("video", "mp4", 8)):
        spec = TaskSpec("x", references=[VideoRef(source)])
        assert "put it where it can be fetched" in allowed(spec, "references[0]")


def test_size_of_a_data_url_is_told_by_its_length():
    """The limits are under 30 MB for a picture and up to 15 MB for a clip."""
    fits = Image(data("image", "png", 30 * MB - 1))
    large = Image(data("image", "png", 30 * MB))
    loud = AudioRef(data("audio", "wav", 15 * MB))
    louder = AudioRef(data("audio", "wav", 15 * MB + 1))
    assert wrong(TaskSpec("x", references=[fits])) == []
    assert wrong(TaskSpec("x", references=[large])) == ["references[0]"]
    assert wrong(TaskSpec("x", references=[PICTURE, loud])) == []
    assert wrong(TaskSpec("x", references=[PICTURE, louder])) == ["references[1]"]


@pytest.mark.parametrize("item", ["https://cdn.test/a.png", 7, None, Media("a"), TaskSpec])
def test_references_of_another_kind_are_named(item):
    """A reference says whether it is a picture, a video or a clip."""
    spec = TaskSpec("x", references=[PICTURE, item])
    assert wrong(spec) == ["references[1]"]
    assert allowed(spec, "references[1]") == "an Image, a VideoRef or an AudioRef"


@pytest.mark.parametrize("source", [7, ["a"], {}, PICTURE])
def test_sources_of_another_type_are_named(source):
    """A medium is a URL, a path or bytes."""
    assert wrong(TaskSpec(first_frame=Image(source))) == ["first_frame"]


def test_local_media_without_facts_are_not_looked_at():
    """The preflight itself reads nothing."""
    assert wrong(TaskSpec(first_frame="missing.png")) == []
    assert wrong(TaskSpec(first_frame=b"junk")) == []


def test_why_a_file_cannot_be_read_is_passed_on():
    """The words of whoever looked become the problem."""
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
    """Limits count themselves as inside, except for the size."""
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
    """Format, size, sides and aspect ratio each have a problem of their own."""
    picture = Image("a.png")
    known = {picture: facts(**changes)}
    assert told in allowed(TaskSpec(first_frame=picture), "first_frame", facts=known)


def test_all_that_is_wrong_with_a_picture_is_named():
    """One picture can have several problems at once."""
    picture = Image(b"x")
    known = {picture: facts(format="psd", size=40 * MB, width=9, height=90_000)}
    assert len(problems(TaskSpec(first_frame=picture), facts=known)) == 4


@pytest.mark.parametrize(("model", "taken"), [(PRO, False), (PRO_1_5, True), ("ep-1", True)])
def test_heic_depends_on_the_model(model, taken):
    """Heic passes from 1.5 on, and where the model is not known."""
    picture = Image("a.heic")
    spec = TaskSpec(model=model, first_frame=picture)
    assert (wrong(spec, facts={picture: facts(format="heic")}) == []) is taken
    inline = TaskSpec(model=model, first_frame=data("image", "heic", 9))
    assert (wrong(inline) == []) is taken


def test_clips_have_a_format_and_a_size():
    """A clip that is no wav or mp3, or is over 15 MB, is named."""
    clip = AudioRef("a.wav")
    spec = TaskSpec("x", references=[PICTURE, clip])
    assert wrong(spec, facts={clip: MediaFacts(format="wav", size=15 * MB)}) == []
    known = {clip: MediaFacts(format="png", size=16 * MB, width=640, height=360)}
    assert len(problems(spec, facts=known)) == 2


def test_all_media_together_fit_into_one_body():
    """The sum counts base64's third, and the problem stands at the heaviest medium."""
    pictures = [Image(f"{i}.png") for i in range(3)]
    known = {row: facts(size=size * MB) for row, size in zip(pictures, (8, 29, 10), strict=True)}
    spec = TaskSpec("x", references=[*pictures, CLIP, 7])
    assert wrong(spec, facts=known) == ["references[4]"]
    known[pictures[0]] = facts(size=10 * MB)
    assert wrong(spec, facts=known) == ["references[1]", "references[4]"]
    (row,) = [row for row in problems(spec, facts=known) if row.field == "references[1]"]
    assert row.value == "'65.3 MB in all'"


def test_unreadable_media_weigh_nothing():
    """What nobody could read adds no problem about the sum."""
    broken = Image(["x"])
    spec = TaskSpec("x", references=[broken, Image("a.png"), Image("b.png"), SOUND])
    known = {Image("a.png"): "gone"}
    assert wrong(spec, facts=known) == ["references[0]", "references[1]"]


def test_the_same_file_counts_each_time_it_is_sent():
    """A picture that is given twice travels twice."""
    picture = Image("a.png")
    spec = TaskSpec("x", references=[picture] * 3)
    assert wrong(spec, facts={picture: facts(size=20 * MB)}) == ["references[2]"]
