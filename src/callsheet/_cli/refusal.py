"""What the command line refuses to do."""

from __future__ import annotations


class Refusal(Exception):  # noqa: N818 - the user's mistake, not a failure
    """What was asked for cannot be done. Nothing was sent."""

    def lines(self) -> list[str]:
        """Why, one line for each reason."""
        return [str(self)]
