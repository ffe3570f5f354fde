from __future__ import annotations

import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet._models.snapshot import ErrorDetail, Snapshot, Status, Usage
from callsheet._wire import dialect_of
from callsheet._wire.lenient import DEEPEST
from callsheet._wire.snapshots import STATUS_WORDS
from callsheet.errors import (
    AuthenticationError,
    InvalidRequestError,
    NotFoundError,
    ProtocolError,
    ServerError,
    WebhookError,
)


ARK = dialect_of("ark")
TASK = {"id": "t", "status": "running"}


@pytest.fixture
def read(answer):
    """Read the snapshot of a task with the keys of *TASK* and the given ones."""
    return lambda **keys: ARK.parse_snapshot(answer(TASK | keys))


def test_official_succeeded_sample(sample, answer):
    """Every field of Ark's sample is read, and the URL stays percent-encoded."""
    body = sample("07")
    snapshot = ARK.parse_snapshot(answer(body))
    url = json.loads(body)["content"]["video_url"]
    assert "%2F" in url
    assert snapshot == Snapshot(
        task_id="cgt-2025******-****",
        status=Status.SUCCEEDED,
        raw_status="succeeded",
        model="doubao-seedance-1-0-pro-250528",
        video_url=url,
        seed=10,
        resolution="720p",
        duration=5.0,
        ratio="16:9",
        frames_per_second=24.0,
        usage=Usage(completion_tokens=108900, total_tokens=108900),
        created_at=1743414619.0,
        updated_at=1743414673.0,
        raw=json.loads(body),
    )


def test_tutorial_sample_has_the_render_time(sample, answer):
    """The two times of a task are in seconds and can be subtracted."""
    snapshot = ARK.parse_snapshot(answer(sample("08")))
    assert (snapshot.created_at, snapshot.updated_at) == (1765510475, 1765510559)
    assert snapshot.service_tier == "default"
    assert snapshot.execution_expires_after == 172800


def test_cometapi_sample_has_neither_usage_nor_seed(sample, answer):
    """Fields that CometAPI leaves out are unset, and there is no error."""
    snapshot = dialect_of("comet").parse_snapshot(answer(sample("15")))
    assert snapshot.task_id == "021773297205999example"
    assert snapshot.video_url == "https://example.com/generated.mp4"
    assert snapshot.usage is None
    assert snapshot.seed is None


def test_callback_sample_is_a_running_snapshot(sample):
    """A callback body is read like a status answer."""
    snapshot = ARK.parse_callback(sample("56"))
    assert (snapshot.status, snapshot.video_url) == (Status.RUNNING, None)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"status": "running"}', b"<html>"])
def test_callback_without_a_task_is_a_webhook_error(body):
    """A body without a task at the callback address raises `WebhookError`."""
    with pytest.raises(WebhookError, match="holds no task"):
        ARK.parse_callback(body)


@pytest.mark.parametrize("status", Status)
def test_documented_status_words_are_read(status, read):
    """Ark's words are read in any case, and the word itself is kept."""
    assert read(status=status.value).status is status
    shouted = read(status=f" {status.value.upper()} ")
    assert (shouted.status, shouted.raw_status) == (status, f" {status.value.upper()} ")


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("pending", Status.QUEUED),
        ("SUBMITTED", Status.QUEUED),
        ("created", Status.QUEUED),
        ("NOT_START", Status.QUEUED),
        ("processing", Status.RUNNING),
        ("IN_PROGRESS", Status.RUNNING),
        ("in-progress", Status.RUNNING),
        ("In Progress", Status.RUNNING),
        ("SUCCESS", Status.SUCCEEDED),
        ("completed", Status.SUCCEEDED),
        ("complete", Status.SUCCEEDED),
        ("done", Status.SUCCEEDED),
        ("FAILURE", Status.FAILED),
        ("ERROR", Status.FAILED),
        ("rejected", Status.FAILED),
        ("canceled", Status.CANCELLED),
        ("timeout", Status.UNKNOWN),
        ("reticulating", Status.UNKNOWN),
        ("", Status.UNKNOWN),
    ],
)
def test_gateway_words_are_understood_or_kept(word, status, read):
    """Aliases of gateways are known; an unknown word ends no task, and its text is kept."""
    snapshot = read(status=word)
    assert (snapshot.status, snapshot.raw_status) == (status, word)


