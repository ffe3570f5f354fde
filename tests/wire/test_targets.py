from __future__ import annotations

from urllib.parse import parse_qsl, quote, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet._models.snapshot import Status
from callsheet._wire import LIST_BASE, URL_ROOM, dialect_of, id_cost
from callsheet.errors import ConflictError, InvalidRequestError, ProtocolError, SpecError


ARK = dialect_of("ark")
TASKS = "/contents/generations/tasks"


def test_get_and_cancel_name_the_task():
    """A get and a cancel differ only in the verb and have no body."""
    get, cancel = ARK.build_get("cgt-1"), ARK.build_cancel("cgt-1")
    assert (get.method, get.target, get.body) == ("GET", f"{TASKS}/cgt-1", None)
    assert (cancel.method, cancel.target, cancel.body) == ("DELETE", f"{TASKS}/cgt-1", None)


@given(st.text(st.characters(), min_size=1))
def test_any_id_is_one_segment_of_the_path(task_id):
    """Whatever an id contains, it stays inside one path segment."""
    try:
        target = ARK.build_get(task_id).target
    except SpecError:
        assert task_id.strip() in {"", ".", ".."}
        return
    assert target.isascii()
    assert urlsplit(target).path == target
    head, _, segment = target.rpartition("/")
    assert head == TASKS
    assert unquote(segment, errors="surrogatepass") == task_id


@pytest.mark.parametrize("task_id", ["", " ", ".", ".."])
@pytest.mark.parametrize("build", [ARK.build_get, ARK.build_cancel])
def test_id_that_would_name_another_resource_is_refused(build, task_id):
    """An empty or dotted id does not become a request for another resource."""
    with pytest.raises(SpecError, match="task_id"):
        build(task_id)


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (ARK.build_get, "task_id"),
        (ARK.build_cancel, "task_id"),
        (lambda task_id: ARK.build_list(task_ids=["a", task_id]), r"task_ids\[1\]"),
    ],
)
@pytest.mark.parametrize("letter", ["x", "é"])
def test_too_long_id_is_refused_with_a_short_error(build, field, letter):
    """No path is longer than servers accept, and the error does not contain the whole id."""
    most = (URL_ROOM - len(f"{TASKS}/")) // len(quote(letter))
    build(letter * most)
    assert len(ARK.build_get(letter * most).target) <= URL_ROOM
    for count in (most + 1, 70_000):
        with pytest.raises(SpecError, match=f"^{field}=") as caught:
            build(letter * count)
        assert len(str(caught.value)) < 150


def test_list_repeats_the_ids_after_its_filters():
    """Each id is its own parameter, and the order of parameters is fixed."""
    request = ARK.build_list(
        task_ids=["a", "b/c"],
        status=Status.RUNNING,
        model="ep-1",
        service_tier="flex",
        page_num=2,
        page_size=100,
    )
    assert (request.method, request.body) == ("GET", None)
    assert request.target == (
        f"{TASKS}?page_num=2&page_size=100&filter.status=running&filter.model=ep-1"
        "&filter.service_tier=flex&filter.task_ids=a&filter.task_ids=b%2Fc"
    )


def test_list_without_arguments_asks_for_the_first_page():
    """The provider's defaults are written out."""
    assert ARK.build_list().target == f"{TASKS}?page_num=1&page_size=20"


@given(
    ids=st.lists(st.text(st.characters())),
    status=st.none() | st.sampled_from(Status),
    tier=st.sampled_from([None, "default", "flex"]),
    page=st.integers(1, 500),
    size=st.integers(1, 500),
)
def test_length_of_a_list_target_is_known_in_advance(ids, status, tier, page, size):
    """The base and the costs bound the target, exactly except for filters and page numbers."""
    target = ARK.build_list(
        task_ids=ids, status=status, service_tier=tier, page_num=page, page_size=size
    ).target
    cost = sum(map(id_cost, ids))
    assert len(target) <= LIST_BASE + cost
    assert len(target) >= cost
    pairs = parse_qsl(
        urlsplit(target).query, keep_blank_values=True, errors="surrogatepass", encoding="utf-8"
    )
    assert [value for name, value in pairs if name == "filter.task_ids"] == ids


@pytest.mark.parametrize(
    ("status_code", "body"),
    [
        (200, b"{}"),
        (200, b""),
        (204, b""),
        (200, b"OK"),
        (200, b'{"code": 0, "message": "success", "data": null}'),
        (200, b'{"id": "t", "status": "failed", "error": {"code": "task_cancelled"}}'),
    ],
)
def test_cancel_accepts_every_kind_of_success(status_code, body, answer):
    """Empty answers, Ark's ``{}`` and a gateway's whole task all mean success."""
    assert ARK.parse_cancel(answer(body, status_code)) is None


def test_recorded_cancel_answers(sample, answer):
    """Ark's success is accepted, and its refusal for a running task is a conflict."""
    assert ARK.parse_cancel(answer(sample("31"))) is None
    with pytest.raises(ConflictError, match="currently running") as caught:
        ARK.parse_cancel(answer(sample("33"), 409))
    assert caught.value.code == "InvalidAction.RunningTaskDeletion"
    assert not caught.value.transient


def test_cancel_detects_a_failure_with_a_2xx(answer):
    """A page or an error object with a 2xx is not a success."""
    with pytest.raises(ProtocolError):
        ARK.parse_cancel(answer(b"<html>hello</html>"))
    with pytest.raises(InvalidRequestError):
        ARK.parse_cancel(answer({"error": {"code": "InvalidParameter", "message": "no"}}))
