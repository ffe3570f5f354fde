"""What the service accepted and billed, so that tests can check what a client paid for."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

from callsheet.emulator.tasks import Task


if TYPE_CHECKING:
    from collections.abc import Iterable


@attrs.define(eq=False)
class Ledger:
    """All tasks that the service accepted. Deleting a task does not change it.

    Attributes:
        tasks: Every task ever created, oldest first.
    """

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
                "created_at": task.created_at,
                "updated_at": task.updated_at,
            }
            for task in self.tasks
        ]


def _repeated(tasks: Iterable[Task]) -> dict[str, int]:
    names = (task.order.safety_identifier for task in tasks)
    counts = Counter(name for name in names if name is not None)
    return {name: count for name, count in counts.items() if count > 1}
