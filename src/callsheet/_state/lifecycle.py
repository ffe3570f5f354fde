"""What the parts of a client tell about its tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol


if TYPE_CHECKING:
    from callsheet._models.snapshot import Snapshot
    from callsheet._state.record import Record
    from callsheet.errors import CallsheetError
    from callsheet.events import Event


class Lifecycle(Protocol):
    """Is told what becomes of specs and tasks.

    It keeps the journal and the money of tasks, lets the next create go, and calls the observer.
    """

    def moved(self, record: Record, answer: Snapshot) -> None:
        """An answer shows another status, and does not end the wait.

        It may say success and have no video yet. Then the task is billed, and is asked for again.
        """

    def task_ended(self, record: Record) -> None:
        """The task of a record has ended, or is watched no longer: its outcome is known."""

    def ended(self, record: Record) -> None:
        """A record has its outcome without a task; its money and its notes are up to date."""

    def disowned(self, record: Record, error: CallsheetError) -> bool:
        """The id of a record is not that of its task; whether its task can be looked for."""
        ...

    def room_made(self) -> None:
        """A task has left the provider's queue, or has ended: another one may be sent."""

    def emit(self, event: Event) -> None:
        """Something has happened that the observer is told of."""
