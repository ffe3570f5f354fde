"""What tasks cost: prices, estimates before a submission, and the ledger that adds them up."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Literal, Self

import attrs

from callsheet._models.policy import SpendLimit
from callsheet.errors import SpendLimitError


Currency = Literal["CNY", "USD"]

_MILLION_AS_POWER = 6
_WRITTEN = re.compile(r"(CNY|USD) ([0-9]{1,9}(?:\.[0-9]{1,9})?)")
_ZERO = Decimal(0)
_NO_LIMIT = SpendLimit()


@attrs.frozen(kw_only=True, cache_hash=True)
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

    @classmethod
    def read(cls, written: object) -> Self:
        """The price that a text such as ``"USD 2.4"`` gives for a million tokens.

        Raises:
            ValueError: It is no such text.
        """
        found = _WRITTEN.fullmatch(written) if isinstance(written, str) else None
        if found is None:
            raise ValueError(f'{written!r} is no price; write it like "USD 2.4" or "CNY 16"')
        currency: Currency = "USD" if found[1] == "USD" else "CNY"
        return cls(per_million=found[2], currency=currency, source="given by you", dated="undated")

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

    @staticmethod
    def of(tokens: int | None, price: Price | None) -> Amount:
        """The amount of one task with this number of tokens and this price; ``None`` is unknown."""
        return _of_one(tokens, price)

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


@lru_cache(maxsize=256)
def _of_one(tokens: int | None, price: Price | None) -> Amount:
    """See `Amount.of`. Most tasks of a client cost the same."""
    money = None if tokens is None or price is None else price.of(tokens)
    dollars = price is not None and price.currency == "USD"
    return Amount(
        tasks=1,
        tokens=tokens or 0,
        usd=money if money is not None and dollars else _ZERO,
        cny=money if money is not None and not dollars else _ZERO,
        unmeasured=int(tokens is None),
        unpriced=int(money is None),
    )


@attrs.frozen(kw_only=True)
class Spend:
    """What a client has spent and may still have to pay, at one moment.

    Attributes:
        limit: The caps of the client; all are ``None`` if it has no limit.
        reserved: Tasks that have not ended, each with the most that it can cost.
        uncertain: Submissions whose answer was lost, and tasks that the client stopped watching
            before they ended. Both may be billed.
        spent: Tasks that succeeded, with the provider's number of tokens. If it gave none, or one
            that is lower than the task can cost, the most that it can cost counts.
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