def test_no_alias_is_unreachable():
    """Aliases are written in the form in which words are looked up."""
    assert all(word == word.strip().lower() and " " not in word for word in STATUS_WORDS)


@pytest.mark.parametrize(
    ("key", "value", "field", "expected"),
    [
        ("duration", "5", "duration", 5.0),
        ("duration", " 7 ", "duration", 7.0),
        ("duration", 4.5, "duration", 4.5),
        ("duration", "NaN", "duration", None),
        ("duration", True, "duration", None),
        ("duration", [5], "duration", None),
        ("duration", 10**400, "duration", None),
        ("frames", "5.0", "frames", 5),
        ("frames", 29.0, "frames", 29),
        ("frames", 29.5, "frames", None),
        ("frames", "many", "frames", None),
        ("frames", False, "frames", None),
        ("seed", "9007199254740993", "seed", 9007199254740993),
        ("seed", 10**400, "seed", 10**400),
        ("seed", "1" * 5000, "seed", None),
        ("seed", None, "seed", None),
        ("framespersecond", "24", "frames_per_second", 24.0),
        ("framepersecond", 24, "frames_per_second", 24.0),
        ("generate_audio", "True", "generate_audio", True),
        ("generate_audio", "0", "generate_audio", False),
        ("generate_audio", 1, "generate_audio", True),
        ("generate_audio", False, "generate_audio", False),
        ("generate_audio", "maybe", "generate_audio", None),
        ("generate_audio", {}, "generate_audio", None),
        ("draft", "false", "draft", False),
        ("priority", "3", "priority", 3),
        ("resolution", 720, "resolution", "720"),
        ("resolution", "", "resolution", None),
        ("ratio", {"w": 16}, "ratio", None),
        ("created_at", "1743414619", "created_at", 1743414619.0),
        ("created_at", 1743414619123, "created_at", 1743414619.123),
        ("created_at", 0, "created_at", None),
        ("created_at", -5, "created_at", None),
        ("created_at", "yesterday", "created_at", None),
        ("updated_at", None, "updated_at", None),
        ("draft_task_id", "cgt-9", "draft_task_id", "cgt-9"),
        ("safety_identifier", "token", "safety_identifier", "token"),
        ("output_format", "mov", "output_format", "mov"),
        ("revised_prompt", "new", "model", None),
    ],
)
def test_unusual_values_are_read_or_unset(key, value, field, expected, read):
    """Numbers and truth values are read from text, and invalid values are unset."""
    snapshot = read(**{key: value})
    assert getattr(snapshot, field) == expected
    assert snapshot.raw == TASK | {key: value}


def test_either_spelling_of_the_frame_rate_wins_over_null(read):
    """The frame rate is read from either spelling if the other one is null."""
    assert read(framespersecond=24, framepersecond=None).frames_per_second == 24


