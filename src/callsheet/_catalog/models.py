"""What each model accepts and makes, and the quota of an account for it: one row per model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import attrs


if TYPE_CHECKING:
    from collections.abc import Mapping


RATIOS: Final = ("16:9", "4:3", "1:1", "3:4", "9:16", "21:9", "adaptive")
"""All aspect ratios that at least one model knows (Ark create reference, August 2026)."""


@attrs.frozen(kw_only=True, cache_hash=True)
class Capability:
    """What one model accepts.

    A flag with the name of a `TaskSpec` field says whether the model accepts that field at all. The
    service answers 400 to a body field that the model does not accept, even if its value is
    ``false`` (Ark create reference, August 2026; TanStack/ai probes of BytePlus, July 2026). Where
    sources disagree, the row holds the wider value, so that the preflight refuses nothing that may
    work.

    Attributes:
        family: Name without vendor and date, such as ``1.5 pro``.
        generation: Selects the output sizes in the table of sizes.
        cn: Id at Volcengine Ark and at CometAPI.
        byteplus: Id at BytePlus ModelArk; ``None`` if no such id is known.
        retired: The provider is removing the model, or has already removed it in some clouds.
        text: Makes a video from a prompt alone.
        first_frame: Accepts a first frame.
        last_frame: Accepts a last frame together with a first frame.
        reference_images: Most pictures among the references, >= 0.
        reference_videos: Most videos among the references, >= 0.
        reference_audios: Most audio clips among the references, >= 0.
        audio_alone: Accepts audio clips without a picture or a video.
        heic: Accepts heic and heif pictures.
        resolutions: Lower-case names, smallest first.
        reference_resolutions: The same for a spec with references.
        default_resolution: The resolution that the provider uses if none is given.
        frame_ratios: Ratios that a spec with a first frame may ask for.
        shortest: Least duration in seconds.
        longest: Largest duration in seconds.
        free_duration: Accepts a duration of -1: the model chooses.
        frames: Accepts a number of frames.
        camera_fixed: Accepts the field.
        generate_audio: Accepts the field.
        draft: Accepts the field, and makes full renders from drafts.
        service_tier: Accepts the field, with ``flex``.
        priority: Accepts the field.
        tools: Accepts the field, with ``web_search``.
        earliest_expiry: Least ``execution_expires_after`` in seconds.
        creates_per_minute: New tasks per minute that an account may create.
        concurrent: Tasks of one account that run at once; the others wait in the queue.
    """

    family: str
    generation: Literal["1.0", "1.5", "2.0", "2.5"]
    cn: str
    byteplus: str | None
    retired: bool = False
    text: bool = True
    first_frame: bool = True
    last_frame: bool = True
    reference_images: int = 0
    reference_videos: int = 0
    reference_audios: int = 0
    audio_alone: bool = False
    heic: bool = False
    resolutions: tuple[str, ...] = ("480p", "720p", "1080p")
    reference_resolutions: tuple[str, ...] = attrs.Factory(
        lambda self: self.resolutions, takes_self=True
    )
    default_resolution: str = "720p"
    frame_ratios: tuple[str, ...] = RATIOS
    shortest: int
    longest: int
    free_duration: bool = False
    frames: bool = False
    camera_fixed: bool = False
    generate_audio: bool = False
    draft: bool = False
    service_tier: bool = False
    priority: bool = True
    tools: bool = False
    earliest_expiry: int = 3600
    creates_per_minute: int
    concurrent: int

    @property
    def name(self) -> str:
        """What the model is called in messages."""
        return f"Seedance {self.family}"


_LITE_T2V = Capability(
    family="1.0 lite t2v",
    generation="1.0",
    cn="doubao-seedance-1-0-lite-t2v-250428",
    byteplus="seedance-1-0-lite-t2v-250428",
    retired=True,  # missing from the Ark reference of August 2026, 404 at BytePlus in July
    first_frame=False,
    last_frame=False,
    shortest=2,
    longest=12,
    frames=True,  # older references only
    camera_fixed=True,
    service_tier=True,
    creates_per_minute=300,
    concurrent=5,
)
_LITE_I2V = attrs.evolve(
    _LITE_T2V,
    family="1.0 lite i2v",
    cn="doubao-seedance-1-0-lite-i2v-250428",
    byteplus="seedance-1-0-lite-i2v-250428",
    text=False,
    first_frame=True,
    last_frame=True,
    reference_images=4,
    reference_resolutions=("480p", "720p"),
)
_PRO = Capability(
    family="1.0 pro",
    generation="1.0",
    cn="doubao-seedance-1-0-pro-250528",
    byteplus="seedance-1-0-pro-250528",
    default_resolution="1080p",
    shortest=2,
    longest=12,
    frames=True,
    camera_fixed=True,
    service_tier=True,
    creates_per_minute=600,
    concurrent=10,
)
_PRO_FAST = attrs.evolve(
    _PRO,
    family="1.0 pro fast",
    cn="doubao-seedance-1-0-pro-fast-251015",
    byteplus="seedance-1-0-pro-fast-251015",
    last_frame=False,
)
_PRO_1_5 = Capability(
    family="1.5 pro",
    generation="1.5",
    cn="doubao-seedance-1-5-pro-251215",
    byteplus="seedance-1-5-pro-251215",
    heic=True,
    # resolutions: no reference names 1080p, but the service accepted it, so it is not refused.
    shortest=4,
    longest=12,
    free_duration=True,
    camera_fixed=True,
    generate_audio=True,
    draft=True,
    service_tier=True,
    priority=False,  # the 1.0 models ignore it, this one answers 400
    creates_per_minute=600,
    concurrent=10,
)
_V2 = Capability(
    family="2.0",
    generation="2.0",
    cn="doubao-seedance-2-0-260128",
    byteplus="dreamina-seedance-2-0-260128",
    reference_images=9,
    reference_videos=3,
    reference_audios=3,
    heic=True,
    resolutions=("480p", "720p", "1080p", "4k"),
    shortest=4,
    longest=15,
    free_duration=True,
    generate_audio=True,
    tools=True,
    earliest_expiry=1,  # the service did not enforce the documented hour (seen in August 2026)
    # Of a personal account. An enterprise account has 600 and 10, and only 15 and 1 at 4k.
    creates_per_minute=180,
    concurrent=3,
)
_V2_R2V = attrs.evolve(
    _V2,
    family="2.0 r2v",
    cn="doubao-seedance-2-0-r2v-260128",  # seen in one example of Ark's command line, in no table,
    byteplus=None,  # so the row of 2.0 is used, the widest of its family
)
_V2_FAST = attrs.evolve(
    _V2,
    family="2.0 fast",
    cn="doubao-seedance-2-0-fast-260128",
    byteplus="dreamina-seedance-2-0-fast-260128",
    resolutions=("480p", "720p"),
    reference_resolutions=("480p", "720p"),
)
_V2_MINI = attrs.evolve(
    _V2_FAST,
    family="2.0 mini",
    cn="doubao-seedance-2-0-mini-260615",
    byteplus="dreamina-seedance-2-0-mini-260615",
)
_V2_5 = Capability(
    family="2.5",
    generation="2.5",
    cn="doubao-seedance-2-5-260628",
    byteplus="dreamina-seedance-2-5-260628",
    reference_images=64,  # the tutorial says 30, the service accepted 64 in August 2026
    reference_videos=10,
    reference_audios=10,
    audio_alone=True,
    heic=True,
    frame_ratios=("adaptive",),  # the tutorial and five live reports agree that others fail
    shortest=4,
    longest=30,
    free_duration=True,
    generate_audio=True,
    draft=True,  # the August 2026 reference lists it, the September tutorial does not
    tools=True,
    # Of a personal account. An enterprise account has 600 and 10.
    creates_per_minute=180,
    concurrent=3,
)

MODELS: Final[tuple[Capability, ...]] = (
    _LITE_T2V,
    _LITE_I2V,
    _PRO,
    _PRO_FAST,
    _PRO_1_5,
    _V2,
    _V2_FAST,
    _V2_MINI,
    _V2_R2V,
    _V2_5,
)
"""All known models, oldest first.

Sources: Ark create references of June and August 2026 and of the 1.5 pro era, the Seedance 2.5
tutorial of September 2026, the create rate and concurrency tables of both tutorials, and
TanStack/ai probes of BytePlus, July 2026.
"""

_BY_ID: Final[Mapping[str, Capability]] = {
    id_: row for row in MODELS for id_ in (row.cn, row.byteplus) if id_ is not None
}


def capability(model: str) -> Capability | None:
    """What the model with this id accepts.

    Args:
        model: Id at any provider, with its date.

    Returns:
        The row of the model. ``None`` if the id is not in the catalog, as for an endpoint id
        (``ep-…``), a family name without a date, or a newer model.
    """
    return _BY_ID.get(model)


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
