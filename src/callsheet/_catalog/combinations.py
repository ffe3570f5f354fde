"""Rules about options that exclude each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from callsheet._catalog.check_context import BODY_FIELDS, CheckContext, is_set, problem


if TYPE_CHECKING:
    from collections.abc import Iterator

    from callsheet.errors import Problem


_FROM_DRAFT: Final = (
    "prompt",
    "first_frame",
    "last_frame",
    "references",
    "generate_audio",
    "seed",
    "ratio",
    "duration",
    "camera_fixed",
    "draft",
)
"""Fields that a full render copies from its draft (Ark create reference, August 2026)."""


def draft_problems(context: CheckContext) -> Iterator[Problem]:
    """A draft is always a 480p preview, and a full render copies the options of its draft.

    Source: Ark create reference, August 2026.
    """
    spec = context.spec
    if spec.draft:
        if spec.resolution is not None and spec.resolution.lower() != "480p":
            yield problem(
                "resolution", spec.resolution, "480p, or leave it out: a draft is made so"
            )
        if spec.return_last_frame:
            allowed = "leave it out: a draft gives no last frame"
            yield problem("return_last_frame", spec.return_last_frame, allowed)
        if spec.service_tier == "flex":
            yield problem(
                "service_tier", "flex", "'default', or leave it out: a draft is never flex"
            )
    if spec.draft_task is None:
        return
    if context.model is not None and not context.model.draft:
        yield problem(
            "draft_task", spec.draft_task, f"leave it out: {context.model.name} has no drafts"
        )
    for field in _FROM_DRAFT:
        if is_set(spec, field):
            yield problem(field, getattr(spec, field), "leave it out: it comes from the draft_task")


def tier_problems(context: CheckContext) -> Iterator[Problem]:
    """``priority`` works in the default tier only (Ark create reference, August 2026)."""
    spec = context.spec
    if spec.service_tier == "flex" and spec.priority is not None:
        yield problem("priority", spec.priority, "leave it out: flex tasks take none")


def extra_problems(context: CheckContext) -> Iterator[Problem]:
    """A raw key does not repeat a field that is set, and does not contradict one.

    When the 2.5 model edits or extends a video, it keeps the ratio of the source. An edit also
    keeps its duration (Seedance 2.5 tutorial, September 2026). Other raw keys are not checked: they
    exist for what this catalog does not know.
    """
    spec = context.spec
    extra = spec.extra or {}
    for name in extra:
        if name in {"model", "content"}:
            yield problem("extra", name, f"other keys: {name} is made from the spec's fields")
        elif name in BODY_FIELDS and is_set(spec, name):
            yield problem("extra", name, f"given once: {name} is set as a field, too")
    task = extra.get("omni_reference_task_type")
    if context.model is None or context.model.generation != "2.5" or task not in ("edit", "extend"):
        return
    if spec.ratio not in (None, "adaptive"):
        yield problem("ratio", spec.ratio, f"adaptive: the task type {task} keeps the source's")
    if task == "edit" and spec.duration not in (None, -1):
        yield problem("duration", spec.duration, "-1: an edit is as long as its source")
