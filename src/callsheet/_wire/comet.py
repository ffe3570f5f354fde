"""The dialect of CometAPI: options are text commands in the prompt.

CometAPI documents only the body fields model, content and callback_url.
"""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING

from callsheet._models.commands import COMMANDS, command_text, commands_in
from callsheet._wire.content import build_body
from callsheet._wire.dialect import Dialect
from callsheet.errors import Problem, SpecError


if TYPE_CHECKING:
    from collections.abc import Mapping

    from callsheet._models.media import Media
    from callsheet._models.spec import TaskSpec
    from callsheet._wire.messages import Request


ORDER = ("resolution", "duration", "frames", "ratio", "seed", "camera_fixed", "watermark")
"""Fields that are sent as text commands, in the order in which they are appended.

CometAPI's own sample has ``--duration 5 --ratio 16:9``; Ark's samples begin with the resolution.
"""

UNSENDABLE = (
    "draft_task",
    "return_last_frame",
    "service_tier",
    "execution_expires_after",
    "generate_audio",
    "draft",
    "tools",
    "priority",
)
"""Fields that have no text command and no documented key."""


class Comet(Dialect):
    """The dialect of the CometAPI create page."""

    def build_create(
        self, spec: TaskSpec, *, model: str, urls: Mapping[Media, str], token: str | None = None
    ) -> Request:
        """See `Dialect.build_create`.

        Options are appended to the prompt as text commands, in the order of `ORDER`. A prompt that
        already holds commands is sent unchanged.
        """
        problems = [
            Problem(name, reprlib.repr(value), "not set: CometAPI documents no way to send it")
            for name in UNSENDABLE
            if (value := getattr(spec, name)) is not None and value != ()
        ]
        if problems:
            raise SpecError(problems)
        keys = {"callback_url": spec.callback_url, "safety_identifier": token}
        given = {name: value for name, value in keys.items() if value is not None}
        return build_body(spec, model=model, text=_with_commands(spec), options=given, urls=urls)


def _with_commands(spec: TaskSpec) -> str:
    prompt = spec.prompt or ""
    if commands_in(prompt):
        return prompt
    commands = (
        f"--{COMMANDS[name][0]} {command_text(value)}"
        for name in ORDER
        if (value := getattr(spec, name)) is not None
    )
    return " ".join([*([prompt] if prompt else []), *commands])
