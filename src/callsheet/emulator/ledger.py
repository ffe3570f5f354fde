"""What the service accepted and billed, so that tests can check what a client paid for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs

from callsheet.emulator.tasks import Task


if TYPE_CHECKING:
    from collections.abc import Iterable


@attrs.define(eq=False)
class Ledger:
    """All tasks that the service accepted. Deleting a task does not change it.

    Attributes:
        prices: What a million tokens of a model cost, by model id, such as ``"USD 2.4"``.
        tasks: Every task ever created, oldest first.
    """

    prices: Mapping[str, str] = attrs.field(factory=dict[str, str])
    tasks: list[Task] = attrs.field(factory=list[Task])

    @property
    def created(self) -> int:
        """Number of creates that were accepted."""
        return len(self.tasks)

    @property
    def billed(self) -> int:
        """Number of tasks that succeeded. The service bills only these."""
        return sum(task.status == "succeeded" for task in self.tasks)

    @property
    def tokens(self) -> int:
        """Tokens billed."""
        return sum(task.tokens for task in self.tasks if task.status == "succeeded")

    @property
    def usd(self) -> Decimal:
        """US dollars billed."""
        return self._billed_in("USD")

    @property
    def cny(self) -> Decimal:
        """Yuan billed."""
        return self._billed_in("CNY")

    def _billed_in(self, currency: str) -> Decimal:
        bills = (self._bill(task) for task in self.tasks)
        return sum((money for name, money in filter(None, bills) if name == currency), Decimal(0))

    def _bill(self, task: Task) -> tuple[str, Decimal] | None:
        """Currency and money of a task; None if it is not billed, or costs nothing."""
        price = self.prices.get(task.order.model_id)
        if price is None or task.status != "succeeded":
            return None
        currency, per_million = price.split()
        return currency, Decimal(per_million) * task.tokens / 1_000_000

    @property
    def created_twice(self) -> dict[str, int]:
        """Safety identifiers with more than one accepted create, and how many each has."""
        return _repeated(self.tasks)

    @property
    def billed_twice(self) -> dict[str, int]:
        """Safety identifiers with more than one billed task, and how many each has."""
        return _repeated(task for task in self.tasks if task.status == "succeeded")

    def rows(self) -> list[dict[str, Any]]:
        """Return every task as a flat row of JSON values."""
        return [
            {
                "id": task.id,
                "model": task.order.model_id,
                "service_tier": task.order.tier,
                "safety_identifier": task.order.safety_identifier,
                "status": task.status,
                "tokens": task.tokens if task.status == "succeeded" else 0,
                "money": _text(self._bill(task)),
                "created_at": task.created_at,
                "updated_at": task.updated_at,
            }
            for task in self.tasks
        ]


def _text(bill: tuple[str, Decimal] | None) -> str | None:
    return None if bill is None else f"{bill[0]} {bill[1].normalize():f}"


def _repeated(tasks: Iterable[Task]) -> dict[str, int]:
    names = (task.order.safety_identifier for task in tasks)
    counts = Counter(name for name in names if name is not None)
    return {name: count for name, count in counts.items() if count > 1}