@attrs.define
class Ledger:
    """The money of one client. A task is reserved, uncertain or spent, and only one of these.

    Every step takes the same time for any number of tasks. A step returns ``False`` and changes
    nothing if its key is neither reserved nor uncertain, for example if the task was not created
    here. For spent tasks only the sum is kept. For released tasks nothing is kept.

    A task may cost more than its estimate says is possible. Then the sums pass a cap, and nothing
    more is allowed.

    The sum of all three must never be less than what the provider may bill. So a reservation is
    freed only if it is certain that its task will not be billed. A lost answer never frees one.

    Attributes:
        limit: The caps.
    """

    limit: SpendLimit = attrs.field(factory=SpendLimit)
    _reserved: dict[Hashable, Estimate] = attrs.field(factory=dict[Hashable, Estimate], init=False)
    _uncertain: dict[Hashable, Estimate] = attrs.field(factory=dict[Hashable, Estimate], init=False)
    _sum_reserved: Amount = attrs.field(factory=Amount, init=False)
    _sum_uncertain: Amount = attrs.field(factory=Amount, init=False)
    _sum_spent: Amount = attrs.field(factory=Amount, init=False)

    @property
    def spend(self) -> Spend:
        """The sums at this moment."""
        return Spend(
            limit=self.limit,
            reserved=self._sum_reserved,
            uncertain=self._sum_uncertain,
            spent=self._sum_spent,
        )

    def __contains__(self, key: Hashable) -> bool:
        """Whether a task is reserved or uncertain."""
        return key in self._reserved or key in self._uncertain

    def reserve(self, key: Hashable, estimate: Estimate) -> None:
        """Set aside the most that a task can cost, before its create is sent.

        Args:
            key: Names the task in every later step.
            estimate: What it may cost.

        Raises:
            SpendLimitError: It would pass a cap, or a figure that has a cap is not known.
            ValueError: The key is reserved or uncertain already.
        """
        self._check_new(key)
        refusal = self.refusal(estimate)
        if refusal is not None:
            raise refusal
        self._add(key, estimate)

    def refusal(self, estimate: Estimate, *, instead_of: Hashable = None) -> SpendLimitError | None:
        """Why a task with this estimate may not be made; ``None`` if every cap allows it.

        Args:
            estimate: What it may cost.
            instead_of: The key of a reservation that it takes the place of.
        """
        if self.limit == _NO_LIMIT:
            return None  # without a cap there is nothing to compare
        # An unknown cost under a cap is refused: counting it as 0 would make the cap worthless.
        why = _figure_unknown(self.limit, estimate) or self._cap_passed_by(estimate, instead_of)
        return None if why is None else SpendLimitError(why)

    def carry(self, key: Hashable, estimate: Estimate) -> None:
        """Reserve a task that may exist already, even if that passes a cap.

        Its create was sent, so it may be billed. Refusing it here would only hide the money.

        Raises:
            ValueError: The key is reserved or uncertain already.
        """
        self._add(key, estimate)

    def move(self, key: Hashable, to: Hashable) -> bool:
        """Name a task *to* from now on.

        Raises:
            ValueError: A task of that name is reserved or uncertain already.
        """
        for bucket in (self._reserved, self._uncertain):
            if key in bucket:
                self._check_new(to)
                bucket[to] = bucket.pop(key)
                return True
        return False

    def settle(self, key: Hashable, tokens: int | None = None) -> bool:
        """Count a task as spent: it succeeded, so it is billed.

        Args:
            key: The task.
            tokens: The provider's own count; see `count`.
        """
        estimate = self._take(key)
        if estimate is None:
            return False
        self.count(estimate, tokens)
        return True

    def count(self, estimate: Estimate, tokens: int | None) -> None:
        """Count a task as spent. It may be one that was never reserved here.

        Args:
            estimate: What it may cost.
            tokens: The provider's own count. One that is lower than the task can cost, such as 0,
                is as good as none: then the most that it may cost counts, as without a count.
        """
        self._sum_spent += Amount.of(_billed(estimate, tokens), estimate.price)

    def release(self, key: Hashable) -> bool:
        """Free the money of a task that is not billed: it failed, or certainly was not made."""
        return self._take(key) is not None

    def doubt(self, key: Hashable) -> bool:
        """Count a reserved task as uncertain: its answer was lost, so it may be billed."""
        estimate = self._reserved.pop(key, None)
        if estimate is None:
            return False
        self._uncertain[key] = estimate
        self._sum_reserved -= _most(estimate)
        self._sum_uncertain += _most(estimate)
        return True

    def confirm(self, key: Hashable) -> bool:
        """Count an uncertain task as reserved again: what became of its create is known now."""
        estimate = self._uncertain.pop(key, None)
        if estimate is None:
            return False
        self._reserved[key] = estimate
        self._sum_uncertain -= _most(estimate)
        self._sum_reserved += _most(estimate)
        return True

    def _cap_passed_by(self, estimate: Estimate, instead_of: Hashable) -> str | None:
        spend, replaced = self.spend, self._reserved.get(instead_of)
        if replaced is not None:
            spend = attrs.evolve(spend, reserved=spend.reserved - _most(replaced))
        # The most, not the likely cost: the cap must hold even if every task costs its maximum.
        return _cap_passed(_most(estimate), spend)

    def _add(self, key: Hashable, estimate: Estimate) -> None:
        self._check_new(key)
        self._reserved[key] = estimate
        self._sum_reserved += _most(estimate)

    def _check_new(self, key: Hashable) -> None:
        if key in self:
            raise ValueError(f"{key!r} is in the ledger already")

    def absorb(self, other: Ledger) -> None:
        """Add all that another ledger holds, even if that passes a cap: it was spent before."""
        self._reserved |= other._reserved
        self._uncertain |= other._uncertain
        self._sum_reserved += other._sum_reserved
        self._sum_uncertain += other._sum_uncertain
        self._sum_spent += other._sum_spent

    def _take(self, key: Hashable) -> Estimate | None:
        """Remove a task from the reserved or the uncertain ones, with its amount."""
        if (estimate := self._reserved.pop(key, None)) is not None:
            self._sum_reserved -= _most(estimate)
        elif (estimate := self._uncertain.pop(key, None)) is not None:
            self._sum_uncertain -= _most(estimate)
        return estimate


