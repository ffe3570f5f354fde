"""Rendered videos: real MP4s that show their prompt."""

from __future__ import annotations

import io
from functools import partial

import attrs
import av
import pytest
from PIL import Image

from callsheet.emulator import Film, render
from callsheet.emulator.catalog import SIZES
from callsheet.emulator.film import shrink
from callsheet.emulator.rendering import _bar
from callsheet.emulator.text_rendering import _font_for, _fonts, _glyph_pixels, fit


PLAIN = Film(
    form="mp4",
    prompt="A paper boat drifts on a quiet lake at sunrise",
    caption="model · 720p 16:9 · seed 1",
    width=640,
    height=360,
    frames=120,
    sound=True,
    hue=1,
)


def decode(data):
    """Decode all frames."""
    with av.open(io.BytesIO(data)) as container:
        return list(container.decode(video=0))


def luma(frame):
    """Read the brightness of a frame, row by row, without padding."""
    plane = frame.planes[0]
    data, line = bytes(plane), plane.line_size
    return [data[row * line : row * line + frame.width] for row in range(frame.height)]


@pytest.mark.parametrize("size", [(640, 360), (360, 640), (630, 270), (640, 640), (640, 274)])
@pytest.mark.parametrize("frames", [29, 96])
def test_a_film_is_an_mp4_of_exact_size_rate_and_length(size, frames):
    """A video decodes to the right number of H.264 frames, 24 per second, with silence."""
    film = attrs.evolve(PLAIN, width=size[0], height=size[1], frames=frames)
    with av.open(io.BytesIO(render(film))) as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (video.width, video.height) == size
        assert (video.average_rate, video.frames) == (24, frames)
        assert video.duration * video.time_base == pytest.approx(frames / 24)
        assert container.duration == pytest.approx(frames / 24 * 1e6, abs=2)
        assert (sound.codec_context.name, sound.layout.nb_channels) == ("aac", 1)
        decoded = [frame for packet in container.demux() for frame in packet.decode()]
    pictures = [frame for frame in decoded if isinstance(frame, av.VideoFrame)]
    assert len(pictures) == frames
    for frame in decoded:
        if isinstance(frame, av.AudioFrame):
            assert not any(bytes(frame.planes[0])[: 4 * frame.samples])  # the rest is padding


def test_a_film_plays_while_it_streams():
    """The index comes before the media data."""
    for form in ("mp4", "mov"):
        data = render(attrs.evolve(PLAIN, form=form, frames=720))
        assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_the_bar_moves_and_the_rest_stands_still():
    """All frames are equal except for the bar, which grows to the full width."""
    frames = [luma(frame) for frame in decode(render(PLAIN))]
    top, end = _bar(PLAIN.height)
    rest = [frame[: top - 6] + frame[end + 6 :] for frame in frames]
    assert all(other == rest[0] for other in rest)
    lengths = [sum(value > 150 for value in frame[top + 3]) for frame in frames]
    assert lengths == sorted(lengths)
    assert lengths[0] == 0
    assert lengths[60] == pytest.approx(320, abs=16)
    assert lengths[-1] == 640


def test_equal_films_have_equal_bytes():
    """Equal films give equal files, whatever was rendered in between; other films differ."""
    first = render(PLAIN)
    for change in ({"prompt": "A dog"}, {"hue": 2}, {"caption": "seed 2"}, {"frames": 96}):
        assert render(attrs.evolve(PLAIN, **change)) != first
    assert render(PLAIN) == first


def test_the_last_frame_is_a_png_with_a_full_bar():
    """The last frame has the video's size and a full bar."""
    picture = Image.open(io.BytesIO(render(attrs.evolve(PLAIN, form="png", sound=False))))
    assert (picture.format, picture.size) == ("PNG", (640, 360))
    top, _ = _bar(360)
    bar = picture.convert("L").crop((0, top + 1, 640, top + 2))
    assert min(bar.tobytes()) > 150


def test_sizes_keep_the_ratio_of_the_table():
    """Sides are even and at most 640 px, with the table's ratio to within a pixel or two."""
    exact = 0
    for sizes in SIZES.values():
        for width, height in sizes.values():
            small = shrink(width, height)
            assert small[0] % 2 == small[1] % 2 == 0
            assert 320 <= max(small) <= 640
            assert abs(small[0] * height - small[1] * width) <= max(width, height)
            exact += small[0] * height == small[1] * width
    assert exact >= 30
    assert shrink(1280, 720) == (640, 360)
    assert shrink(1248, 704) == (624, 352)


def test_chinese_characters_are_drawn_as_themselves():
    """Different Chinese characters give different pictures, and none is the missing-glyph box."""
    shapes = [
        _glyph_pixels(_fonts()[_font_for(character)], character) for character in "小猫打哈欠。"
    ]
    assert len(set(shapes)) == 6
    boxes = {_glyph_pixels(font, "\U0010ffff") for font in _fonts()}
    assert not boxes & set(shapes)


def test_chinese_prompts_are_in_the_picture():
    """Two prompts that differ in one character give different pictures."""
    first, second = (
        luma(decode(render(attrs.evolve(PLAIN, prompt=prompt)))[0])
        for prompt in ("小猫对着镜头打哈欠", "小狗对着镜头打哈欠")
    )
    top = _bar(PLAIN.height)[0]
    assert first[:top] != second[:top]
    assert max(map(max, first[:top])) > 200


def test_a_text_is_as_large_as_fits():
    """Short texts are large and long ones small, and all words are kept if they fit."""
    box = partial(fit, width=500, height=250, largest=45)
    short, long = box("A cat"), box("A cat yawns at the camera. " * 12)
    assert short.size == 45
    assert 9 < long.size < 30
    assert " ".join(long.lines).split() == ("A cat yawns at the camera. " * 12).split()
    for block in (short, long):
        assert block.height <= 250 + block.size


def test_a_text_without_end_ends_in_an_ellipsis():
    """A text that does not fit at the smallest size is cut and ends in an ellipsis."""
    block = fit("猫" * 20_000, width=500, height=250, largest=45)
    assert block.size == 9
    assert block.lines[-1].endswith("…")


@pytest.mark.parametrize("prompt", ["", " ", "\n\0\x07", "x" * 5000, "🎬 مرحبا नमस्ते", "\ud800"])
def test_any_prompt_makes_a_film(prompt):
    """Blank, very long and unprintable prompts give a video with all its frames."""
    assert len(decode(render(attrs.evolve(PLAIN, prompt=prompt, frames=29)))) == 29
