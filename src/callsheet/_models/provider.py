"""The provider that tasks are sent to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

import attrs

from callsheet._models.policy import Limits
from callsheet._models.spend import Price


def without_secrets(url: str) -> str:
    """The URL without user, password, query and fragment, so that it can be shown and stored.

    In a text that is not a URL, everything up to the last ``@`` may be a password, so it is
    removed, too.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # reading a wrong port raises
    except ValueError:
        host, parts = None, urlsplit("")
    if host is None:
        return url.rpartition("@")[2].partition("?")[0]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _without_slash(url: str) -> str:
    return url.rstrip("/")


def _read_prices(prices: Mapping[str, Price | str]) -> dict[str, Price]:
    return {
        model: price if isinstance(price, Price) else Price.read(price)
        for model, price in prices.items()
    }


@attrs.frozen(kw_only=True, cache_hash=True)
class Provider:
    """A service with the task API, and what is known about it.

    Attributes:
        name: Short name, used in messages, and to find prices and model ids.
        base_url: URL before ``/contents/generations/tasks``; a slash at its end is removed.
        dialect: ``"ark"`` (options are body fields) or ``"comet"`` (options are text commands in
            the prompt).
        key_variable: Environment variable that holds the key; ``None`` if no key is needed.
        default_model: Model of a spec that names none.
        limits: The published quota; a rate of ``None`` means the rate of Volcengine Ark.
        lists: Whether tasks can be listed by id. ``None`` means unknown: the client tries once.
        token: Whether the provider documents ``safety_identifier`` and returns it. Submissions then
            carry a token there.
        speed: Seconds that pass at the provider in one real second, > 0. It is 1, except for an
            emulator that runs faster than real time.
        prices: What a million tokens of a model cost, by model id: a `pricing.Price`, or a text
            such as ``"USD 2.4"``. They go before the list prices.

    Raises:
        ValueError: The speed is out of its range, or a text is no price.
    """

    name: str
    base_url: str = attrs.field(
        converter=_without_slash, repr=lambda url: repr(without_secrets(url))
    )
    dialect: Literal["ark", "comet"] = "ark"
    key_variable: str | None = None
    default_model: str
    limits: Limits = attrs.field(factory=Limits)
    lists: bool | None = None
    token: bool = False
    speed: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    prices: Mapping[str, Price] = attrs.field(
        factory=dict[str, Price], converter=_read_prices, hash=False
    )
