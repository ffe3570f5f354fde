"""What tasks cost: prices, estimates before a submission, and the sums of a client."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal, Self

import attrs

from callsheet._models.policy import SpendLimit


Currency = Literal["CNY", "USD"]

_MILLION_AS_POWER = 6
_NOTHING = Decimal(0)


@attrs.frozen(kw_only=True)
class Price:
    """What a provider asks for a million tokens: its list price, without discounts.

    Attributes:
        per_million: Money for a million tokens, >= 0.
        currency: In which money.
        source: Where it was read.
        dated: When that was, such as ``"July 2026"``.
    """

    per_million: Decimal = attrs.field(converter=Decimal)
    currency: Currency
    source: str
    dated: str

    def of(self, tokens: int) -> Decimal:
        """The money for so many tokens, not rounded."""
        return (self.per_million * tokens).scaleb(-_MILLION_AS_POWER)


@attrs.frozen(kw_only=True)
class Estimate:
    """What one task may cost if it succeeds; a task that does not is not billed.

    A figure that cannot be known is ``None``, never a guess.

    Attributes:
        tokens: Most tokens that it can be billed; ``None`` if nobody can say.
        tokens_at_least: Fewest tokens; the same as `tokens` if the number is known exactly.
        price: The price of its tokens, the dearest that may apply; ``None`` if none is known.
        money_at_least: Least money, in the currency of the price; ``None`` without a price.
        notes: Why a figure is unknown or only a bound, one sentence each.
    """

    tokens: int | None
    tokens_at_least: int
    price: Price | None = None
    money_at_least: Decimal | None = None
    notes: Sequence[str] = ()

    @property
    def exact(self) -> bool:
        """Whether the tokens are known to the token; otherwise they are bounds."""
        return self.tokens == self.tokens_at_least

    @property
    def money(self) -> Decimal | None:
        """Most money that it can cost, not rounded; ``None`` if tokens or price are unknown."""
        return None if self.tokens is None or self.price is None else self.price.of(self.tokens)

    @property
    def currency(self) -> Currency | None:
        """The currency of the price; ``None`` without a price."""
        return None if self.price is None else self.price.currency


@attrs.frozen(kw_only=True)
class Amount:
    """Tasks and what they cost together. Where a figure is unknown it is counted, not guessed.

    Attributes:
        tasks: Number of tasks.
        tokens: Tokens of those whose tokens are known.
        usd: US dollars for those that are paid in dollars.
        cny: Yuan for those that are paid in yuan.
        unmeasured: How many of the tasks are left out of `tokens`: theirs are not known.
        unpriced: How many of the tasks are left out of `usd` and `cny`: theirs is not known.
    """

    tasks: int = 0
    tokens: int = 0
    usd: Decimal = _NOTHING
    cny: Decimal = _NOTHING
    unmeasured: int = 0
    unpriced: int = 0

    @classmethod
    def of(cls, tokens: int | None, price: Price | None) -> Self:
        """One task of so many tokens at this price; ``None`` is unknown."""
        money = None if tokens is None or price is None else price.of(tokens)
        dollars = price is not None and price.currency == "USD"
        return cls(
            tasks=1,
            tokens=tokens or 0,
            usd=money if money is not None and dollars else _NOTHING,
            cny=money if money is not None and not dollars else _NOTHING,
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
        limit: The caps; one without any if the client has none.
        reserved: Tasks that are under way, at the most that each can cost.
        uncertain: Submissions whose answer was lost, and tasks that were given up here: they may
            be billed.
        spent: Tasks that succeeded, by the provider's own count of tokens where it gave one.
    """

    limit: SpendLimit
    reserved: Amount
    uncertain: Amount
    spent: Amount

    @property
    def committed(self) -> Amount:
        """All three together: what counts against the limit."""
        return self.reserved + self.uncertain + self.spent

    @property
    def left(self) -> SpendLimit:
        """What may still be reserved, never below 0; ``None`` where there is no cap."""
        gone = self.committed
        limit = self.limit
        return SpendLimit(
            tokens=None if limit.tokens is None else max(0, limit.tokens - gone.tokens),
            tasks=None if limit.tasks is None else max(0, limit.tasks - gone.tasks),
            usd=None if limit.usd is None else max(_NOTHING, limit.usd - gone.usd),
            cny=None if limit.cny is None else max(_NOTHING, limit.cny - gone.cny),
        )
