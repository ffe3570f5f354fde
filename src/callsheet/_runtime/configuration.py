"""Whom a client talks to, and with which key."""

from __future__ import annotations

import os

import attrs

from callsheet._catalog import PROVIDERS
from callsheet._models.policy import Limits, Polling, RetryPolicy, SpendLimit
from callsheet._models.provider import Provider
from callsheet.errors import ConfigurationError


def provider_at(provider: str | Provider, base_url: str | None) -> tuple[Provider, bool]:
    """The provider to use, and whether another address than its own was given.

    Raises:
        ConfigurationError: It is not known.
    """
    known = _provider(provider)
    address = base_url or os.environ.get("CALLSHEET_BASE_URL")
    if address is None:
        return known, False
    # an emulator at an address of its own runs as it was told to
    speed = 1.0 if provider == "emulator" else known.speed
    return attrs.evolve(known, base_url=address, speed=speed), True


def _provider(provider: str | Provider) -> Provider:
    if isinstance(provider, Provider):
        return provider
    if provider not in PROVIDERS:
        raise ConfigurationError(f"provider {provider!r} is not one of {', '.join(PROVIDERS)}")
    return PROVIDERS[provider]


def key_for(given: str | None, provider: Provider) -> str | None:
    """The key to use.

    Raises:
        ConfigurationError: There is none, or it cannot stand in a header; it is not repeated.
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
    """See that each is of its kind, before something trips over it far from where it was given.

    Raises:
        ConfigurationError: One is not; it is named.
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
