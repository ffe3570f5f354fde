"""The free verbs of the task API, each sent once."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import attrs

from callsheet._http.transport import Transport
from callsheet._models.provider import Provider
from callsheet._state.registry import Registry
from callsheet._wire.dialects import Dialect
from callsheet.errors import ProtocolError


if TYPE_CHECKING:
    from collections.abc import Sequence

    from callsheet._models.snapshot import Page, Snapshot


MOST_DELETED = 10_000
"""Most ids that are remembered as deleted."""


@attrs.frozen
class Api:
    """Sends each verb once; the caller decides what to repeat.

    The create is paid and is not here: see `PaidCall`.

    Attributes:
        transport: Sends the requests.
        dialect: Writes the requests and reads the answers.
        provider: Gets the requests.
        timeout: Seconds that one attempt may take.
        registry: Knows for which ids of a gateway others stand.
        deleted: The ids of the latest tasks for which a DELETE was sent. Lists may not show them.
    """

    transport: Transport
    dialect: Dialect
    provider: Provider
    timeout: float
    registry: Registry = attrs.field(factory=Registry)
    deleted: deque[str] = attrs.field(factory=lambda: deque[str](maxlen=MOST_DELETED))

    async def get(self, task_id: str, *, limit: float = float("inf")) -> Snapshot:
        """Ask for one task, for at most *limit* seconds if that is less than `timeout`.

        Raises:
            CallsheetError: No status came back.
        """
        request = self.dialect.build_get(task_id)
        response = await self.transport.send(request, timeout=min(self.timeout, limit))
        try:
            return self.dialect.parse_snapshot(response, task_id=task_id)
        except ProtocolError:
            other = self.dialect.parse_snapshot(response)
            if not self.registry.stands_for(task_id, other):
                raise
            return attrs.evolve(other, task_id=task_id)

    async def list(
        self,
        *,
        task_ids: Sequence[str] = (),
        status: str | None = None,
        page_num: int = 1,
        page_size: int = 20,
        service_tier: str | None = None,
        limit: float = float("inf"),
    ) -> Page:
        """Ask for many tasks, for at most *limit* seconds if that is less than `timeout`.

        Raises:
            CallsheetError: No page came back.
        """
        request = self.dialect.build_list(
            task_ids=task_ids,
            status=status,
            page_num=page_num,
            page_size=page_size,
            service_tier=service_tier,
        )
        response = await self.transport.send(request, timeout=min(self.timeout, limit))
        return self.dialect.parse_page(response)

    async def cancel(self, task_id: str) -> None:
        """Cancel a queued task. If the task has ended, the provider removes its record.

        Raises:
            ConflictError: The task runs.
            CallsheetError: Whether it was cancelled is not known, or the provider refuses.
        """
        request = self.dialect.build_cancel(task_id)
        self.deleted.append(task_id)  # first: without an answer it may be gone, too
        self.dialect.parse_cancel(await self.transport.send(request, timeout=self.timeout))
