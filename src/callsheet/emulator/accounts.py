"""Accounts: what belongs to one key."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import attrs

from callsheet.emulator.quota import Window
from callsheet.emulator.tasks import Task


if TYPE_CHECKING:
    from collections.abc import Iterator


class Place(NamedTuple):
    """A task in line: high priority first, then first come, first served."""

    rank: int
    number: int
    task: Task


@attrs.define(eq=False)
class Lane:
    """The queue of one account, model and tier."""

    limit: int
    creates: Window
    running: int = 0
    line: list[Place] = attrs.field(factory=list[Place])


@attrs.define(eq=False)
class Account:
    """What belongs to one key: tasks, lanes and quotas.

    Attributes:
        tasks: Tasks on record by id, oldest first.
        queued: How many tasks wait.
    """

    gets: Window
    lists: Window
    deletes: Window
    tasks: dict[str, Task] = attrs.field(factory=dict[str, Task])
    lanes: dict[tuple[str, str], Lane] = attrs.field(factory=dict[tuple[str, str], Lane])
    queued: int = 0


def newest_first(account: Account) -> Iterator[Task]:
    """Go through the tasks on record, the latest created first."""
    return reversed(account.tasks.values())
