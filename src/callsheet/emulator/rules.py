"""Which create requests the service accepts, and which defaults it fills in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs

from callsheet.emulator.answers import (
    Refusal,
    invalid,
    missing,
    model_not_open,
    unknown_model,
    unsupported,
)
from callsheet.emulator.catalog import ENDPOINT_MODEL, GATED, MODEL_RULES, Model
from callsheet.emulator.commands import read_commands
from callsheet.emulator.content import Content, read_content
from callsheet.emulator.fields import CHECKS


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from callsheet.emulator.settings import Settings


@attrs.frozen(kw_only=True)
class Order:
    """An accepted create request, with every default filled in.

    Attributes:
        model: The model.
        model_id: Dated id of the model, for answers.
        requested_model: The model or endpoint id in the request.
        prompt: The text. The service never returns it.
        resolution: Lower case.
        ratio: A ratio, or ``adaptive``.
        duration: Seconds; -1: the model chooses; None: *frames* sets the length.
        frames: Number of frames, or None.
        seed: The seed; -1: the service chooses one.
        tier: ``default`` or ``flex``.
        expires_after: Seconds after creation at which an unfinished task expires.
        generate_audio: None if the model has no sound.
        draft: Whether it is a 480p preview; None if the model has no drafts.
        draft_task: Id of the draft that it renders in full; None if there is no draft.
        return_last_frame: Whether the answer has ``last_frame_url``.
        priority: 0 to 9; None if the model has no priorities.
        tools: Whether web search is allowed.
        output_format: ``mp4`` or ``mov``; None if the model has no choice.
        safety_identifier: Echoed in every answer.
        callback_url: URL to which changes of the status are posted.
        aspect: Width / height of the input image, if it is known.
        videos: Number of reference videos.
    """

    model: Model
    model_id: str
    requested_model: str
    prompt: str
    resolution: str
    ratio: str
    duration: int | None
    frames: int | None
    seed: int
    tier: str
    expires_after: int
    generate_audio: bool | None
    draft: bool | None
    draft_task: str | None = None
    return_last_frame: bool
    priority: int | None
    tools: bool
    output_format: str | None
    safety_identifier: str | None
    callback_url: str | None
    aspect: float | None = None
    videos: int = 0


def read_order(
    body: object, settings: Settings, find_draft: Callable[[str], Order | None]
) -> Order:
    """Read and check a create request.

    The 1.0 and 1.5 models read commands in the prompt. A command with a bad value is ignored, so
    the default applies. A body field overrides a command; what the real service does is not known.

    Args:
        body: The parsed JSON.
        settings: Which models are open, and which model each endpoint id means.
        find_draft: Returns the order of a finished draft by task id; None if there is none.

    Raises:
        Refusal: The service would not accept it. One wrong parameter is named.

    Source: Ark create reference, Aug 2026; live probes by TanStack/ai, July 2026.
    """
    if not isinstance(body, dict):
        raise invalid("body", "a JSON object is expected")
    body = cast("dict[str, object]", body)
    requested_model = body.get("model")
    model, model_id = find_model(requested_model, settings)
    content = read_content(model, body.get("content"))
    given = {name: value for name, value in body.items() if value is not None}
    for name in given:
        if name in GATED and name not in model.takes | model.ignores:
            raise unsupported(name, model.family)
    fields = _command_fields(model, content.prompt) | {
        name: check(model, given[name])
        for name, check in CHECKS.items()
        if name in given and name not in model.ignores
    }
    if content.draft_task is not None:
        return _finish_draft(content.draft_task, str(requested_model), model, fields, find_draft)
    _check_combinations(model, content, fields, tools_open=model_id.startswith("doubao-"))
    return _fill_in(model, content, fields, model_id=model_id, requested_model=str(requested_model))


def find_model(requested_model: object, settings: Settings) -> tuple[Model, str]:
    """Find the model of a model id or endpoint id, and its dated id.

    Raises:
        Refusal: If it is missing, unknown, undated or not open.
    """
    if requested_model is None or requested_model == "":
        raise missing("model")
    if not isinstance(requested_model, str):
        raise invalid("model", "a string is expected")
    model_id = requested_model
    if requested_model.startswith("ep-"):
        model_id = settings.endpoints.get(
            requested_model, "" if settings.endpoints else ENDPOINT_MODEL
        )
    if model_id not in MODEL_RULES:
        raise unknown_model(requested_model)
    if requested_model in settings.not_open or model_id in settings.not_open:
        raise model_not_open(requested_model)
    return MODEL_RULES[model_id], model_id


def _command_fields(model: Model, prompt: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if not model.commands:
        return fields
    for name, value in read_commands(prompt).items():
        if name in GATED and name not in model.takes:
            continue
        try:
            fields[name] = CHECKS[name](model, value)
        except Refusal:
            continue
    return fields


def _finish_draft(
    task_id: str,
    requested_model: str,
    model: Model,
    fields: Mapping[str, Any],
    find_draft: Callable[[str], Order | None],
) -> Order:
    """Make the order that renders a draft in full.

    Everything comes from the draft, except the fields that are set below.
    """
    draft = find_draft(task_id)
    if draft is None or not draft.draft:
        raise invalid("content.draft_task.id", f"{task_id} is no finished draft")
    return attrs.evolve(
        draft,
        requested_model=requested_model,
        draft=False,
        draft_task=task_id,
        resolution=fields.get("resolution", model.resolution),
        tier=fields.get("service_tier", "default"),
        expires_after=fields.get("execution_expires_after", _EXPIRES),
        return_last_frame=fields.get("return_last_frame", False),
        safety_identifier=fields.get("safety_identifier"),
        callback_url=fields.get("callback_url"),
    )


def _check_combinations(
    model: Model, content: Content, fields: Mapping[str, Any], *, tools_open: bool
) -> None:
    if fields.get("draft"):
        _check_draft(fields)
    if fields.get("tools") and not tools_open:
        raise unsupported("tools", model.family)
    if fields.get("tools") and not content.is_text_only:
        raise invalid("tools", "web_search takes text input only")
    if content.has_references:
        if "camera_fixed" in fields:
            raise invalid("camera_fixed", "it cannot be used with reference media")
        if model.generation == "1.0" and fields.get("resolution") == "1080p":
            raise invalid("resolution", "reference images cannot be rendered in 1080p")
    if model.generation == "2.5":
        _check_adaptive(content, fields)


def _check_draft(fields: Mapping[str, Any]) -> None:
    if fields.get("resolution", "480p") != "480p":
        raise invalid("resolution", "a draft is 480p")
    if fields.get("return_last_frame"):
        raise invalid("return_last_frame", "a draft has no last frame")
    if fields.get("service_tier") == "flex":
        raise invalid("service_tier", "a draft cannot be flex")


def _check_adaptive(content: Content, fields: Mapping[str, Any]) -> None:
    """Check the extra rules of 2.5. Five live reports saw such requests refused on create."""
    task = fields.get("omni_reference_task_type", "auto")
    edits = task in {"edit", "extend"}
    if edits and not content.counts.get("reference_video"):
        raise invalid("omni_reference_task_type", f"{task} needs a reference video")
    if (edits or content.has_frames) and fields.get("ratio", "adaptive") != "adaptive":
        raise invalid("ratio", "only adaptive is allowed here")
    if task == "edit" and fields.get("duration", -1) != -1:
        raise invalid("duration", "an edit takes -1 only")


_EXPIRES = 172_800


def _fill_in(
    model: Model,
    content: Content,
    fields: Mapping[str, Any],
    *,
    model_id: str,
    requested_model: str,
) -> Order:
    draft = fields.get("draft", False)
    adaptive = model.adaptive or content.has_frames
    frames = fields.get("frames")
    duration = None if frames else fields.get("duration", model.duration)
    return Order(
        model=model,
        model_id=model_id,
        requested_model=requested_model,
        prompt=content.prompt,
        resolution=fields.get("resolution", "480p" if draft else model.resolution),
        ratio=fields.get("ratio", "adaptive" if adaptive else "16:9"),
        duration=duration,
        frames=frames,
        seed=fields.get("seed", -1),
        tier=fields.get("service_tier", "default"),
        expires_after=fields.get("execution_expires_after", _EXPIRES),
        generate_audio=fields.get("generate_audio", True) if model.generation != "1.0" else None,
        draft=draft if "draft" in model.takes else None,
        return_last_frame=fields.get("return_last_frame", False),
        priority=fields.get("priority", 0) if "priority" in model.takes else None,
        tools=bool(fields.get("tools")),
        output_format=fields.get("output_format", "mp4") if model.generation == "2.5" else None,
        safety_identifier=fields.get("safety_identifier"),
        callback_url=fields.get("callback_url"),
        aspect=content.aspect,
        videos=content.counts.get("reference_video", 0),
    )
