"""File names for videos, made from their prompts alone.

A name holds on every common file system and depends only on the input, so that the same input
gives the same names again. Two prompts whose names would be equal, also on a file system that
does not tell ``a`` from ``A``, are told apart by ``~2``, ``~3``, … in input order.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


SUFFIX = ".mp4"
FRAME_SUFFIX = "-last.png"

_LONGEST = 255 - len("." + ".part.etag")
"""Bytes a name may have, with room for the name a download has while it is under way."""

_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\ud800-\udfff]')
_RESERVED = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\.|$)", re.IGNORECASE
)


def file_names(prompts: Sequence[str | None], samples: int | None = None) -> list[list[str]]:
    """The file names of every prompt: one, or *samples* of them.

    Args:
        prompts: In input order; one without words gets ``video-<position>``.
        samples: ``None`` for ``<prompt>.mp4``; else ``<prompt>-<i>.mp4`` with i from 0, the form
            that VBench reads.
    """
    endings = [SUFFIX] if samples is None else [f"-{i}{SUFFIX}" for i in range(samples)]
    room = _LONGEST - max(map(len, endings)) - len(FRAME_SUFFIX) - len("_")
    taken: set[str] = set()
    reached: dict[str, int] = {}
    found: list[list[str]] = []
    for index, prompt in enumerate(prompts):
        stem = _stem(prompt or "")
        if samples is None:  # "A cat..mp4" is only ugly; before "-0" the dot belongs to the prompt
            stem = stem.rstrip(". ")
        stem = stem or f"video-{index}"
        first = reached.get(key_of(stem), 1)
        for count, candidate in _candidates(stem, room, first):
            names = [_allowed(candidate + ending) for ending in endings]
            keys = {key_of(name) for name in names}
            if not keys & taken:
                taken |= keys
                reached[key_of(stem)] = count + 1
                found.append(names)
                break
    return found


def frame_name(video_name: str) -> str:
    """The name of the last frame's picture beside a video."""
    return video_name.removesuffix(SUFFIX) + FRAME_SUFFIX


def key_of(name: str) -> str:
    """The same for names that some file systems take for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _stem(prompt: str) -> str:
    text = unicodedata.normalize("NFC", prompt)
    text = _FORBIDDEN.sub("_", re.sub(r"\s+", " ", text).strip())
    return "_" + text[1:] if text.startswith(".") else text


def _candidates(stem: str, room: int, first: int) -> Iterator[tuple[int, str]]:
    count = first
    while True:
        mark = "" if count == 1 else f"~{count}"
        yield count, _cut(stem, room - len(mark)) + mark
        count += 1


def _cut(text: str, size: int) -> str:
    """At most *size* bytes of *text* in UTF-8, whole characters with their accents only."""
    data = text.encode()
    if len(data) <= size:
        return text
    kept = data[:size].decode(errors="ignore")
    rest = text[len(kept) :]
    while kept and rest and unicodedata.combining(rest[0]):
        kept, rest = kept[:-1], kept[-1] + rest
    return kept.rstrip(". ") or data[:size].decode(errors="ignore")


def _allowed(name: str) -> str:
    """Keep clear of the device names of Windows, which hold with any suffix."""
    return f"_{name}" if _RESERVED.match(name) else name
