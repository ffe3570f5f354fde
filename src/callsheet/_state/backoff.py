"""How long to pause before a request is repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    import random

    from callsheet._models.policy import RetryPolicy


def pause_before(
    attempt: int, policy: RetryPolicy, *, rng: random.Random, retry_after: float | None = None
) -> float:
    """Seconds to wait before attempt number *attempt* (2: the first repetition).

    The pause doubles from ``policy.initial`` up to ``policy.ceiling``, with a jitter of up to 25 %
    in both directions. It is at least the provider's *retry_after*, but that counts only up to the
    ceiling.
    """
    grown = min(policy.initial * 2.0 ** min(attempt - 2, 64), policy.ceiling)
    asked = honoured(retry_after, most=policy.ceiling, rng=rng)
    return max(grown * rng.uniform(0.75, 1.25), asked)


def honoured(retry_after: float | None, *, most: float, rng: random.Random) -> float:
    """Seconds that a ``Retry-After`` counts for: at most *most*, and no number counts for nothing.

    One that is cut gets a jitter. A provider that refuses for a part of each minute, and asks for
    an hour, would else be asked again in that same part each time.
    """
    if retry_after is None or not retry_after > 0.0:
        return 0.0
    return retry_after if retry_after <= most else most * rng.uniform(0.75, 1.0)
