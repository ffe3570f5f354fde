from __future__ import annotations

import json
import pickle

import pytest

from callsheet._wire import dialect_of, error_of, parse_retry_after, stops_batch
from callsheet._wire.refusals import WRONG_ADDRESS
from callsheet.errors import (
    AuthenticationError,
    BalanceError,
    ConflictError,
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
)


ARK = dialect_of("ark")
FULL = "The request has exceeded the quota."
PLAN = "You have exceeded the 5-hour usage quota. It will reset at 2026-08-03 23:59:59 +0800 CST."


@pytest.mark.parametrize(
    ("name", "status_code", "kind"),
    [
        ("33", 409, ConflictError),
        ("34", 401, AuthenticationError),
        ("46", 429, RateLimitError),
        ("48", 429, QueueFullError),
        ("49", 429, QuotaExhaustedError),
    ],
)
def test_recorded_errors(name, status_code, kind, sample, answer):
    """Each recorded refusal becomes its error class and keeps the provider's text."""
    body = sample(name)
    error = error_of(answer(body, status_code))
    assert type(error) is kind
    said = json.loads(body)["error"]
    assert (error.status_code, error.code, error.message) == (
        status_code,
        said["code"],
        said["message"],
    )


@pytest.mark.parametrize(
    ("status_code", "code", "message", "kind"),
    [
        (400, "MissingParameter", "", InvalidRequestError),
        (400, "InvalidParameter.UnsupportedParameter", "", InvalidRequestError),
        (400, "InvalidImageURL.EmptyURL", "", InvalidRequestError),
        (400, "OutofContextError", "", InvalidRequestError),
        (400, "InvalidEndpoint.ClosedEndpoint", "", ModelNotFoundError),
        (400, "SensitiveContentDetected.SevereViolation", "", ContentRejectedError),
        (400, "InputTextSensitiveContentDetected", "", ContentRejectedError),
        (400, "InputImageSensitiveContentDetected.DeepFake", "", ContentRejectedError),
        (400, "InputVideoRiskDetection", "", ContentRejectedError),
        (400, "ContentSecurityDetectionError", "", ServerError),
        (400, None, "task_not_exist", NotFoundError),
        (400, "task_not_exist", "no such", NotFoundError),
        (401, "InvalidAccountStatus", "", AuthenticationError),
        (401, None, "", AuthenticationError),
        (402, None, "", BalanceError),
        (403, "AccessDenied", "", BalanceError),
        (403, "AccountOverdueError", "", BalanceError),
        (400, "AccountOverdueError", "", BalanceError),
        (403, "OperationDenied.ServiceNotOpen", "", BalanceError),
        (429, "insufficient_quota", "", BalanceError),
        (404, "InvalidEndpointOrModel.NotFound", "", ModelNotFoundError),
        (404, "InvalidEndpointOrModel.ModelIDAccessDisabled", "", ModelNotFoundError),
        (404, "ModelNotOpen", "", ModelNotFoundError),
        (503, "model_not_found", "", ModelNotFoundError),
        (404, "ResourceNotFound", "", NotFoundError),
        (404, None, "", NotFoundError),
        (410, None, "", NotFoundError),
        (409, "InvalidAction.RunningTaskDeletion", "", ConflictError),
        (409, None, "", ConflictError),
        (405, None, "", InvalidRequestError),
        (413, None, "", InvalidRequestError),
        (418, "Odd", "", InvalidRequestError),
        (408, None, "", ServerError),
        (425, None, "", ServerError),
        (429, None, "", RateLimitError),
        (429, "Odd", "", RateLimitError),
        (429, "RateLimitExceeded.EndpointRPMExceeded", "", RateLimitError),
        (429, "ModelAccountRpmRateLimitExceeded", "will reset at noon", RateLimitError),
        (429, "ServerOverloaded", "", RateLimitError),
        (429, "InflightBatchsizeExceeded", "", RateLimitError),
        (429, "QuotaExceeded", "", QueueFullError),
        (429, "QuotaExceeded", FULL, QueueFullError),
        (429, None, FULL, QueueFullError),
        (429, "QuotaExceeded", PLAN, QuotaExhaustedError),
        (429, "AccountQuotaExceeded", PLAN, QuotaExhaustedError),
        (429, "QuotaExceeded.AgentPlanQuotaExceeded", "", QuotaExhaustedError),
        (429, "QuotaExceeded", "has exhausted its free trial quota", QuotaExhaustedError),
        (429, "SetLimitExceeded", "", QuotaExhaustedError),
        (500, "InternalServiceError", "", ServerError),
        (500, "invalid_request", "", InvalidRequestError),
        (500, "RateLimitExceeded", "", RateLimitError),
        (503, None, "", ServerError),
        (524, None, "", ServerError),
    ],
)
def test_refusals_are_classified(status_code, code, message, kind, answer):
    """The code decides, then the status; the text counts only if a code has several meanings."""
    error = error_of(answer({"error": {"code": code, "message": message}}, status_code))
    assert type(error) is kind
    assert (error.status_code, error.code) == (status_code, code)


