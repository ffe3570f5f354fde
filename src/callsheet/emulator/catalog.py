"""The models of the provider: which fields each accepts, and its sizes and render times."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs


if TYPE_CHECKING:
    from collections.abc import Mapping


_SHORTHAND = ["16:9", "4:3", "1:1", "3:4", "9:16", "21:9"]


def _row(text: str) -> dict[str, tuple[int, int]]:
    """Read one line of the size table."""
    sizes = [tuple(int(side) for side in size.split("x")) for size in text.split()]
    return {ratio: (size[0], size[1]) for ratio, size in zip(_SHORTHAND, sizes, strict=True)}


KNOWN_RATIOS = frozenset(_SHORTHAND)

SIZES: Mapping[tuple[str, str], Mapping[str, tuple[int, int]]] = {
    ("480p", "1.0"): _row("864x480 736x544 640x640 544x736 480x864 960x416"),
    ("480p", "1.5"): _row("864x496 752x560 640x640 560x752 496x864 992x432"),
    ("480p", "2.5"): _row("854x480 752x560 640x640 560x752 480x854 992x432"),
    ("720p", "1.0"): _row("1248x704 1120x832 960x960 832x1120 704x1248 1504x640"),
    ("720p", "1.5"): _row("1280x720 1112x834 960x960 834x1112 720x1280 1470x630"),
    ("1080p", "1.0"): _row("1920x1088 1664x1248 1440x1440 1248x1664 1088x1920 2176x928"),
    ("1080p", "1.5"): _row("1920x1080 1664x1248 1440x1440 1248x1664 1080x1920 2206x946"),
    ("4k", "1.5"): _row("3840x2160 3326x2494 2880x2880 2494x3326 2160x3840 4398x1886"),
}
"""Width and height in pixels by resolution, generation of the model, and ratio.

