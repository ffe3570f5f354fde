"""What a video shows, as values; `rendering` draws it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs


if TYPE_CHECKING:
    from callsheet.emulator.tasks import Task


LONGEST_SIDE = 640
"""Longest side of a rendered video, pixels. Only the ratio is that of the service's video."""


@attrs.frozen(kw_only=True)
class Film:
    """Everything that a rendered video shows. Equal films give equal bytes.

    Attributes:
        form: ``mp4``, ``mov``, or ``png`` for only the last frame.
        prompt: Text in the picture.
        caption: The line below the prompt.
        width: Pixels, even.
        height: Pixels, even.
        frames: Number of frames, at 24 per second, >= 2.
        sound: Whether there is a sound track; it is silent and mono.
        hue: Number that determines the colour.
    """

    form: str
    prompt: str
    caption: str
    width: int
    height: int
    frames: int
    sound: bool
    hue: int


FilmMaker = Callable[[Film], bytes]
"""Renders a film to bytes."""


def film_of(task: Task, form: str) -> Film:
    """Describe the video of a finished task, or its last frame if *form* is ``png``."""
    order = task.order
    width, height = shrink(*task.size)
    caption = f"{order.model_id} · {order.resolution} {task.ratio} · seed {task.seed}"
    return Film(
        form=form,
        prompt=order.prompt,
        caption=caption,
        width=width,
        height=height,
        frames=task.frames,
        sound=bool(order.generate_audio) and form != "png",
        hue=task.seed,
    )


def shrink(width: int, height: int) -> tuple[int, int]:
    """Scale a size down to at most 640 px, with even sides and, if possible, the exact ratio.

    Sizes such as 2206x946 have no suitable even size of the same ratio, so the nearest is used.
    """
    unit = math.gcd(width, height)
    steps = LONGEST_SIDE * unit // max(width, height)
    for step in range(min(steps, unit), 0, -1):
        a, b = width // unit * step, height // unit * step
        if a % 2 == b % 2 == 0 and max(a, b) >= LONGEST_SIDE // 2:
            return a, b
    scale = min(1.0, LONGEST_SIDE / max(width, height))
    return round(width * scale / 2) * 2, round(height * scale / 2) * 2
