"""The rate limits of a client, one for each verb."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from callsheet import _catalog
from callsheet._state.rate_limit import RateLimit


if TYPE_CHECKING:
    from callsheet._models.policy import Limits
    from callsheet._models.provider import Provider


@attrs.frozen(kw_only=True)
class Quotas:
    """The rate limits of creates, gets, lists and cancels."""

    creates: RateLimit
    gets: RateLimit
    lists: RateLimit
    cancels: RateLimit


def quotas(provider: Provider, limits: Limits) -> Quotas:
    """The rate limits of a client: the caller's, or else the provider's, or else Ark's."""
    ark = _catalog.PROVIDERS["ark"].limits

    def rate(name: str) -> float:
        chosen = (getattr(each, name) for each in (limits, provider.limits, ark))
        return float(next(value for value in chosen if value is not None))

    creates = rate("creates_per_minute")
    return Quotas(
        creates=RateLimit(limit=creates, period=60.0, burst=max(1, int(creates / 10))),
        gets=RateLimit(limit=rate("gets_per_second")),
        lists=RateLimit(limit=rate("lists_per_second")),
        cancels=RateLimit(limit=rate("cancels_per_second")),
    )
