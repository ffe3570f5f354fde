"""Images, videos and audio clips that a spec refers to."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import attrs


REMOTE_SCHEMES = ("http://", "https://", "asset://", "data:")


def _source(value: str | bytes | bytearray | Path) -> str | bytes | Path:
    """Keep a URL as text, and make a path from any other text."""
    if isinstance(value, str):
        return value if value.lower().startswith(REMOTE_SCHEMES) else Path(value)
    return bytes(value) if isinstance(value, bytearray) else value


@attrs.frozen
class Media:
    """One medium: a URL, a local file, or its content.

    Attributes:
        source: An ``http(s)://``, ``asset://`` or ``data:`` URL as ``str``, a local file as `Path`,
            or the content as ``bytes``. A ``str`` without one of these schemes is taken as a path.
    """

    kind: ClassVar[str] = "media"

    source: str | bytes | Path = attrs.field(
        converter=_source,
        repr=lambda value: f"<{len(value)} bytes>" if isinstance(value, bytes) else repr(value),
    )

    @property
    def url(self) -> str | None:
        """The URL, which is sent unchanged; ``None`` for a file or bytes, which are encoded."""
        return self.source if isinstance(self.source, str) else None


class Image(Media):
    """A picture: jpeg, png, webp, bmp, tiff, gif, or heic/heif if the model accepts it.

    Limits (Ark create reference, August 2026): less than 30 MB, each side 300 to 6000 pixels,
    width / height from 0.4 to 2.5. A local file or bytes are sent as a data URL inside the request.
    """

    kind: ClassVar[str] = "image"


class VideoRef(Media):
    """A reference video by URL or ``asset://`` id: mp4 or mov, at most 200 MB (2.x models).

    The provider accepts no video inside the request, so the preflight refuses a file or bytes.
    """

    kind: ClassVar[str] = "video"


class AudioRef(Media):
    """A reference audio clip: wav or mp3, at most 15 MB (2.x models)."""

    kind: ClassVar[str] = "audio"


@attrs.frozen(kw_only=True)
class MediaFacts:
    """What the header of a local medium says.

    Attributes:
        format: Lower-case name, such as ``jpeg``.
        size: Size of the file in bytes.
        width: Pixels; ``None`` for audio.
        height: Pixels; ``None`` for audio.
    """

    format: str
    size: int
    width: int | None = None
    height: int | None = None
