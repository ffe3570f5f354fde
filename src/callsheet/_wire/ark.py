"""The dialect of Volcengine Ark and BytePlus ModelArk: options are body fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from callsheet._wire.content import build_body
from callsheet._wire.dialect import Dialect


if TYPE_CHECKING:
    from callsheet._models.media import Media
    from callsheet._models.spec import TaskSpec
    from callsheet._wire.messages import Request


class Ark(Dialect):
    """The dialect of the Ark create reference (August 2026)."""

    def build_create(
        self, spec: TaskSpec, *, model: str, urls: Mapping[Media, str], token: str | None = None
    ) -> Request:
        """See `Dialect.build_create`. The keys have the same order as in the reference."""
        tools = [dict(tool) if isinstance(tool, Mapping) else {"type": tool} for tool in spec.tools]
        options: dict[str, Any] = {
            "callback_url": spec.callback_url,
            "return_last_frame": spec.return_last_frame,
            "service_tier": spec.service_tier,
            "execution_expires_after": spec.execution_expires_after,
            "generate_audio": spec.generate_audio,
            "draft": spec.draft,
            "tools": tools or None,
            "safety_identifier": token,
            "priority": spec.priority,
            "resolution": spec.resolution,
            "ratio": spec.ratio,
            "duration": spec.duration,
            "frames": spec.frames,
            "seed": spec.seed,
            "camera_fixed": spec.camera_fixed,
            "watermark": spec.watermark,
        }
        given = {name: value for name, value in options.items() if value is not None}
        return build_body(spec, model=model, text=spec.prompt, options=given, urls=urls)
