"""What providers and models accept, as far as it is known. Every fact names its source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callsheet import _lazy


if TYPE_CHECKING:
    from callsheet._catalog.estimates import estimate, tokens
    from callsheet._catalog.models import MODELS, Capability, capability, output_size
    from callsheet._catalog.providers import PROVIDERS
    from callsheet._catalog.spec_check import check


__all__ = [
    "MODELS",
    "PROVIDERS",
    "Capability",
    "capability",
    "check",
    "estimate",
    "output_size",
    "tokens",
]

if not TYPE_CHECKING:
    __getattr__ = _lazy.names_of(
        __name__,
        {
            "estimates": ("estimate", "tokens"),
            "models": ("MODELS", "Capability", "capability", "output_size"),
            "providers": ("PROVIDERS",),
            "spec_check": ("check",),
        },
    )
