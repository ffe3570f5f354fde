"""Accounts: the tasks, queues and quotas of one API key."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import attrs

from callsheet.emulator.quota import Window
from callsheet.emulator.tasks import Task


if TYPE_CHECKING:
    from collections.abc import Iterator


class QueueEntry(NamedTuple):
    """A task in a queue. Entries sort by priority, highest first, then by creation.

    Attributes:
        rank: The negative priority.
        number: The index of the task.
        task: The task.
    """

    rank: int
    number: int
    task: Task


@attrs.define(eq=False)
class Lane:
    """The tasks of one account, model and tier.

    Attributes:
        limit: Most tasks that run at a time.
        creates: The quota of creates, shared by all tiers of the model.
        running: How many tasks run.
        queue: A heap of waiting tasks. It may hold tasks that have ended since.
    """

    limit: int
    creates: Window
    running: int = 0
    queue: list[QueueEntry] = attrs.field(factory=list[QueueEntry])


@attrs.define(eq=False)
class Account:
    """What belongs to one API key: tasks, lanes and quotas.

    Attributes:
        gets: The quota of GETs of one task.
        lists: The quota of list calls.
        deletes: The quota of DELETEs.
        tasks: Tasks on record by id, oldest first.
        lanes: Lanes by model family and tier.
        queued: How many tasks wait.
    """

    gets: Window
    lists: Window
    deletes: Window
    tasks: dict[str, Task] = attrs.field(factory=dict[str, Task])
    lanes: dict[tuple[str, str], Lane] = attrs.field(factory=dict[tuple[str, str], Lane])
    queued: int = 0


def newest_first(account: Account) -> Iterator[Task]:
    """Iterate over the tasks on record, newest first."""
    return reversed(account.tasks.values())
