"""The progress of a run: the numbers, and four ways to show them."""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import attrs
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from callsheet._cli.names import frame_name
from callsheet._cli.printing import put_line
from callsheet._cli.results import Ending


if TYPE_CHECKING:
    from callsheet._cli.plan import Job
    from callsheet._cli.results import Row


_STYLES = {
    "kept": "green",
    "waiting": "default",
    "queued": "yellow",
    "running": "cyan",
    "rendered": "green",
    Ending.SUCCEEDED: "bold green",
    Ending.NOT_SUBMITTED: "yellow",
    Ending.INTERRUPTED: "yellow",
}


@attrs.frozen(kw_only=True)
class Counts:
    """The numbers at one moment.

    Every video counts in exactly one of `kept`, `waiting`, `queued`, `running`, `rendered` and
    `endings`.

    Attributes:
        total: All videos of the run.
        submitted: Specs that got an id from the provider in this run, whatever their outcome.
        kept: Videos from an earlier run.
        waiting: Not sent yet, or sent and without an id.
        queued: Has an id, not seen running yet.
        running: Seen running.
        rendered: Rendered, not on disk yet.
        endings: Videos with a row of this run, by its status.
        settled: How many of `endings` had a task. Only these count for the rate.
        elapsed: Seconds since the run began.
    """

    total: int
    submitted: int
    kept: int
    waiting: int
    queued: int
    running: int
    rendered: int
    endings: Mapping[Ending, int]
    settled: int
    elapsed: float

    @property
    def ended(self) -> int:
        """Videos that need no more work in this run."""
        return self.kept + sum(self.endings.values())

    @property
    def per_minute(self) -> float:
        """Tasks that end per minute, on average over this run."""
        return self.settled / max(self.elapsed, 0.1) * 60

    @property
    def left(self) -> float | None:
        """Seconds left at this rate; ``None`` before the first task has ended, and at the end."""
        open_ = self.total - self.ended
        return open_ / self.per_minute * 60 if open_ and self.per_minute else None

    def states(self) -> dict[str, int]:
        """Number of videos by state, or by the status of their row. Each video counts once."""
        without_row = {
            "kept": self.kept,
            "waiting": self.waiting,
            "queued": self.queued,
            "running": self.running,
            "rendered": self.rendered,
        }
        return without_row | {ending.value: self.endings.get(ending, 0) for ending in Ending}

    def words(self) -> str:
        """The states, in one line."""
        return ", ".join(
            f"{number} {in_words(name)}" for name, number in self.states().items() if number
        )

    def pace(self) -> str:
        """Time, rate and time left, in one line."""
        rate = f", {self.per_minute:.0f} a minute" if self.settled else ""
        left = "" if self.left is None else f", about {time_text(self.left)} to go"
        return f"{time_text(self.elapsed)}{rate}{left}"


class Display(Protocol):
    """One way to show a run.

    Attributes:
        interval: Seconds between two calls of `show`.
        repeats: Seconds after which a note that is still true is shown again.
    """

    interval: float
    repeats: float

    def note(self, text: str) -> None:
        """Show a note about the run as a whole."""

    def show(self, counts: Counts) -> None:
        """Show the numbers."""

    def row(self, job: Job, row: Row, place: str) -> None:
        """Show that a spec has ended; *place* names its file and line."""

    def close(self) -> None:
        """Finish the output, so that the screen can stay as it is."""


class LiveDisplay:
    """Numbers that update in place on a terminal, with the latest failures below."""

    def __init__(self, title: str) -> None:
        self.interval = 0.2
        self.repeats = math.inf  # the running clock shows that the run still works
        self._title = title
        self._failures: deque[str] = deque(maxlen=4)
        self._counts: Counts | None = None
        self._console = Console(highlight=False)
        self._live = Live(Text(title, "bold"), console=self._console, auto_refresh=False)
        self._live.start(refresh=True)

    def note(self, text: str) -> None:
        self._console.print(Text(text))

    def row(self, job: Job, row: Row, place: str) -> None:
        if _failed_by_itself(row):
            self._failures.append(failure_line(job, row, place))

    def show(self, counts: Counts) -> None:
        self._counts = counts
        self._live.update(self._render(counts), refresh=True)

    def close(self) -> None:
        if self._counts is not None:
            self._failures.clear()  # the summary names them
            self.show(self._counts)
        self._live.stop()

    def _render(self, counts: Counts) -> Group:
        bar = Table.grid(padding=(0, 1), expand=True)
        bar.add_column(ratio=1)
        bar.add_column(justify="right", no_wrap=True)
        bar.add_row(
            ProgressBar(total=max(counts.total, 1), completed=counts.ended),
            Text(f"{counts.ended}/{counts.total}"),
        )
        numbers = Text()
        for name, number in counts.states().items():
            if number:
                numbers.append(f"{number} ", _STYLES.get(name, "bold red"))
                numbers.append(f"{in_words(name)}   ", "dim")
        failures = [
            Text(f"✗ {line}", "red", no_wrap=True, overflow="ellipsis") for line in self._failures
        ]
        pace = Text(counts.pace(), "dim")
        # the shortest line comes last: a ^C that the terminal echoes after it must not wrap
        return Group(Text(self._title, "bold"), bar, numbers, *failures, pace)


