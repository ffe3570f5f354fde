"""Options that fill fields which the specs of the file leave unset."""

from __future__ import annotations

from typing import Any, Literal

import attrs
from cyclopts import Group, Parameter


_GROUP = Group("For specs that do not say it themselves")


@Parameter(name="*", group=_GROUP)
@attrs.frozen(kw_only=True)
class Defaults:
    """One option for every plain field of `TaskSpec`.

    Attributes:
        model: Model id or endpoint id; the provider's default otherwise.
        duration: Seconds.
        frames: Number of frames, instead of a duration.
        ratio: Such as 16:9, 9:16, 1:1 or adaptive.
        resolution: Such as 480p, 720p or 1080p.
        seed: Whole number; the same seed for every sample.
        camera_fixed: Keep the camera still.
        watermark: Draw the provider's mark.
        generate_audio: Make sound.
        draft: Make a cheap preview.
        return_last_frame: Also save the last frame.
        service_tier: flex is cheaper and slower.
        execution_expires_after: Seconds after which the provider gives up.
        priority: 0 to 9, among the account's waiting tasks.
        callback_url: Where the provider posts status changes.
    """

    model: str | None = None
    duration: int | None = None
    frames: int | None = None
    ratio: str | None = None
    resolution: str | None = None
    seed: int | None = None
    camera_fixed: bool | None = None
    watermark: bool | None = None
    generate_audio: bool | None = None
    draft: bool | None = None
    return_last_frame: bool | None = None
    service_tier: Literal["default", "flex"] | None = None
    execution_expires_after: int | None = None
    priority: int | None = None
    callback_url: str | None = None

    def given(self) -> dict[str, Any]:
        """The fields that the user has set."""
        return {name: value for name, value in attrs.asdict(self).items() if value is not None}
