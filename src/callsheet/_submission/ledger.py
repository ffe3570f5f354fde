"""What was spent, what may still have to be paid, and whether one more task fits the limit."""

from __future__ import annotations

from collections.abc import Hashable
from decimal import Decimal

import attrs

from callsheet._models.policy import SpendLimit
from callsheet._models.spend import Amount, Estimate, Spend
from callsheet.errors import SpendLimitError


@attrs.define
class Ledger:
    """The books of one client. A task is reserved, uncertain, or spent, and never two of these.

    Every step takes the same time however many tasks there are. A key that is not in the first two
    buckets, as that of a task which was not created here, changes nothing: such a step returns
    ``False``. Of what was spent only the sum is kept, and of what was released nothing.

    A task may really cost more than its estimate says is possible. Then the sums pass a cap, and
    nothing more is let through.

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
        """The books at this moment."""
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
        """Set aside the most that a task can cost, before anything is sent for it.

        Args:
            key: Stands for the task in every later step.
            estimate: What it may cost.

        Raises:
            SpendLimitError: It would pass a cap, or a figure that is capped is not known.
            ValueError: The key is reserved or uncertain already.
        """
        if key in self:
            raise ValueError(f"{key!r} is in the books already")
        amount = _most(estimate)
        refusal = _figure_unknown(self.limit, estimate) or _cap_passed(amount, self.spend)
        if refusal is not None:
            raise SpendLimitError(refusal)
        self._reserved[key] = estimate
        self._sum_reserved += amount

    def renew(self, key: Hashable) -> bool:
        """Another attempt at a task, of which the earlier ones made nothing.

        Raises:
            SpendLimitError: The sums pass a cap by now, as they were carried over or tasks cost
                more than was possible. The key is in the books no longer.
        """
        estimate = self._take(key)
        if estimate is None:
            return False
        self.reserve(key, estimate)
        return True

    def carry(self, key: Hashable, estimate: Estimate) -> None:
        """Take over a task that was let through earlier, whatever the caps say now.

        Raises:
            ValueError: The key is reserved or uncertain already.
        """
        if key in self:
            raise ValueError(f"{key!r} is in the books already")
        self._reserved[key] = estimate
        self._sum_reserved += _most(estimate)

    def settle(self, key: Hashable, tokens: int | None = None) -> bool:
        """The task succeeded: it is billed.

        Args:
            key: The task.
            tokens: The provider's own count. If it gave none, or one below 0, the estimate stands.
        """
        estimate = self._take(key)
        if estimate is None:
            return False
        counted = tokens is not None and tokens >= 0
        self._sum_spent += Amount.of(tokens, estimate.price) if counted else _most(estimate)
        return True

    def release(self, key: Hashable) -> bool:
        """The task ended without a video, or provably never came to be: it is not billed."""
        return self._take(key) is not None

    def doubt(self, key: Hashable) -> bool:
        """The answer to its create was lost: nobody knows whether it will be billed."""
        estimate = self._reserved.pop(key, None)
        if estimate is None:
            return False
        self._uncertain[key] = estimate
        self._sum_reserved -= _most(estimate)
        self._sum_uncertain += _most(estimate)
        return True

    def find(self, key: Hashable) -> bool:
        """A task that was uncertain exists: it is under way."""
        estimate = self._uncertain.pop(key, None)
        if estimate is None:
            return False
        self._reserved[key] = estimate
        self._sum_uncertain -= _most(estimate)
        self._sum_reserved += _most(estimate)
        return True

    def abandon(self, key: Hashable) -> bool:
        """Nobody will learn whether it is billed: it stays uncertain, and its key is free again."""
        return self._uncertain.pop(key, None) is not None

    def _take(self, key: Hashable) -> Estimate | None:
        """Strike a task out of its bucket."""
        if (estimate := self._reserved.pop(key, None)) is not None:
            self._sum_reserved -= _most(estimate)
        elif (estimate := self._uncertain.pop(key, None)) is not None:
            self._sum_uncertain -= _most(estimate)
        return estimate


def _most(estimate: Estimate) -> Amount:
    return Amount.of(estimate.tokens, estimate.price)


def _figure_unknown(limit: SpendLimit, estimate: Estimate) -> str | None:
    """Which capped figure is not known, or not capped where it would have to be."""
    caps = {"USD": limit.usd, "CNY": limit.cny}
    price, money = estimate.price, estimate.money
    if limit.tokens is not None and estimate.tokens is None:
        missing = "the tokens of this are not known"
    elif all(cap is None for cap in caps.values()):
        return None
    elif price is None:
        missing = "the price of this is not known"
    elif money is None:
        missing = "the tokens of this, and so the money, are not known"
    elif money > 0 and caps[price.currency] is None:
        return (
            f"the spend limit cannot be kept: this is paid in {price.currency}, for which it sets "
            "no cap; nothing was sent"
        )
    else:
        return None
    why = "; ".join(estimate.notes)
    return f"the spend limit cannot be kept: {missing} ({why}); nothing was sent"


def _cap_passed(amount: Amount, spend: Spend) -> str | None:
    """Which cap would be passed."""
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
