"""``callsheet resolve``: what a person has seen of an uncertain create on the account's pages."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from callsheet import Client, RetryPolicy, Snapshot, SpendLimit
from callsheet._catalog import PROVIDERS
from callsheet._cli.matching import comparable, spec_key, spec_of_row
from callsheet._cli.plan import title_of
from callsheet._cli.printing import put_line
from callsheet._cli.progress import in_words
from callsheet._cli.refusal import Refusal
from callsheet._cli.results import Results, Row
from callsheet._cli.rows import not_made_row, resolved_row
from callsheet._cli.run import JOURNAL
from callsheet.errors import ConfigurationError, NotFoundError, NotSubmittedError


if TYPE_CHECKING:
    from collections.abc import Sequence

    from callsheet import Batch, Provider, TaskHandle


_LINE = re.compile(r"(\d+)(?:/(\d+))?")
_OFFLINE = SpendLimit(tasks=0)
"""With this, what earlier runs have planned is not sent while the journal is open here."""


class ResolveError(Refusal):
    """Nothing was resolved, and nothing was changed."""

    def __init__(self, *lines: str) -> None:
        super().__init__("; ".join(lines))
        self._lines = lines

    def lines(self) -> list[str]:
        """Why, and what would be right, one line for each."""
        return list(self._lines)


@attrs.frozen(kw_only=True)
class Resolution:
    """What the command line says.

    Attributes:
        folder: The output folder of the run.
        name: Names the row: its line, its line and an attempt, or its prompt.
        task_id: The task that the create has made; ``None`` if it has made none.
        events: Print JSON instead of text.
    """

    folder: Path
    name: str
    task_id: str | None
    events: bool


async def resolve(resolution: Resolution) -> int:
    """Write down what became of a create, and return the exit code.

    Raises:
        ResolveError: It is not clear what is meant, it cannot be so, or the journal is in use.
        ResultsError: The results cannot be read.
        CallsheetError: The provider could not be asked. Nothing was changed.
    """
    folder = resolution.folder
    if not (folder / JOURNAL).is_file():
        raise ResolveError(
            f"{folder} has no {JOURNAL}, so nothing in it is uncertain; give the --out of a run"
        )
    with Results(folder) as results:
        if not results.rows:
            raise ResolveError(f"{results.path} has no rows; run the same command again first")
        client = Client(
            provider=(provider := _provider_of(next(iter(results.rows.values())))),
            base_url=provider.base_url,
            journal=folder / JOURNAL,
            spend=_OFFLINE,
            retry=RetryPolicy(resubmit="never"),
        )
        try:
            async with client:
                # Nobody else can change the folder from here on.
                results.read()
                found = await _resolve_in(client, results, resolution)
        except ConfigurationError as exc:
            raise ResolveError(f"nothing was changed: {exc}") from exc
        written = results.put(found.after) if found.after != found.before else True
        results.finish()
    _show(resolution, results, found)
    if not written:
        put_line(f"{results.path} could not be written; the journal holds it, and the next run too")
    return 0


@attrs.frozen(kw_only=True)
class _Resolved:
    """What was resolved.

    Attributes:
        line: Its line.
        attempt: The number of the create.
        before: Its row before.
        after: Its row now.
        snapshot: What the provider says of the task; ``None`` if none was made.
    """

    line: int
    attempt: int
    before: Row
    after: Row
    snapshot: Snapshot | None


async def _resolve_in(client: Client, results: Results, resolution: Resolution) -> _Resolved:
    batch = await client.resume()
    line, row, attempt = _row_of(results, resolution.name)
    task_id = resolution.task_id
    handle = _handle_of(row, results, batch)
    if handle is None or not (uncertain := handle.uncertain_attempts):
        task = f" as task {row.task_id}" if row.task_id else ""
        known = f"{in_words(row.status)}{task}"
        raise ResolveError(f"line {line} {_title(row)} is not uncertain: it is {known}")
    for number, other in enumerate(_in_order(results), 1):
        if task_id is not None and other.task_id == task_id:
            raise ResolveError(f"task {task_id} is that of line {number} {_title(other)}")
    first, *others = uncertain
    if attempt is None and others:
        raise ResolveError(
            f"line {line} {_title(row)} has {len(uncertain)} uncertain creates; say which:",
            *(
                f"  {line}/{each.attempt}: sent {_time(each.sent_at)}, "
                + (f"token {each.token}" if each.token else "without a token")
                for each in uncertain
            ),
        )
    n = first.attempt if attempt is None else attempt
    try:
        snapshot = await handle.resolve(task_id, attempt=n)
    except NotFoundError as exc:
        raise ResolveError(
            f"nothing was changed: {client.provider.name} does not know task {task_id} ({exc})"
        ) from exc
    after = row
    if row.task_id is None and snapshot is not None:
        after = resolved_row(row, snapshot)
    elif row.task_id is None and not handle.uncertain_attempts:
        after = not_made_row(row, NotSubmittedError("by hand: its create has made no task"))
    return _Resolved(line=line, attempt=n, before=row, after=after, snapshot=snapshot)


def _provider_of(row: Row) -> Provider:
    """The provider of the run that wrote a row.

    Raises:
        ResolveError: This version does not know it.
    """
    name, _, address = row.provider.partition(" at ")
    if name not in PROVIDERS:
        raise ResolveError(f"the rows are of provider {name!r}, which is not known here")
    if not address:
        return PROVIDERS[name]
    return attrs.evolve(PROVIDERS[name], base_url=address, speed=1.0)


def _in_order(results: Results) -> list[Row]:
    return [results.rows[index] for index in sorted(results.rows)]


def _row_of(results: Results, name: str) -> tuple[int, Row, int | None]:
    """The line and the row that a name means, and the attempt if it names one.

    Raises:
        ResolveError: There is no such row, or it is not clear which one is meant.
    """
    rows = _in_order(results)
    if (found := _LINE.fullmatch(name.strip())) is not None:
        line = int(found[1])
        if results.unsorted:
            raise ResolveError(
                f"the lines of {results.path} are out of order, since a run was cut off; run the "
                "same command again first"
            )
        if not 1 <= line <= len(rows):
            raise ResolveError(f"{results.path} has no line {line}, it has {len(rows)}")
        return line, rows[line - 1], None if found[2] is None else int(found[2])
    named = [
        (line, row) for line, row in enumerate(rows, 1) if _text(row.spec.get("prompt")) == name
    ]
    if not named:
        raise ResolveError(
            f"no row of {results.path} has the prompt {title_of(name)}; give the number of its "
            "line there, or the whole prompt"
        )
    if len(named) > 1:
        lines = ", ".join(str(line) for line, _ in named)
        raise ResolveError(f"{title_of(name)} is the prompt of several lines: give one of {lines}")
    return (*named[0], None)


def _handle_of(row: Row, results: Results, batch: Batch) -> TaskHandle | None:
    """The submission of a row in the journal.

    Rows with equal specs and no task are alike, but for the token in the error of each.
    """
    message = _text((row.error or {}).get("message"))
    open_ = [handle for handle in batch if handle.uncertain_attempts]
    for handle in open_:
        tokens = [each.token for each in handle.uncertain_attempts]
        same_task = row.task_id is not None and handle.task_id == row.task_id
        if same_task or any(token is not None and token in message for token in tokens):
            return handle
    key = _key(row)
    if row.task_id is not None or key is None:
        return None
    alike = [
        handle
        for handle in open_
        if handle.task_id is None
        and handle.spec is not None
        and spec_key(comparable(handle.spec)) == key
    ]
    rows = [
        each
        for each in _in_order(results)
        if each.task_id is None and each.status is row.status and _key(each) == key
    ]
    return dict(zip([each.index for each in rows], alike, strict=False)).get(row.index)


def _key(row: Row) -> object:
    spec = spec_of_row(row)
    return None if spec is None else spec_key(spec)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _title(row: Row) -> str:
    return title_of(_text(row.spec.get("prompt")))


def _time(at: float | None) -> str:
    return "at an unknown time" if at is None else f"{datetime.fromtimestamp(at, UTC):%F %T} UTC"


def _show(resolution: Resolution, results: Results, found: _Resolved) -> None:
    """Print what was changed, and what to do next."""
    if resolution.events:
        event: dict[str, Any] = {
            "event": "resolved",
            "line": found.line,
            "attempt": found.attempt,
            **found.after.to_dict(),
        }
        put_line(json.dumps(event, ensure_ascii=False))
        return
    for line in _lines(results, found):
        put_line(line)


def _lines(results: Results, found: _Resolved) -> Sequence[str]:
    where = f"{results.path}:{found.line} {_title(found.before)}"
    changed = found.after != found.before
    if (snapshot := found.snapshot) is not None:
        task = f"task {snapshot.task_id}, which is {snapshot.status.value}"
        said = f"{where}: create {found.attempt} has made {task}; noted by hand"
        then = (
            "it waits for this task and fetches its video, and buys nothing for this line"
            if changed
            else "it counts the money of this task beside that of the line's own"
        )
    else:
        said = f"{where}: create {found.attempt} has made no task; noted by hand"
        then = (
            "it sends this line again; its money is free for that"
            if changed
            else "it does not count the money of this create any longer"
        )
    row = f"its row was {in_words(found.before.status)}, and is {in_words(found.after.status)} now"
    return [said, *([row] if changed else []), f"run the same command as before: {then}"]