@pytest.mark.parametrize("token", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_nan_and_infinity_are_ignored(token, answer):
    """``NaN`` and ``Infinity`` in a body are not read as numbers."""
    body = b'{"id": "t", "status": "running", "seed": %b, "duration": %b}' % (token, token)
    snapshot = ARK.parse_snapshot(answer(body))
    assert snapshot.seed is None
    assert snapshot.duration is None


@pytest.mark.parametrize(
    ("keys", "video", "last"),
    [
        ({"content": {"video_url": "v", "last_frame_url": "l"}}, "v", "l"),
        ({"content": {"video_url": {"url": "v"}}}, "v", None),
        ({"content": [{"video_url": "v"}, {"last_frame_url": "l"}]}, "v", "l"),
        ({"content": [{"type": "video_url", "video_url": {"url": "v"}}]}, "v", None),
        ({"content": [{"video_url": {"url": "in"}, "role": "reference_video"}]}, None, None),
        ({"content": ["v", None, {}, {"video_url": "v"}]}, "v", None),
        ({"content": {}, "video_url": "v"}, "v", None),
        ({"content": "v"}, None, None),
        ({"content": None}, None, None),
        ({"content": {"video_url": ""}}, None, None),
        ({"content": {"video_url": 5}}, None, None),
        ({"content": {"video_url": {"url": None}}}, None, None),
        ({"content": {"video_url": "ftp://odd"}}, "ftp://odd", None),
        ({}, None, None),
    ],
)
def test_output_urls_are_found_in_every_shape(keys, video, last, read):
    """URLs are read from an object, a list or a sibling key, but not from the repeated input."""
    snapshot = read(status="succeeded", **keys)
    assert snapshot.status is Status.SUCCEEDED
    assert (snapshot.video_url, snapshot.last_frame_url) == (video, last)


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ({"error": {"code": "A.B", "message": "why"}}, ErrorDetail("A.B", "why")),
        ({"failure_reason": {"code": "A", "message": "why"}}, ErrorDetail("A", "why")),
        ({"error": None, "failure_reason": "why"}, ErrorDetail(None, "why")),
        ({"error": "why"}, ErrorDetail(None, "why")),
        (
            {"error": {"message": '{"error": {"code": "A", "message": "why"}}'}},
            ErrorDetail("A", "why"),
        ),
        ({"error": {"code": 1301, "message": ""}}, ErrorDetail("1301", "")),
        ({"error": {"code": "", "message": ""}}, None),
        ({"error": {}}, None),
        ({"error": [1]}, None),
        ({"error": None}, None),
    ],
)
def test_reasons_are_read_in_every_shape(keys, error, read):
    """The reason of a failure is read from either key, as an object, text or JSON text."""
    snapshot = read(status="failed", **keys)
    assert snapshot.status is Status.FAILED
    assert snapshot.error == error


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {"completion_tokens": "108900", "total_tokens": 108900.0},
            Usage(completion_tokens=108900, total_tokens=108900),
        ),
        ({"tool_usage": {"web_search": "2", "odd": "x"}}, Usage(tool_usage={"web_search": 2})),
        ({"completion_tokens": "lots", "tool_usage": 3}, Usage()),
        ({"completion_tokens": -1, "total_tokens": 0}, Usage(total_tokens=0)),
        ({"completion_tokens": 1.5, "total_tokens": 2.0}, Usage(total_tokens=2)),
        ({"completion_tokens": 10**4299, "total_tokens": "9" * 4300}, Usage()),
        ({"completion_tokens": 2**53, "total_tokens": 2**53 + 1}, Usage(completion_tokens=2**53)),
        (
            {"tool_usage": {"web_search": 10**400, "other": -1, "more": 1}},
            Usage(tool_usage={"more": 1}),
        ),
        ({}, None),
        (None, None),
        (7, None),
    ],
)
def test_usage_is_read_from_text(usage, expected, read):
    """Token counts may be strings, and unreadable tool counts are left out."""
    assert read(usage=usage).usage == expected


@pytest.mark.parametrize(
    "wrap",
    [
        lambda task: task,
        lambda task: {"code": 0, "message": "success", "data": task},
        lambda task: {"code": "success", "data": json.dumps(task)},
        lambda task: {"status": "success", "data": task},
        lambda task: {"id": "request", "status": "success", "data": task},
        json.dumps,
    ],
)
def test_one_level_of_wrapping_is_removed(wrap, answer):
    """A task is read if it is plain, under one ``data``, or JSON text."""
    task = TASK | {"model": "m"}
    snapshot = ARK.parse_snapshot(answer(wrap(task)), task_id="t")
    assert (snapshot.task_id, snapshot.status, snapshot.raw) == ("t", Status.RUNNING, task)


def test_missing_id_is_that_of_the_request(answer):
    """If an answer is clearly a task but has no id, it gets the id that was asked for."""
    body = {"status": "running", "model": "m"}
    assert ARK.parse_snapshot(answer(body), task_id="asked").task_id == "asked"
    assert ARK.parse_snapshot(answer({"data": body}), task_id="asked").task_id == "asked"
    with pytest.raises(ProtocolError):
        ARK.parse_snapshot(answer(body))


