"""The size of a finished video in pixels."""

from __future__ import annotations

from typing import Final

from callsheet._catalog.models import RATIOS, Capability


_NEWER_720P: Final = ((1280, 720), (1112, 834), (960, 960), (834, 1112), (720, 1280), (1470, 630))
_NEWER_1080P: Final = (
    (1920, 1080),
    (1664, 1248),
    (1440, 1440),
    (1248, 1664),
    (1080, 1920),
    (2206, 946),
)
_NEWER_480P: Final = ((864, 496), (752, 560), (640, 640), (560, 752), (496, 864), (992, 432))

_OUTPUT_SIZES: Final = {
    ("480p", "1.0"): ((864, 480), (736, 544), (640, 640), (544, 736), (480, 864), (960, 416)),
    ("480p", "1.5"): _NEWER_480P,
    ("480p", "2.0"): _NEWER_480P,
    ("480p", "2.5"): ((854, 480), (752, 560), (640, 640), (560, 752), (480, 854), (992, 432)),
    ("720p", "1.0"): ((1248, 704), (1120, 832), (960, 960), (832, 1120), (704, 1248), (1504, 640)),
    ("720p", "1.5"): _NEWER_720P,
    ("720p", "2.0"): _NEWER_720P,
    ("720p", "2.5"): _NEWER_720P,
    ("1080p", "1.0"): (
        (1920, 1088),
        (1664, 1248),
        (1440, 1440),
        (1248, 1664),
        (1088, 1920),
        (2176, 928),
    ),
    ("1080p", "1.5"): _NEWER_1080P,
    ("1080p", "2.0"): _NEWER_1080P,
    ("1080p", "2.5"): _NEWER_1080P,
    ("4k", "2.0"): (
        (3840, 2160),
        (3326, 2494),
        (2880, 2880),
        (2494, 3326),
        (2160, 3840),
        (4398, 1886),
    ),
}
"""Resolution and generation to (width, height) in pixels, in the order of `RATIOS`.

``adaptive``, the last of `RATIOS`, has no size of its own.
"""


def output_size(
    model: Capability | None, resolution: str | None, ratio: str | None
) -> tuple[int, int] | None:
    """Width and height of a model's output, in pixels.

    Args:
        model: The model; ``None`` if it is not known.
        resolution: Such as ``"720p"``, in upper or lower case; the model's default if ``None``.
        ratio: Such as ``"16:9"``.

    Returns:
        The size. ``None`` if the model is not known, if it cannot make the resolution, or if the
        ratio depends on the input (``"adaptive"`` and ``None``).

    Source: Ark create references of the 1.5 pro era and of August 2026, Seedance 2.5 tutorial of
    September 2026.
    """
    if model is None or ratio not in RATIOS[:-1]:
        return None
    name = (resolution or model.default_resolution).lower()
    if name not in model.resolutions:
        return None
    return _OUTPUT_SIZES[name, model.generation][RATIOS.index(ratio)]
