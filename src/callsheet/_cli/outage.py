"""What is said while the provider does not serve."""

from __future__ import annotations

import anyio
import attrs

from callsheet._cli.progress import Display, clock
from callsheet._wire.lenient import is_html
from callsheet._wire.refusals import WRONG_ADDRESS
from callsheet.errors import APIError, CallsheetError, ProtocolError


HICCUP = 3.0
"""Seconds that the provider may be away before it is worth a word."""


@attrs.define
class Outage:
    """Since when the provider is away, if it is, and what was said of it.

    Attributes:
        display: Where it is said.
    """

    display: Display
    _since: float | None = attrs.field(default=None, init=False)
    _error: CallsheetError | None = attrs.field(default=None, init=False)
    _told: float | None = attrs.field(default=None, init=False)

    def begin(self, error: CallsheetError) -> None:
        """The provider does not serve from now on."""
        self._since, self._error = anyio.current_time(), error

    def goes_on(self, error: CallsheetError) -> None:
        """What it said last; nothing if it is not away."""
        self._error = error

    def end(self) -> None:
        """It serves again."""
        if self._told is not None:
            self.display.note("the provider is back")
        self._since = self._told = None

    def tell(self) -> None:
        """Say it once that is more than a hiccup, and again after a while."""
        if self._since is None or self._error is None:
            return
        now, lasting = anyio.current_time(), ""
        due = self._since + HICCUP
        if self._told is not None:
            due, lasting = self._told + self.display.repeats, f" for {clock(now - self._since)}"
        if now >= due:
            self._told = now
            words = f"the provider does not serve{lasting}, waiting: {self._error}"
            maybe = "; the address may be wrong" if _elsewhere(self._error) else ""
            self.display.note(words + maybe)


def _elsewhere(error: CallsheetError) -> bool:
    """Whether it reads as if something else answered: a page, or a refusal without a code."""
    match error:
        case APIError(status_code=404 | 405, code=None):
            return True
        case APIError(message=message):
            return message.startswith(WRONG_ADDRESS)
        case ProtocolError(excerpt=excerpt):
            return is_html(excerpt.encode())
        case _:
            return False
