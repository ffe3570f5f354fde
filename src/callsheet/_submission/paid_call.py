"""The paid request: how a create is written, sent once, and how its answer is read."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import anyio.to_thread
import attrs

from callsheet._http.transport import Transport
from callsheet._models.provider import Provider
from callsheet._submission import media_files
from callsheet._wire import TOKEN
from callsheet._wire.dialects import Dialect
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
    from callsheet._state.record import Record
    from callsheet._wire import Request


TOKEN_BYTES = 16
"""Random bytes of a token: nobody can guess one, and no two are equal."""


@attrs.frozen
class PaidCall:
    """Writes and sends creates. The caller decides when one may be sent.

    Attributes:
        transport: Sends the requests.
        dialect: Writes the requests and reads the answers.
        provider: The provider that the requests are for.
        timeout: Seconds that one try may take.
    """

    transport: Transport
    dialect: Dialect
    provider: Provider
    timeout: float

    def new_token(self, record: Record) -> str | None:
        """A new token for an attempt; ``None`` if neither lists nor callbacks would show it."""
        listed = self.provider.token and not record.has_own_mark
        if not (listed or record.tells_token):
            return None
        return f"callsheet-{secrets.token_hex(TOKEN_BYTES)}"

    async def prepare(self, spec: TaskSpec, *, token: str | None) -> Request:
        """Write the create request of a spec; its local media are read and encoded.

        The token goes into ``safety_identifier`` if the provider returns that field in its lists,
        and into the callback URL if the spec asks for it.

        Raises:
            SpecError: A local file is missing or has changed since the preflight, or the spec
                cannot be written. The second happens only if the spec was not checked before.
        """
        model = spec.model or self.provider.default_model
        try:
            if token is not None and spec.callback_url is not None:
                url = spec.callback_url.replace(TOKEN, token)
                spec = attrs.evolve(spec, callback_url=url)
            # A safety_identifier of the caller is never overwritten: what is in `extra` takes the
            # place of our field. Then a lost create of this spec cannot be told from other tasks
            # with the same identifier.
            token = token if self.provider.token else None
            urls = await media_files.data_urls(spec) if spec.media else {}
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

        This is the paid request. Nothing else in the package sends one. Any error other than
        `SubmissionUncertainError` means that no task was made.

        Raises:
            ConnectFailedError: Nothing was sent.
            SubmissionUncertainError: It was sent, and its answer is lost or unreadable, or does not
                say whether a task was made (a 5xx, a 408, or an error with a 2xx).
            APIError: It was refused.
        """
        try:
            response = await self.transport.send(request, timeout=self.timeout)
            return self.dialect.parse_create(response)
        except ConnectFailedError:
            # No connection, so no byte of the request was sent and no task was made. It must stay
            # above the next clause: it is a TransportError, too.
            raise
        except (TransportError, ProtocolError) as error:
            # The request was sent, or part of it. The provider may have made the task before the
            # connection broke, so this must never be taken for a refusal.
            raise SubmissionUncertainError(str(error), token) from error
        except APIError as error:
            if _leaves_open(error):
                raise SubmissionUncertainError(str(error), token) from error
            # A definite refusal: the provider read the request and said no.
            raise


def _leaves_open(error: APIError) -> bool:
    """Whether the task of a create may exist although its answer is this error.

    A server may fail after it made the task. A proxy may also replace the answer of a success by a
    page of its own.
    """
    failed = isinstance(error, ServerError) and (
        error.status_code >= 500 or error.status_code == 408  # noqa: PLR2004 - HTTP
    )
    return failed or error.status_code < 300  # noqa: PLR2004 - HTTP
