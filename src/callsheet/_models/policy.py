"""How the client behaves: frozen values with their defaults in sight."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any, Literal

import attrs
from attrs.validators import ge, gt, in_, lt, optional


Resubmit = Literal["if-absent", "never", "always"]


@attrs.frozen(kw_only=True)
class Limits:
    """How much of the provider's quota the client may use; ``None`` means all that is published.

    Attributes:
        creates_per_minute: New tasks per minute, > 0.
        gets_per_second: Status requests for one task per second, > 0.
        lists_per_second: Status requests for many tasks per second, > 0.
        cancels_per_second: Cancel requests per second, > 0.
        unfinished: Most tasks at the provider that have not ended, >= 1. By default the room of its
            queue, which is not published, is found out: once a create is refused for it, one is
            sent when another has ended.
        connections: Most requests in flight at once, >= 1.
    """

    creates_per_minute: float | None = attrs.field(default=None, validator=optional(gt(0)))
    gets_per_second: float | None = attrs.field(default=None, validator=optional(gt(0)))
    lists_per_second: float | None = attrs.field(default=None, validator=optional(gt(0)))
    cancels_per_second: float | None = attrs.field(default=None, validator=optional(gt(0)))
    unfinished: int | None = attrs.field(default=None, validator=optional(ge(1)))
    connections: int = attrs.field(default=16, validator=ge(1))


@attrs.frozen(kw_only=True)
class Polling:
    """How soon an end should be noticed.

    Attributes:
        delay: Seconds between the end of a task and the client's knowing it to aim for, > 0.
            Smaller costs more requests; the provider's quota is never passed for it.
    """

    delay: float = attrs.field(default=5.0, validator=(gt(0), lt(math.inf)))


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often, and after which pauses, a request that may be repeated is repeated.

    A create is repeated only if it provably never arrived or was refused. A failed poll is not
    counted here at all: it never decides anything, and the task is asked about again.

    Attributes:
        attempts: Most attempts of one request, >= 1.
        initial: Seconds before the second attempt, > 0; doubled for each further one, with jitter.
        ceiling: Longest pause, seconds; a ``Retry-After`` is honoured up to this, too.
        timeout: Seconds that one attempt may take in all, > 0.
        patience: Seconds for which a create is offered again that is refused for load (HTTP 429),
            or cannot be sent to a provider that has been reached before. While the queue is full
            of the client's own tasks there is no end to it.
        lookup: Seconds for which a create whose answer was lost is looked for in the provider's
            list, > 0; a task may surface there minutes after its create.
        resubmit: What happens to a create whose answer was lost. ``"if-absent"``: sent again once
            the list has shown that it made nothing. ``"never"``: not sent again. ``"always"``: sent
            again, too, where nobody can say, which may be billed twice.
    """

    attempts: int = attrs.field(default=6, validator=ge(1))
    initial: float = attrs.field(default=1.0, validator=gt(0))
    ceiling: float = attrs.field(default=60.0, validator=gt(0))
    timeout: float = attrs.field(default=60.0, validator=gt(0))
    patience: float = attrs.field(default=1800.0, validator=ge(0))
    lookup: float = attrs.field(default=300.0, validator=gt(0))
    resubmit: Resubmit = attrs.field(
        default="if-absent", validator=in_(("if-absent", "never", "always"))
    )


def _to_decimal(value: Decimal | float | None) -> Decimal | None:
    """The amount as it is written: 0.1 is a tenth, not the binary fraction next to it."""
    if value is None or isinstance(value, Decimal):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):  # pyright: ignore[reportUnnecessaryIsInstance] - callers are not checked
        raise TypeError(f"money is a Decimal or a number, not {value!r}")
    return Decimal(str(value))


def _check_amount(_instance: object, field: attrs.Attribute[Any], value: object) -> None:
    if not (isinstance(value, Decimal) and value.is_finite() and value >= 0):
        raise ValueError(f"{field.name} must be a finite amount >= 0, not {value}")


def _check_count(_instance: object, field: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{field.name} is a whole number, not {value!r}")
    if value < 0:
        raise ValueError(f"{field.name} must be >= 0, not {value}")


@attrs.frozen(kw_only=True)
class SpendLimit:
    """Most that may be spent, together; ``None`` is no cap, and 0 lets nothing pass.

    A submission is refused with a `SpendLimitError`, and nothing is sent, if what was spent, what
    is under way and what is uncertain would pass a cap together with it. It counts with the most
    that it can cost. A spec whose figure is not known is refused, too, since the cap could not be
    kept. A provider is paid in one currency, so at least one cap on money has to be in that one.

    Attributes:
        tokens: Tokens, a whole number >= 0.
        tasks: Tasks that succeed, a whole number >= 0.
        usd: US dollars, >= 0; a `Decimal` or a number.
        cny: Yuan, >= 0; a `Decimal` or a number.

    Raises:
        TypeError: A cap is no number of its kind.
        ValueError: A cap is below 0, or not finite.
    """

    tokens: int | None = attrs.field(default=None, validator=optional(_check_count))
    tasks: int | None = attrs.field(default=None, validator=optional(_check_count))
    usd: Decimal | None = attrs.field(
        default=None, converter=_to_decimal, validator=optional(_check_amount)
    )
    cny: Decimal | None = attrs.field(
        default=None, converter=_to_decimal, validator=optional(_check_amount)
    )
