"""What the user is told while the provider is down."""

from __future__ import annotations

import anyio
import attrs

from callsheet._cli.progress import Display, time_text
from callsheet._wire.lenient import is_html
from callsheet._wire.refusals import WRONG_ADDRESS
from callsheet.errors import APIError, CallsheetError, ProtocolError


HICCUP = 3.0
"""Seconds that the provider may be down before the user is told."""


@attrs.define
class Outage:
    """Since when the provider is down, if it is, and what the user was told about it.

    Attributes:
        display: Shows the notes.
    """

    display: Display
    _since: float | None = attrs.field(default=None, init=False)
    _error: CallsheetError | None = attrs.field(default=None, init=False)
    _reported_at: float | None = attrs.field(default=None, init=False)

    def begin(self, error: CallsheetError) -> None:
        """Note that the provider is down from now on; *error* says why."""
        self._since, self._error = anyio.current_time(), error

    def update(self, error: CallsheetError) -> None:
        """Keep the latest *error*. It matters only while the provider is down."""
        self._error = error

    def end(self) -> None:
        """Note that the provider works again, and say so if the outage was reported."""
        if self._reported_at is not None:
            self.display.note("the provider is back")
        self._since = self._reported_at = None

    def report(self) -> None:
        """Tell the user about an outage, first after `HICCUP` seconds.

        It is told again after every ``display.repeats`` seconds.
        """
        if self._since is None or self._error is None:
            return
        now, duration = anyio.current_time(), ""
        due = self._since + HICCUP
        if self._reported_at is not None:
            due, duration = (
                self._reported_at + self.display.repeats,
                f" for {time_text(now - self._since)}",
            )
        if now >= due:
            self._reported_at = now
            words = f"the provider does not serve{duration}, waiting: {self._error}"
            hint = "; the address may be wrong" if _address_may_be_wrong(self._error) else ""
            self.display.note(words + hint)


def _address_may_be_wrong(error: CallsheetError) -> bool:
    """Whether another server seems to have answered: an HTML page, or an error without a code."""
    match error:
        case APIError(status_code=404 | 405, code=None):
            return True
        case APIError(message=message):
            return message.startswith(WRONG_ADDRESS)
        case ProtocolError(excerpt=excerpt):
            return is_html(excerpt.encode())
        case _:
            return False
