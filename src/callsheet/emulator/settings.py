"""The settings of the emulator."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

import attrs
from attrs.validators import and_, ge, gt, in_, instance_of, le, optional

from callsheet.emulator.faults import Fault, read_faults


_positive: Callable[[object, attrs.Attribute[float], float], object] = gt(0)
_count = and_(instance_of(int), ge(1))
_share: Callable[[object, attrs.Attribute[float], float], object] = and_(ge(0), le(1))


_PRICE = re.compile(r"(CNY|USD) [0-9]{1,9}(\.[0-9]{1,9})?")


def _check_prices(_: object, __: object, prices: Mapping[str, str]) -> None:
    for model, price in prices.items():
        if _PRICE.fullmatch(str(price)) is None:
            raise ValueError(f'{price!r} of {model} is no price; write it like "USD 2.4"')


def _names(value: str | Iterable[str]) -> tuple[str, ...]:
    """Accept a single string as one name, for a setting with many names."""
    if isinstance(value, str):
        return (value,)
    return tuple(value)


def _mapping(value: Mapping[str, str]) -> dict[str, str]:
    return dict(value)


@attrs.frozen(kw_only=True)
class Settings:
    """How the emulated service behaves. All times are in emulated seconds.

    Attributes:
        keys: Valid API keys; empty: any key that is not blank. Each key is one account with its
            own tasks, queues and quotas.
        seed: Whole number. It determines render times, outcomes, video seeds, doubled and delayed
            callbacks, and which requests fail.
        speed: Emulated seconds per second of the clock, > 0. Quotas and URL lifetimes follow it.
        epoch: Unix time at which emulated time starts, seconds; None: the wall clock's.
        concurrency: Tasks that one model renders at a time for one account, >= 1; None: the
            provider's published figure, 5 to 10 (1 for 4k).
        render_seconds: Median render time for every model and size, seconds, > 0; None: figures
            near those measured on the service, 33 s to 25 min.
        render_sigma: Spread of the log-normal render times, >= 0; 0: always the median.
        failure_rate: Share of tasks that fail although their prompt is valid, 0 to 1.
        queue_limit: Most queued tasks of one account, >= 0. A create above it is refused. None: no
            limit.
        creates_per_minute: Accepted creates per account and model in any 60 s, >= 1; None: the
            provider's published figure, 300 or 600 (15 for 4k).
        gets_per_second: GETs of one task per account in any second, >= 1.
        lists_per_second: List calls per account in any second, >= 1.
        deletes_per_second: DELETEs per account in any second, >= 1.
        not_open: Model ids that are refused with ``ModelNotOpen``.
        endpoints: Model id of each endpoint id (``ep-…``); empty: every endpoint id is 1.5 pro.
        prices: What a million tokens of a model cost, by model id, such as ``"USD 2.4"``. A model
            that is not named costs nothing.
        faults: Which requests fail, and how: each a `Fault` or a mapping of its fields.
        callbacks_doubled: Share of the callbacks that are sent twice, 0 to 1.
        callbacks_held: Share of the callbacks that are delayed by up to 60 s, 0 to 1. Later ones
            may then arrive first.
        comet_full: Whether the CometAPI routes have list and DELETE and return every field. Its
            reference does not document that.
    """

    keys: tuple[str, ...] = attrs.field(default=(), converter=_names)
    seed: int = attrs.field(default=0, validator=instance_of(int))
    speed: float = attrs.field(default=1.0, validator=_positive)
    epoch: float | None = attrs.field(default=None, validator=optional(ge(0)))
    concurrency: int | None = attrs.field(default=None, validator=optional(_count))
    render_seconds: float | None = attrs.field(default=None, validator=optional(_positive))
    render_sigma: float = attrs.field(default=0.25, validator=and_(ge(0), le(3)))
    failure_rate: float = attrs.field(default=0.0, validator=_share)
    queue_limit: int | None = attrs.field(
        default=None, validator=optional(and_(instance_of(int), ge(0)))
    )
    creates_per_minute: int | None = attrs.field(default=None, validator=optional(_count))
    gets_per_second: int = attrs.field(default=20, validator=_count)
    lists_per_second: int = attrs.field(default=1, validator=_count)
    deletes_per_second: int = attrs.field(default=20, validator=_count)
    not_open: tuple[str, ...] = attrs.field(default=(), converter=_names)
    endpoints: Mapping[str, str] = attrs.field(factory=dict[str, str], converter=_mapping)
    prices: Mapping[str, str] = attrs.field(
        factory=dict[str, str], converter=_mapping, validator=_check_prices
    )
    faults: tuple[Fault, ...] = attrs.field(default=(), converter=read_faults)
    callbacks_doubled: float = attrs.field(default=0.0, validator=_share)
    callbacks_held: float = attrs.field(default=0.0, validator=_share)
    comet_full: bool = attrs.field(default=False, validator=in_((False, True)))
