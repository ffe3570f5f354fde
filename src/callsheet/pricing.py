"""What specs cost, before they are submitted; nothing here needs a client or a key.

The provider counts tokens by the size and length of a video, and bills a task only if it succeeds
(Ark price page, September 2026). An `Estimate` says the most and the least that this can be, and
``None`` where nobody can know: an unknown model, reference videos whose length is not known here,
a provider whose prices are not public. Prices are list prices that were copied once, with their
source and date; the provider's own page is what counts.
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

    The spec is not checked: one that the preflight refuses costs nothing, since it is never sent.

    Args:
        spec: What is to be made.
        provider: Where it is to go, as the client takes it. Prices go by its name; those of
            ``"cometapi"`` are not known, and ``"emulator"`` costs nothing.

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

    Specs whose tokens or money are not known are counted in `Amount.unmeasured` and
    `Amount.unpriced`, and left out of the sums.
    """
    found = Amount()
    for each in estimates:
        found += Amount.of(each.tokens, each.price)
    return found
