"""The fate of one attempt: what is known of the create that it is."""

from __future__ import annotations

import enum


class Fate(enum.Enum):
    """What is known of one attempt. A later fate in this order replaces an earlier one.

    Four steps go back:

    * A new try of a refused attempt begins again at `NOTED`.
    * A new process looks again for a `DOUBTED` one, which is `LOST` then.
    * A `Grade.PRESUMED` absence that is contradicted becomes `DOUBTED`.
    * A `MADE` one whose id is not that of its task is `LOST`: its task is looked for by its token.
    """

    READY = "ready"
    """Its token is drawn, and its body is prepared or waits for its turn. No byte has left."""
    NOTED = "noted"
    """Its money is set aside, and its note is being written. No byte has left. After a crash the
    note is all that is known, so a task may exist."""
    OUT = "out"
    """It may have left this process, and its answer has not come. A task may exist."""
    REFUSED = "refused"
    """The provider said no, it never connected, or it did not leave after all. No task exists."""
    LOST = "lost"
    """Its answer is lost, and its task is looked for until a deadline. A task may exist."""
    DOUBTED = "doubted"
    """Nobody can tell whether it made a task: a search brought no result, or none was possible."""
    ABSENT = "absent"
    """It is proven that it made no task; a `Grade` says how well."""
    MADE = "made"
    """Its task exists, and its id is known."""

    __hash__ = (
        object.__hash__
    )  # that of `enum.Enum` is written in Python, and takes ten times as long


OPEN = frozenset({Fate.OUT, Fate.LOST, Fate.DOUBTED})
"""The fates of an attempt that may have made a task, and nobody knows."""


class Grade(enum.Enum):
    """How well it is proven that an attempt made no task."""

    WITNESSED = "witnessed"
    """The list that does not show it shows a task that was sent later, or a person has looked at
    the account's pages. This is final."""
    PRESUMED = "presumed"
    """The list that does not show it is believed, but it has shown no later task. This may be
    taken back."""
