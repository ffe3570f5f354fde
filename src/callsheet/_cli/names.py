"""File names for videos, made from their prompts only.

Every common file system accepts the names. They depend only on the input, so the same input gives
the same names. If two prompts would get the same name, the later ones get ``~2``, ``~3``, … in
input order. Names count as the same if they differ only in upper and lower case.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Sequence


SUFFIX = ".mp4"
FRAME_SUFFIX = "-last.png"

_LONGEST_NAME = 255 - len("." + ".part.etag")
"""Most bytes of a name. The rest of the usual 255 is for the name of an unfinished download."""

_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\ud800-\udfff]')
_RESERVED = re.compile(  # names that Windows has given to devices
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\.|$)", re.IGNORECASE
)


class FileNames:
    """The file names of every prompt: one, or *samples* of them, which follow each other.

    Only the number of each prompt is kept, and its names are made when they are asked for: in a
    file of many long prompts the names would take as much memory as the prompts.

    Args:
        prompts: In input order. A prompt without words gets ``video-<position>``.
        samples: ``None`` for ``<prompt>.mp4``; else ``<prompt>-<i>.mp4`` with i from 0, the form
            that VBench reads.
    """

    def __init__(self, prompts: Sequence[str | None], samples: int | None = None) -> None:
        endings = [SUFFIX] if samples is None else [f"-{i}{SUFFIX}" for i in range(samples)]
        self._prompts, self._endings = prompts, endings
        # Before "-0" VBench wants the prompt unchanged. Else a dot at its end gives "A cat..mp4".
        self._stripped = "" if samples is not None else ". "
        self._room = _LONGEST_NAME - max(map(len, endings)) - len(FRAME_SUFFIX) - len("_")
        free = _FreeNumbers(endings[0], self._room)
        self._numbers = array("L", (free.take(self._stem(i)) for i in range(len(prompts))))

    def __len__(self) -> int:
        return len(self._numbers) * len(self._endings)

    def __getitem__(self, index: int) -> str:
        place, sample = divmod(index, len(self._endings))
        number = self._numbers[place]
        suffix_size, _ = _numbers_like(number)
        beginning = _cut(self._stem(place), self._room - suffix_size)
        return _numbered(beginning, number, self._endings[0]) + self._endings[sample]

    def _stem(self, place: int) -> str:
        stem = _stem(self._prompts[place] or "")
        return stem.rstrip(self._stripped) or f"video-{place}"


class _FreeNumbers:
    """Gives each stem the lowest number with which its names are free.

    Many stems may be cut to one beginning, and then compete for its numbers. So the numbers that
    are taken are kept for each beginning, and nobody tries them one by one.

    Args:
        ending: What stands behind the number for the first sample. None of the endings ends with
            another one, and Windows reserves a name with all of them or with none. So one of them
            is enough here.
        room: Most bytes before an ending.
    """

    def __init__(self, ending: str, room: int) -> None:
        self._ending = ending
        self._room = room
        self._taken: set[str] = set()
        self._next_number: dict[str, int] = {}
        self._after: dict[str, dict[int, int]] = {}
        """Beginning, and number that was seen to be taken, to a later number. All numbers between
        these two are taken, too."""

    def take(self, stem: str) -> int:
        """The number of the next spec with this stem."""
        key = key_of(stem)
        number = self._next_number.get(key, 1)
        while True:
            suffix_size, last = _numbers_like(number)
            beginning = _cut(stem, self._room - suffix_size)
            beginning_key = key if beginning is stem else key_of(beginning)
            while (number := self._first_untried(beginning_key, number)) <= last:
                if self._is_free(beginning, number):
                    self._next_number[key] = number + 1
                    return number
                self._after.setdefault(beginning_key, {})[number] = number + 1
            number = last + 1  # a longer number may stand behind a shorter beginning

    def _first_untried(self, beginning: str, number: int) -> int:
        """The first number from *number* on that was not seen to be taken.

        Each look shortens the way for the next one, so that none is long for many.
        """
        after = self._after.get(beginning)
        if after is None:
            return number
        untried = number
        while (later := after.get(untried)) is not None:
            untried = later
        while number != untried:
            after[number], number = untried, after[number]
        return untried

    def _is_free(self, beginning: str, number: int) -> bool:
        """Take the names with this number; ``False`` if one of them is taken already."""
        key = key_of(_numbered(beginning, number, self._ending))
        if key in self._taken:
            return False
        self._taken.add(key)
        return True


def _numbered(beginning: str, number: int, ending: str) -> str:
    """A name without its ending."""
    numbered = beginning + _suffix(number)
    # A suffix does not make a reserved name allowed.
    return f"_{numbered}" if _RESERVED.match(numbered + ending) else numbered


def frame_name(video_name: str) -> str:
    """The file name of a video's last frame."""
    return video_name.removesuffix(SUFFIX) + FRAME_SUFFIX


def key_of(name: str) -> str:
    """A key that is equal for names which some file systems treat as the same."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _stem(prompt: str) -> str:
    text = unicodedata.normalize("NFC", prompt)
    text = _FORBIDDEN.sub("_", " ".join(text.split()))
    return "_" + text[1:] if text.startswith(".") else text


def _suffix(number: int) -> str:
    return "" if number == 1 else f"~{number}"


def _numbers_like(number: int) -> tuple[int, int]:
    """How long the suffix of a number is, and the last number with one as long."""
    if number == 1:
        return 0, 1
    digits = len(str(number))
    return len("~") + digits, 10**digits - 1


def _cut(text: str, size: int) -> str:
    """Cut *text* to at most *size* bytes of UTF-8. Characters keep their accents."""
    if text.isascii():
        return text if len(text) <= size else text[:size].rstrip(". ") or text[:size]
    data = text.encode()
    if len(data) <= size:
        return text
    kept = data[:size].decode(errors="ignore")
    rest = text[len(kept) :]
    while kept and rest and unicodedata.combining(rest[0]):
        kept, rest = kept[:-1], kept[-1] + rest
    return kept.rstrip(". ") or data[:size].decode(errors="ignore")
