"""What the planner hands out, and what follows when it comes back in vain."""

from __future__ import annotations

import attrs

from callsheet._core.record import Record


@attrs.frozen(eq=False)
class Order:
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
        opened_gate: The refusal shows that the service is back.
        shut_gate: The gate was open until now.
        locked_out: The account is refused for so long that waiting is pointless.
    """

    last_word: bool = False
    opened_gate: bool = False
    shut_gate: bool = False
    locked_out: bool = False