def _most(estimate: Estimate) -> Amount:
    """The most that a task with this estimate can cost."""
    return Amount.of(estimate.tokens, estimate.price)


def _billed(estimate: Estimate, tokens: int | None) -> int | None:
    """The tokens that a task has cost which succeeded; ``None`` if they are not known.

    Some gateways say 0, or any other number. A count that is too low would free money that is
    billed, and so lift the cap. Such a count tells nothing, so the bill may be the highest that is
    possible, and that much stays counted.
    """
    # No video costs 0 tokens, also where the least that it costs is not known.
    if tokens is not None and tokens >= max(estimate.tokens_at_least, 1):
        return tokens
    if estimate.tokens is not None or tokens is None:
        return estimate.tokens
    return estimate.tokens_at_least or None


def _figure_unknown(limit: SpendLimit, estimate: Estimate) -> str | None:
    """Why the caps cannot be kept for a task: a figure is unknown, or its currency has no cap."""
    caps = {"USD": limit.usd, "CNY": limit.cny}
    price, money = estimate.price, estimate.money
    # A cap that can be kept is named, because otherwise the caller would go on without any.
    instead = "cap tasks instead: SpendLimit(tasks=100)"
    if limit.tokens is not None and estimate.tokens is None:
        missing = "the tokens of this are not known"
    elif all(cap is None for cap in caps.values()):
        return None
    elif price is None:
        missing = "the price of this is not known"
        if estimate.tokens is not None:
            instead = (
                "cap tasks or tokens instead: SpendLimit(tasks=100) or SpendLimit(tokens=10000000)"
            )
    elif money is None:
        missing = "the tokens of this, and so the money, are not known"
    elif money > 0 and caps[price.currency] is None:
        currency = price.currency
        return (
            f"the spend limit cannot be kept: this is paid in {currency}, for which it sets no "
            f"cap; give a cap in {currency}, such as SpendLimit({currency.lower()}=100); nothing "
            "was sent"
        )
    else:
        return None
    why = "; ".join(estimate.notes)
    return f"the spend limit cannot be kept: {missing} ({why}); {instead}; nothing was sent"


def _cap_passed(amount: Amount, spend: Spend) -> str | None:
    """Which cap one more task would pass, in words; ``None`` if it passes none."""
    limit, committed = spend.limit, spend.committed
    if limit.tasks is not None and committed.tasks + amount.tasks > limit.tasks:
        return _cap_text(limit.tasks, "tasks", amount, spend)
    if limit.tokens is not None and committed.tokens + amount.tokens > limit.tokens:
        return _cap_text(limit.tokens, "tokens", amount, spend)
    if limit.usd is not None and committed.usd + amount.usd > limit.usd:
        return _cap_text(limit.usd, "usd", amount, spend)
    if limit.cny is not None and committed.cny + amount.cny > limit.cny:
        return _cap_text(limit.cny, "cny", amount, spend)
    return None


def _cap_text(cap: int | Decimal, name: str, amount: Amount, spend: Spend) -> str:
    def figure(value: int | Decimal) -> str:
        if isinstance(value, Decimal):
            return f"{name.upper()} {value.normalize():f}"
        return f"{value} {name}"

    def of(bucket: Amount) -> str:
        return figure(getattr(bucket, name))

    return (
        f"the spend limit of {figure(cap)} would be passed: {of(spend.spent)} spent, "
        f"{of(spend.reserved)} reserved, {of(spend.uncertain)} uncertain, "
        f"and this may cost {of(amount)}; nothing was sent"
    )
