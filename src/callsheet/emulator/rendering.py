"""Render videos: real MP4s that show their prompt, fast enough to make thousands.

Only a progress bar moves in the picture. All frames after the first encode only how the bar grows.
So they are encoded once per size and length, and all videos of that size and length share them. A
new video costs one encoded frame. Silence is encoded once as well.
"""

# PyAV's signatures mention numpy, which is not needed here and may be missing:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import io
import math
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

import av
from av.codec.context import Flags
from PIL import Image, ImageDraw

from callsheet.emulator.tasks import FPS
from callsheet.emulator.text_rendering import fit


if TYPE_CHECKING:
    from collections.abc import Sequence

    from av.container import OutputContainer

    from callsheet.emulator.film import Film


_RATE = 16_000
_SAMPLES = 1024
_PAPER, _INK, _FAINT, _TRACK, _BAR = 44, 230, 160, 70, 200
_CODER = {
    "preset": "ultrafast",
    "tune": "zerolatency",
    "x264-params": "qp=24:keyint=infinite:scenecut=0:ref=1:subme=0:no-psy=1",
}


def render(film: Film) -> bytes:
    """Render *film* to bytes. The same film always gives the same bytes.

    The format is that of the service: MP4 with H.264 at 24 frames per second, mono sound, and the
    index before the media data.
    """
    picture = _draw(film)
    if film.form == "png":
        return _last_frame(film, picture)
    file = io.BytesIO()
    sounds = film.frames * _RATE // (FPS * _SAMPLES) if film.sound else 0
    # bytes to reserve for the index, so that it fits before the media data
    index = str(4096 + 12 * film.frames + 8 * sounds)
    options = {"moov_size": index, "fflags": "+bitexact"}
    with av.open(file, "w", format=film.form, options=options) as container:
        _write(container, film, picture, sounds)
    return file.getvalue()


def _write(container: OutputContainer, film: Film, picture: Image.Image, sounds: int) -> None:
    video = container.add_stream("libx264", rate=FPS, options=_CODER)
    video.width, video.height, video.pix_fmt = film.width, film.height, "yuv420p"
    video.codec_context.thread_count = 1
    sound = None
    if sounds:
        sound = container.add_stream("aac", rate=_RATE, layout="mono")
        sound.codec_context.open()
    frame = _frame(film.width, film.height, picture, film.hue)
    first = b"".join(bytes(packet) for packet in video.encode(frame))
    pictures = [first, *_bar_frames(film.width, film.height, film.frames)]
    for number, data in enumerate(pictures):
        packet = av.Packet(data)
        packet.stream, packet.time_base = video, Fraction(1, FPS)
        packet.pts = packet.dts = number
        packet.duration, packet.is_keyframe = 1, number == 0
        container.mux(packet)
    if sound is None:
        return
    silence = _silence()
    for number in range(sounds):
        packet = av.Packet(silence)
        packet.stream, packet.time_base = sound, Fraction(1, _RATE)
        packet.pts = packet.dts = number * _SAMPLES
        packet.duration, packet.is_keyframe = _SAMPLES, True
        container.mux(packet)


def _bar(height: int) -> tuple[int, int]:
    """First and end row of the progress bar. Its row of 16x16 blocks holds nothing else."""
    top = ((height - 1) // 16 - 1) * 16 + 5
    return top, top + 6


def _bar_width(width: int, number: int, frames: int) -> int:
    """Width of the filled bar in frame *number*, pixels: 0 in the first, full in the last."""
    return width * number // (frames - 1)


def _background(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    picture = Image.new("L", (width, height), _PAPER)
    pen = ImageDraw.Draw(picture)
    top, end = _bar(height)
    pen.rectangle((0, top, width - 1, end - 1), fill=_TRACK)
    return picture, pen


def _draw(film: Film) -> Image.Image:
    """Draw the luma (brightness) of the first frame."""
    picture, pen = _background(film.width, film.height)
    margin = film.width // 20
    width = film.width - 2 * margin
    bottom = _bar(film.height)[0] - 16
    caption = fit(film.caption, width, 40, 13)
    bottom -= caption.height
    caption.draw(pen, margin, bottom, _FAINT)
    room = bottom - 2 * margin
    prompt = fit(film.prompt, width, room, film.height // 8)
    prompt.draw(pen, margin, margin + (room - prompt.height) // 2, _INK)
    return picture


def _colour(hue: int) -> tuple[int, int]:
    """Compute both chroma values. Neighbouring numbers give clearly different colours."""
    angle = hue * 2.399963
    return 128 + round(26 * math.cos(angle)), 128 + round(26 * math.sin(angle))


def _frame(width: int, height: int, picture: Image.Image, hue: int) -> av.VideoFrame:
    frame = av.VideoFrame(width, height, "yuv420p")
    plane = frame.planes[0]
    rows = Image.new("L", (plane.line_size, plane.height))
    rows.paste(picture)
    plane.update(rows.tobytes())
    for number, value in enumerate(_colour(hue), start=1):
        chroma = frame.planes[number]
        chroma.update(bytes([value]) * chroma.buffer_size)
    frame.pts, frame.time_base = 0, Fraction(1, FPS)
    return frame


@lru_cache(maxsize=128)
def _bar_frames(width: int, height: int, frames: int) -> Sequence[bytes]:
    """Encode the frames after the first, without text. They change only the bar's blocks."""
    coder = av.CodecContext.create("libx264", "w")
    coder.width, coder.height, coder.pix_fmt = width, height, "yuv420p"
    coder.time_base, coder.framerate = Fraction(1, FPS), Fraction(FPS)
    coder.options, coder.thread_count = _CODER, 1
    coder.flags |= Flags.global_header
    frame = _frame(width, height, _background(width, height)[0], 0)
    plane = frame.planes[0]
    pixels, line = memoryview(plane), plane.line_size
    coded: list[bytes] = []
    for number in range(frames):
        start, end = (_bar_width(width, max(0, n), frames) for n in (number - 1, number))
        for row in range(*_bar(height)):
            pixels[row * line + start : row * line + end] = bytes([_BAR]) * (end - start)
        frame.pts = number
        coded += [bytes(packet) for packet in coder.encode(frame)]
    return tuple(coded[1:])


@lru_cache(maxsize=1)
def _silence() -> bytes:
    """Encode one packet of silence."""
    coder = av.CodecContext.create("aac", "w")
    coder.sample_rate, coder.layout, coder.format = _RATE, "mono", "fltp"
    coder.time_base = Fraction(1, _RATE)
    packet = b""
    for number in range(4):
        frame = av.AudioFrame("fltp", "mono", _SAMPLES)
        frame.sample_rate, frame.pts = _RATE, number * _SAMPLES
        frame.planes[0].update(bytes(frame.planes[0].buffer_size))
        for coded in coder.encode(frame):
            packet = bytes(coded)
    return packet


def _last_frame(film: Film, picture: Image.Image) -> bytes:
    """Render the last frame as a PNG."""
    top, end = _bar(film.height)
    ImageDraw.Draw(picture).rectangle((0, top, film.width - 1, end - 1), fill=_BAR)
    chroma = [Image.new("L", picture.size, value) for value in _colour(film.hue)]
    file = io.BytesIO()
    Image.merge("YCbCr", (picture, *chroma)).convert("RGB").save(file, "PNG", compress_level=1)
    return file.getvalue()
