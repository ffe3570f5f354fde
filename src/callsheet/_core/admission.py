"""When the next create may be sent."""

from __future__ import annotations

import attrs

from callsheet._core.budget import Budget
from callsheet._core.gate import Gate


@attrs.define(kw_only=True)
class Admission:
    """The door that every paid request passes: quota, gate, and pauses after refusals.

    After a refusal one create at a time tries whether others are welcome again.

    Attributes:
        budget: Creates that the quota allows.
        gate: How much traffic the service bears.
        width: Most creates in flight, >= 1.
    """

    budget: Budget
    gate: Gate
    width: int
    _in_flight: int = attrs.field(default=0, init=False)
    _resumes_at: float = attrs.field(default=float("-inf"), init=False)
    _refused: bool = attrs.field(default=False, init=False)
    _for_room: bool = attrs.field(default=False, init=False)

    def ready_at(self, *, now: float) -> float | None:
        """The earliest time for one more create; ``None``: not before one in flight is back."""
        if self._in_flight >= (1 if self._refused else self.width):
            return None
        gate = self.gate.ready_at(now=now, in_flight=self._in_flight)
        if gate is None:
            return None
        return max(gate, self._resumes_at, self.budget.ready_at(now=now))

    def take(self, *, now: float) -> None:
        """One create leaves now."""
        self.budget.take(now=now)
        self._in_flight += 1

    def accepted(self, *, now: float, polled: bool = True) -> bool:
        """A create brought an id; tell whether this opened the gate.

        One that left before the last refusal does not end the pause that the refusal asked for.
        With *polled* false nobody polls, and the create speaks for the whole service.
        """
        self._in_flight -= 1
        if now >= self._resumes_at:
            self._refused = self._for_room = False
        return self.gate.passed(now=now, poll=not polled)

    def refused(self, *, for_room: bool) -> None:
        """A create was refused for load or, with *for_room*, because the queue is full."""
        self._in_flight -= 1
        self._refused, self._for_room = True, for_room

    def hold(self, *, until: float) -> None:
        """Send nothing before *until*."""
        self._resumes_at = max(self._resumes_at, until)

    def failed(self, *, now: float, retry_after: float | None = None) -> bool:
        """The service did not serve a create; tell whether this shut the gate."""
        self._in_flight -= 1
        return self.gate.failed(now=now, poll=False, retry_after=retry_after)

    def ended(self) -> None:
        """A create ended in a way that says nothing about the service's load."""
        self._in_flight -= 1

    def room_made(self) -> None:
        """A task of ours left the provider's queue: a create that waits for room may try."""
        if self._for_room:
            self._resumes_at = float("-inf")
