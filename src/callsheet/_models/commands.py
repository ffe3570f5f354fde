"""Text commands: options written into the prompt, as in ``A boat --duration 5 --ratio 16:9``."""

from __future__ import annotations

import re


COMMANDS = {
    "resolution": ("resolution", "rs"),
    "ratio": ("ratio", "rt"),
    "duration": ("duration", "dur"),
    "frames": ("frames",),
    "framespersecond": ("framespersecond", "fps"),
    "watermark": ("watermark", "wm"),
    "seed": ("seed",),
    "camera_fixed": ("camerafixed", "cf"),
}
"""Field to the names of its command, the long name first (Ark create reference of the 1.0 and 1.5
models)."""

_FIELD_OF_NAME = {name: field for field, names in COMMANDS.items() for name in names}
_COMMAND = re.compile(rf"(?:^|\s)--({'|'.join(_FIELD_OF_NAME)})(?:\s+|=)(\S+)", re.IGNORECASE)


def commands_in(prompt: str) -> dict[str, str]:
    """The options that a prompt holds as text commands: field name to its value as text."""
    if "--" not in prompt:
        return {}
    return {_FIELD_OF_NAME[name.lower()]: value for name, value in _COMMAND.findall(prompt)}


def command_text(value: object) -> str:
    """The value as it is written in a text command; a bool becomes ``true`` or ``false``."""
    return str(value).lower() if isinstance(value, bool) else str(value)
