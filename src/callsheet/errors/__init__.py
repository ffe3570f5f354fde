"""All errors of the package.

Every error except the group `BatchError` is a `CallsheetError`. Its ``transient`` says whether it
can help to try again. It holds only plain values, never an object of the HTTP library, and it can
be pickled.
"""

from __future__ import annotations

from callsheet.errors.base import (
    BatchError,
    CallsheetError,
    ClosedError,
    ConfigurationError,
    DownloadError,
    JournalError,
    NotSubmittedError,
    Problem,
    SpecError,
    SpendLimitError,
    WebhookError,
)
from callsheet.errors.tasks import (
    TaskCancelledError,
    TaskError,
    TaskExpiredError,
    TaskFailedError,
    TaskRejectedError,
    TaskTimeoutError,
)
from callsheet.errors.wire import (
    APIError,
    AuthenticationError,
    BalanceError,
    ConflictError,
    ConnectFailedError,
    ContentRejectedError,
    InvalidRequestError,
    ModelNotFoundError,
    NotFoundError,
    ProtocolError,
    QueueFullError,
    QuotaExhaustedError,
    RateLimitError,
    ServerError,
    SubmissionUncertainError,
    TransportError,
)


__all__ = [
    "APIError",
    "AuthenticationError",
    "BalanceError",
    "BatchError",
    "CallsheetError",
    "ClosedError",
    "ConfigurationError",
    "ConflictError",
    "ConnectFailedError",
    "ContentRejectedError",
    "DownloadError",
    "InvalidRequestError",
    "JournalError",
    "ModelNotFoundError",
    "NotFoundError",
    "NotSubmittedError",
    "Problem",
    "ProtocolError",
    "QueueFullError",
    "QuotaExhaustedError",
    "RateLimitError",
    "ServerError",
    "SpecError",
    "SpendLimitError",
    "SubmissionUncertainError",
    "TaskCancelledError",
    "TaskError",
    "TaskExpiredError",
    "TaskFailedError",
    "TaskRejectedError",
    "TaskTimeoutError",
    "TransportError",
    "WebhookError",
]

for _name in __all__:  # so that a traceback names the documented module
    globals()[_name].__module__ = __name__
