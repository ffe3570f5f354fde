"""What is said when a run is over."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING

from callsheet._cli.progress import failure_line, put_line
from callsheet._cli.results import Ending, Row


if TYPE_CHECKING:
    from collections.abc import Sequence

    from callsheet._cli.plan import Job
    from callsheet._cli.results import Results
    from callsheet._cli.run import Order


def report(
    order: Order, jobs: Sequence[Job], results: Results, lost: Sequence[Row], *, interrupted: bool
) -> int:
    """Say how the run ended; gives the exit code, 0 if every video is there, else 1."""
    rows = [(job, results.rows[job.index]) for job in jobs if job.index in results.rows]
    numbers = Counter(row.status for _, row in rows)
    if order.events:
        counts = {ending.value: numbers[ending] for ending in Ending}
        event = {"event": "end", "total": len(jobs), "stopped": interrupted, **counts}
        put_line(json.dumps(event))
    else:
        out = sys.stderr if order.quiet else sys.stdout
        for line in _lines(order, rows, numbers, interrupted=interrupted):
            put_line(line, out)
    if lost:
        put_line(f"{results.path} could not be written; these rows are not in it:", sys.stderr)
        for row in lost:
            put_line(json.dumps(row.to_dict(), ensure_ascii=False), sys.stderr)
    return 0 if numbers[Ending.SUCCEEDED] == len(jobs) and not lost else 1


def _lines(
    order: Order,
    rows: Sequence[tuple[Job, Row]],
    numbers: Counter[Ending],
    *,
    interrupted: bool,
) -> list[str]:
    quiet = {Ending.SUCCEEDED, Ending.NOT_SUBMITTED, Ending.INTERRUPTED}
    lines = [
        f"{row.status.value}: {failure_line(job, row, f'{order.source}:{job.line}')}"
        for job, row in rows
        if row.status not in quiet
    ]
    unsent = [(job, row) for job, row in rows if row.status is Ending.NOT_SUBMITTED]
    if unsent and not interrupted:
        job, row = unsent[0]
        where = f"{order.source}:{job.line}"
        count = f" and {len(unsent) - 1} more" if len(unsent) > 1 else ""
        lines.append(f"not submitted: {where}{count}: {(row.error or {}).get('message')}")
    if numbers[Ending.UNCERTAIN]:
        lines.append(
            "uncertain: these may have been made and billed, so they are not sent again; if the "
            "provider does not list them, remove their lines from results.jsonl and run again"
        )
    words = ", ".join(
        f"{numbers[ending]} {ending.replace('_', ' ')}" for ending in Ending if numbers[ending]
    )
    lines.append(f"{words}: videos and results.jsonl are in {order.folder}")
    if interrupted:
        if numbers[Ending.INTERRUPTED]:
            count = f"tasks under way: {numbers[Ending.INTERRUPTED]}"
            lines.append(
                f"{count}, ended with the emulator"
                if order.embedded
                else f"{count}; they go on at the provider, and their ids are kept"
            )
        lines.append("to go on, run the same command again")
    elif len(rows) > numbers[Ending.SUCCEEDED]:
        lines.append("to try again what failed, run the same command again")
    return lines
