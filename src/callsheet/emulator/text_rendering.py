"""Draw text in a picture: find a font for every character, and break lines to fit."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import resources
from itertools import groupby
from typing import TYPE_CHECKING

import attrs
from PIL import Image, ImageDraw, ImageFont


if TYPE_CHECKING:
    from collections.abc import Iterator


_PACKAGED = ("paperang_p2_fonts_cjk", "fonts/wqy-microhei.ttc")
_SYSTEM = (
    "NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc",
    "PingFang.ttc",
    "Arial Unicode.ttf",
    "msyh.ttc",
    "DejaVuSans.ttf",
    "seguisym.ttf",
)
_PROBE_SIZE = 20
_LEADING = 1.3
_SMALLEST_FONT = 9
_IDEOGRAPH = r"\u1100-\u11ff\u2e80-\ua4cf\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef"
_TEXT_PIECE = re.compile(rf"\s+|[{_IDEOGRAPH}]|[^\s{_IDEOGRAPH}]+")

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@lru_cache(maxsize=1)
def _fonts() -> tuple[_Font, ...]:
    """Load the fonts that exist: the packaged Chinese font, the system's, then Pillow's own."""
    found: list[_Font] = []
    try:
        packaged = resources.files(_PACKAGED[0]).joinpath(_PACKAGED[1])
        # a font from a path is memory-mapped; a font from bytes is copied for each size
        with resources.as_file(packaged) as path:
            found.append(ImageFont.truetype(path, _PROBE_SIZE))
    except (ModuleNotFoundError, OSError):
        pass  # the font package is optional; another font may have the characters
    for name in _SYSTEM:
        try:
            found.append(ImageFont.truetype(name, _PROBE_SIZE))
        except OSError:
            continue
    return (*found, ImageFont.load_default(_PROBE_SIZE))


@lru_cache(maxsize=256)
def _sized(index: int, size: int) -> _Font:
    font = _fonts()[index]
    return font.font_variant(size=size) if isinstance(font, ImageFont.FreeTypeFont) else font


def _glyph_pixels(font: _Font, character: str) -> bytes:
    """Draw one character and return its pixels."""
    box = font.getbbox(character)
    picture = Image.new("L", (max(1, round(box[2])), max(1, round(box[3]))))
    ImageDraw.Draw(picture).text((0, 0), character, fill=255, font=font)
    return picture.tobytes()


@lru_cache(maxsize=64)
def _missing_glyph(index: int) -> bytes:
    """Return the pixels that a font shows for a character that it lacks."""
    return _glyph_pixels(_fonts()[index], "\U0010ffff")


@lru_cache(maxsize=65_536)
def _font_for(character: str) -> int:
    """Return the index of the first font that has *character*."""
    for index, font in enumerate(_fonts()):
        if _glyph_pixels(font, character) != _missing_glyph(index):
            return index
    return 0


def _runs(text: str) -> Iterator[tuple[int, str]]:
    """Split *text* where the font changes."""
    for index, characters in groupby(text, _font_for):
        yield index, "".join(characters)


@lru_cache(maxsize=16_384)
def _width(text: str, size: int = _PROBE_SIZE) -> float:
    return sum(_sized(index, size).getlength(run) for index, run in _runs(text))


@attrs.frozen(kw_only=True)
class TextBlock:
    """A text broken into lines for one font size.

    Attributes:
        lines: The text of each line.
        size: Font size, pixels.
    """

    lines: tuple[str, ...]
    size: int

    @property
    def height(self) -> int:
        """Height of all lines, pixels."""
        return round(len(self.lines) * self.size * _LEADING)

    def draw(self, pen: ImageDraw.ImageDraw, x: int, y: int, fill: int) -> None:
        """Draw the lines. The upper left corner is at *x*, *y*."""
        for number, line in enumerate(self.lines):
            at = float(x)
            for index, run in _runs(line):
                font = _sized(index, self.size)
                baseline = y + (number + 0.8) * self.size * _LEADING
                pen.text((at, baseline), run, fill=fill, font=font, anchor="ls")
                at += _width(run, self.size) if len(run) < len(line) else 0


def fit(text: str, width: int, height: int, largest: int) -> TextBlock:
    """Break *text* into lines that fit a box, in the largest font size that fits.

    The smallest size is 9 px. If the text does not fit then, it is cut and ends in an ellipsis.
    """
    tokens = _TEXT_PIECE.findall("".join(c if c.isprintable() else " " for c in text))
    measured = [(token, _width(token) / _PROBE_SIZE) for token in tokens]
    size = max(largest, _SMALLEST_FONT)
    while True:
        lines = _wrap(measured, width / size * 0.98)
        room = max(1, int(height / (size * _LEADING)))
        if len(lines) <= room:
            return TextBlock(lines=tuple(lines), size=size)
        if size == _SMALLEST_FONT:
            kept = lines[:room]
            kept[-1] = kept[-1][:-2] + "…"
            return TextBlock(lines=tuple(kept), size=size)
        size = max(_SMALLEST_FONT, min(size - 1, int(size * (room / len(lines)) ** 0.3)))


def _wrap(tokens: list[tuple[str, float]], room: float) -> list[str]:
    """Break *tokens* into lines of at most *room*. All widths are multiples of the font size."""
    lines: list[str] = []
    line, used = "", 0.0
    for token, width in tokens:
        if token.isspace():
            if line:
                line, used = line + " ", used + 0.3
            continue
        if line and used + width > room:
            lines.append(line.rstrip())
            line, used = "", 0.0
        rest, left = token, width
        while left > room and len(rest) > 1:
            cut = max(1, int(len(rest) * room / left))
            lines.append(rest[:cut])
            left -= left * cut / len(rest)
            rest = rest[cut:]
        line, used = line + rest, used + left
    return [*lines, line.rstrip()] if line.strip() else lines
