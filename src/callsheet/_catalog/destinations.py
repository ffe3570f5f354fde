"""Rules that depend on the provider: the model ids of each cloud, and what CometAPI documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from callsheet._catalog.check_context import CheckContext, is_set, problem
from callsheet._catalog.providers import CLOUDS
from callsheet._models.commands import COMMANDS, command_text, commands_in


if TYPE_CHECKING:
    from collections.abc import Iterator

    from callsheet.errors import Problem


def cloud_problems(context: CheckContext) -> Iterator[Problem]:
    """The model id belongs to the provider's cloud, and tools are used in China only.

    Source: TanStack/ai probes of BytePlus, July 2026; Ark create reference, August 2026. The
    BytePlus SDK has no ``tools``.
    """
    provider, model = context.provider, context.model
    cloud = CLOUDS.get(provider.name)
    if cloud is None:
        return
    if model is not None and context.spec.model is not None:
        right = model.cn if cloud == "cn" else model.byteplus
        if right is None:
            yield problem(
                "model", context.spec.model, f"a model of {provider.name}: it has no such"
            )
        elif context.spec.model != right:
            yield problem(
                "model", context.spec.model, f"{right}: so it is called at {provider.name}"
            )
    if cloud == "byteplus" and is_set(context.spec, "tools"):
        yield problem(
            "tools", context.spec.tools, "leave it out: only Volcengine Ark in China has tools"
        )


UNDOCUMENTED: Final = (
    "generate_audio",
    "draft",
    "draft_task",
    "return_last_frame",
    "service_tier",
    "execution_expires_after",
    "priority",
    "tools",
)
"""Fields that are not in CometAPI's reference and have no text command."""


_SHORT: Final = 20


def comet_problems(context: CheckContext) -> Iterator[Problem]:
    """CometAPI receives options as text commands, so a field without a command cannot be sent.

    A prompt that already holds commands is sent as it is, so each field that is set must also be in
    the prompt, with the same value.

    Source: CometAPI's create reference (2026) documents only ``model``, ``content`` and
    ``callback_url``.
    """
    spec = context.spec
    if context.provider.dialect != "comet":
        return
    for field in UNDOCUMENTED:
        if is_set(spec, field):
            yield problem(
                field,
                getattr(spec, field),
                "leave it out: not documented at CometAPI; "
                "put the raw key into extra to send it anyway",
            )
    commands = commands_in(spec.prompt or "")
    if not commands:
        return
    for field, (name, *_) in COMMANDS.items():
        value = getattr(spec, field, None)
        if value is None:
            continue
        text = command_text(value)
        if commands.get(field, "").lower() != text.lower():
            shown = text if text.isprintable() and len(text) <= _SHORT else "…"
            yield problem(
                field,
                value,
                "the prompt already holds text commands and is left alone; "
                f"write --{name} {shown} there or take them out",
            )
