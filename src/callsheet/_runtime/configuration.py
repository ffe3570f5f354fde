"""The provider, key and settings of a client."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs

from callsheet._catalog import PROVIDERS
from callsheet._models.policy import Limits, Polling, RetryPolicy, SpendLimit
from callsheet._models.provider import Provider
from callsheet.errors import ConfigurationError


if TYPE_CHECKING:
    from collections.abc import Mapping

    from callsheet._models.spend import Price


def provider_at(provider: str | Provider, base_url: str | None) -> tuple[Provider, bool]:
    """The provider to use, and whether an address other than its own was given.

    Raises:
        ConfigurationError: The provider is unknown.
    """
    known = _provider(provider)
    address = base_url or os.environ.get("CALLSHEET_BASE_URL")
    if address is None:
        return known, False
    # The speed of an emulator at another address is not known here, so 1.0 is assumed.
    speed = 1.0 if provider == "emulator" else known.speed
    return attrs.evolve(known, base_url=address, speed=speed), True


def with_prices(provider: Provider, prices: Mapping[str, Price | str] | None) -> Provider:
    """The provider with these prices beside its own.

    Raises:
        ConfigurationError: One of them is no price.
    """
    if not prices:
        return provider
    try:
        return attrs.evolve(provider, prices={**provider.prices, **prices})
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"prices: {error}") from error


def _provider(provider: str | Provider) -> Provider:
    if isinstance(provider, Provider):
        return provider
    if provider not in PROVIDERS:
        raise ConfigurationError(f"provider {provider!r} is not one of {', '.join(PROVIDERS)}")
    return PROVIDERS[provider]


def key_for(given: str | None, provider: Provider) -> str | None:
    """The key to use.

    Raises:
        ConfigurationError: There is no key, or it cannot be put into a header. The text does not
            hold the key.
    """
    variable = provider.key_variable
    key = given
    if key is None and variable is not None:
        key = os.environ.get(variable)
    if key is None or not key.strip():
        if variable is None:
            return "emulator"
        raise ConfigurationError(
            f"no key for {provider.name}: set {variable} or pass api_key= to the client"
        )
    key = key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError(f"the key for {provider.name} holds characters that no key has")
    return key


def check_settings(
    limits: object, polling: object, retry: object, spend: object, observer: object
) -> None:
    """Check the type of each setting, so that a wrong one fails where it is given.

    Raises:
        ConfigurationError: A setting has the wrong type; the text names it.
    """
    kinds = (
        ("limits", limits, Limits),
        ("polling", polling, Polling),
        ("retry", retry, RetryPolicy),
        ("spend", SpendLimit() if spend is None else spend, SpendLimit),
    )
    for name, value, kind in kinds:
        if not isinstance(value, kind):
            raise ConfigurationError(f"{name}={value!r}: a {kind.__name__}")
    if observer is not None and not callable(observer):
        raise ConfigurationError(f"observer={observer!r}: a function")


def check_timeout(journal_timeout: object) -> None:
    """Check the seconds to wait for a journal.

    Raises:
        ConfigurationError: They are no number, or below 0.
    """
    if isinstance(journal_timeout, (int, float)) and journal_timeout >= 0:
        return
    raise ConfigurationError(
        f"journal_timeout is {journal_timeout!r}; give a number of seconds, such as 30, or 0 to "
        "refuse at once a journal that is in use"
    )
