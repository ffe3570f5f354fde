"""The list prices of the clouds for a million tokens. Every table has its source and date."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import attrs

from callsheet._models.spend import Currency, Price


@attrs.frozen(kw_only=True)
class _Rates:
    """Prices per million tokens of one model, or of one resolution of it.

    Amounts are decimal text in the currency of the table, > 0.

    Attributes:
        standard: Price of a video with sound, and of a silent one if `silent` is ``None``.
        silent: Price of a video without sound; ``None`` if it costs the same.
        video: Price if there are videos among the references; ``None`` if unknown.
        flex: Whether it is known that the flex tier costs half.
    """

    standard: str
    silent: str | None = None
    video: str | None = None
    flex: bool = False


@attrs.frozen(kw_only=True)
class _Table:
    """The list prices of one cloud.

    Attributes:
        currency: Currency of all its prices.
        source: Where the prices were read.
        dated: When they were read.
        rates: Family and resolution to prices. The resolution ``None`` means all resolutions that
            have no entry of their own.
    """

    currency: Currency
    source: str
    dated: str
    rates: Mapping[tuple[str, str | None], _Rates]


_ARK_PRICES: Final = _Table(
    currency="CNY",
    source="Volcengine Ark price list, as copied by ArcReel, LiteLLM and others",
    dated="April to October 2026",
    rates={
        ("1.0 lite t2v", None): _Rates(standard="10", flex=True),
        ("1.0 lite i2v", None): _Rates(standard="10", flex=True),
        ("1.0 pro", None): _Rates(standard="15", flex=True),
        ("1.0 pro fast", None): _Rates(standard="4.2", flex=True),
        ("1.5 pro", None): _Rates(standard="16", silent="8", flex=True),
        ("2.0", None): _Rates(standard="46", video="28"),
        ("2.0", "1080p"): _Rates(standard="51", video="31"),
        ("2.0", "4k"): _Rates(standard="26", video="16"),
        ("2.0 fast", None): _Rates(standard="37", video="22"),
        ("2.0 mini", None): _Rates(standard="23", video="14"),
        ("2.5", None): _Rates(standard="70", video="42"),
        ("2.5", "1080p"): _Rates(standard="77", video="46"),
    },
)

_BYTEPLUS_PRICES: Final = _Table(
    currency="USD",
    source="BytePlus ModelArk price list, in three copies that agree",
    dated="July to October 2026",
    rates={
        ("1.0 lite t2v", None): _Rates(standard="1.8"),
        ("1.0 lite i2v", None): _Rates(standard="1.8"),
        ("1.0 pro", None): _Rates(standard="2.5"),  # accepts flex, but its price is not published
        ("1.0 pro fast", None): _Rates(standard="1"),
        ("1.5 pro", None): _Rates(standard="2.4", silent="1.2", flex=True),
        ("2.0", None): _Rates(standard="7", video="4.3"),
        ("2.0", "1080p"): _Rates(standard="7.7", video="4.7"),
        ("2.0", "4k"): _Rates(standard="4", video="2.4"),
        ("2.0 fast", None): _Rates(standard="5.6", video="3.3"),
        ("2.0 mini", None): _Rates(standard="3.5", video="2.1"),
        ("2.5", None): _Rates(standard="10.7"),
        ("2.5", "1080p"): _Rates(standard="11.7"),
    },
)

TABLES: Final[Mapping[str, _Table]] = {"ark": _ARK_PRICES, "byteplus": _BYTEPLUS_PRICES}
"""Provider name to its list prices; CometAPI's are not known.

The prices come from third-party copies of the two price pages, without temporary discounts. The
prices of the 1.0 models at Ark and of the lite models at BytePlus are in one copy only.
"""

_FREE: Final = Price(
    per_million=Decimal(0), currency="CNY", source="callsheet's own emulator", dated="always"
)


def price_of(
    provider: str, family: str, resolution: str, *, sound: bool, video: bool, flex: bool
) -> Price | None:
    """The list price of a video of this kind.

    Args:
        provider: Name of the provider; the one called ``emulator`` costs nothing.
        family: The model's family, as in its `Capability`.
        resolution: Lower-case name of a resolution that the model can make.
        sound: Whether the video has sound.
        video: Whether there are videos among its references.
        flex: Whether it is rendered in the flex tier.

    Returns:
        The price; ``None`` if it is not known.
    """
    if provider == "emulator":
        return _FREE
    table = TABLES.get(provider)
    if table is None:
        return None
    rates = table.rates.get((family, resolution)) or table.rates.get((family, None))
    if rates is None or (flex and not rates.flex):
        return None
    output_rate = rates.standard if sound else rates.silent or rates.standard
    rate = rates.video if video else output_rate
    if rate is None:
        return None
    return Price(
        per_million=Decimal(rate) / (2 if flex else 1),
        currency=table.currency,
        source=table.source,
        dated=table.dated,
    )