@pytest.mark.parametrize("type_word", ["Unauthorized", "Not Found", "TooManyRequests", 7, None])
def test_type_is_ignored(type_word, answer):
    """The ``type`` of an error has no effect."""
    body = {"error": {"code": "InvalidParameter", "message": "x", "type": type_word}}
    assert type(error_of(answer(body, 400))) is InvalidRequestError


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": "InvalidParameter", "message": "bad ratio", "param": "ratio"}},
        {"code": "InvalidParameter", "message": "bad ratio", "param": "ratio"},
        {"code": "InvalidParameter", "msg": "bad ratio", "param": "ratio"},
        {"code": "InvalidParameter", "detail": "bad ratio", "param": "ratio"},
        {"code": "InvalidParameter", "error": "bad ratio", "param": "ratio"},
        {"error": True, "code": "InvalidParameter", "message": "bad ratio", "param": "ratio"},
        {"data": {"error": {"code": "InvalidParameter", "message": "bad ratio", "param": "ratio"}}},
        {
            "code": "fail_to_fetch_task",
            "message": '{"error":{"code":"InvalidParameter","message":"bad ratio",'
            '"param":"ratio"}}',
        },
        '{"error": {"code": "InvalidParameter", "message": "bad ratio", "param": "ratio"}}',
    ],
)
def test_code_message_and_parameter_are_found_in_every_shape(body, answer):
    """They are read from all known shapes of an error body."""
    error = error_of(answer(body, 400))
    assert (error.code, error.message, error.param) == ("InvalidParameter", "bad ratio", "ratio")


@pytest.mark.parametrize(
    ("code", "read"),
    [("", None), (0, None), ("0", None), (200, None), (None, None), (True, None), (1301, "1301")],
)
def test_empty_and_numeric_codes(code, read, answer):
    """An empty code is unset, and a number is kept as text."""
    assert error_of(answer({"code": code, "message": "x"}, 400)).code == read


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "no message"),
        (b"{}", "{}"),
        (b"upstream connect error", "upstream connect error"),
        (b"<html><head><title> 502 Bad\n Gateway </title>", "an HTML page: 502 Bad\n Gateway"),
        (b"<p>hello", "an HTML page"),
        (b'{"error": {"code": "Odd"}}', "Odd"),
        (b'{"error": "busy"}', "busy"),
        (b'"busy"', "busy"),
        (b"7", "7"),
        (b"[", "["),
    ],
)
def test_message_of_an_error_without_an_error_object(body, message, answer):
    """The message is the beginning of the body or the title of the page."""
    error = error_of(answer(body, 502))
    assert (type(error), error.message) == (ServerError, message)


