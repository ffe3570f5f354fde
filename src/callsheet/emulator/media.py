"""Check the media URLs of a request. Data URLs are decoded and checked."""

from __future__ import annotations

import base64
import binascii
import io
import re
import warnings
from urllib.parse import urlsplit

from PIL import Image, UnidentifiedImageError

from callsheet.emulator.answers import invalid


_DATA = re.compile(r"data:(image|audio|video)/([a-z0-9.+-]+);base64,", re.ASCII)
_IMAGES = frozenset({"jpeg", "jpg", "png", "webp", "bmp", "tiff", "gif"})
_HEIF = frozenset({"heic", "heif"})
_MEGABYTE = 1024 * 1024
_IMAGE_BYTES = 30 * _MEGABYTE
_AUDIO_BYTES = 15 * _MEGABYTE
_LEAST_SIDE, _MOST_SIDE = 300, 6000
_LEAST_ASPECT, _MOST_ASPECT = 0.4, 2.5


def is_web(url: str) -> bool:
    """Whether *url* is an http(s) URL with a host."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        return False


def check_url(url: str, *, kind: str, param: str, heif: bool = False) -> float | None:
    """Check one media URL. Return the aspect ratio if it is an image as a data URL.

    Public URLs and ``asset://`` ids are accepted without a check: the emulator fetches nothing.

    Args:
        url: The URL from the request.
        kind: ``image``, ``video`` or ``audio``.
        param: Parameter that a refusal names.
        heif: Whether the model reads HEIC and HEIF.

    Raises:
        Refusal: If the service would not accept it.

    Source: Ark create reference, Aug 2026 (formats, 300 to 6000 px, 0.4 to 2.5, 30 and 15 MB).
    """
    if is_web(url) or (url.startswith("asset://") and len(url) > len("asset://")):
        return None
    head = _DATA.match(url)
    if head is None or head[1] != kind or kind == "video":
        raise invalid(param, f"the url of a {kind} is malformed")
    try:
        data = base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise invalid(param, "the base64 text cannot be decoded") from None
    if kind == "audio":
        _check_audio(data, head[2], param)
        return None
    return _check_image(data, head[2], param, heif=heif)


def _check_audio(data: bytes, form: str, param: str) -> None:
    wav = data[:4] == b"RIFF" and data[8:12] == b"WAVE"
    mp3 = data[:3] == b"ID3" or (data[:1] == b"\xff" and data[1:2] >= b"\xe0")
    if form not in {"wav", "mp3"} or not (wav or mp3):
        raise invalid(param, "audio must be wav or mp3")
    if len(data) > _AUDIO_BYTES:
        raise invalid(param, "audio must not exceed 15 MB")


def _check_image(data: bytes, form: str, param: str, *, heif: bool) -> float | None:
    if form not in _IMAGES and not (heif and form in _HEIF):
        raise invalid(param, f"the image format {form} is not supported")
    if len(data) >= _IMAGE_BYTES:
        raise invalid(param, "an image must be smaller than 30 MB")
    if form in _HEIF:
        if data[4:8] != b"ftyp":
            raise invalid(param, "the image cannot be read")
        return None
    try:
        with warnings.catch_warnings():
            # Pillow warns of very large images; they are refused by their size below
            warnings.simplefilter("ignore")
            picture = Image.open(io.BytesIO(data))
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        raise invalid(param, "the image cannot be read") from None
    with picture:
        width, height = picture.size
        if (picture.format or "").lower() not in _IMAGES | {"mpo"}:
            raise invalid(param, f"the image format {picture.format} is not supported")
    if min(width, height) < _LEAST_SIDE or max(width, height) > _MOST_SIDE:
        raise invalid(param, f"image sides must be 300 to 6000 px, not {width}x{height}")
    if not _LEAST_ASPECT <= width / height <= _MOST_ASPECT:
        raise invalid(param, "the aspect ratio of an image must be between 0.4 and 2.5")
    return width / height
