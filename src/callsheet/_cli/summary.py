"""What a run prints when it is over."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from callsheet._catalog import PROVIDERS
from callsheet._cli.money import spend_event, spend_words
from callsheet._cli.printing import INTERRUPTED, put_line
from callsheet._cli.progress import EventDisplay, Kind, failure_line, in_words, kind_of
from callsheet._cli.results import Ending, Row
from callsheet._models.policy import SpendLimit
from callsheet._models.spend import Spend
from callsheet._wire.refusals import WRONG_ADDRESS
from callsheet.pricing import estimate


if TYPE_CHECKING:
    from collections.abc import Iterator

    from callsheet._cli.plan import Job
    from callsheet._cli.results import Results
    from callsheet._cli.run_request import RunRequest


_MOST_LINES = 10

_FULL = (os.strerror(errno.ENOSPC), "disk is full")
"""How the operating system reports a full disk, and how SQLite does."""

_ADDRESS = "correct the address and give another --out, as a folder is of one address,"


@attrs.frozen(kw_only=True)
class Finish:
    """How a run ended as a whole.

    Attributes:
        stopped: Whether the user stopped it.
        journal_error: Why the journal could not be written; ``None`` if it could.
        spend: What the client has spent; ``None`` if no client was started.
        changes: Lines about what earlier runs left and this run does not ask for.
        idle: Whether every video was there already, so that no work was needed.
    """

    stopped: bool = False
    journal_error: str | None = None
    spend: Spend | None = None
    changes: Sequence[str] = ()
    idle: bool = False


def report(
    request: RunRequest, jobs: Sequence[Job], results: Results, lost: Sequence[Row], finish: Finish
) -> int:
    """Print how the run ended and return the exit code.

    Args:
        request: The options of the run.
        jobs: All jobs of the run.
        results: The rows.
        lost: Rows that could not be written.
        finish: How the run ended as a whole.
    """
    rows = [(job, results.rows[job.index]) for job in jobs if job.index in results.rows]
    numbers = Counter(row.status for _, row in rows)
    if request.events:
        if finish.idle:
            for line in finish.changes:
                EventDisplay().note(line)
        event = {"event": "end", "total": len(jobs), "stopped": finish.stopped}
        counts = {ending.value: numbers[ending] for ending in Ending}
        spend = None if finish.spend is None else spend_event(finish.spend)
        put_line(json.dumps({**event, **counts, "spend": spend}))
    else:
        out = sys.stderr if request.quiet else sys.stdout
        for line in _lines(request, rows, numbers, finish):
            put_line(line, out)
    if finish.journal_error is not None:
        put_line(f"error: {finish.journal_error}", sys.stderr)
    for line in _lost_lines(request, results, lost, finish):
        put_line(line, sys.stderr)
    if finish.stopped:
        return INTERRUPTED
    complete = numbers[Ending.SUCCEEDED] == len(jobs) and not lost and finish.journal_error is None
    return 0 if complete else 1


def _lines(
    request: RunRequest, rows: Sequence[tuple[Job, Row]], numbers: Counter[Ending], finish: Finish
) -> Iterator[str]:
    if request.quiet or finish.idle:  # otherwise they were shown when the run began
        yield from finish.changes
    quiet = {Ending.SUCCEEDED, Ending.NOT_SUBMITTED, Ending.INTERRUPTED}
    kinds: dict[Kind, list[tuple[Job, Row]]] = {}
    for job, row in rows:
        if row.status not in quiet:
            kinds.setdefault(kind_of(job, row), []).append((job, row))
    for (job, row), *others in kinds.values():
        line = failure_line(job, row, f"{request.source}:{job.line}", len(others))
        yield f"{in_words(row.status)}: {line}"
    unsent = [(job, row) for job, row in rows if row.status is Ending.NOT_SUBMITTED]
    if not finish.stopped:
        yield from _unsent_lines(request, unsent)
    if numbers[Ending.UNCERTAIN]:
        yield from _uncertain_lines(request, rows)
    words = ", ".join(
        f"{numbers[ending]} {in_words(ending)}" for ending in Ending if numbers[ending]
    )
    if words:
        yield f"{words}: videos and results.jsonl are in {request.folder}"
    else:
        yield "stopped before anything was sent"
    spent = None if finish.spend is None else spend_words(finish.spend)
    if spent is not None:
        yield spent
    yield from _advice(request, rows, numbers, finish)


def _uncertain_lines(request: RunRequest, rows: Sequence[tuple[Job, Row]]) -> Iterator[str]:
    yield (
        "uncertain: these may have been made and billed. Where the provider lists its tasks, the "
        "same command looks for them again, and sends only what was never made"
    )
    lines = [str(place) for place, (_, row) in enumerate(rows, 1) if row.status is Ending.UNCERTAIN]
    named = ", ".join(lines[:_MOST_LINES]) + ", …" * (len(lines) > _MOST_LINES)
    yield (
        f"where it does not, look at the account's own pages and say what you have found: "
        f"callsheet resolve {request.folder} LINE --task-id ID, or --none; LINE of results.jsonl "
        f"is {named}. With --resubmit always all are sent again, and may be billed twice"
    )


def _advice(
    request: RunRequest, rows: Sequence[tuple[Job, Row]], numbers: Counter[Ending], finish: Finish
) -> Iterator[str]:
    """What the user can do next."""
    if finish.stopped:
        if under_way := numbers[Ending.INTERRUPTED]:
            still_running = "they go on at the provider, and their ids are kept"
            state = "ended with the emulator" if request.embedded else still_running
            yield f"tasks under way: {under_way}; {state}"
        yield "to go on, run the same command again"
        return
    left = [(job, row) for job, row in rows if row.status is not Ending.SUCCEEDED]
    limited = [job for job, row in left if _reason(row) == "SpendLimitError"]
    if limited:
        yield from dict.fromkeys(_limit_advice(request, job, finish.spend) for job in limited)
    first = " and ".join(
        dict.fromkeys(filter(None, (_required_fix(request, row) for _, row in left)))
    )
    if first:
        yield f"to try again what failed, {first} first, then run the same command again"
    elif left and not limited:
        yield "to try again what failed, run the same command again"
    elif finish.idle:
        yield "nothing was left to do"


def _limit_advice(request: RunRequest, job: Job, spend: Spend | None) -> str:
    """How to get a video that the spend limit did not allow."""
    limit = SpendLimit() if spend is None else spend.limit
    caps = {"USD": limit.usd, "CNY": limit.cny}
    limits_money = any(cap is not None for cap in caps.values())
    each = estimate(job.spec, provider=request.known_provider)
    if limit.tokens is not None and each.tokens is None:
        return (
            "no limit on tokens can be kept where they are not known: to go on, run the same "
            "command with --max-tasks in its place"
        )
    if limits_money and (each.money is None or each.currency is None):
        other = " or --max-tokens" if each.tokens is not None else ""
        return (
            "no limit on money can be kept where the price or the tokens are not known: to go on, "
            f"run the same command with --max-tasks{other} in its place, or name your own prices "
            "with --prices"
        )
    if limits_money and each.money and each.currency and caps[each.currency] is None:
        option = f"--max-{each.currency.lower()}"
        return f"to go on, run the same command with {option}: {request.provider} is paid in it"
    return "to go on, run the same command with a limit that allows it"


def _required_fix(request: RunRequest, row: Row) -> str | None:
    """What the user has to fix first, before the row can succeed; ``None`` if nothing."""
    error = row.error or {}
    message = error.get("message") or ""
    variable = PROVIDERS[request.provider].key_variable
    if error.get("type") == "AuthenticationError":
        return f"correct the key in {variable}" if variable else "correct the key"
    if WRONG_ADDRESS in message:
        return _ADDRESS if request.base_url else "see who answers in the provider's place"
    return "make room on the disk" if any(words in message for words in _FULL) else None


def _lost_lines(
    request: RunRequest, results: Results, lost: Sequence[Row], finish: Finish
) -> Iterator[str]:
    """Lines about rows that could not be written."""
    if not lost:
        return
    text = f"{results.path} could not be written; rows that are not in it: {len(lost)}"
    if finish.journal_error is not None:
        yield f"{text}. What has an id:"
        yield from (json.dumps(row.to_dict(), ensure_ascii=False) for row in lost if row.task_id)
    elif request.embedded:
        yield f"{text}. The same command makes their videos anew"
    else:
        yield f"{text}. The journal holds their tasks, and the same command writes them"


def _unsent_lines(request: RunRequest, unsent: Sequence[tuple[Job, Row]]) -> Iterator[str]:
    """One line per kind of reason, with the line number and message of its first spec."""
    kinds: dict[str | None, list[tuple[Job, Row]]] = {}
    for job, row in unsent:
        kinds.setdefault(_reason(row), []).append((job, row))
    for same in kinds.values():
        job, row = same[0]
        count = f" and {len(same) - 1} more" if len(same) > 1 else ""
        message = (row.error or {}).get("message")
        yield f"not submitted: {request.source}:{job.line}{count}: {message}"


def _reason(row: Row) -> str | None:
    return (row.error or {}).get("type")
