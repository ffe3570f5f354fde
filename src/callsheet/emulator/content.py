"""Check the ``content`` array of a create request: roles, counts and scenarios."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import attrs

from callsheet.emulator.answers import invalid, missing
from callsheet.emulator.media import check_url


if TYPE_CHECKING:
    from callsheet.emulator.catalog import Model


_ROLES = {
    "image_url": ("first_frame", "last_frame", "reference_image"),
    "video_url": ("reference_video",),
    "audio_url": ("reference_audio",),
}
_REFERENCES = ("reference_image", "reference_video", "reference_audio")


@attrs.frozen(kw_only=True)
class Content:
    """What the ``content`` array asks for.

    Attributes:
        prompt: The text items, joined.
        counts: Number of media by role.
        aspect: Width / height of the first image that came as data; None if there was none.
        draft_task: Id of the draft to render in full; None if this is no such request.
    """

    prompt: str = ""
    counts: Mapping[str, int] = attrs.field(factory=dict[str, int])
    aspect: float | None = None
    draft_task: str | None = None

    @property
    def has_references(self) -> bool:
        """Whether it has reference media."""
        return any(self.counts.get(role) for role in _REFERENCES)

    @property
    def has_frames(self) -> bool:
        """Whether it has a first frame."""
        return bool(self.counts.get("first_frame"))

    @property
    def is_text_only(self) -> bool:
        """Whether it is a prompt and nothing else."""
        return not self.counts and self.draft_task is None


def read_content(model: Model, items: object) -> Content:
    """Read and check a ``content`` array for *model*.

    Raises:
        Refusal: The service would not accept it. The first problem is named.

    Source: Ark create reference, Aug 2026; Ark 2.5 tutorial, Sep 2026.
    """
    if items is None or items == []:
        raise missing("content")
    if not isinstance(items, list):
        raise invalid("content", "an array is expected")
    items = cast("list[object]", items)
    draft = _draft(model, items)
    if draft is not None:
        return Content(draft_task=draft)
    texts, media = _split(items)
    counts, aspect = _read_media(model, media)
    content = Content(prompt="\n".join(texts), counts=counts, aspect=aspect)
    if not counts and not texts:
        raise missing("content.text")
    _check_scenario(model, content)
    return content


def _split(items: list[object]) -> tuple[list[str], list[tuple[str, Mapping[str, Any]]]]:
    """Split the items into texts and media."""
    texts: list[str] = []
    media: list[tuple[str, Mapping[str, Any]]] = []
    for item in items:
        match item:
            case {"type": "text", "text": str(text)} if text.strip():
                texts.append(text)
            case {"type": "text"}:
                raise missing("content.text")
            case {"type": str(kind)} if kind in _ROLES:
                media.append((kind, cast("Mapping[str, Any]", item)))
            case {"type": str(kind)}:
                raise invalid("content.type", f"{kind} is not a type of content")
            case {}:
                raise missing("content.type")
            case _:
                raise invalid("content", "an array of objects is expected")
    return texts, media


def _draft(model: Model, items: list[object]) -> str | None:
    if not any(_is_draft(item) for item in items):
        return None
    if "draft" not in model.takes:
        raise invalid("content.type", f"{model.family} has no drafts")
    if len(items) > 1:
        raise invalid("content", "draft_task cannot be combined with other content")
    match items[0]:
        case {"draft_task": {"id": str(task_id)}} if task_id:
            return task_id
        case _:
            raise missing("content.draft_task.id")


def _is_draft(item: object) -> bool:
    match item:
        case {"type": "draft_task"}:
            return True
        case _:
            return False


def _read_media(
    model: Model, media: list[tuple[str, Mapping[str, Any]]]
) -> tuple[dict[str, int], float | None]:
    images = sum(kind == "image_url" for kind, _ in media)
    heif = model.generation != "1.0"
    counts: dict[str, int] = {}
    aspect: float | None = None
    for kind, item in media:
        if item.get(kind) is None:
            raise missing(f"content.{kind}")
        param = f"content.{kind}.url"
        match item[kind]:
            case {"url": str(url)}:
                pass
            case _:
                raise missing(param)
        shape = check_url(url, kind=kind.removesuffix("_url"), param=param, heif=heif)
        aspect = aspect or shape
        role = item.get("role")
        if role is None and kind == "image_url" and images == len(media) == 1:
            role = "first_frame"
        if role is None:
            raise missing("content.role")
        if role not in _ROLES[kind]:
            raise invalid("content.role", f"{role} is not a role of {kind}")
        counts[role] = counts.get(role, 0) + 1
    return counts, aspect


def _check_scenario(model: Model, content: Content) -> None:
    counts = content.counts
    first, last = counts.get("first_frame", 0), counts.get("last_frame", 0)
    if (first or last) and content.has_references:
        raise invalid("content", "first/last frame cannot be mixed with reference media")
    if first > 1 or last > 1:
        raise invalid("content.role", "there can be one first_frame and one last_frame")
    if last and not first:
        raise invalid("content.role", "last_frame needs a first_frame")
    if first + last > model.frames:
        raise _task_type("flf2v" if last else "i2v", model)
    if content.is_text_only and not model.text:
        raise _task_type("t2v", model)
    if content.has_references:
        _check_references(model, counts)


def _check_references(model: Model, counts: Mapping[str, int]) -> None:
    most = dict(zip(_REFERENCES, (model.images, model.clips, model.clips), strict=True))
    for role, limit in most.items():
        count = counts.get(role, 0)
        if count and not limit:
            raise _task_type("r2v", model)
        if count > limit:
            raise invalid("content", f"at most {limit} items of role {role}, not {count}")
    visual = counts.get("reference_image", 0) + counts.get("reference_video", 0)
    if not visual and not model.audio_alone:
        raise invalid("content", "reference_audio needs a reference image or video")


def _task_type(task: str, model: Model) -> Exception:
    """Refuse a scenario with the service's own message (seen on Ark and through CometAPI)."""
    return invalid("content", f"task_type {task} does not support model {model.family}")