@pytest.mark.parametrize(
    ("body", "headers", "found"),
    [
        ({"error": {"message": "x"}, "request_id": "20260101"}, {}, "20260101"),
        ({"error": {"message": "x", "request_id": "20260101"}}, {}, "20260101"),
        ({"error": {"message": "bad. Request id: 021abc-9"}}, {}, "021abc-9"),
        ({"error": {"message": "bad (request_id=021abc)"}}, {}, "021abc"),
        ({"error": {"message": "x. request id: ..."}}, {}, None),
        ({"error": {"message": "x"}}, {"x-request-id": "h1"}, "h1"),
        ({"error": {"message": "x"}}, {"x-tt-logid": "h2"}, "h2"),
        ({"error": {"message": "Request ID: 021abc"}}, {"x-request-id": "h1"}, "021abc"),
        (b"", {"x-request-id": "h1"}, "h1"),
    ],
)
def test_request_id_is_found(body, headers, found, answer):
    """The request id comes from a key, the message or a header."""
    assert error_of(answer(body, 500, **headers)).request_id == found


def test_errors_are_short_and_hold_no_key(answer):
    """However long a body is and whatever it repeats, the error is short and has no key."""
    words = (
        "Incorrect API key provided: sk-abcdef123456. Authorization: Bearer abc.def-123 "
        + "x" * 9000
    )
    for error in (
        error_of(answer({"error": {"message": words, "code": words, "param": words}}, 401)),
        error_of(answer({"error": words}, 500)),
        error_of(answer(words.encode(), 500)),
        error_of(answer({"message": words}, 200)),
        error_of(answer(b"", 302, location=f"https://a.test/?q={words}")),
    ):
        assert "abcdef123456" not in str(error)
        assert "abc.def" not in str(error)
        assert len(str(error)) < 1500
        assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_lone_surrogates_do_not_reach_messages(answer):
    """Every error can be printed."""
    error = error_of(answer(b'{"error": {"code": "\\ud800", "message": "\\udfff"}}', 400))
    assert str(error).encode()


@pytest.mark.parametrize("status_code", [100, 199, 0, 600, 999, -1])
def test_status_outside_the_standard_is_a_protocol_error(status_code, answer):
    """A status code that no final answer may have raises `ProtocolError`."""
    assert type(error_of(answer({"error": {"message": "x"}}, status_code))) is ProtocolError


def test_redirect_means_a_wrong_address(answer):
    """The error of a redirect says that the base URL is wrong."""
    error = error_of(answer(b"", 301, location="https://example.com/login"))
    assert type(error) is InvalidRequestError
    assert not error.transient
    assert WRONG_ADDRESS in str(error)
    assert "https://example.com/login" in str(error)


@pytest.mark.parametrize(
    ("status_code", "body"),
    [
        (301, b""),
        (200, b"<!doctype html><title>CometAPI</title>"),
        (404, b"<html>"),
        (404, b""),
        (404, b'{"error": {"message": "Invalid URL (POST /x)", "code": ""}}'),
        (405, b""),
    ],
)
def test_create_at_a_wrong_address(status_code, body, answer):
    """A create that gets a page, a redirect, a bare 404 or a 405 stops the batch."""
    with pytest.raises(InvalidRequestError, match=WRONG_ADDRESS) as caught:
        ARK.parse_create(answer(body, status_code))
    assert caught.value.status_code == status_code
    assert stops_batch(caught.value)
    assert stops_batch(pickle.loads(pickle.dumps(caught.value)))


@pytest.mark.parametrize(
    ("status_code", "body", "kind"),
    [
        (502, b"<html>", ServerError),
        (200, b"not json", ProtocolError),
        (404, b'{"error": {"code": "NotFound.Asset", "message": "x"}}', NotFoundError),
        (400, b'{"error": {"code": "InvalidParameter", "message": "x"}}', InvalidRequestError),
    ],
)
def test_other_failures_of_a_create_do_not_stop_a_batch(status_code, body, kind, answer):
    """A broken gateway, unreadable bytes and a bad spec do not stop the other specs."""
    with pytest.raises(kind) as caught:
        ARK.parse_create(answer(body, status_code))
    assert type(caught.value) is kind
    assert not stops_batch(caught.value)


