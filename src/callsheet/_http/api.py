"""The verbs of the task API that cost nothing, each sent once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from callsheet._http.transport import Transport
from callsheet._models.provider import Provider
from callsheet._wire.dialect import Dialect


if TYPE_CHECKING:
    from collections.abc import Sequence

    from callsheet._models.snapshot import Page, Snapshot


@attrs.frozen
class Api:
    """One try of each verb; who repeats what is decided by the caller.

    The create is paid and stands apart, in `PaidCall`.

    Attributes:
        transport: Where requests go.
        dialect: How they are written.
        provider: Whom they are for.
        timeout: Seconds that one attempt may take.
    """

    transport: Transport
    dialect: Dialect
    provider: Provider
    timeout: float

    async def get(self, task_id: str, *, most: float = float("inf")) -> Snapshot:
        """Ask for one task, for at most *most* seconds if that is less than `timeout`.

        Raises:
            CallsheetError: No status came back.
        """
        request = self.dialect.build_get(task_id)
        response = await self.transport.send(request, timeout=min(self.timeout, most))
        return self.dialect.parse_snapshot(response, task_id=task_id)

    async def list(
        self,
        *,
        task_ids: Sequence[str] = (),
        status: str | None = None,
        page_num: int = 1,
        page_size: int = 20,
        service_tier: str | None = None,
        most: float = float("inf"),
    ) -> Page:
        """Ask for many tasks, for at most *most* seconds if that is less than `timeout`.

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
        response = await self.transport.send(request, timeout=min(self.timeout, most))
        return self.dialect.parse_page(response)

    async def cancel(self, task_id: str) -> None:
        """Cancel a queued task. The provider removes the record of a task that has ended.

        Raises:
            ConflictError: It runs.
            CallsheetError: Whether it was cancelled is not known, or the provider refuses.
        """
        request = self.dialect.build_cancel(task_id)
        self.dialect.parse_cancel(await self.transport.send(request, timeout=self.timeout))
