"""One task: its outcome, which is chosen at random when it is created, and its status."""

from __future__ import annotations

import math
import random
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, NamedTuple

import attrs

from callsheet.emulator.rules import Order


if TYPE_CHECKING:
    from collections.abc import Mapping

    from callsheet.emulator.settings import Settings


FPS = 24

ASSUMED_VIDEO_SECONDS = 5
"""Seconds that a reference video counts for in tokens. It is not fetched, so it is not measured."""

_CST = timezone(timedelta(hours=8))
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_MOST_SUFFIXES = len(_ALPHABET) ** 5
_STRIDE = 27_644_437  # a prime, so that every index below 36^5 has a different suffix


class Ending(NamedTuple):
    """How a task ends if it is not cancelled and does not expire first."""

    status: str
    code: str = ""
    message: str = ""


SUCCESS = Ending("succeeded")
EXPIRY = Ending("expired")
FAILURE = Ending(
    "failed",
    "InternalServiceError",
    "The service encountered an unexpected internal error.",
)
MODERATION = Ending(
    "failed",
    "OutputVideoSensitiveContentDetected",
    "The request failed because the output video may contain sensitive information.",
)

_PROMPT_MARKS: Mapping[str, Ending] = {
    "[fail]": FAILURE,
    "[reject]": MODERATION,
    "[expire]": EXPIRY,
}


@attrs.define(kw_only=True, eq=False)
class Task:
    """A task on record.

    Attributes:
        id: The service's id.
        index: How many tasks the service had accepted before.
        account: API key that created it.
        order: The accepted request.
        ending: How it ends if it is not cancelled and does not expire first. A task with
            ``[expire]`` gets the status ``expired`` when its render would have ended, so that a
            trial run does not wait for two days.
        render_seconds: Seconds from start to end of the render.
        seed: The seed that is used: a number instead of -1.
        ratio: The ratio that is used: never ``adaptive``.
        duration: Whole seconds, never -1; None if the request set the number of frames.
        status: The service's status.
        created_at: Unix seconds.
        updated_at: Unix seconds of the last change of status.
        comet: Whether it was created through CometAPI's route.
        origin: Scheme and host of its create; the URLs in its callbacks start with it.
        downloads: How often its video was downloaded.
    """

    id: str
    index: int
    account: str
    order: Order
    ending: Ending
    render_seconds: float
    seed: int
    ratio: str
    duration: int | None
    created_at: float
    updated_at: float
    comet: bool
    origin: str
    status: str = "queued"
    downloads: int = 0

    def set_status(self, status: str, at: float) -> None:
        """Change its status to *status* at unix time *at*."""
        self.status, self.updated_at = status, at

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the service's video, pixels."""
        return self.order.model.size(self.order.resolution, self.ratio)

    @property
    def frames(self) -> int:
        """Number of frames of the video, at 24 per second."""
        return self.order.frames or FPS * (self.duration or 0)

    @property
    def tokens(self) -> int:
        """Tokens that are billed if it succeeds.

        Source: the formula of the Ark price page, with the 24 d + 1 frames that seven published
        answers show.
        """
        width, height = self.size
        frames = self.order.frames or FPS * (self.duration or 0) + 1
        frames += self.order.videos * ASSUMED_VIDEO_SECONDS * FPS
        return width * height * frames // 1024

    def resolved_order(self) -> Order:
        """Return the order with the seed, ratio and duration that were used."""
        return attrs.evolve(self.order, seed=self.seed, ratio=self.ratio, duration=self.duration)


def draw_task(
    order: Order,
    settings: Settings,
    index: int,
    account: str,
    now: float,
    *,
    comet: bool,
    origin: str,
) -> Task:
    """Make task number *index*, created at *now*. Random values depend only on seed and index."""
    rng = random.Random(f"{settings.seed}/{index}")  # noqa: S311 - the values must be repeatable
    seed = order.seed if order.seed >= 0 else rng.randrange(100_000)
    duration, ratio = order.duration, order.ratio
    if duration == -1:
        duration = rng.randint(order.model.shortest, order.model.longest)
    if ratio == "adaptive":
        ratio = order.model.closest_ratio(order.resolution, order.aspect or 16 / 9)
    seconds = order.frames / FPS if order.frames else float(duration or 0)
    median = settings.render_seconds or order.model.render_seconds(order.resolution, seconds)
    return Task(
        id=_comet_id(index, now) if comet else _ark_id(index, now, order.tier),
        index=index,
        account=account,
        order=order,
        ending=_draw_ending(order.prompt, settings.failure_rate, rng),
        render_seconds=median * math.exp(settings.render_sigma * rng.gauss(0, 1)),
        seed=seed,
        ratio=ratio,
        duration=duration,
        created_at=now,
        updated_at=now,
        comet=comet,
        origin=origin,
    )


def _draw_ending(prompt: str, failure_rate: float, rng: random.Random) -> Ending:
    chance, kind = rng.random(), rng.random()
    for mark, ending in _PROMPT_MARKS.items():
        if mark in prompt:
            return ending
    if chance < failure_rate:
        return FAILURE if kind < 0.5 else MODERATION  # noqa: PLR2004 - one half each
    return SUCCESS


def _ark_id(index: int, now: float, tier: str) -> str:
    """Build an id in Ark's form: ``cgt-20260801120000-x7k2p``, or ``cgt-batch-…`` for flex."""
    stamp = datetime.fromtimestamp(now, _CST).strftime("%Y%m%d%H%M%S")
    number = (index + 1) * _STRIDE % _MOST_SUFFIXES
    suffix = ""
    for _ in range(5):
        number, digit = divmod(number, len(_ALPHABET))
        suffix += _ALPHABET[digit]
    return f"cgt-{'batch-' if tier == 'flex' else ''}{stamp}-{suffix}"


def _comet_id(index: int, now: float) -> str:
    """Build an id in the form of CometAPI's reference: 02, milliseconds, and letters."""
    return f"02{int(now * 1000)}{index:07x}"
