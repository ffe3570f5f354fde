"""Images, videos and audio clips that a spec refers to."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import attrs


REMOTE_SCHEMES = ("http://", "https://", "asset://", "data:")


def _source(value: str | bytes | bytearray | Path) -> str | bytes | Path:
    """Tell a URL from a path: a string without one of the known schemes names a file."""
    if isinstance(value, str):
        return value if value.lower().startswith(REMOTE_SCHEMES) else Path(value)
    return bytes(value) if isinstance(value, bytearray) else value


@attrs.frozen
class Media:
    """One medium by reference or by content.

    Attributes:
        source: An ``http(s)://``, ``asset://`` or ``data:`` URL as ``str``; a local file as `Path`;
            or the content itself as ``bytes``. A ``str`` without one of these schemes is taken as
            a path.
    """

    kind: ClassVar[str] = "media"

    source: str | bytes | Path = attrs.field(
        converter=_source,
        repr=lambda value: f"<{len(value)} bytes>" if isinstance(value, bytes) else repr(value),
    )

    @property
    def url(self) -> str | None:
        """The URL to send as it is; ``None`` for a file or bytes, which must be encoded first."""
        return self.source if isinstance(self.source, str) else None


class Image(Media):
    """A picture: jpeg, png, webp, bmp, tiff, gif, or heic/heif where the model takes it.

    Limits (Ark create reference, August 2026): under 30 MB, sides 300 to 6000 px, width/height
    0.4 to 2.5. A local file or bytes travel as a data URL inside the request.
    """

    kind: ClassVar[str] = "image"


class VideoRef(Media):
    """A reference video by URL or ``asset://`` id, mp4 or mov, up to 200 MB (2.x models).

    The provider takes no inline form of a video, so a file or bytes are refused by the preflight.
    """

    kind: ClassVar[str] = "video"


class AudioRef(Media):
    """A reference audio clip, wav or mp3, up to 15 MB (2.x models)."""

    kind: ClassVar[str] = "audio"


@attrs.frozen(kw_only=True)
class MediaFacts:
    """What the header of a local medium says.

    Attributes:
        format: Lower-case name, such as ``jpeg``.
        size: Bytes.
        width: Pixels; ``None`` for sound.
        height: Pixels; ``None`` for sound.
    """

    format: str
    size: int
    width: int | None = None
    height: int | None = None