def test_envelope_with_a_status_is_no_task(answer):
    """The ``status`` of a gateway's envelope does not settle the task."""
    with pytest.raises(ProtocolError):
        ARK.parse_snapshot(answer({"status": "error", "message": "try later"}), task_id="t")


def test_answer_about_another_task_is_refused(answer):
    """An answer with another id is not applied to the task that was asked for."""
    with pytest.raises(ProtocolError) as caught:
        ARK.parse_snapshot(answer({"id": "other", "status": "succeeded"}), task_id="t")
    assert caught.value.transient


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": {"code": "AuthenticationError", "message": "no"}}, AuthenticationError),
        ({"error": {"code": "Odd", "message": "no"}, "status": 500}, ServerError),
        ({"code": 404, "message": "gone"}, NotFoundError),
        ({"code": 422, "message": "bad"}, InvalidRequestError),
        ({"code": 1301, "message": "odd"}, ServerError),
        ({"data": {"error": {"code": "InvalidParameter", "message": "x"}}}, InvalidRequestError),
        ({"code": "fail_to_fetch_task", "message": "{not json", "data": None}, ServerError),
        (
            {
                "code": "fail_to_fetch_task",
                "message": '{"error":{"code":"ResourceNotFound","message":"gone"}}',
                "data": None,
            },
            NotFoundError,
        ),
    ],
)
def test_error_in_a_success_is_never_read_as_a_task(body, kind, answer):
    """A 2xx answer with an error and no task raises that error, for a task and for a page."""
    for parse in (ARK.parse_snapshot, ARK.parse_page):
        with pytest.raises(kind):
            parse(answer(body))


@pytest.mark.parametrize("field", ["seed", "created_at", "duration", "total_tokens"])
def test_a_number_of_thousands_of_digits_hides_nothing_else(field, answer):
    """A number that Python refuses to read counts as missing; the video of the answer is read."""
    usage = '"total_tokens": 7' if field != "total_tokens" else f'"total_tokens": {"9" * 5000}'
    body = f"""{{"id": "t", "status": "succeeded", "content": {{"video_url": "https://v/1"}},
        "{field}": {"9" * 5000}, "usage": {{{usage}}}}}"""
    snapshot = ARK.parse_snapshot(answer(body.encode()))
    assert snapshot.video_url == "https://v/1"
    assert (snapshot.seed, snapshot.created_at, snapshot.duration) == (None, None, None)
    tokens = None if field == "total_tokens" else 7
    assert snapshot.usage == Usage(total_tokens=tokens)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b'{"id": "t"}',
        b'{"status": "running"}',
        b'{"id": "t", "status": 200}',
        b'{"id": true, "status": "running"}',
        b'{"code": 0, "message": "success", "data": null}',
        b'{"message": "hello"}',
        b'{"error": [1]}',
        b"<!DOCTYPE html><title>Welcome</title>",
        b"[" * 100_000,
        b'{"id": "t", "status": "running"',
    ],
)
def test_success_without_a_task_is_a_protocol_error(body, answer):
    """A 2xx answer without a task raises an error with a short excerpt."""
    for parse in (ARK.parse_snapshot, ARK.parse_page):
        with pytest.raises(ProtocolError) as caught:
            parse(answer(body))
        assert len(caught.value.excerpt) <= 200


def levels(value: object) -> int:
    """How deep a JSON value is nested."""
    if not isinstance(value, (dict, list)):
        return 0
    return 1 + max(map(levels, value.values() if isinstance(value, dict) else value), default=0)


