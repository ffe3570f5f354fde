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
    asked = 0.0 if retry_after is None else min(max(retry_after, 0.0), policy.ceiling)
    return max(grown * rng.uniform(0.75, 1.25), asked)
