"""Options in the prompt, such as ``A cat yawns --duration 5 --ratio 16:9``."""

from __future__ import annotations

import re


_NAMES = {
    "resolution": "resolution",
    "rs": "resolution",
    "ratio": "ratio",
    "rt": "ratio",
    "duration": "duration",
    "dur": "duration",
    "frames": "frames",
    "watermark": "watermark",
    "wm": "watermark",
    "seed": "seed",
    "camerafixed": "camera_fixed",
    "cf": "camera_fixed",
}
_INTEGERS = frozenset({"duration", "frames", "seed"})
_FLAG_COMMANDS = frozenset({"watermark", "camera_fixed"})
_PROMPT_COMMAND = re.compile(r"(?:^|\s)--([A-Za-z]+)[ \t]+(\S+)")


def read_commands(prompt: str) -> dict[str, object]:
    """Read the commands of *prompt* into body fields. Unreadable commands are ignored.

    ``--framespersecond`` has no effect: every video has 24 frames per second.

    Source: Ark create reference of the 1.0 and 1.5 era.
    """
    found: dict[str, object] = {}
    for name, text in _PROMPT_COMMAND.findall(prompt):
        field = _NAMES.get(name.lower())
        if field in _INTEGERS and re.fullmatch(r"-?[0-9]{1,10}", text):
            found[field] = int(text)
        elif field in _FLAG_COMMANDS and text.lower() in {"true", "false"}:
            found[field] = text.lower() == "true"
        elif field in {"resolution", "ratio"}:
            found[field] = text
    return found
