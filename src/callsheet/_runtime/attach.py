"""Watches tasks that exist already: those that the caller attaches or resumes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import attrs

from callsheet._polling.poller import Poller
from callsheet._state.clock import Clock
from callsheet._state.record import Record
from callsheet._state.registry import Registry
from callsheet._submission.bookkeeping import Bookkeeping
from callsheet.errors import CallsheetError, ConfigurationError


if TYPE_CHECKING:
    from callsheet._state.group import Group


log = logging.getLogger("callsheet")


@attrs.frozen(kw_only=True)
class Attacher:
    """Puts tasks into the registry that were not created there by a watched spec.

    Attributes:
        registry: Keeps the ids of tasks.
        poller: Polls them.
        bookkeeping: Keeps the ledger and the journal.
        clock: The client's clock.
        spawn: Runs work in the background until the client is left.
    """

    registry: Registry
    poller: Poller
    bookkeeping: Bookkeeping
    clock: Clock
    spawn: Callable[[Callable[[], Coroutine[Any, Any, None]]], None]

    def adopt(self, records: Sequence[Record], task_ids: Sequence[str]) -> None:
        """Watch tasks that exist already, each with its record."""
        adopt, now = self.registry.adopt, self.clock.now()
        pairs = zip(records, task_ids, strict=True)
        new = [record for record, task_id in pairs if adopt(record, task_id, now=now)]
        self.poller.watch(*new, fresh=False)

    def attach(self, task_ids: Sequence[str], group: Group, name: str | None) -> list[Record]:
        """Watch tasks that exist already. They are in the journal before the client is left.

        Raises:
            ConfigurationError: An id is blank.
        """
        for task_id in task_ids:
            if not task_id.strip():
                raise ConfigurationError(f"{task_id!r} is no task id")
        group.total = len(task_ids)
        records = [self._record(task_id, i, group) for i, task_id in enumerate(task_ids)]
        self.adopt(records, task_ids)
        if self.bookkeeping.journal is not None:
            self.spawn(partial(self._write_down, records, task_ids, name))
        return records

    def _record(self, task_id: str, index: int, group: Group) -> Record:
        record = self.registry.take_aside(task_id) or Record(None)
        record.index, record.group, record.status = index, group, None
        return record

    async def _write_down(
        self, records: Sequence[Record], ids: Sequence[str], name: str | None
    ) -> None:
        try:
            with anyio.CancelScope(shield=True):  # leaving the client waits until it is on disk
                await self.bookkeeping.adopt(records, ids, name)
        except CallsheetError:
            log.exception("%d attached tasks are not in the journal", len(ids))
