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
"""Field to command names, the long one first (Ark create reference, 1.0 and 1.5 era)."""

_FIELDS = {name: field for field, names in COMMANDS.items() for name in names}
_COMMAND = re.compile(rf"(?:^|\s)--({'|'.join(_FIELDS)})(?:\s+|=)(\S+)", re.IGNORECASE)


def commands_in(prompt: str) -> dict[str, str]:
    """The options that a prompt holds as text commands: field name to the text of its value."""
    return {_FIELDS[name.lower()]: value for name, value in _COMMAND.findall(prompt)}


def command_text(value: object) -> str:
    """How an option's value is written in a text command: ``true``/``false`` or plain."""
    return str(value).lower() if isinstance(value, bool) else str(value)
