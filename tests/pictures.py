"""The bytes of picture and sound files."""

from __future__ import annotations

import io
import struct
import wave

from PIL import Image as Pillow


def picture(name="PNG", size=(640, 360), **options):
    """The content of a picture."""
    file = io.BytesIO()
    Pillow.new("RGB", size, (20, 90, 200)).save(file, name, **options)
    return file.getvalue()


def with_alpha(size):
    """The content of a picture with alpha, in the extended kind of webp."""
    file = io.BytesIO()
    Pillow.new("RGBA", size, (1, 2, 3, 4)).save(file, "WEBP")
    assert file.getvalue()[12:16] == b"VP8X"
    return file.getvalue()


def clip(seconds=0.1):
    """The content of a wav file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(int(seconds * 16_000)))
    return file.getvalue()


def boxes(brand, width=640, height=480):
    """The content of a picture in ISO boxes, as phones write it, without pixels."""

    def box(kind, *parts):
        body = b"".join(parts)
        return struct.pack(">I", len(body) + 8) + kind + body

    sides = box(b"ispe", bytes(4), struct.pack(">II", width, height))
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
