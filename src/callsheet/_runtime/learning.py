"""Keeps in the journal what was learned of render times and rates, for a later process."""

from __future__ import annotations

import json
import logging
import math
from typing import Any, cast

import attrs

from callsheet._journal.journal import Journal
from callsheet._polling.schedule import Schedule
from callsheet._state.rate_limit import ProbingRateLimit, RateLimit


LEARNED_GAP = 5.0
"""Least seconds between two writes of what was learned."""

_RENDER_TIMES = "render times of "
"""Begins the kind of what is kept, so that other things can be kept beside it."""

_GETS_RATE = "rate of gets"
"""The kind under which the proven rate of gets is kept, where the provider publishes none."""

log = logging.getLogger("callsheet")


@attrs.define(eq=False, kw_only=True)
class Learning:
    """Carries what a schedule has learned from one process to the next.

    Attributes:
        journal: The journal, if the client has one.
        schedule: Learns, and uses what was learned.
        gets: The rate limit of gets, which may be one that learns.
    """

    journal: Journal | None
    schedule: Schedule
    gets: RateLimit
    _kept_rate: float | None = attrs.field(default=None, init=False)
    """The proven rate that is in the journal."""

    async def recall(self) -> None:
        """Use what earlier processes have learned.

        Nothing of it is needed, so what cannot be read is left out with a warning: the first tasks
        are then looked at as if they were the first of their kind.
        """
        if self.journal is None:
            return
        for kind, value in (await self.journal.learned()).items():
            try:
                if kind.startswith(_RENDER_TIMES):
                    self.schedule.recall(_kind_from(kind), _times_from(value))
                elif kind == _GETS_RATE:
                    self._recall_rate(value)
            except (ValueError, TypeError, AttributeError, RecursionError) as error:
                log.warning(
                    "journal %s: what was learned under %r is left out: %s",
                    self.journal.path,
                    kind,
                    error,
                )

    def keep(self) -> None:
        """Write what is new. Call this at most every `LEARNED_GAP` seconds, and on leaving."""
        if self.journal is None:
            return
        values: dict[str, str] = {}
        for kind, seconds in self.schedule.learned().items():
            if all(value is None or isinstance(value, (str, int, float)) for value in kind):
                text = json.dumps([round(each, 2) for each in seconds])
                values[_RENDER_TIMES + json.dumps(kind)] = text
        proven = self.gets.proven if isinstance(self.gets, ProbingRateLimit) else None
        if proven is not None and proven != self._kept_rate:
            self._kept_rate = proven
            values[_GETS_RATE] = json.dumps(proven)
        if values:
            self.journal.learn(values)

    def _recall_rate(self, text: str) -> None:
        rate: Any = json.loads(text)
        if not (isinstance(rate, (int, float)) and 0.0 < rate < math.inf):
            raise ValueError("it is no rate")
        if isinstance(self.gets, ProbingRateLimit):
            self._kept_rate = float(rate)
            self.gets.recall(self._kept_rate)


def _kind_from(text: str) -> tuple[object, ...]:
    kind: Any = json.loads(text.removeprefix(_RENDER_TIMES))
    if not isinstance(kind, list):
        raise TypeError("its kind is no list")
    found = tuple(cast("list[object]", kind))
    hash(found)  # it may hold a list, which is no part of a kind
    return found


def _times_from(text: str) -> list[float]:
    seconds: Any = json.loads(text)
    if not isinstance(seconds, list):
        raise TypeError("it is no list of render times")
    times = [float(each) for each in cast("list[float]", seconds)]
    if not all(0.0 < each < math.inf for each in times):
        raise ValueError("it holds a render time that no task can have")
    return times
