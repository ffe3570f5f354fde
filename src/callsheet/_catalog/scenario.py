"""Rules about the combination of media: frames or references, which kinds, and how many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from callsheet._catalog.check_context import CheckContext, is_set, problem
from callsheet._models.media import AudioRef, Image, VideoRef


if TYPE_CHECKING:
    from collections.abc import Iterator

    from callsheet.errors import Problem


def scenario_problems(context: CheckContext) -> Iterator[Problem]:
    """A spec has a first frame, a first and a last frame, or references, but no other mix.

    Source: Ark create reference, August 2026.
    """
    spec = context.spec
    if spec.references and (spec.first_frame is not None or spec.last_frame is not None):
        yield problem(
            "references",
            spec.references,
            "either references or first_frame and last_frame, not both in one video",
        )
    if spec.last_frame is not None and spec.first_frame is None:
        yield problem(
            "last_frame", spec.last_frame, "a first_frame beside it: there is no last frame alone"
        )
    if is_set(spec, "tools") and (spec.media or spec.references):
        yield problem("tools", spec.tools, "no media beside tools: they work from a prompt alone")
    if is_set(spec, "camera_fixed") and spec.references:
        yield problem("camera_fixed", spec.camera_fixed, "leave it out beside references")


def frame_problems(context: CheckContext) -> Iterator[Problem]:
    """The model accepts the given frames."""
    spec, model = context.spec, context.model
    if model is None:
        return
    for field in ("first_frame", "last_frame"):
        if is_set(spec, field) and not getattr(model, field):
            yield problem(field, getattr(spec, field), f"leave it out: {model.name} takes none")


_REFERENCE_KINDS: Final = (
    (Image, "reference_images", "pictures"),
    (VideoRef, "reference_videos", "videos"),
    (AudioRef, "reference_audios", "clips"),
)


def reference_problems(context: CheckContext) -> Iterator[Problem]:
    """The model accepts references of these kinds, and this number of each.

    Source: Ark create reference, August 2026, and Seedance 2.5 tutorial, September 2026. Models
    that accept no references answer "task_type r2v does not support model" (seen at Ark and
    CometAPI).
    """
    spec, model = context.spec, context.model
    if model is None:
        return
    for kind, limit, words in _REFERENCE_KINDS:
        most: int = getattr(model, limit)
        places = [i for i, item in enumerate(spec.references) if isinstance(item, kind)]
        for i in places[most:]:
            allowed = f"at most {most} {words}" if most else f"no {words}"
            yield problem(
                f"references[{i}]",
                spec.references[i],
                f"{model.name} takes {allowed} among the references, here are {len(places)}",
            )
    if (
        spec.references
        and model.reference_audios
        and not model.audio_alone
        and all(isinstance(item, AudioRef) for item in spec.references)
    ):
        yield problem(
            "references",
            spec.references,
            f"a picture or a video beside the clips: {model.name} takes none alone",
        )
