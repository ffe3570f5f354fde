"""What a spec may cost, before it is submitted: list prices, tokens, and the bounds of both.

The list prices are those of the clouds for a million tokens. Every table has its source and date.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import attrs

from callsheet._catalog.choices import FPS, PossibleOutputs, possible_outputs
from callsheet._catalog.models import Capability, capability, output_size
from callsheet._models.spend import Currency, Estimate, Price
from callsheet.errors import Problem, SpecError


if TYPE_CHECKING:
    from callsheet._models.provider import Provider
    from callsheet._models.spec import TaskSpec


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

_PIXELS_PER_TOKEN: Final = 1024

_BUILT: Final = ("model", "content")
"""Keys of the body that are made from fields. If `extra` sets one, the fields say too little."""

_DRAFT_SHARE: Final = {"1.5": (3, 5)}
"""Generation to the least share of its tokens for which a draft is billed, as a fraction.

The share is 0.6 with sound and 0.7 without (three third-party readings of the price pages, July to
October 2026).
"""


def tokens(width: int, height: int, duration: float) -> int:
    """Tokens of a video: ``floor(width * height * (24 * duration + 1) / 1024)``.

    Args:
        width: Pixels.
        height: Pixels.
        duration: Seconds. Add the seconds of the reference videos, which are billed, too.

    Source: Ark price page (September 2026). No document mentions the extra frame (``+ 1``), but
    seven published answers of the service show it.
    """
    return _tokens(width * height, FPS * duration + 1)


def _tokens(pixels: int, frames: float) -> int:
    return int(pixels * frames // _PIXELS_PER_TOKEN)


def estimate(spec: TaskSpec, provider: Provider) -> Estimate:
    """What a spec may cost at a provider; the spec should have passed the preflight.

    Equal estimates are one cached object, so that a million tasks share a few of them.
    """
    raw = " and ".join(key for key in _BUILT if key in (spec.extra or {}))
    if raw:
        return _unknown_estimate(f"extra says {raw}, which may make it cost anything")
    name = spec.model if isinstance(spec.model, str) else provider.default_model
    model = capability(name)
    if model is None:
        return _unknown_estimate(f"tokens and price of the model {name} are not known")
    own = provider.prices.get(name)
    return _estimate(model, possible_outputs(spec, model), provider.name, own)


def try_estimate(spec: TaskSpec, provider: Provider) -> Estimate | SpecError:
    """As `estimate`, or why that is not known: a spec that was not checked may hold anything."""
    try:
        return estimate(spec, provider)
    except Exception as error:  # noqa: BLE001 - see above
        refusal = SpecError([Problem("spec", type(error).__name__, str(error))])
        refusal.__cause__ = error
        return refusal


@lru_cache(maxsize=1024)
def _unknown_estimate(reason: str) -> Estimate:
    return Estimate(tokens=None, tokens_at_least=0, notes=(reason,))


@lru_cache(maxsize=1024)
def _estimate(
    model: Capability, outputs: PossibleOutputs, provider: str, own: Price | None
) -> Estimate:
    sizes = [
        output_size(model, resolution, ratio)
        for resolution in outputs.resolutions
        for ratio in outputs.ratios
    ]
    known = [width * height for size in sizes if size is not None for width, height in [size]]
    size_known = len(known) == len(sizes) and outputs.frames[0] > FPS
    least = _tokens(min(known), outputs.frames[0]) if size_known else 0
    most = _tokens(max(known), outputs.frames[1]) if size_known else None
    if outputs.draft:
        share, whole = _DRAFT_SHARE.get(model.generation, (0, 1))
        least = least * share // whole
    prices = _prices(model, outputs, provider, own) if size_known else None
    highest = None if prices is None else max(prices, key=lambda price: price.per_million)
    lowest = None if prices is None else min(prices, key=lambda price: price.per_million)
    notes = _notes(model, outputs, provider, size_known=size_known, prices=prices)
    return Estimate(
        tokens=None if outputs.reference_videos else most,
        tokens_at_least=least,
        price=highest,
        money_at_least=None if lowest is None else lowest.of(least),
        notes=notes,
    )


def price_of(
    provider: str, family: str, resolution: str, *, sound: bool, video: bool, flex: bool
) -> Price | None:
    """The list price of a video of this kind.

    Args:
        provider: Name of the provider; the one called ``emulator`` has no prices of its own.
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


def _prices(
    model: Capability, outputs: PossibleOutputs, provider: str, own: Price | None
) -> list[Price] | None:
    """All prices that may apply; ``None`` if one of them is unknown.

    A price of the caller's own holds for every video of the model.
    """
    if outputs.tools and provider != "emulator":
        return None
    if own is not None:
        return [own]
    found = [
        price_of(
            provider,
            model.family,
            resolution,
            sound=sound,
            video=outputs.reference_videos,
            flex=outputs.flex,
        )
        for resolution in outputs.resolutions
        for sound in outputs.sound
    ]
    known = [price for price in found if price is not None]
    return known if len(known) == len(found) else None


def _notes(
    model: Capability,
    outputs: PossibleOutputs,
    provider: str,
    *,
    size_known: bool,
    prices: list[Price] | None,
) -> tuple[str, ...]:
    """The reasons why a number is unknown or only a bound."""
    at = " with flex" * outputs.flex + " and reference videos" * outputs.reference_videos
    chosen = outputs.free_duration and not outputs.from_draft
    disputed = not outputs.from_draft and (
        len(outputs.resolutions) > 1
        or (len(outputs.ratios) > 1 and not outputs.free_ratio)
        or (outputs.frames[0] != outputs.frames[1] and not chosen)
    )
    unpriced = size_known and prices is None
    dearer = len({price.per_million for price in prices or ()}) > 1
    reasons = {
        "its size or length is none that the model makes": not size_known,
        "the draft decides on ratio, duration and sound": outputs.from_draft,
        "the ratio follows the input or the model": outputs.free_ratio and not outputs.from_draft,
        f"the model chooses {model.shortest} to {model.longest} seconds": chosen,
        "whether the text commands of its prompt count is not documented": disputed,
        "a draft costs less than another video of its size": outputs.draft,
        "seconds of reference videos are billed, too, and not known here": outputs.reference_videos,
        "what a tool costs is not known": unpriced and outputs.tools,
        f"no price of {model.name}{at} at {provider} is known": unpriced and not outputs.tools,
        "silent is cheaper, and what is made by default is disputed": (
            dearer and len(outputs.sound) > 1 and not outputs.from_draft
        ),
    }
    return tuple(reason for reason, holds in reasons.items() if holds)
