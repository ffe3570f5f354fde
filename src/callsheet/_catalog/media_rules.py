"""Rules about each picture, video and audio clip, and about the size of all media together."""

from __future__ import annotations

import binascii
from pathlib import Path
from typing import TYPE_CHECKING, Final

from callsheet._catalog.check_context import CheckContext, problem, shortened
from callsheet._catalog.urls import is_http_url, is_id
from callsheet._models.media import AudioRef, Image, Media, MediaFacts, VideoRef
from callsheet.errors import Problem


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from callsheet._catalog.models import Capability


MEGABYTE: Final = 1024 * 1024  # the references write MB; the larger reading refuses less

MOST_MEDIA_BYTES: Final = {"image": 30 * MEGABYTE - 1, "audio": 15 * MEGABYTE}
"""Kind to the most bytes of one medium: a picture has less than 30 MB, an audio clip at most 15 MB
(Ark create reference, August 2026)."""

MOST_BODY: Final = 64 * MEGABYTE
"""Most bytes of a request body, base64 included (Ark create reference, August 2026)."""

_MEDIA_CLASSES: Final = (Image, VideoRef, AudioRef)
_SIDES: Final = (300, 6000)

_FORMATS: Final = {
    "image": ("jpeg", "png", "webp", "bmp", "tiff", "gif", "heic", "heif"),
    "audio": ("wav", "mp3"),
}
_HEIC: Final = ("heic", "heif")
_ALIASES: Final = {"jpg": "jpeg", "tif": "tiff", "mpeg": "mp3", "x-wav": "wav", "wave": "wav"}
"""Other names of formats that callers write into data URLs. No source says they are refused."""


def media_problems(context: CheckContext) -> Iterator[Problem]:
    """Each medium has a kind, a source, a format and a size that the provider accepts."""
    for i, item in enumerate(context.spec.references):
        if not isinstance(item, _MEDIA_CLASSES):
            yield problem(f"references[{i}]", item, "an Image, a VideoRef or an AudioRef")
    for field, medium in context.spec.media:
        if not isinstance(medium, _MEDIA_CLASSES):
            continue
        match medium.source:
            case str(url):
                yield from _url_problems(field, medium, url, context.model)
            case bytes() | Path():
                yield from local_problems(field, medium, context.facts.get(medium), context.model)
            case _:
                yield problem(field, medium.source, "a URL, an asset:// id, a file's path or bytes")


_NO_INLINE_VIDEO: Final = (
    "an http(s) URL or an asset:// id; the provider takes no video inside the request, "
    "so put it where it can be fetched"
)


def local_problems(
    field: str, medium: Media, facts: MediaFacts | str | None, model: Capability | None
) -> Iterator[Problem]:
    """What is wrong with a medium that is given as a path or as bytes.

    Args:
        field: The field of the spec that holds it.
        medium: The medium.
        facts: What its header says, or why it cannot be read; ``None`` if it was not read.
        model: What the model accepts; ``None`` if that is not known.

    Source: Ark create reference, August 2026. It allows aspect ratios of exactly 0.4 and 2.5, which
    an older reference excludes.
    """
    if isinstance(medium, VideoRef):
        yield problem(field, medium.source, _NO_INLINE_VIDEO)
        return
    if isinstance(facts, str):
        yield problem(field, medium.source, facts)
        return
    if facts is None:
        return
    yield from _format_problems(field, medium, facts.format, model)
    yield from _size_problems(field, medium, facts.size)
    if facts.width is None or facts.height is None:
        return
    width, height = facts.width, facts.height
    least, most = _SIDES
    if not (least <= width <= most and least <= height <= most):
        yield _mismatch(field, medium, f"{width}x{height}", f"sides of {least} to {most} pixels")
    if not (2 * height <= 5 * width and 2 * width <= 5 * height):
        yield _mismatch(field, medium, f"{width}x{height}", "width / height from 0.4 to 2.5")


def _mismatch(field: str, medium: Media, found: str, allowed: str) -> Problem:
    return problem(field, medium.source, f"{allowed}; this {medium.kind} has {found}")


def _format_problems(
    field: str, medium: Media, name: str, model: Capability | None
) -> Iterator[Problem]:
    formats = _FORMATS[medium.kind]
    if model is not None and not model.heic:
        formats = tuple(row for row in formats if row not in _HEIC)
    if _ALIASES.get(name, name) not in formats:
        taker = "the provider" if model is None else model.name
        allowed = f"{medium.kind} as {', '.join(formats)} at {taker}; this is {shortened(name)}"
        yield problem(field, medium.source, allowed)


def _size_problems(field: str, medium: Media, size: int) -> Iterator[Problem]:
    most = MOST_MEDIA_BYTES[medium.kind]
    if size > most:
        yield _mismatch(field, medium, f"{_megabytes(size)} MB", f"at most {_megabytes(most)} MB")


def _megabytes(size: int) -> str:
    return f"{size / MEGABYTE:.1f}"


def _url_problems(
    field: str, medium: Media, url: str, model: Capability | None
) -> Iterator[Problem]:
    start = url[:8].lower()
    if start.startswith("data:"):
        yield from _data_problems(field, medium, url, model)
    elif start.startswith("asset://"):
        if not is_id(url[8:]):
            yield problem(field, url, "an id after asset://, without spaces")
    elif not is_http_url(url):
        yield problem(field, url, "an http(s) URL with a host, and without spaces")


def _data_problems(
    field: str, medium: Media, url: str, model: Capability | None
) -> Iterator[Problem]:
    if isinstance(medium, VideoRef):
        yield problem(field, url, _NO_INLINE_VIDEO)
        return
    head, _, payload = url.partition(",")
    wanted = f"data:{medium.kind}/"
    if not (head.startswith(wanted) and head.endswith(";base64")):
        yield problem(field, url, f"{wanted}<format>;base64,<content>")
        return
    name = head[len(wanted) : -len(";base64")]
    if name != name.lower():
        yield problem(
            field, url, f"the format in lower case, such as {wanted}{_FORMATS[medium.kind][0]}"
        )
    yield from _format_problems(field, medium, name.lower(), model)
    yield from _size_problems(field, medium, len(payload) * 3 // 4 - payload[-2:].count("="))
    if not payload or not _is_base64(payload):
        yield problem(field, url, "content in base64, padded and without line breaks")


def _is_base64(text: str) -> bool:
    try:
        binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return False
    return True


def body_problems(context: CheckContext) -> Iterator[Problem]:
    """All media that are sent inside the request fit into one body."""
    sizes = [(_encoded_size(medium, context.facts), field) for field, medium in context.spec.media]
    total = sum(size for size, _ in sizes)
    if total > MOST_BODY:
        _, largest = max(sizes)
        yield Problem(
            largest,
            shortened(f"{_megabytes(total)} MB in all"),
            f"at most {_megabytes(MOST_BODY)} MB for all media inside one request, where base64 "
            "adds a third; give URLs for the large ones",
        )


def _encoded_size(medium: Media, facts: Mapping[Media, MediaFacts | str]) -> int:
    """Number of bytes that the medium takes inside the request."""
    match medium.source:
        case str(url):
            return len(url)
        case bytes() | Path():
            known = facts.get(medium)
            return 4 * ((known.size + 2) // 3) if isinstance(known, MediaFacts) else 0
        case _:
            return 0