Source: Ark create reference, Aug 2026, and its older versions; Ark 2.5 tutorial, Sep 2026.
"""

_SLOWNESS = {"480p": 0.75, "720p": 1.0, "1080p": 1.4, "4k": 4.0}


@attrs.frozen(kw_only=True)
class Model:
    """What one family of models accepts.

    Source: capability table of the Ark create reference (Aug 2026), live probes of BytePlus by
    TanStack/ai (July 2026) and the Ark tutorials for quotas.

    Attributes:
        family: Its name in messages.
        generation: Generation of the model in the size table.
        text: Whether it makes a video from a prompt alone.
        frames: 0: no frames; 1: a first frame; 2: a first and a last frame.
        images: Most reference images.
        clips: Most reference videos; the same number limits reference audios.
        audio_alone: Whether reference audio may come without image or video.
        resolutions: The resolutions that it renders, lower case.
        resolution: Default resolution.
        adaptive: Whether a prompt alone has ratio ``adaptive`` by default (else 16:9).
        shortest: Shortest duration, seconds.
        longest: Longest duration, seconds.
        duration: Default duration, seconds; -1: the model chooses.
        takes: Body fields that this model accepts and some other model refuses.
        ignores: Body fields that it accepts without effect.
        commands: Whether it reads ``--commands`` in the prompt.
        expiry_floor: Smallest ``execution_expires_after``, seconds.
        concurrency: Tasks rendered at a time for one account.
        creates_per_minute: Tasks created per minute for one account.
        seconds: Median render time of a 5 s video at 720p, seconds.
    """

    family: str
    generation: str = "1.0"
    text: bool = True
    frames: int = 2
    images: int = 0
    clips: int = 0
    audio_alone: bool = False
    resolutions: tuple[str, ...] = ("480p", "720p", "1080p")
    resolution: str = "720p"
    adaptive: bool = False
    shortest: int = 2
    longest: int = 12
    duration: int = 5
    takes: frozenset[str]
    ignores: frozenset[str] = frozenset()
    commands: bool = True
    expiry_floor: int = 3600
    concurrency: int = 10
    creates_per_minute: int = 600
    seconds: float

    @property
    def chooses_duration(self) -> bool:
        """Whether ``duration: -1`` is allowed."""
        return self.adaptive

    def size(self, resolution: str, ratio: str) -> tuple[int, int]:
        """Return width and height of a video, pixels."""
        table = SIZES.get((resolution, self.generation)) or SIZES[resolution, "1.5"]
        return table[ratio]

    def closest_ratio(self, resolution: str, aspect: float) -> str:
        """Return the ratio nearest to *aspect* (width / height)."""

        def distance(ratio: str) -> float:
            width, height = self.size(resolution, ratio)
            return abs(math.log(width / height / aspect))

        return min(_SHORTHAND, key=distance)

    def render_seconds(self, resolution: str, duration: float) -> float:
        """Return the median render time, seconds, of a video of *duration* seconds."""
        return self.seconds * _SLOWNESS[resolution] * (duration + 1.25) / 6.25


_TAKES_ONE = frozenset({"service_tier", "camera_fixed"})
_TAKES_TWO = frozenset({"generate_audio", "priority", "tools"})
_PRIORITY = frozenset({"priority"})

ONE_LITE_T2V = Model(
    family="seedance-1-0-lite-t2v",
    frames=0,
    takes=_TAKES_ONE,
    ignores=_PRIORITY,
    concurrency=5,
    creates_per_minute=300,
    seconds=33,
)
ONE_LITE_I2V = Model(
    family="seedance-1-0-lite-i2v",
    text=False,
    images=4,
    takes=_TAKES_ONE,
    ignores=_PRIORITY,
    concurrency=5,
    creates_per_minute=300,
    seconds=33,
)
ONE_PRO = Model(
    family="seedance-1-0-pro",
    resolution="1080p",
    takes=_TAKES_ONE | {"frames"},
    ignores=_PRIORITY,
    seconds=47,
)
ONE_PRO_FAST = Model(
    family="seedance-1-0-pro-fast",
    resolution="1080p",
    frames=1,
    takes=_TAKES_ONE | {"frames"},
    ignores=_PRIORITY,
    seconds=25,
)
ONE_FIVE_PRO = Model(
    family="seedance-1-5-pro",
    generation="1.5",
    adaptive=True,
    shortest=4,
    takes=_TAKES_ONE | {"generate_audio", "draft"},
    seconds=55,
)
TWO = Model(
    family="seedance-2-0",
    generation="1.5",
    images=9,
    clips=3,
    resolutions=("480p", "720p", "1080p", "4k"),
    adaptive=True,
    shortest=4,
    longest=15,
    takes=_TAKES_TWO,
    commands=False,
    expiry_floor=1,
    seconds=110,
)
TWO_FAST = attrs.evolve(TWO, family="seedance-2-0-fast", resolutions=("480p", "720p"), seconds=134)
TWO_MINI = attrs.evolve(TWO_FAST, family="seedance-2-0-mini", seconds=150)
TWO_4K = attrs.evolve(TWO, family="seedance-2-0-4k", concurrency=1, creates_per_minute=15)
TWO_FIVE = Model(
    family="seedance-2-5",
    generation="2.5",
    images=30,
    clips=10,
    audio_alone=True,
    adaptive=True,
    shortest=4,
    longest=30,
    duration=-1,
    takes=_TAKES_TWO | {"output_format", "omni_reference_task_type"},
    commands=False,
    seconds=150,
)

GATED = _TAKES_ONE | _TAKES_TWO | TWO_FIVE.takes | {"frames", "draft"}
"""Body fields that not every model accepts. A model refuses those that it does not accept."""

MODEL_RULES: Mapping[str, Model] = {
    "doubao-seedance-1-0-lite-t2v-250428": ONE_LITE_T2V,
    "doubao-seedance-1-0-lite-i2v-250428": ONE_LITE_I2V,
    "doubao-seedance-1-0-pro-250528": ONE_PRO,
    "doubao-seedance-1-0-pro-fast-251015": ONE_PRO_FAST,
    "doubao-seedance-1-5-pro-251215": ONE_FIVE_PRO,
    "doubao-seedance-2-0-260128": TWO,
    "doubao-seedance-2-0-fast-260128": TWO_FAST,
    "doubao-seedance-2-0-mini-260615": TWO_MINI,
    "doubao-seedance-2-5-260628": TWO_FIVE,
    "seedance-1-0-pro-250528": ONE_PRO,
    "seedance-1-0-pro-fast-251015": ONE_PRO_FAST,
    "seedance-1-5-pro-251215": ONE_FIVE_PRO,
    "dreamina-seedance-2-0-260128": TWO,
    "dreamina-seedance-2-0-fast-260128": TWO_FAST,
    "dreamina-seedance-2-0-mini-260615": TWO_MINI,
    "dreamina-seedance-2-5-260628": TWO_FIVE,
}
"""Dated model ids of Ark and BytePlus. The lite ids of BytePlus answered 404 by July 2026."""

ENDPOINT_MODEL = "doubao-seedance-1-5-pro-251215"
"""The model behind an endpoint id (``ep-…``) that the settings do not name."""
