"""What the planner hands out, and what follows when it comes back in vain."""

from __future__ import annotations

import attrs

from callsheet._state.record import Record
from callsheet.errors import CallsheetError, InvalidRequestError, NotFoundError, SpecError


REFUSALS = 3
"""Gets in a row that deny a task after which they are taken as the provider's last word on it."""

REFUSED_FOR = 60.0
"""Seconds for which they must go on, too, if the task is known to exist: a create that was just
answered may not be readable yet, a video's URL not be there, and what is given up may be bought
again."""


@attrs.frozen(eq=False)
class PollRequest:
    """One request to send about *records*: a get if it is *single*, else a list of one *tier*.

    With *page* set the list is not of their ids: it is the page of that number of all tasks, which
    is hoped to show them and more.
    """

    records: tuple[Record, ...]
    single: bool
    tier: str | None = None
    page: int | None = None


@attrs.frozen(kw_only=True)
class FailedPoll:
    """What follows from a failed poll, besides asking again.

    Attributes:
        last_word: The refusal is the provider's last word on this one task.
        restored: The refusal shows that the service is back.
        tripped: The gate was open until now.
        locked_out: The account is refused for so long that waiting is pointless.
    """

    last_word: bool = False
    restored: bool = False
    tripped: bool = False
    locked_out: bool = False


def is_last_refusal(record: Record, *, now: float) -> bool:
    """Count a get that denied a task: its id was refused, or its success holds no video."""
    if not record.refusals:
        record.refused_since = now
    record.refusals += 1
    long = not record.known or now - record.refused_since >= REFUSED_FOR
    return record.refusals >= REFUSALS and long


def is_unaskable(error: CallsheetError) -> bool:
    """Whether a get could not be written, as its task's id cannot stand in an address.

    Nothing was sent, so this tells of nothing but the task, and would never be otherwise.
    """
    return isinstance(error, SpecError)


def about_the_task(error: CallsheetError) -> bool:
    """Whether a refused get is about its task: an id that the provider does not know.

    A 404 without a code may be any proxy's page, and counts as an outage.
    """
    return isinstance(error, (NotFoundError, InvalidRequestError)) and error.code is not None