@pytest.mark.parametrize(
    ("error", "stops"),
    [
        (AuthenticationError("x", 401), True),
        (BalanceError("x", 403), True),
        (ModelNotFoundError("x", 404), True),
        (QuotaExhaustedError("x", 429), True),
        (NotFoundError("x", 404), False),
        (QueueFullError("x", 429), False),
        (RateLimitError("x", 429), False),
        (ContentRejectedError("x", 400), False),
        (InvalidRequestError("x", 400), False),
        (ServerError("x", 500), False),
        (ProtocolError("x"), False),
        (SubmissionUncertainError("x"), False),
        (ValueError("cannot parse JSON"), False),
    ],
)
def test_which_errors_stop_a_batch(error, stops):
    """Errors of key, balance, model and quota concern every spec; others concern one."""
    assert stops_batch(error) is stops


@pytest.mark.parametrize(
    ("message", "stops"),
    [
        ("cannot parse JSON", True),
        ("failed to parse request body as JSON", True),
        ("JSON parsing error", True),
        ("json parse failed", True),
        ("error decoding: json: syntax error", True),
        ("invalid JSON in request", True),
        ("the body is not valid JSON", True),
        ("unexpected end of JSON input", True),
        ("Unexpected token < in JSON at position 0", True),
        ("invalid character '-' looking for beginning of value", True),
        ("json: cannot unmarshal string into Go struct field .seed of type int", False),
        ("cannot parse JSON of the upstream response", False),
        ("the parameter seed is not valid", False),
    ],
)
@pytest.mark.parametrize(("status_code", "kind"), [(400, InvalidRequestError), (500, ServerError)])
def test_server_that_cannot_parse_json_stops_a_batch(message, stops, status_code, kind, answer):
    """Our JSON is always valid, so a server that cannot parse it cannot parse any spec."""
    error = error_of(answer({"error": {"message": message, "code": ""}}, status_code))
    assert type(error) is kind
    assert stops_batch(error) is stops


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "5"}, 5.0),
        ({"retry-after": " 2.5 "}, 2.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e999"}, None),
        ({"retry-after": "86400000"}, 86_400_000.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "-5", "retry-after": "9"}, 9.0),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:10 GMT"}, None),
        (
            {
                "retry-after": "Wed, 21 Oct 2026 07:28:10 GMT",
                "date": "Wed, 21 Oct 2026 07:28:00 GMT",
            },
            10.0,
        ),
        (
            {
                "retry-after": "Wed, 21 Oct 2026 07:28:00 GMT",
                "date": "Wed, 21 Oct 2026 07:28:10 GMT",
            },
            0.0,
        ),
        (
            {
                "retry-after": "Wed, 21 Oct 2026 07:28:00 -0000",
                "date": "Wed, 21 Oct 2026 07:28:10 GMT",
            },
            None,
        ),
    ],
)
def test_retry_after(headers, seconds):
    """Seconds, milliseconds and dates are read; invalid values are ignored."""
    assert parse_retry_after(headers) == seconds


@pytest.mark.parametrize(
    "parse", [ARK.parse_create, ARK.parse_snapshot, ARK.parse_page, ARK.parse_cancel]
)
def test_refusal_is_raised_by_every_reader(parse, answer):
    """Each reader raises the error of a refusal, even if its body looks like a success."""
    task = {"id": "t", "status": "succeeded", "items": []}
    with pytest.raises(ServerError):
        parse(answer(task, 503))
    with pytest.raises(AuthenticationError):
        parse(answer({"error": {"code": "AuthenticationError", "message": "x"}}, 401))


def test_retry_after_is_on_the_error(answer):
    """The error has the pause that the provider asks for."""
    assert error_of(answer(b"", 429, retry_after="7")).retry_after == 7.0
    assert error_of(answer(b"", 429)).retry_after is None
