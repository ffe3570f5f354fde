"""What tasks cost: prices, estimates before a submission, and the totals of a client."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal, Self

import attrs

from callsheet._models.policy import SpendLimit


Currency = Literal["CNY", "USD"]

_MILLION_AS_POWER = 6
_ZERO = Decimal(0)


@attrs.frozen(kw_only=True)
class Price:
    """The list price of a provider for a million tokens, without discounts.

    Attributes:
        per_million: Money for a million tokens, >= 0.
        currency: ``"CNY"`` or ``"USD"``.
        source: Where the price was read.
        dated: When it was read, such as ``"July 2026"``.
    """

    per_million: Decimal = attrs.field(converter=Decimal)
    currency: Currency
    source: str
    dated: str

    def of(self, tokens: int) -> Decimal:
        """The money for this number of tokens, not rounded."""
        return (self.per_million * tokens).scaleb(-_MILLION_AS_POWER)


@attrs.frozen(kw_only=True)
class Estimate:
    """What one task may cost if it succeeds. A task that does not succeed is not billed.

    A number that cannot be known is ``None``, never a guess.

    Attributes:
        tokens: Most tokens that can be billed; ``None`` if this cannot be known.
        tokens_at_least: Fewest tokens that can be billed; equal to `tokens` if the number is known
            exactly.
        price: The highest price that may apply; ``None`` if it is not known.
        money_at_least: Least money, in the currency of the price; ``None`` without a price.
        notes: Why a number is unknown or only a bound, one sentence for each reason.
    """

    tokens: int | None
    tokens_at_least: int
    price: Price | None = None
    money_at_least: Decimal | None = None
    notes: Sequence[str] = ()

    @property
    def exact(self) -> bool:
        """Whether the number of tokens is known exactly; otherwise there are only bounds."""
        return self.tokens == self.tokens_at_least

    @property
    def money(self) -> Decimal | None:
        """Most money that the task can cost, not rounded; ``None`` if tokens or price are unknown.

        It is in `currency`.
        """
        return None if self.tokens is None or self.price is None else self.price.of(self.tokens)

    @property
    def currency(self) -> Currency | None:
        """The currency of the price; ``None`` without a price."""
        return None if self.price is None else self.price.currency


@attrs.frozen(kw_only=True)
class Amount:
    """A number of tasks and what they cost together. Tasks of unknown cost are counted separately.

    Attributes:
        tasks: Number of tasks.
        tokens: Tokens of the tasks whose tokens are known.
        usd: US dollars for the tasks that are paid in dollars.
        cny: Yuan for the tasks that are paid in yuan.
        unmeasured: Number of tasks that are not in `tokens`, because their tokens are not known.
        unpriced: Number of tasks that are not in `usd` or `cny`, because their cost is not known.
    """

    tasks: int = 0
    tokens: int = 0
    usd: Decimal = _ZERO
    cny: Decimal = _ZERO
    unmeasured: int = 0
    unpriced: int = 0

    @classmethod
    def of(cls, tokens: int | None, price: Price | None) -> Self:
        """The amount of one task with this number of tokens and this price; ``None`` is unknown."""
        money = None if tokens is None or price is None else price.of(tokens)
        dollars = price is not None and price.currency == "USD"
        return cls(
            tasks=1,
            tokens=tokens or 0,
            usd=money if money is not None and dollars else _ZERO,
            cny=money if money is not None and not dollars else _ZERO,
            unmeasured=int(tokens is None),
            unpriced=int(money is None),
        )

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            tasks=self.tasks + other.tasks,
            tokens=self.tokens + other.tokens,
            usd=self.usd + other.usd,
            cny=self.cny + other.cny,
            unmeasured=self.unmeasured + other.unmeasured,
            unpriced=self.unpriced + other.unpriced,
        )

    def __sub__(self, other: Amount) -> Amount:
        return Amount(
            tasks=self.tasks - other.tasks,
            tokens=self.tokens - other.tokens,
            usd=self.usd - other.usd,
            cny=self.cny - other.cny,
            unmeasured=self.unmeasured - other.unmeasured,
            unpriced=self.unpriced - other.unpriced,
        )


@attrs.frozen(kw_only=True)
class Spend:
    """What a client has spent and may still have to pay, at one moment.

    Attributes:
        limit: The caps of the client; all are ``None`` if it has no limit.
        reserved: Tasks that have not ended, each with the most that it can cost.
        uncertain: Submissions whose answer was lost, and tasks that the client stopped watching
            before they ended. Both may be billed.
        spent: Tasks that succeeded, with the provider's number of tokens if it gave one.
    """

    limit: SpendLimit
    reserved: Amount
    uncertain: Amount
    spent: Amount

    @property
    def committed(self) -> Amount:
        """The sum of `reserved`, `uncertain` and `spent`. It counts against the limit."""
        return self.reserved + self.uncertain + self.spent

    @property
    def left(self) -> SpendLimit:
        """What may still be reserved for each cap, >= 0; ``None`` where there is no cap."""
        committed = self.committed
        limit = self.limit
        return SpendLimit(
            tokens=None if limit.tokens is None else max(0, limit.tokens - committed.tokens),
            tasks=None if limit.tasks is None else max(0, limit.tasks - committed.tasks),
            usd=None if limit.usd is None else max(_ZERO, limit.usd - committed.usd),
            cny=None if limit.cny is None else max(_ZERO, limit.cny - committed.cny),
        )
