"""How far a run is: the numbers, and the four ways of showing them."""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TextIO

import attrs
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from callsheet._cli.names import frame_name
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
    """The numbers at one moment. Every video counts in one of them, but for those that say so.

    Attributes:
        total: Videos that are wanted; all of them.
        submitted: Specs for which the provider has given an id in this run, whatever came of them.
        kept: Videos that an earlier run has brought.
        waiting: Not sent yet, or sent and without an id.
        queued: Has an id, not seen running yet.
        running: Seen running.
        rendered: Rendered, not on disk yet.
        endings: What has a row of this run, by its status.
        settled: How many of `endings` had a task: what was never sent tells nothing of the pace.
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
        """Videos about which nothing remains to be done."""
        return self.kept + sum(self.endings.values())

    @property
    def per_minute(self) -> float:
        """Tasks that ended in a minute of this run."""
        return self.settled / max(self.elapsed, 0.1) * 60

    @property
    def left(self) -> float | None:
        """Seconds to go at this rate; ``None`` until something has ended, and at the end."""
        open_ = self.total - self.ended
        return open_ / self.per_minute * 60 if open_ and self.per_minute else None

    def states(self) -> dict[str, int]:
        """Every video under one name: where it stands, or how it ended, as its row says it."""
        on_their_way = {
            "kept": self.kept,
            "waiting": self.waiting,
            "queued": self.queued,
            "running": self.running,
            "rendered": self.rendered,
        }
        return on_their_way | {ending.value: self.endings.get(ending, 0) for ending in Ending}

    def words(self) -> str:
        """The states, in one line."""
        return ", ".join(
            f"{number} {in_words(name)}" for name, number in self.states().items() if number
        )

    def pace(self) -> str:
        """Time, rate and what is left, in one line."""
        rate = f", {self.per_minute:.0f} a minute" if self.settled else ""
        left = "" if self.left is None else f", about {clock(self.left)} to go"
        return f"{clock(self.elapsed)}{rate}{left}"


class Display(Protocol):
    """One way of showing a run.

    Attributes:
        interval: Seconds between two calls of `show`.
        repeats: Seconds after which what still holds is noted again.
    """

    interval: float
    repeats: float

    def note(self, text: str) -> None:
        """Say something about the run as a whole."""

    def show(self, counts: Counts) -> None:
        """Show the numbers."""

    def row(self, job: Job, row: Row, place: str) -> None:
        """A spec has ended; *place* names its line."""

    def close(self) -> None:
        """Leave the screen as it should stay."""


class LiveDisplay:
    """Numbers that stay in place on a terminal, with the last failures below."""

    def __init__(self, title: str) -> None:
        self.interval = 0.2
        self.repeats = math.inf  # its clock shows that it lives
        self._title = title
        self._failures: deque[str] = deque(maxlen=4)
        self._counts: Counts | None = None
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False)
        self._live.start()

    def note(self, text: str) -> None:
        self._console.print(Text(text))

    def row(self, job: Job, row: Row, place: str) -> None:
        if _worth_a_line(row):
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
        # the short line is the last: a ^C that the terminal echoes behind it does not wrap
        return Group(Text(self._title, "bold"), bar, numbers, *failures, pace)


class LineDisplay:
    """Plain lines, for logs and pipes: now and then the numbers, and each new kind of failure.

    A failure waits for the next numbers, so that the summary of a short run does not repeat it.
    """

    def __init__(self) -> None:
        self.interval = 1.0
        self.repeats = 60.0
        self._said: tuple[float, str] = (0.0, "")
        self._kinds: set[Kind] = set()
        self._failures: list[str] = []

    def note(self, text: str) -> None:
        put_line(text)

    def row(self, job: Job, row: Row, place: str) -> None:
        if _worth_a_line(row) and (kind := kind_of(job, row)) not in self._kinds:
            self._kinds.add(kind)
            self._failures.append(f"{in_words(row.status)}: {failure_line(job, row, place)}")

    def show(self, counts: Counts) -> None:
        then, words = self._said
        if counts.elapsed - then >= 5 and counts.words() != words:  # noqa: PLR2004 - seconds
            self._said = (counts.elapsed, counts.words())
            for line in self._failures:
                put_line(line)
            self._failures.clear()
            put_line(f"{counts.ended}/{counts.total}: {counts.words()} ({counts.pace()})")

    def close(self) -> None:
        """Lines stay by themselves."""


class QuietDisplay:
    """Nothing before the end."""

    def __init__(self) -> None:
        self.interval = 3600.0
        self.repeats = math.inf

    def note(self, text: str) -> None: ...
    def row(self, job: Job, row: Row, place: str) -> None: ...
    def show(self, counts: Counts) -> None: ...
    def close(self) -> None: ...


class EventDisplay:
    """One JSON object a line: ``note``, ``progress`` and ``row`` events."""

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
        """Events stay by themselves."""

    @staticmethod
    def _put(event: str, **values: Any) -> None:
        put_line(json.dumps({"event": event, "time": time.time(), **values}, ensure_ascii=False))


def display_for(title: str, *, quiet: bool, events: bool) -> Display:
    """The way of showing that fits the options and where stdout goes."""
    if events:
        return EventDisplay()
    if quiet:
        return QuietDisplay()
    return LiveDisplay(title) if sys.stdout.isatty() else LineDisplay()


def _worth_a_line(row: Row) -> bool:
    """Whether it failed by itself; what was stopped or never sent all has one reason."""
    return row.status not in {"succeeded", "not_submitted", "interrupted"}


Kind = tuple[str, str]
"""Status and reason, without what differs from task to task."""

_MARK = re.compile(r" \((?:request|token) [^)]*\)")


def kind_of(job: Job, row: Row) -> Kind:
    """Equal for rows that differ only by their task."""
    reason = _MARK.sub("", _reason(row))
    for name in (row.task_id, job.file, frame_name(job.file)):
        reason = reason.replace(name or "\0", "")
    return row.status.value, reason


def failure_line(job: Job, row: Row, place: str, more: int = 0) -> str:
    """Line, prompt and reason of a row that did not succeed, and how many *more* are like it."""
    rest = f" and {more} more" if more else ""
    return f"{place} {job.title}{rest}: {_reason(row)}"


def _reason(row: Row) -> str:
    return " ".join(((row.error or {}).get("message") or row.status.value).split())


def in_words(name: str) -> str:
    """The name of a state or the status of a row, as a person reads it."""
    return name.replace("_", " ")


def put_line(text: str, to: TextIO | None = None) -> None:
    """Print a line; if nobody reads any more, go on in silence: the videos are paid for."""
    stream = sys.stdout if to is None else to
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def clock(seconds: float) -> str:
    """Seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