def nest(depth: int) -> str:
    """A JSON value with *levels* levels, each of which also has another value."""
    return '{"a": 1, "b": [2, ' * (depth // 2) + "3" + "]}" * (depth // 2)


@pytest.mark.parametrize("depth", [2, 90, 98, 100, 102, 400, 700])
@pytest.mark.parametrize("wrap", ["%s", '{"data": %s}', '{"items": [%s, %s]}', "text"])
def test_too_deeply_nested_values_are_left_out(depth, wrap, answer):
    """The task is still read, and the rest is cut to a depth that other code can handle."""
    task = f'{{"id": "t", "status": "running", "seed": 7, "odd": {nest(depth)}, "x": [[]]}}'
    body = json.dumps({"data": task}) if wrap == "text" else wrap.replace("%s", task)
    parse = ARK.parse_page if "items" in wrap else ARK.parse_snapshot
    found = parse(answer(body.encode()))
    for snapshot in getattr(found, "items", [found]):
        assert (snapshot.task_id, snapshot.seed) == ("t", 7)
        assert levels(snapshot.raw) <= DEEPEST
        assert snapshot.raw["x"] == [[]]
        assert snapshot.raw["odd"]["b"][0] == 2
        if depth <= 90:
            assert snapshot.raw == json.loads(task)


def test_body_with_unusual_bytes_is_read(answer):
    """A byte order mark, invalid bytes, lone surrogates and raw line ends are accepted."""
    body = b'\xef\xbb\xbf{"id": "t", "status": "failed", "error": "a\xff\nb\\ud800"}'
    snapshot = ARK.parse_snapshot(answer(body))
    assert snapshot.error == ErrorDetail(None, "a\ufffd\nb?")


def test_official_page_keeps_order_and_repeated_ids(sample, answer):
    """The recorded page has three tasks with the same masked id, and all three are read."""
    page = ARK.parse_page(answer(sample("25")))
    assert [item.seed for item in page.items] == [10, 23, 4]
    assert len({item.task_id for item in page.items}) == 1
    assert (page.total, page.unreadable) == (3, 0)


def test_empty_page_is_a_page(sample, answer):
    """A page without items means that no task matched."""
    page = ARK.parse_page(answer(sample("27")))
    assert (list(page.items), page.total, page.unreadable) == ([], 0, 0)


def test_unreadable_items_are_counted(answer):
    """A bad item does not affect the others."""
    items = [TASK, None, "x", {}, {"id": "u"}, {"status": "running"}, [TASK], TASK | {"id": "v"}]
    page = ARK.parse_page(answer({"items": items, "total": "8"}))
    assert [item.task_id for item in page.items] == ["t", "v"]
    assert (page.total, page.unreadable) == (8, 6)


def test_wrapped_page_is_read(answer):
    """A page under one ``data`` is read, and an invalid total is unset."""
    page = ARK.parse_page(answer({"code": 0, "data": {"items": [TASK], "total": None}}))
    assert len(page.items) == 1
    assert page.total is None


@pytest.mark.parametrize("body", [{"items": None}, {"items": {}}, {"total": 0}, TASK])
def test_page_without_items_is_a_protocol_error(body, answer):
    """An answer without a list of items shows that the provider has no lists."""
    with pytest.raises(ProtocolError):
        ARK.parse_page(answer(body))


VALUES = {
    "model": st.text(min_size=1).filter(str.strip),
    "seed": st.integers(-1, 2**32 - 1),
    "duration": st.integers(1, 30).map(float),
    "frames": st.integers(29, 289),
    "created_at": st.integers(1, 10**10).map(float),
    "updated_at": st.integers(1, 10**10).map(float),
    "generate_audio": st.booleans(),
    "draft": st.booleans(),
    "priority": st.integers(0, 9),
    "service_tier": st.sampled_from(["default", "flex"]),
    "execution_expires_after": st.integers(3600, 259200).map(float),
}


@given(
    task_id=st.text(min_size=1).map(str.strip).filter(bool),
    status=st.sampled_from(Status),
    keys=st.fixed_dictionaries({}, optional=VALUES),
)
def test_documented_fields_read_back(task_id, status, keys):
    """A task in the documented form is read with the same values."""
    task = {"id": task_id, "status": status.value, **keys}
    snapshot = ARK.parse_callback(json.dumps(task).encode())
    expected = Snapshot(task_id=task_id, status=status, raw_status=status.value, raw=task, **keys)
    assert attrs.asdict(snapshot) == attrs.asdict(expected)
