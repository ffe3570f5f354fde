"""The counts and the errors of specs that were submitted together."""

from __future__ import annotations

import pytest

from callsheet._models.outcome import Progress
from callsheet._models.snapshot import Status
from callsheet._models.spec import TaskSpec
from callsheet._state.group import Group
from callsheet._state.record import Record
from callsheet._state.registry import result_of
from callsheet.errors import (
    AuthenticationError,
    ModelNotFoundError,
    NotSubmittedError,
    QuotaExhaustedError,
)
from making import LOST, WRONG_KEY, snapshot


CLOSED = ModelNotFoundError("no such model", 404, "ModelNotOpen")
USED_UP = QuotaExhaustedError("used up", 429, "SetLimitExceeded")


def member(group: Group) -> Record:
    """A new record of *group*."""
    group.total += 1
    return Record(TaskSpec("boat"), group=group)


def test_a_member_is_counted_under_its_status():
    """A record counts as queued, then running, then failed, and as submitted all the time."""
    group = Group()
    one = member(group)
    assert (group.unsubmitted, group.unfinished) == (1, 1)
    one.task_id = "cgt-1"
    for status, queued, running in [
        (Status.QUEUED, 1, 0),
        (Status.RUNNING, 0, 1),
        (Status.UNKNOWN, 0, 1),
        (Status.QUEUED, 1, 0),
        (Status.QUEUED, 1, 0),
    ]:
        one.move(status)
        progress = group.progress
        assert (progress.submitted, progress.queued, progress.running) == (1, queued, running)
    one.settle(LOST, Status.FAILED)
    assert (group.progress.queued, group.progress.failed, group.progress.done) == (0, 1, 1)
    assert (group.unsubmitted, group.unfinished) == (0, 0)


def test_a_video_counts_as_a_success():
    """A record that ends with a video counts as succeeded, and not as queued, running or failed."""
    group = Group()
    one = member(group)
    one.task_id = "cgt-1"
    one.move(Status.RUNNING)
    done = snapshot("cgt-1", Status.SUCCEEDED)
    one.settle(result_of(done), done.status)
    assert group.progress == Progress(
        total=1, submitted=1, queued=0, running=0, succeeded=1, failed=0
    )


def test_a_spec_that_ends_without_an_id_is_not_submitted():
    """A spec that was never sent counts as failed, and no longer as unsubmitted."""
    group = Group()
    member(group).settle(NotSubmittedError("stopped"))
    assert (group.progress.submitted, group.progress.failed) == (0, 1)
    assert group.unsubmitted == 0


def test_waiters_are_woken_by_ids_and_outcomes():
    """An id and an outcome wake the waiters of the group; another status does not."""
    group, told = Group(), []
    one = member(group)
    one.task_id = "cgt-1"
    group.watch(lambda: told.append("id"))
    one.move(Status.QUEUED)
    group.watch(lambda: told.append("end"))
    one.move(Status.RUNNING)
    assert told == ["id"]
    one.settle(LOST)
    assert told == ["id", "end"]


def test_members_finish_in_the_order_of_their_ends():
    """The finished records are in the order in which they ended."""
    group = Group()
    members = [member(group) for _ in range(3)]
    for each in reversed(members):
        each.settle(LOST)
    assert group.finished == members[::-1]


def test_a_model_is_accepted_by_a_create_of_its_own():
    """A create of one model does not show that another model is accepted."""
    group = Group()
    group.mark_accepted("one")
    assert group.accepted == {"one"}


@pytest.mark.parametrize("error", [CLOSED, USED_UP])
def test_a_closed_model_stops_only_itself(error):
    """Specs of other models are still sent, and the first error is kept."""
    group = Group()
    group.stop("one", error)
    group.stop("one", CLOSED)
    assert group.fatal_error_of("one") is error
    assert group.fatal_error_of("two") is None
    assert group.fatal_error is None


def test_a_wrong_key_stops_everything():
    """The first error of the account counts for every model, also for one with an earlier error."""
    group = Group()
    group.stop("one", CLOSED)
    group.stop("two", WRONG_KEY)
    group.stop("two", AuthenticationError("later", 401))
    assert group.fatal_error is WRONG_KEY
    assert group.fatal_error_of("one") is WRONG_KEY
    assert group.fatal_error_of("three") is WRONG_KEY
