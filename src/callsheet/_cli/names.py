"""File names for videos, made from their prompts only.

Every common file system accepts the names. They depend only on the input, so the same input gives
the same names. If two prompts would get the same name, the later ones get ``~2``, ``~3``, … in
input order. Names count as the same if they differ only in upper and lower case.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


SUFFIX = ".mp4"
FRAME_SUFFIX = "-last.png"

_LONGEST_NAME = 255 - len("." + ".part.etag")
"""Most bytes of a name. The rest of the usual 255 is for the name of an unfinished download."""

_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\ud800-\udfff]')
_RESERVED = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\.|$)", re.IGNORECASE
)


def file_names(prompts: Sequence[str | None], samples: int | None = None) -> list[list[str]]:
    """The file names of every prompt: one, or *samples* of them.

    Args:
        prompts: In input order. A prompt without words gets ``video-<position>``.
        samples: ``None`` for ``<prompt>.mp4``; else ``<prompt>-<i>.mp4`` with i from 0, the form
            that VBench reads.
    """
    endings = [SUFFIX] if samples is None else [f"-{i}{SUFFIX}" for i in range(samples)]
    room = _LONGEST_NAME - max(map(len, endings)) - len(FRAME_SUFFIX) - len("_")
    taken: set[str] = set()
    next_number: dict[str, int] = {}
    found: list[list[str]] = []
    for index, prompt in enumerate(prompts):
        stem = _stem(prompt or "")
        if samples is None:  # avoids "A cat..mp4"; before "-0" VBench wants the prompt unchanged
            stem = stem.rstrip(". ")
        stem = stem or f"video-{index}"
        first = next_number.get(key_of(stem), 1)
        for count, candidate in _candidates(stem, room, first):
            names = [_allowed(candidate + ending) for ending in endings]
            keys = {key_of(name) for name in names}
            if not keys & taken:
                taken |= keys
                next_number[key_of(stem)] = count + 1
                found.append(names)
                break
    return found


def frame_name(video_name: str) -> str:
    """The file name of a video's last frame."""
    return video_name.removesuffix(SUFFIX) + FRAME_SUFFIX


def key_of(name: str) -> str:
    """A key that is equal for names which some file systems treat as the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _stem(prompt: str) -> str:
    text = unicodedata.normalize("NFC", prompt)
    text = _FORBIDDEN.sub("_", re.sub(r"\s+", " ", text).strip())
    return "_" + text[1:] if text.startswith(".") else text


def _candidates(stem: str, room: int, first: int) -> Iterator[tuple[int, str]]:
    count = first
    while True:
        suffix = "" if count == 1 else f"~{count}"
        yield count, _cut(stem, room - len(suffix)) + suffix
        count += 1


def _cut(text: str, size: int) -> str:
    """Cut *text* to at most *size* bytes of UTF-8. Characters keep their accents."""
    data = text.encode()
    if len(data) <= size:
        return text
    kept = data[:size].decode(errors="ignore")
    rest = text[len(kept) :]
    while kept and rest and unicodedata.combining(rest[0]):
        kept, rest = kept[:-1], kept[-1] + rest
    return kept.rstrip(". ") or data[:size].decode(errors="ignore")


def _allowed(name: str) -> str:
    """Change a name that Windows reserves for a device. A suffix does not make it allowed."""
    return f"_{name}" if _RESERVED.match(name) else name
