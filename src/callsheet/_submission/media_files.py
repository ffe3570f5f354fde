"""Reads local pictures and clips: headers for the preflight, and content for the create."""

from __future__ import annotations

import base64
import errno
import io
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from anyio import to_thread

from callsheet._catalog.check_context import problem
from callsheet._catalog.media_rules import MOST_MEDIA_BYTES, local_problems
from callsheet._models.media import Media, MediaFacts
from callsheet._models.spec import TaskSpec
from callsheet.errors import ConfigurationError, Problem, SpecError


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


_PICTURES: Final = {
    "jpeg": rb"\xff\xd8\xff",
    "png": rb"\x89PNG\r\n\x1a\n",
    "gif": rb"GIF8[79]a",
    "webp": rb"RIFF....WEBP",
    "bmp": rb"BM",
    "tiff": rb"II[*+]\0|MM\0[*+]",
    "heic": rb"....ftyphe(?:i[cx]|v[cx])",
    "heif": rb"....ftypm[is]f1",
    "avif": rb"....ftypavi[fs]",
}
_CLIPS: Final = {
    "wav": rb"RIFF....WAVE",
    "mp3": rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]",
}
_SIGNATURES: Final = {
    name: re.compile(first, re.DOTALL) for name, first in (_PICTURES | _CLIPS).items()
}
"""How the files of each format begin. imagesize gives the size of a picture, not its format."""

_LONGEST_SIGNATURE: Final = 12


def inspect(medium: Media) -> MediaFacts | str:
    """Read the header of a local picture or clip. This blocks on the disk.

    Only the header is read, whatever the size of the file.

    Returns:
        What the header says, or why it cannot be read, in words.

    Raises:
        ConfigurationError: It is a picture, and imagesize is not installed.
    """
    match medium.source:
        case bytes(content):
            return _header(io.BytesIO(content), medium.kind)
        case Path() as path:
            try:
                with _open(path) as file:
                    return _header(file, medium.kind)
            except OSError as exc:
                return _reason(exc)
        case _:
            return "a file or bytes: of others nothing can be seen from here"


def data_url(medium: Media, field: str = "media") -> str:
    """What to send for a medium: its URL, or its content as a data URL. This blocks on the disk.

    Args:
        medium: The medium. A file is checked again, because it may have changed.
        field: The field of the spec that holds it, for the error.

    Raises:
        SpecError: The file is missing, or is no longer one that the provider accepts.
        ConfigurationError: As for `inspect`.

    Source: Ark create reference, August 2026: ``data:image/<format>;base64,…``, the format in
    lower case.
    """
    match medium.source:
        case str(url):
            return url
        case bytes(content):
            pass
        case path:
            try:
                with _open(path) as file:
                    content = file.read(MOST_MEDIA_BYTES.get(medium.kind, 0) + 1)
            except OSError as exc:
                raise SpecError([problem(field, path, _reason(exc))]) from exc
    facts = inspect(type(medium)(content))
    problems = list(local_problems(field, medium, facts, None))
    if problems or isinstance(facts, str):
        raise SpecError(problems)
    return f"data:{medium.kind}/{facts.format};base64,{base64.b64encode(content).decode()}"


async def inspect_all(specs: Iterable[object]) -> dict[Media, MediaFacts | str]:
    """Read the header of every local medium of the specs, each once, without blocking the loop.

    Args:
        specs: `TaskSpec` values. Anything else is skipped; the preflight reports it.

    Raises:
        ConfigurationError: As for `inspect`.
    """
    found: dict[Media, MediaFacts | str] = {}
    for spec in specs:
        for _, medium in _local(spec):
            if medium not in found:
                found[medium] = await to_thread.run_sync(inspect, medium, abandon_on_cancel=True)
    return found


async def data_urls(spec: TaskSpec) -> dict[Media, str]:
    """Read every local medium of the spec, each once, without blocking the event loop.

    Raises:
        SpecError: Files are missing or have changed since the preflight; it names all of them.
        ConfigurationError: As for `inspect`.
    """
    found: dict[Media, str] = {}
    problems: list[Problem] = []
    for field, medium in _local(spec):
        if medium not in found:
            try:
                found[medium] = await to_thread.run_sync(
                    data_url, medium, field, abandon_on_cancel=True
                )
            except SpecError as exc:
                problems += exc.problems
    if problems:
        raise SpecError(problems)
    return found


def _local(spec: object) -> Iterator[tuple[str, Media]]:
    """The media of a spec that are a file or bytes, each with the name of its field."""
    if not isinstance(spec, TaskSpec):  # the preflight reports it
        return
    for field, medium in spec.media:
        if isinstance(medium.source, (bytes, Path)):
            yield field, medium


def _open(path: Path) -> BinaryIO:
    """Open a regular file. A pipe or a device is refused: it could block or never end."""
    try:
        mode = path.stat().st_mode
    except ValueError as exc:  # a NUL in the name
        raise OSError(errno.EINVAL, "no valid path") from exc
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "a directory")
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "no regular file")
    return path.open("rb")


def _reason(exc: OSError) -> str:
    return f"a file that can be read: {(exc.strerror or str(exc)).lower()}"


def _header(file: BinaryIO, kind: str) -> MediaFacts | str:
    size = file.seek(0, io.SEEK_END)
    if size == 0:
        return "a file with content: this one is empty"
    file.seek(0)
    first = file.read(_LONGEST_SIGNATURE)
    name = next((name for name, pattern in _SIGNATURES.items() if pattern.match(first)), None)
    if name is None:
        return f"{kind} content in a known format: this begins like none"
    if name not in _PICTURES:
        return MediaFacts(format=name, size=size)
    sides = _sides(file)
    if sides is None:
        return f"a whole {name}: its header is broken or cut off"
    width, height = sides
    return MediaFacts(format=name, size=size, width=width, height=height)


def _sides(file: BinaryIO) -> tuple[int, int] | None:
    try:
        import imagesize  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra, rarely needed
    except ImportError as exc:
        raise ConfigurationError(
            'local pictures need imagesize: pip install "callsheet[media]"'
        ) from exc
    try:
        found = imagesize.get_info(  # pyright: ignore[reportUnknownMemberType] - untyped library
            file, dpi=False, colors=False, exif_rotation=False, channels=False
        )
    except Exception:  # noqa: BLE001 - a parser may raise anything on a broken file
        return None
    return (found.width, found.height) if found.width > 0 and found.height > 0 else None
