"""Lines of text, and the exit codes that go with them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from typing import TextIO


BAD_INPUT = 2
INTERRUPTED = 130


def put_line(text: str, to: TextIO | None = None) -> None:
    """Print a line.

    If the reader of the pipe is gone, the run continues without output: its videos are paid for.
    """
    stream = sys.stdout if to is None else to
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
