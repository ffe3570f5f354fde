"""The rate limits of a client, one for each verb."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from callsheet import _catalog
from callsheet._state.rate_limit import ProbingRateLimit, RateLimit


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


FIRST_GETS = 4.0
"""Gets a second at first where no rate is published: as many as twenty loops send that ask every
five seconds, and enough for a mean delay of 5 s with about 38 tasks at once."""


def quotas(provider: Provider, limits: Limits) -> Quotas:
    """The rate limits of a client: the caller's, or else the provider's, or else Ark's.

    If neither the caller nor the provider says how many gets are allowed, the rate starts low and
    is probed, up to Ark's.
    """
    ark = _catalog.PROVIDERS["ark"].limits

    def known(name: str) -> float | None:
        chosen = (getattr(each, name) for each in (limits, provider.limits))
        return next((float(value) for value in chosen if value is not None), None)

    def rate(name: str) -> float:
        found = known(name)
        return float(getattr(ark, name)) if found is None else found

    creates, gets = rate("creates_per_minute"), known("gets_per_second")
    return Quotas(
        creates=RateLimit(limit=creates, period=60.0, burst=max(1, int(creates / 10))),
        gets=ProbingRateLimit(limit=FIRST_GETS, most=rate("gets_per_second"))
        if gets is None
        else RateLimit(limit=gets),
        lists=RateLimit(limit=rate("lists_per_second")),
        cancels=RateLimit(limit=rate("cancels_per_second")),
    )
