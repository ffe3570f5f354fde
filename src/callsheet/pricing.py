"""What specs cost, before they are submitted. Nothing here needs a client or a key.

The provider counts tokens by the size and duration of a video, and bills a task only if it succeeds
(Ark price page, September 2026). An `Estimate` holds the most and the least that a task can cost.
It holds ``None`` where this cannot be known: for an unknown model, for reference videos, whose
duration is not known here, and for a provider whose prices are not public.

Prices are list prices that were copied once, with their source and date. Only the provider's own
page is binding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from callsheet import _catalog
from callsheet._catalog import tokens
from callsheet._models.provider import Provider
from callsheet._models.spend import Amount, Currency, Estimate, Price
from callsheet.errors import ConfigurationError


if TYPE_CHECKING:
    from collections.abc import Iterable

    from callsheet._models.spec import TaskSpec


__all__ = ["Amount", "Currency", "Estimate", "Price", "estimate", "tokens", "total"]


def estimate(spec: TaskSpec, *, provider: str | Provider = "cometapi") -> Estimate:
    """What a spec may cost if its task succeeds.

    The spec is not checked. A spec that the preflight refuses is never sent and costs nothing.

    Args:
        spec: The video to make.
        provider: The provider that the spec is for: a name or a `Provider`, as in `Client`. The
            prices depend on its name, unless it has its own. Those of ``"cometapi"`` are not known,
            and ``"emulator"`` costs nothing.

    Raises:
        ConfigurationError: No provider has this name.
    """
    if not isinstance(provider, Provider):
        known = _catalog.PROVIDERS
        if provider not in known:
            raise ConfigurationError(f"provider {provider!r} is not one of {', '.join(known)}")
        provider = known[provider]
    return _catalog.estimate(spec, provider)


def total(estimates: Iterable[Estimate]) -> Amount:
    """The most that several specs can cost together, as far as it is known.

    The sums leave out specs whose tokens or money are not known. `Amount.unmeasured` and
    `Amount.unpriced` count them.
    """
    found = Amount()
    for each in estimates:
        found += Amount.of(each.tokens, each.price)
    return found
