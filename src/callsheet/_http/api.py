"""Each verb of the task API, sent once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio.to_thread
import attrs

from callsheet._http.transport import Transport
from callsheet._models.provider import Provider
from callsheet._submission import media_files
from callsheet._submission.correlation_token import has_own
from callsheet._wire import TOKEN
from callsheet._wire.dialect import Dialect
from callsheet.errors import (
    APIError,
    CallsheetError,
    ConnectFailedError,
    Problem,
    ProtocolError,
    ServerError,
    SpecError,
    SubmissionUncertainError,
    TransportError,
)


if TYPE_CHECKING:
    from collections.abc import Sequence

    from callsheet._models.snapshot import Page, Snapshot
    from callsheet._models.spec import TaskSpec
    from callsheet._wire import Request


@attrs.frozen
class Api:
    """One attempt of each verb; who repeats what is decided above.

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

    async def prepare(self, spec: TaskSpec, *, token: str | None) -> Request:
        """Write the create request of a spec, with its local media read and encoded.

        The token goes into ``safety_identifier`` where the provider echoes that, and into the
        callback URL where the spec asks for it.

        Raises:
            SpecError: A medium has vanished or changed since the preflight, or the spec, which
                nobody has to have checked, cannot be written.
        """
        model = spec.model or self.provider.default_model
        try:
            if token is not None and spec.callback_url is not None:
                url = spec.callback_url.replace(TOKEN, token)
                spec = attrs.evolve(spec, callback_url=url)
            token = token if self.provider.token and not has_own(spec) else None
            urls = await media_files.data_urls(spec)
            if not urls:
                return self.dialect.build_create(spec, model=model, urls=urls, token=token)
            return await anyio.to_thread.run_sync(
                lambda: self.dialect.build_create(spec, model=model, urls=urls, token=token)
            )
        except CallsheetError:
            raise
        except Exception as error:
            raise SpecError([Problem("spec", type(error).__name__, str(error))]) from error

    async def create(self, request: Request, *, token: str | None) -> str:
        """Send a create and return the id of the new task.

        This is the paid request. Every other error than `SubmissionUncertainError` means that no
        task came to be.

        Raises:
            ConnectFailedError: Nothing was sent.
            SubmissionUncertainError: It was sent, and its answer is lost, unreadable or a 5xx.
            APIError: It was refused.
        """
        try:
            response = await self.transport.send(request, timeout=self.timeout)
            return self.dialect.parse_create(response)
        except ConnectFailedError:
            raise
        except (TransportError, ProtocolError) as error:
            raise SubmissionUncertainError(str(error), token) from error
        except APIError as error:
            if _says_nothing(error):
                raise SubmissionUncertainError(str(error), token) from error
            raise

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


def _says_nothing(error: APIError) -> bool:
    """Whether an answer to a create leaves open if the task exists.

    A server error may come after the task was made; so may a page that some proxy put in the
    place of a success.
    """
    failed = isinstance(error, ServerError) and (
        error.status_code >= 500 or error.status_code == 408  # noqa: PLR2004 - HTTP
    )
    return failed or error.status_code < 300  # noqa: PLR2004 - HTTP
