"""Checks that a client is used in the process and event loop in which it was opened."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs
from anyio.lowlevel import RunVar

from callsheet.errors import ClosedError


if TYPE_CHECKING:
    from collections.abc import Generator


@attrs.define(eq=False)
class LoopGuard:
    """Knows the process and the event loop in which a client was opened."""

    _here: RunVar[bool] = attrs.field(factory=lambda: RunVar[bool]("callsheet client"), init=False)
    _process: int = attrs.field(factory=os.getpid, init=False)

    @contextmanager
    def entered(self) -> Generator[None]:
        """Make the running loop the client's own for the time of the block."""
        token = self._here.set(True)
        try:
            yield
        finally:
            self._here.reset(token)

    def check(self) -> None:
        """Check that the caller is in that loop.

        Raises:
            ClosedError: It is in another loop, or in none, or in a fork of the process.
        """
        if os.getpid() != self._process:  # connections, threads and the journal stay behind
            raise ClosedError(
                f"the client belongs to process {self._process}, and this one was forked from it; "
                "open a client of its own here, with another journal"
            )
        try:
            here = self._here.get(False)
        except Exception:  # noqa: BLE001 - no event loop at all; the library has several names for it
            here = False
        if not here:
            raise ClosedError("the client was opened in another event loop; open one in this loop")
