"""Amounts of money and tokens, as text and as JSON values."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any

import attrs


if TYPE_CHECKING:
    from callsheet._models.policy import SpendLimit
    from callsheet._models.spend import Amount, Spend


def money_text(amount: Amount) -> str:
    """The money of an amount as text, rounded up."""
    named = (("USD", amount.usd), ("CNY", amount.cny))
    said = [f"{currency} {rounded(money, ROUND_CEILING)}" for currency, money in named if money]
    return " and ".join(said) or "free"


def rounded(money: Decimal, rounding: str) -> str:
    """Round to two decimal places, or to four if it is less than one."""
    unit = Decimal("0.01") if money >= 1 else Decimal("0.0001")
    return str(money.quantize(unit, rounding=rounding))


def exact_text(money: Decimal | None) -> str | None:
    """The money as text with all its digits; ``None`` if it is not known."""
    return None if money is None else f"{money.normalize():f}"


def spend_words(spend: Spend) -> str | None:
    """Text about the spend and its limit; ``None`` if nothing costs money and no limit is set."""
    every = spend.committed
    costs = every.usd or every.cny or every.unpriced
    limit = _limit_words(spend.limit)
    if not costs and limit is None:
        return None
    parts = [f"spent: {_words(spend.spent)}"]
    if spend.reserved.tasks:
        parts.append(f"under way: at most {_words(spend.reserved)}")
    if spend.uncertain.tasks:
        parts.append(f"may have to be paid: at most {_words(spend.uncertain)}")
    return "; ".join(parts) + (f"; limit: {limit}" if limit else "")


def spend_event(spend: Spend) -> dict[str, Any]:
    """The spend and the limit as JSON values. Money is text with all its digits."""
    return {
        "spent": _event(spend.spent),
        "reserved": _event(spend.reserved),
        "uncertain": _event(spend.uncertain),
        "limit": {
            "usd": exact_text(spend.limit.usd),
            "cny": exact_text(spend.limit.cny),
            "tasks": spend.limit.tasks,
            "tokens": spend.limit.tokens,
        },
    }


def _words(amount: Amount) -> str:
    tasks = "1 task" if amount.tasks == 1 else f"{amount.tasks} tasks"
    if not amount.tasks:
        return tasks
    measured, priced = amount.tasks - amount.unmeasured, amount.tasks - amount.unpriced
    tokens = f"{amount.tokens:,} tokens" if measured else "tokens unknown"
    money = money_text(amount) if priced else "price unknown"
    more = f" ({amount.unpriced} more of unknown price)" * (0 < amount.unpriced < amount.tasks)
    return f"{tasks}, {tokens}, {money}{more}"


def _limit_words(limit: SpendLimit) -> str | None:
    money = (("USD", limit.usd), ("CNY", limit.cny))
    caps = [f"{name} {cap.normalize():f}" for name, cap in money if cap is not None]
    counts = (("tasks", limit.tasks), ("tokens", limit.tokens))
    caps += [f"{cap:,} {name}" for name, cap in counts if cap is not None]
    return " and ".join(caps) or None


def _event(amount: Amount) -> dict[str, Any]:
    return {**attrs.asdict(amount), "usd": exact_text(amount.usd), "cny": exact_text(amount.cny)}
