"""Every answer is either read or becomes one of our errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet._models.snapshot import Page, Snapshot
from callsheet._wire import Response, dialect_of, error_of, parse_retry_after
from callsheet.errors import APIError, CallsheetError, ProtocolError, WebhookError


ARK = dialect_of("ark")
SAMPLES = [path.read_bytes() for path in (Path(__file__).parents[1] / "samples").glob("*.json")]

KEYS = st.sampled_from(
    [
        "id",
        "task_id",
        "status",
        "items",
        "total",
        "data",
        "error",
        "code",
        "message",
        "content",
        "video_url",
        "url",
        "usage",
        "tool_usage",
        "created_at",
        "seed",
        "draft",
        "failure_reason",
        "request_id",
        "param",
    ]
)
ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from(["running", "SUCCESS", "", "0", "1e999", "9" * 5000, '{"error": "{"}', "{}"])
)
JSON = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS | st.text(), inner, max_size=6)
        | inner.map(json.dumps)
    ),
    max_leaves=20,
)


@st.composite
def mutated(draw):
    """A recorded body with some of its bytes replaced, removed or repeated."""
    body = draw(st.sampled_from(SAMPLES))
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(body)))
        end = draw(st.integers(start, min(len(body), start + 40)))
        body = (
            body[:start] + draw(st.binary(max_size=8) | st.just(body[start:end] * 2)) + body[end:]
        )
    return body


BODIES = st.binary() | JSON.map(lambda value: json.dumps(value).encode()) | mutated()
STATUSES = st.sampled_from([200, 201, 204, 301, 400, 401, 404, 409, 429, 500, 503]) | st.integers()
HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "retry-after-ms", "date", "x-request-id", "location"]),
    st.text(st.characters()) | st.sampled_from(["1e308", "-5", "Wed, 21 Oct 2026 07:28:00 GMT"]),
)
RESPONSES = st.builds(Response, status_code=STATUSES, headers=HEADERS, body=BODIES)


def outcome(parse, *args, **kwargs):
    """The result of *parse*, or our own error that it raises."""
    try:
        return parse(*args, **kwargs)
    except CallsheetError as error:
        return error


@pytest.mark.parametrize(
    ("parse", "kind"),
    [
        (ARK.parse_create, str),
        (ARK.parse_snapshot, Snapshot),
        (ARK.parse_page, Page),
        (ARK.parse_cancel, type(None)),
        (error_of, (APIError, ProtocolError)),
    ],
)
@settings(max_examples=300)
@given(response=RESPONSES)
def test_every_answer_is_read_or_becomes_our_error(parse, kind, response):
    """Any status, headers and bytes give a value or a `CallsheetError` that can be printed."""
    result = outcome(parse, response)
    assert isinstance(result, (kind, APIError, ProtocolError))
    if isinstance(result, ProtocolError):
        assert str(result).encode()
        assert len(result.excerpt) <= 200
    if isinstance(result, APIError):
        assert str(result).encode()
        assert result.message
        assert result.retry_after is None or result.retry_after >= 0


@given(body=BODIES, task_id=st.text())
def test_snapshot_is_of_the_task_that_was_asked_for(body, task_id):
    """Whatever the answer is, a snapshot has the id that was asked for."""
    response = Response(status_code=200, body=body)
    result = outcome(ARK.parse_snapshot, response, task_id=task_id)
    assert isinstance(result, CallsheetError) or result.task_id == task_id


@given(body=BODIES)
def test_every_callback_is_read_or_refused(body):
    """A post of any content to the callback address is read or raises `WebhookError`."""
    result = outcome(ARK.parse_callback, body)
    assert isinstance(result, (Snapshot, WebhookError))
    assert str(result).encode()


@given(headers=HEADERS)
def test_retry_after_is_a_wait_or_nothing(headers):
    """No header gives a negative or infinite wait."""
    seconds = parse_retry_after(headers)
    assert seconds is None or 0 <= seconds < float("inf")


@given(items=st.lists(JSON, max_size=5), status=st.sampled_from(["queued", "odd"]))
def test_good_items_are_read_beside_bad_ones(items, status):
    """Every good item of a page is read, whatever the other items are."""
    task = {"id": "good", "status": status}
    body = json.dumps({"items": [*items, task, *items]}).encode()
    page = ARK.parse_page(Response(status_code=200, body=body))
    assert "good" in {item.task_id for item in page.items}
    assert len(page.items) + page.unreadable == 2 * len(items) + 1
