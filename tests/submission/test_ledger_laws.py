"""The ledger equals a simple model: each task counts once, and no reservation exceeds a cap."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from callsheet._models.policy import SpendLimit
from callsheet._models.spend import Amount, Estimate, Ledger, Price
from callsheet.errors import SpendLimitError


PRICES = [
    None,
    Price(per_million=Decimal(16), currency="CNY", source="a", dated="then"),
    Price(per_million=Decimal("0.35"), currency="USD", source="b", dated="then"),
    Price(per_million=Decimal(0), currency="CNY", source="c", dated="then"),
]
KEYS = st.integers(0, 7)
COUNTS = st.integers(0, 400_000)
ESTIMATES = st.builds(
    lambda tokens, least, price: Estimate(
        tokens=tokens, tokens_at_least=least if tokens is None else min(least, tokens), price=price
    ),
    st.none() | COUNTS,
    COUNTS,
    st.sampled_from(PRICES),
)
LIMITS = st.builds(
    SpendLimit,
    tokens=st.none() | st.integers(0, 1_500_000),
    tasks=st.none() | st.integers(0, 6),
    usd=st.none() | st.decimals(0, 1, places=3),
    cny=st.none() | st.decimals(0, 20, places=3),
)


def money(tokens: int | None, price: Price | None, currency: str) -> Decimal:
    """The cost in a currency, by plain multiplication."""
    if tokens is None or price is None or price.currency != currency:
        return Decimal(0)
    return price.per_million * tokens / 1_000_000


def billed(said: int | None, estimate: Estimate) -> int | None:
    """What a task has cost: what is said, if that is possible, and otherwise the most."""
    if said is not None and said > 0 and said >= estimate.tokens_at_least:
        return said
    if estimate.tokens is not None:
        return estimate.tokens
    return None if said is None or estimate.tokens_at_least == 0 else estimate.tokens_at_least


class LedgerSteps(RuleBasedStateMachine):
    """Reservations, lost answers and ends of every kind, for any tasks in any order."""

    keys = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.limit = SpendLimit()
        self.ledger = Ledger()
        self.where: dict[int, tuple[str, Estimate]] = {}
        self.spent: list[tuple[int | None, Price | None]] = []

    @initialize(limit=LIMITS)
    def open(self, limit: SpendLimit) -> None:
        """The client has a limit, or none."""
        self.limit = limit
        self.ledger = Ledger(limit)

    def _in(self, bucket: str) -> list[tuple[int | None, Price | None]]:
        return [(e.tokens, e.price) for name, e in self.where.values() if name == bucket]

    def _all(self) -> list[tuple[int | None, Price | None]]:
        return self._in("reserved") + self._in("uncertain") + self.spent

    def _fits(self, estimate: Estimate) -> bool:
        """Whether the model would allow it, by adding everything up again."""
        every = [*self._all(), (estimate.tokens, estimate.price)]
        limit = self.limit
        caps = {"USD": limit.usd, "CNY": limit.cny}
        if limit.tokens is not None and estimate.tokens is None:
            return False
        if limit.usd is not None or limit.cny is not None:
            if estimate.price is None or estimate.tokens is None:
                return False
            cost = money(estimate.tokens, estimate.price, estimate.price.currency)
            if cost > 0 and caps[estimate.price.currency] is None:
                return False
        return (
            (limit.tasks is None or len(every) <= limit.tasks)
            and (limit.tokens is None or sum(t or 0 for t, _ in every) <= limit.tokens)
            and all(
                cap is None or sum(money(t, p, currency) for t, p in every) <= cap
                for currency, cap in caps.items()
            )
        )

    @rule(target=keys, key=KEYS, estimate=ESTIMATES)
    def reserve(self, key: int, estimate: Estimate) -> int:
        """A task is about to be sent."""
        before = self.ledger.spend
        if key in self.where:
            with pytest.raises(ValueError, match="already"):
                self.ledger.reserve(key, estimate)
            assert self.ledger.spend == before
        elif self._fits(estimate):
            self.ledger.reserve(key, estimate)
            self.where[key] = ("reserved", estimate)
            total, limit = self.ledger.spend.committed, self.limit
            assert limit.tasks is None or total.tasks <= limit.tasks
            assert limit.tokens is None or total.tokens <= limit.tokens
            assert limit.usd is None or total.usd <= limit.usd
            assert limit.cny is None or total.cny <= limit.cny
        else:
            with pytest.raises(SpendLimitError, match="nothing was sent"):
                self.ledger.reserve(key, estimate)
            assert self.ledger.spend == before
        return key

    @rule(key=keys | KEYS, estimate=ESTIMATES)
    def ask(self, key: int, estimate: Estimate) -> None:
        """Another attempt at a task would take the place of one that made nothing."""
        before = self.ledger.spend
        kept = self.where.pop(key, None) if self.where.get(key, ("",))[0] == "reserved" else None
        fits = self._fits(estimate)
        if kept is not None:
            self.where[key] = kept
        refusal = self.ledger.refusal(estimate, instead_of=key)
        assert (refusal is None) is fits
        assert self.ledger.spend == before

    @rule(key=keys | KEYS, to=KEYS)
    def move(self, key: int, to: int) -> None:
        """A task gets another name."""
        if key in self.where and to in self.where:
            with pytest.raises(ValueError, match="in the ledger already"):
                self.ledger.move(key, to)
            return
        known = key in self.where
        assert self.ledger.move(key, to) is known
        if known:
            self.where[to] = self.where.pop(key)

    @rule(key=keys | KEYS)
    def doubt(self, key: int) -> None:
        """The answer to a create is lost."""
        bucket, estimate = self.where.get(key, ("", None))
        assert self.ledger.doubt(key) is (bucket == "reserved")
        if bucket == "reserved":
            self.where[key] = ("uncertain", estimate)

    @rule(key=keys | KEYS)
    def confirm(self, key: int) -> None:
        """An uncertain task is found."""
        bucket, estimate = self.where.get(key, ("", None))
        assert self.ledger.confirm(key) is (bucket == "uncertain")
        if bucket == "uncertain":
            self.where[key] = ("reserved", estimate)

    @rule(target=keys, key=KEYS, estimate=ESTIMATES)
    def carry(self, key: int, estimate: Estimate) -> int:
        """A task of an earlier client is counted, whatever the limit is."""
        if key not in self.where:
            assert key not in self.ledger
            self.ledger.carry(key, estimate)
            self.where[key] = ("reserved", estimate)
        assert key in self.ledger
        return key

    @rule(key=keys | KEYS, tokens=st.none() | COUNTS | st.sampled_from([-1, 0, 1]))
    def settle(self, key: int, tokens: int | None) -> None:
        """A task succeeds, with or without a count."""
        known = key in self.where
        assert self.ledger.settle(key, tokens) is known
        if known:
            _, estimate = self.where.pop(key)
            self.spent.append((billed(tokens, estimate), estimate.price))

    @rule(key=keys | KEYS)
    def release(self, key: int) -> None:
        """A task ends without a video, or was not made."""
        assert self.ledger.release(key) is (self.where.pop(key, None) is not None)

    @invariant()
    def every_task_is_in_one_bucket(self) -> None:
        """The sums are those of the model, which adds up each bucket again."""
        spend = self.ledger.spend
        for amount, rows in (
            (spend.reserved, self._in("reserved")),
            (spend.uncertain, self._in("uncertain")),
            (spend.spent, self.spent),
        ):
            assert amount == Amount(
                tasks=len(rows),
                tokens=sum(t or 0 for t, _ in rows),
                usd=sum((money(t, p, "USD") for t, p in rows), Decimal(0)),
                cny=sum((money(t, p, "CNY") for t, p in rows), Decimal(0)),
                unmeasured=sum(t is None for t, _ in rows),
                unpriced=sum(t is None or p is None for t, p in rows),
            )
        assert spend.committed.tasks == len(self.where) + len(self.spent)

    @invariant()
    def nothing_is_negative(self) -> None:
        """No sum and nothing that is left falls below 0."""
        spend = self.ledger.spend
        for amount in (spend.reserved, spend.uncertain, spend.spent):
            assert min(amount.tasks, amount.tokens, amount.unmeasured, amount.unpriced) >= 0
            assert min(amount.usd, amount.cny) >= 0
        left = spend.left
        assert all(
            (rest is None) is (cap is None) and (rest is None or 0 <= rest <= cap)
            for rest, cap in (
                (left.tokens, self.limit.tokens),
                (left.tasks, self.limit.tasks),
                (left.usd, self.limit.usd),
                (left.cny, self.limit.cny),
            )
        )


TestLedgerSteps = LedgerSteps.TestCase
