"""What can go wrong, as plain values.

Every error of the package is a `CallsheetError`, says with ``transient`` whether trying again can
help, carries only plain values (never an object of the HTTP library) and survives `pickle`.
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

for _name in __all__:  # what is raised names the module that is documented
    globals()[_name].__module__ = __name__
