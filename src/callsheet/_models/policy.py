"""The settings of a client, as frozen values with defaults."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any, Literal

import attrs
from attrs.validators import ge, gt, in_, lt, optional


Resubmit = Literal["if-absent", "never", "always"]


@attrs.frozen(kw_only=True)
class Limits:
    """How much of the provider's quota the client may use.

    A rate of ``None`` means the rate that the provider publishes.

    Attributes:
        creates_per_minute: New tasks per minute, > 0.
        gets_per_second: Requests for the status of one task, per second, > 0.
        lists_per_second: Requests for the status of many tasks, per second, > 0.
        cancels_per_second: Cancel requests per second, > 0.
        unfinished: Most tasks at the provider that have not ended, >= 1. The provider does not
            publish the size of its queue. With ``None``, the client sends until a create is refused
            because the queue is full; after that it sends one create for each task that ends.
        connections: Most requests in flight at once, >= 1.

    Raises:
        ValueError: A number is out of its range.
    """

    creates_per_minute: float | None = attrs.field(default=None, validator=optional(gt(0)))
    gets_per_second: float | None = attrs.field(default=None, validator=optional(gt(0)))
    lists_per_second: float | None = attrs.field(default=None, validator=optional(gt(0)))
    cancels_per_second: float | None = attrs.field(default=None, validator=optional(gt(0)))
    unfinished: int | None = attrs.field(default=None, validator=optional(ge(1)))
    connections: int = attrs.field(default=16, validator=ge(1))


@attrs.frozen(kw_only=True)
class Polling:
    """How soon the client should notice that a task has ended.

    Attributes:
        delay: Wanted seconds between the end of a task and the moment when the client knows it,
            > 0 and finite. A smaller delay needs more requests, but never more than the quota.

    Raises:
        ValueError: The delay is out of its range.
    """

    delay: float = attrs.field(default=5.0, validator=(gt(0), lt(math.inf)))


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often a request is repeated, and how long the pauses are.

    A create is repeated only if it is certain that it never arrived or that it was refused. Polls
    are not limited by this policy: a failed poll ends no task, and the client asks again.

    Attributes:
        attempts: Most tries of one request, >= 1; also the most creates of one spec whose answers
            were lost.
        initial: Seconds before the second try, > 0. The pause doubles for each further try, with
            jitter.
        ceiling: Longest pause in seconds, > 0. A longer ``Retry-After`` is cut to it.
        timeout: Most seconds that one try may take, > 0.
        patience: Seconds for which a create is repeated if it is refused because of load (HTTP
            429), or if it cannot be sent to a provider that was reached before, >= 0. There is no
            limit while the queue is full and the client has unfinished tasks.
        lookup: Seconds for which the client looks in the provider's list for a create whose answer
            was lost, > 0. A task may appear there minutes after its create.
        resubmit: What happens to a create whose answer was lost. ``"if-absent"``: it is sent again
            only after the list has shown that no task was made. ``"never"``: it is not sent again.
            ``"always"``: it is sent again even if nobody can know, and may then be billed twice.

    Raises:
        ValueError: A value is out of its range.
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
    """The amount as a decimal: 0.1 becomes exactly a tenth, not the nearest binary fraction.

    Raises:
        TypeError: The value is not a number.
    """
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
    """The most that a client may spend in total. ``None`` means no cap; 0 allows nothing.

    A spec counts with the most that it can cost. If it would pass a cap together with what was
    spent, is reserved and is uncertain (see `Spend`), it ends with a `SpendLimitError` and nothing
    is sent. A spec whose cost is not known also ends with this error, because the cap could not be
    kept. A provider is paid in one currency. If there are caps on money, at least one of them must
    be in that currency.

    Attributes:
        tokens: Tokens, a whole number >= 0.
        tasks: Tasks that succeed, a whole number >= 0.
        usd: US dollars, a finite `Decimal` or number >= 0.
        cny: Yuan, a finite `Decimal` or number >= 0.

    Raises:
        TypeError: A cap is not a number of its kind.
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
