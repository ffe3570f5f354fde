"""The registry: all tasks without an outcome, by id."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet._models.snapshot import ErrorDetail, Status, Video
from callsheet._state.moment import Moment
from callsheet._state.record import Record
from callsheet._state.registry import (
    DEFAULT_EXPIRY,
    EXPIRIES_PER_TURN,
    EXPIRY_GRACE,
    SAME_ANSWERS,
    MadeTask,
    Registry,
    result_of,
)
from callsheet.errors import (
    NotFoundError,
    TaskCancelledError,
    TaskExpiredError,
    TaskFailedError,
    TaskRejectedError,
    TaskTimeoutError,
)
from making import LOST, NEVER, UNKNOWN_ID, moments, record, snapshot


BUCKET = 60.0


@given(st.lists(moments, min_size=1, max_size=30), moments)
def test_records_are_overdue_within_a_minute_of_their_deadline(starts, now):
    """A record is never overdue before its deadline, and always a minute after it."""
    registry = Registry()
    for number, start in enumerate(sorted(starts)):
        registry.adopt(record(), f"cgt-{number}", now=start)
    late = {each for each, _ in registry.overdue(now=now)}
    assert all((each in late) or each.deadline > now - BUCKET for each in registry)
    assert all(each.deadline <= now for each in late)


def test_overdue_records_are_returned_some_at_a_time():
    """Thousands of overdue records are returned in portions, each once if they are settled."""
    registry = Registry()
    for number in range(3 * EXPIRIES_PER_TURN - 1):
        registry.adopt(record(), f"cgt-{number}", now=number % 5 * BUCKET)
    portions: list[int] = []
    while late := registry.overdue(now=NEVER):
        portions.append(len(late))
        for each, error in late:
            assert registry.settle(each, error) == (each,)
    assert portions == [EXPIRIES_PER_TURN, EXPIRIES_PER_TURN, EXPIRIES_PER_TURN - 1]
    assert len(registry) == 0


@pytest.mark.parametrize("field", [None, 7200])
def test_an_expiry_may_be_a_raw_key(field):
    """The deadline depends on what is sent: a raw key overrides the field."""
    registry = Registry()
    raw = {"execution_expires_after": 3600}
    one = record(execution_expires_after=field, extra=raw)
    registry.adopt(one, "cgt-1", now=7.0)
    assert one.deadline == 7.0 + 3600 + EXPIRY_GRACE


@given(moments, st.integers(3600, 259_200), st.floats(0, 1e6))
def test_a_timeout_names_the_seconds_waited(start, expiry, more):
    """The error of an overdue record counts the seconds since its task was created."""
    registry = Registry()
    registry.adopt(record(execution_expires_after=expiry), "cgt-1", now=start)
    now = registry.next_deadline() + more
    ((_, error),) = registry.overdue(now=now)
    assert isinstance(error, TaskTimeoutError)
    assert error.waited == pytest.approx(now - start)


@pytest.mark.parametrize("odd", ["soon", (), 0, -1, 1e12, NEVER, float("nan")])
def test_an_invalid_expiry_is_ignored(odd):
    """A task whose spec holds an invalid expiry gets the usual deadline."""
    registry, one = Registry(), record(execution_expires_after=odd)
    registry.adopt(one, "cgt-1", now=7.0)
    assert one.deadline == 7.0 + DEFAULT_EXPIRY + EXPIRY_GRACE
    ((late, error),) = registry.overdue(now=registry.next_deadline())
    assert late is one
    assert error.waited == registry.next_deadline() - 7.0


def test_the_registry_knows_whether_an_id_is_that_of_a_spec():
    """An id that was only attached may be that of a new create; that of a spec may not."""
    registry, attached, made = Registry(), Record(None), record()
    assert not registry.is_of_spec("cgt-1")
    registry.adopt(attached, "cgt-1", now=0.0)
    assert not registry.is_of_spec("cgt-1")
    registry.adopt(made, "cgt-1", now=1.0)
    assert registry.is_of_spec("cgt-1")


def test_a_create_whose_id_is_attached_shares_the_task():
    """Both records end together, and the waiters for the id are woken."""
    registry, attached, made = Registry(), Record(None), record()
    woken = []
    made.watch(lambda: woken.append(made))
    registry.adopt(attached, "cgt-1", now=0.0)
    registry.adopt(made, "cgt-1", now=1.0)
    assert woken == [made]
    assert made.task_id == "cgt-1"
    assert registry.get("cgt-1") is attached
    assert set(registry.apply(snapshot("cgt-1", Status.FAILED))) == {attached, made}


def test_a_task_that_is_set_aside_is_not_pending():
    """Its record is kept until its id is attached; a task that was attached before stays."""
    registry, made, attached = Registry(), record(), Record(None)
    registry.adopt(made, "cgt-1", now=0.0)
    registry.set_aside(made)
    assert registry.get("cgt-1") is None
    assert registry.take_aside("cgt-1") is made
    assert registry.take_aside("cgt-1") is None
    registry.adopt(attached, "cgt-2", now=0.0)
    second = record()
    registry.adopt(second, "cgt-2", now=0.0)
    registry.set_aside(second)
    assert registry.get("cgt-2") is attached


def test_an_empty_registry_has_no_deadline():
    """Without pending records there is no deadline and nothing is overdue."""
    assert Registry().next_deadline() is None
    assert Registry().overdue(now=1e12) == []


def test_an_old_answer_is_ignored():
    """An answer that is older than the last one does not make a running task queued."""
    registry, one = Registry(), record()
    registry.adopt(one, "cgt-1", now=0.0)
    registry.apply(snapshot("cgt-1", Status.RUNNING, updated_at=20.0))
    registry.apply(snapshot("cgt-1", Status.QUEUED, updated_at=10.0))
    assert one.status is Status.RUNNING
    registry.apply(snapshot("cgt-1", Status.QUEUED, updated_at=30.0))
    assert one.status is Status.QUEUED


def test_an_old_terminal_answer_counts():
    """A terminal answer settles the task whatever its time is."""
    registry, one = Registry(), record()
    registry.adopt(one, "cgt-1", now=0.0)
    registry.apply(snapshot("cgt-1", Status.RUNNING, updated_at=20.0))
    assert registry.apply(snapshot("cgt-1", Status.FAILED, updated_at=10.0)) == (one,)


def test_a_second_record_takes_over_what_is_known():
    """A record that joins a pending task takes over its spec, model, status and last answer."""
    registry, first, second = Registry(), record(), Record(None)
    registry.adopt(first, "cgt-1", now=0.0)
    registry.apply(snapshot("cgt-1", Status.RUNNING))
    assert not registry.adopt(second, "cgt-1", now=5.0)
    assert (second.spec, second.model) == (first.spec, first.model)
    assert (second.status, second.snapshot) == (Status.RUNNING, first.snapshot)


@pytest.mark.parametrize("ended", [0, 1, 2])
def test_records_of_one_task_end_together(ended):
    """If one of several records of a task is settled, all of them are, and the task is removed."""
    registry = Registry()
    records = [Record(None) for _ in range(3)]
    for each in records:
        registry.adopt(each, "cgt-1", now=0.0)
    gone = TaskCancelledError("cgt-1")
    assert set(registry.settle(records[ended], gone, Status.CANCELLED)) == set(records)
    assert registry.get("cgt-1") is None
    assert {each.status for each in records} == {Status.CANCELLED}


def test_ending_an_old_record_leaves_a_new_one_alone():
    """Settling a settled record again does not settle a later record of the same id."""
    registry, old, new = Registry(), Record(None), Record(None)
    registry.adopt(old, "cgt-1", now=0.0)
    registry.settle(old, LOST)
    registry.adopt(new, "cgt-1", now=0.0)
    assert registry.settle(old, LOST) == ()
    assert registry.get("cgt-1") is new
    assert not new.settled


def test_forgetting_a_record_twice_changes_nothing():
    """A record that is not pending can be forgotten, which has no effect."""
    registry, stranger, one = Registry(), Record(None), Record(None)
    registry.forget(stranger)
    registry.adopt(one, "cgt-1", now=0.0)
    registry.forget(one)
    registry.forget(one)
    assert len(registry) == 0


def test_a_forgotten_record_has_no_end():
    """No answer settles a record that was forgotten."""
    registry, one = Registry(), Record(None)
    registry.adopt(one, "cgt-1", now=0.0)
    registry.forget(one)
    assert registry.apply(snapshot("cgt-1", Status.SUCCEEDED)) == ()
    assert not one.settled


def test_a_record_wakes_its_waiters_once():
    """An id and an outcome each wake the waiters of that moment once."""
    registry, one, told = Registry(), Record(None), []
    one.watch(lambda: told.append("first"))
    registry.adopt(one, "cgt-1", now=0.0)
    one.watch(lambda: told.append("second"))
    registry.settle(one, LOST)
    registry.settle(one, LOST)
    assert told == ["first", "second"]


def test_all_watchers_are_called():
    """Several callbacks of one record are called in the order in which they were added."""
    one, told = Record(None), []
    for name in "abc":
        one.watch(lambda name=name: told.append(name))
    one.wake()
    assert told == ["a", "b", "c"]


def test_a_removed_callback_is_not_called():
    """A removed callback is not called, and removing it twice has no effect."""
    one, told = Record(None), []

    def callback() -> None:
        told.append(1)

    one.unwatch(callback)
    one.watch(callback)
    one.unwatch(callback)
    one.unwatch(callback)
    one.wake()
    assert told == []


def test_a_second_outcome_is_ignored():
    """A record keeps its first outcome."""
    one = Record(None)
    assert one.settle(LOST)
    assert not one.settle(UNKNOWN_ID)
    assert one.error is LOST


def test_a_task_is_known_by_its_create_its_spec_or_an_answer():
    """A task is known once a create gave its id, its spec is there, or an answer has shown it."""
    registry, seen, made, resumed = Registry(), Record(None), Record(None), record()
    for each, task_id in ((seen, "cgt-1"), (made, "cgt-2"), (resumed, "cgt-3")):
        registry.adopt(each, task_id, now=0.0)
    assert (seen.known, made.known, resumed.known) == (False, False, True)
    registry.apply(snapshot("cgt-1", Status.QUEUED))
    registry.adopt(record(), "cgt-2", now=0.0)
    assert seen.known
    assert made.known


def test_a_pending_record_has_no_outcome():
    """Reading the outcome of a pending record raises `ValueError`."""
    with pytest.raises(ValueError, match="no outcome yet"):
        _ = Record(None).outcome


def test_an_outcome_holds_a_video_or_an_error():
    """The outcome holds index, id, and either the video or the error."""
    registry, good, bad = Registry(), Record(None, index=3), Record(None, index=4)
    registry.adopt(good, "cgt-1", now=0.0)
    registry.adopt(bad, "cgt-2", now=0.0)
    registry.apply(snapshot("cgt-1", Status.SUCCEEDED))
    registry.settle(bad, LOST)
    assert (good.outcome.index, good.outcome.task_id, good.outcome.error) == (3, "cgt-1", None)
    assert good.outcome.url == "https://storage.test/cgt-1"
    assert (bad.outcome.index, bad.outcome.video, bad.outcome.error) == (4, None, LOST)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (Status.FAILED, None, TaskFailedError),
        (Status.FAILED, "InternalServiceError", TaskFailedError),
        (Status.FAILED, "OutputVideoSensitiveContentDetected", TaskRejectedError),
        (Status.CANCELLED, None, TaskCancelledError),
        (Status.EXPIRED, None, TaskExpiredError),
    ],
)
def test_an_end_without_a_video_has_its_error(status, code, kind):
    """Status and code decide the type of the error, which quotes the provider."""
    detail = None if code is None else ErrorDetail(code, "sorry")
    error = result_of(snapshot("cgt-1", status, error=detail))
    assert type(error) is kind
    assert (error.task_id, error.code) == ("cgt-1", code)
    assert error.reason == ("" if code is None else "sorry")


def test_a_final_success_without_a_url_is_a_failure():
    """A success without a URL, if it is final, is a `TaskFailedError`."""
    error = result_of(snapshot("cgt-1", Status.SUCCEEDED, url=False))
    assert isinstance(error, TaskFailedError)
    assert not isinstance(error, NotFoundError)
    assert isinstance(result_of(snapshot("cgt-1", Status.SUCCEEDED)), Video)


def gateway(*ids: str) -> Registry:
    """A registry with pending tasks that were made here, each with a mark of its own."""
    registry = Registry()
    for number, task_id in enumerate(ids):
        registry.adopt(record(), task_id, now=0.0)
        made = MadeTask(
            task_id, 1, "model", marked=True, mark=f"mark of {task_id}", sent=Moment(number, number)
        )
        registry.remember(None, made, keep_all=False)
    return registry


def test_one_answer_to_every_question_is_about_none_of_the_tasks():
    """An id of a gateway that answers about two tasks hold stands for neither of them."""
    registry = gateway("gw-1", "gw-2")
    same = snapshot("upstream", Status.RUNNING)
    heard = [registry.stands_for(asked, same) for _ in range(9) for asked in ("gw-1", "gw-2")]
    assert not any(heard)
    assert registry.get("upstream") is None


def test_an_id_that_a_gateway_has_stood_for_is_never_that_of_another_task():
    """Also after the end of the first one, the answers about another do not bring its video."""
    registry = gateway("gw-1")
    same = snapshot("upstream", Status.RUNNING)
    heard = [registry.stands_for("gw-1", same) for _ in range(SAME_ANSWERS + 1)]
    assert heard == [False] * (SAME_ANSWERS - 1) + [True, True]
    assert registry.is_of_spec("upstream")
    registry.settle(registry.get("gw-1"), LOST)
    registry.adopt(record(), "gw-2", now=0.0)
    registry.remember(None, MadeTask("gw-2", 1, "model", marked=True), keep_all=False)
    assert not any(registry.stands_for("gw-2", same) for _ in range(9))


def test_a_disowned_task_is_forgotten_under_all_its_ids():
    """The id that a gateway has stood for can then be that of another spec."""
    registry = gateway("gw-1", "gw-2")
    for _ in range(SAME_ANSWERS):
        registry.stands_for("gw-1", snapshot("upstream", Status.RUNNING))
    registry.disown(registry.get("gw-1"))
    assert not registry.is_of_spec("upstream")
    assert not registry.is_of_spec("gw-1")
    assert registry.is_of_spec("gw-2")
