"""The event loop that an open client lives in."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs
from anyio.lowlevel import RunVar

from callsheet.errors import ClosedError


if TYPE_CHECKING:
    from collections.abc import Generator


@attrs.define(eq=False)
class LoopGuard:
    """Tells whether the caller is in the loop that a client was opened in."""

    _here: RunVar[bool] = attrs.field(factory=lambda: RunVar[bool]("callsheet client"), init=False)

    @contextmanager
    def entered(self) -> Generator[None]:
        """Make this loop the home for a while."""
        token = self._here.set(True)
        try:
            yield
        finally:
            self._here.reset(token)

    def check(self) -> None:
        """Refuse what comes from elsewhere.

        Raises:
            ClosedError: This is another loop, or none.
        """
        try:
            here = self._here.get(False)
        except Exception:  # noqa: BLE001 - no event loop at all; the library has several names for it
            here = False
        if not here:
            raise ClosedError("the client was opened in another event loop; open one in this loop")