class LineDisplay:
    """Plain lines for logs and pipes: the numbers from time to time, and each new kind of failure.

    A failure is shown with the next numbers. A short run shows no numbers, so its summary does not
    repeat the failure.
    """

    def __init__(self) -> None:
        self.interval = 1.0
        self.repeats = 60.0
        self._last_shown: tuple[float, str] = (0.0, "")
        self._kinds: set[Kind] = set()
        self._failures: list[str] = []

    def note(self, text: str) -> None:
        put_line(text)

    def row(self, job: Job, row: Row, place: str) -> None:
        if _failed_by_itself(row) and (kind := kind_of(job, row)) not in self._kinds:
            self._kinds.add(kind)
            self._failures.append(f"{in_words(row.status)}: {failure_line(job, row, place)}")

    def show(self, counts: Counts) -> None:
        then, words = self._last_shown
        if counts.elapsed - then >= 5 and counts.words() != words:  # noqa: PLR2004 - seconds
            self._last_shown = (counts.elapsed, counts.words())
            for line in self._failures:
                put_line(line)
            self._failures.clear()
            put_line(f"{counts.ended}/{counts.total}: {counts.words()} ({counts.pace()})")

    def close(self) -> None:
        """Do nothing: printed lines need no end."""


class QuietDisplay:
    """Shows nothing before the summary."""

    def __init__(self) -> None:
        self.interval = 3600.0
        self.repeats = math.inf

    def note(self, text: str) -> None: ...
    def row(self, job: Job, row: Row, place: str) -> None: ...
    def show(self, counts: Counts) -> None: ...
    def close(self) -> None: ...


class EventDisplay:
    """One JSON object per line: ``note``, ``progress`` and ``row`` events."""

    def __init__(self) -> None:
        self.interval = 1.0
        self.repeats = 60.0
        self._last: dict[str, Any] = {}

    def note(self, text: str) -> None:
        self._put("note", text=text)

    def row(self, job: Job, row: Row, place: str) -> None:
        self._put("row", place=place, prompt=job.spec.prompt, **row.to_dict())

    def show(self, counts: Counts) -> None:
        numbers = {"total": counts.total, "submitted": counts.submitted, **counts.states()}
        if numbers != self._last:
            self._last = numbers
            self._put("progress", **numbers, elapsed=round(counts.elapsed, 3))

    def close(self) -> None:
        """Do nothing: printed events need no end."""

    @staticmethod
    def _put(event: str, **values: Any) -> None:
        put_line(json.dumps({"event": event, "time": time.time(), **values}, ensure_ascii=False))


def display_for(title: str, *, quiet: bool, events: bool) -> Display:
    """Choose the display by the options, and by whether stdout is a terminal."""
    if events:
        return EventDisplay()
    if quiet:
        return QuietDisplay()
    return LiveDisplay(title) if sys.stdout.isatty() else LineDisplay()


def _failed_by_itself(row: Row) -> bool:
    """Whether this spec failed for its own reason. Stopped and unsent specs share one reason."""
    return row.status not in {"succeeded", "not_submitted", "interrupted"}


Kind = tuple[str, str]
"""Status and reason, without the parts that differ from task to task."""

_REQUEST_MARK = re.compile(r" \((?:request|token) [^)]*\)")


def kind_of(job: Job, row: Row) -> Kind:
    """The kind of a failure: equal for rows that differ only by their task."""
    reason = _REQUEST_MARK.sub("", _reason(row))
    for name in (row.task_id, job.file, frame_name(job.file)):
        reason = reason.replace(name or "\0", "")
    return row.status.value, reason


def failure_line(job: Job, row: Row, place: str, more: int = 0) -> str:
    """Line, prompt and reason of a row that did not succeed; *more* counts others of its kind."""
    rest = f" and {more} more" if more else ""
    return f"{place} {job.title}{rest}: {_reason(row)}"


def _reason(row: Row) -> str:
    return " ".join(((row.error or {}).get("message") or row.status.value).split())


def in_words(name: str) -> str:
    """The name of a state or of a row status, with spaces between its words."""
    return name.replace("_", " ")


def time_text(seconds: float) -> str:
    """Format seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
