"""Errors are plain values: they can be pickled, have a clear text, and say if a retry can help."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from callsheet import errors
from callsheet.errors import (
    APIError,
    AuthenticationError,
    BalanceError,
    BatchError,
    CallsheetError,
    ClosedError,
    ConfigurationError,
    ConflictError,
    ConnectFailedError,
    ContentRejectedError,
    DownloadError,
    InvalidRequestError,
    JournalError,
    ModelNotFoundError,
    NotFoundError,
    NotSubmittedError,
    Problem,
    ProtocolError,
    QueueFullError,
    QuotaExhaustedError,
    RateLimitError,
    ServerError,
    SpecError,
    SpendLimitError,
    SubmissionUncertainError,
    TaskCancelledError,
    TaskError,
    TaskExpiredError,
    TaskFailedError,
    TaskRejectedError,
    TaskTimeoutError,
    TransportError,
    WebhookError,
)


API = (
    APIError, AuthenticationError, BalanceError, InvalidRequestError, ContentRejectedError,
    NotFoundError, ModelNotFoundError, ConflictError, RateLimitError, QueueFullError,
    QuotaExhaustedError, ServerError,
)  # fmt: skip
TASK = (TaskError, TaskFailedError, TaskRejectedError, TaskCancelledError, TaskExpiredError)

SAMPLES: list[CallsheetError] = [
    CallsheetError("something"),
    ConfigurationError("no key for ark"),
    SpecError([Problem("duration", "99", "4 to 12"), Problem("ratio", "'x'", "16:9", 3)]),
    ClosedError("the client is closed"),
    NotSubmittedError("the batch was stopped"),
    TransportError("ReadTimeout"),
    ConnectFailedError("ConnectError: refused"),
    SubmissionUncertainError("ReadTimeout", "callsheet-1"),
    SubmissionUncertainError("ReadTimeout"),
    ProtocolError("no id", "<html>"),
    ProtocolError("no id"),
    TaskTimeoutError("cgt-1", 12.5),
    TaskTimeoutError(None, 1.0),
    SpendLimitError("over"),
    DownloadError("disk full", "cgt-1"),
    DownloadError("disk full"),
    WebhookError("no task"),
    JournalError("the disk is full"),
    *(kind("no", 429, "Code", "req-1", "field", 3.5) for kind in API),
    *(kind("no", 400) for kind in API),
    *(kind("cgt-1", "InternalServiceError", "broke") for kind in TASK),
    *(kind("cgt-1") for kind in TASK),
]

TRANSIENT = {
    TransportError, ConnectFailedError, RateLimitError, QueueFullError, ServerError, ProtocolError,
}  # fmt: skip
"""The same request may succeed later."""


def name(error: BaseException) -> str:
    """The test id of a sample."""
    return type(error).__name__


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("error", SAMPLES, ids=name)
def test_an_error_can_be_pickled(error, protocol):
    """An error keeps its class, its text and all its values."""
    error.add_note("spec 3")
    back = pickle.loads(pickle.dumps(error, protocol))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert back.args == error.args
    assert vars(back) == vars(error)
    assert back.transient == error.transient


@pytest.mark.parametrize("error", SAMPLES, ids=name)
def test_an_error_can_be_copied(error):
    """Shallow and deep copies have the same values."""
    for back in (copy.copy(error), copy.deepcopy(error)):
        assert type(back) is type(error)
        assert vars(back) == vars(error)


@pytest.mark.parametrize("error", SAMPLES, ids=name)
def test_an_error_has_a_text(error):
    """The text of an error is not empty and contains its main value."""
    assert str(error).strip()
    for value in ("code", "message", "request_id", "token", "reason", "task_id"):
        said = getattr(error, value, None)
        assert said is None or str(said) in str(error)


def test_every_class_is_sampled():
    """Every error class is part of these tests, and all of them are public."""
    classes = {
        kind for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, Exception) and kind.__module__ == "callsheet.errors"
    }  # fmt: skip
    assert classes == {*map(type, SAMPLES), BatchError}
    assert {kind.__name__ for kind in classes} | {"Problem"} == set(errors.__all__)


def test_transient_says_whether_a_retry_can_help():
    """Only errors that may pass at the next attempt are transient, and no paid request is."""
    assert {type(error) for error in SAMPLES if error.transient} == TRANSIENT
    assert not SubmissionUncertainError("x").transient


def test_errors_are_also_built_in_errors():
    """They can be caught as the matching built-in errors."""
    assert issubclass(ConfigurationError, ValueError)
    assert issubclass(SpecError, ValueError)
    assert issubclass(ClosedError, RuntimeError)
    assert issubclass(TaskTimeoutError, TimeoutError)
    assert issubclass(BatchError, ExceptionGroup)
    assert issubclass(ModelNotFoundError, NotFoundError)
    assert all(issubclass(kind, TransportError) for kind in
               (ConnectFailedError, SubmissionUncertainError))  # fmt: skip


def test_a_spec_error_holds_every_problem():
    """The text has one line per problem, with the index of its spec if there are several."""
    error = SpecError([Problem("duration", "99", "4 to 12"), Problem("ratio", "'x'", "16:9", 3)])
    assert [problem.field for problem in error.problems] == ["duration", "ratio"]
    assert str(error) == "duration=99: 4 to 12\nspec 3: ratio='x': 16:9"


def test_an_api_error_is_one_line():
    """It has the status, code, message and request id; missing values are left out."""
    full = RateLimitError("slow down", 429, "RateLimitExceeded", "req-1", None, 5.0)
    assert str(full) == "HTTP 429 RateLimitExceeded: slow down (request req-1)"
    assert full.retry_after == 5.0
    assert str(ServerError("oops", 503)) == "HTTP 503: oops"


def group() -> BatchError:
    """A batch error of three members."""
    members = [TaskFailedError("cgt-1"), NotSubmittedError("stopped"), TaskFailedError("cgt-2")]
    for index, member in enumerate(members):
        member.add_note(f"spec {index}")
    return BatchError("3 of 9 specs ended without a video", members)


def test_a_batch_error_is_split_by_kind():
    """``split``, ``subgroup`` and ``except*`` give groups of the same kind."""
    failed, rest = group().split(TaskFailedError)
    assert type(failed) is type(rest) is BatchError
    assert [error.task_id for error in failed.exceptions] == ["cgt-1", "cgt-2"]
    assert failed.message == group().message
    seen = []
    try:
        raise group()
    except* TaskFailedError as part:
        seen.append(type(part))
    except* NotSubmittedError as part:
        seen.append(type(part))
    assert seen == [BatchError, BatchError]


def test_a_batch_error_can_be_pickled():
    """A group keeps its members, their order and their notes."""
    back = pickle.loads(pickle.dumps(group()))
    assert type(back) is BatchError
    assert str(back) == str(group())
    assert [str(error) for error in back.exceptions] == [str(e) for e in group().exceptions]
    assert [error.__notes__ for error in back.exceptions] == [["spec 0"], ["spec 1"], ["spec 2"]]
