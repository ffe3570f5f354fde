"""A poll that the planner hands out, and what follows if it fails."""

from __future__ import annotations

import attrs

from callsheet._state.record import Record
from callsheet.errors import CallsheetError, InvalidRequestError, NotFoundError, SpecError


REFUSALS = 3
"""Gets in a row that refuse a task, or show no video, after which the refusal is final."""

REFUSED_FOR = 60.0
"""Seconds for which the refusals must also last if the task is known to exist. A new task may not
be readable yet, and the URL of a new video may be missing. If such a task is given up, the caller
may buy it again."""


@attrs.frozen(eq=False)
class PollRequest:
    """One request to send about *records*: a get if it is *single*, else a list of one *tier*.

    Without *page* the list is of their ids. With it, it is that page of all tasks, which probably
    shows these records and others.
    """

    records: tuple[Record, ...]
    single: bool
    tier: str | None = None
    page: int | None = None


@attrs.frozen(kw_only=True)
class FailedPoll:
    """What follows from a failed poll, besides asking again.

    Attributes:
        final_refusal: The provider's refusal of this one task is final.
        restored: The refusal shows that the service works again, and has reset the breaker.
        tripped: The failure has tripped the circuit breaker.
        locked_out: The account has been refused for so long that waiting is given up.
    """

    final_refusal: bool = False
    restored: bool = False
    tripped: bool = False
    locked_out: bool = False


def count_refusal(record: Record, *, now: float) -> bool:
    """Count a get that refused a task or showed no video; return whether the refusal is final."""
    if not record.refusals:
        record.refused_since = now
    record.refusals += 1
    long = not record.known or now - record.refused_since >= REFUSED_FOR
    return record.refusals >= REFUSALS and long


def is_unwritable(error: CallsheetError) -> bool:
    """Whether a get could not be written because a URL cannot hold its task's id.

    Nothing was sent, so this says nothing about the service, and a repetition would fail, too.
    """
    return isinstance(error, SpecError)


def is_about_task(error: CallsheetError) -> bool:
    """Whether a get was refused because of its task: the provider does not know the id.

    A 404 without an error code may come from a proxy, so it counts as an outage.
    """
    return isinstance(error, (NotFoundError, InvalidRequestError)) and error.code is not None
