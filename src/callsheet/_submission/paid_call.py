"""The paid request: how a create is written, sent once, and how its answer is read."""

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
    from callsheet._models.spec import TaskSpec
    from callsheet._wire import Request


@attrs.frozen
class PaidCall:
    """Writes and sends creates; when one may leave is decided by the caller.

    Attributes:
        transport: Where requests go.
        dialect: How they are written.
        provider: Whom they are for.
        timeout: Seconds that one try may take.
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

    async def send(self, request: Request, *, token: str | None) -> str:
        """Send a create once and return the id of the new task.

        This is the paid request: nothing else in the package sends one. Every other error than
        `SubmissionUncertainError` means that no task came to be.

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


def _says_nothing(error: APIError) -> bool:
    """Whether an answer to a create leaves open if the task exists.

    A server error may come after the task was made; so may a page that some proxy put in the
    place of a success.
    """
    failed = isinstance(error, ServerError) and (
        error.status_code >= 500 or error.status_code == 408  # noqa: PLR2004 - HTTP
    )
    return failed or error.status_code < 300  # noqa: PLR2004 - HTTP
