"""What is left to do after earlier runs into the same folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from callsheet import State
from callsheet._cli.files import present
from callsheet._cli.matching import AT_PROVIDER, UNSENT, Task, spec_key, spec_of_row
from callsheet._cli.names import key_of
from callsheet._cli.plan import Job, title_of
from callsheet._cli.results import PAID, UNFETCHED, Ending


if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
    from pathlib import Path

    from callsheet._cli.matching import EarlierRuns
    from callsheet._cli.results import Row
    from callsheet._models.spec import TaskSpec


_AT_STAKE = {State.UNCERTAIN, State.SUCCEEDED, *AT_PROVIDER}

_MOST_NAMED = 20


@attrs.define
class Work:
    """The jobs of a run, in five lists. Each job is in one of them.

    Attributes:
        kept: The video is on disk.
        resumed: The journal has the submission, so the client continues it.
        attached: A task was bought. The run waits for its outcome and downloads the video.
        uncertain: A task may have been bought. Only the user can find out.
        submitted: All other jobs; the run buys a task for each.
        again: How many of `submitted` ended without a video in an earlier run.
    """

    kept: list[Job] = attrs.field(factory=list[Job])
    resumed: list[tuple[Job, Task]] = attrs.field(factory=list[tuple[Job, Task]])
    attached: list[tuple[Job, str]] = attrs.field(factory=list[tuple[Job, str]])
    uncertain: list[Job] = attrs.field(factory=list[Job])
    submitted: list[Job] = attrs.field(factory=list[Job])
    again: int = 0

    @property
    def open(self) -> list[Job]:
        """The jobs that this run works on: `resumed`, `attached` and `submitted`."""
        found = [job for job, _ in (*self.resumed, *self.attached)]
        return [*found, *self.submitted]

    def words(self) -> str | None:
        """Describe what this run continues; ``None`` if no earlier run left anything."""
        tasks = [task for _, task in self.resumed]
        asked = len(self.attached) + sum(
            task.state in {State.SUCCEEDED, *AT_PROVIDER} for task in tasks
        )
        sought = sum(task.is_sought for task in tasks)
        uncertain = sum(task.state is State.UNCERTAIN for task in tasks) - sought
        uncertain += len(self.uncertain)
        unsent = len(self.submitted) + sum(task.state in UNSENT for task in tasks)
        again = f" ({self.again} of them failed before)" if self.again else ""
        parts = (
            f"{len(self.kept)} kept" * bool(self.kept),
            f"{asked} asked for again, not bought again" * bool(asked),
            f"{sought} without an answer to be looked for" * bool(sought),
            f"{uncertain} uncertain" * bool(uncertain),
            f"{unsent} to submit{again}" * bool(unsent),
        )
        continues = self.kept or tasks or self.attached or self.uncertain or self.again
        return f"going on: {', '.join(filter(None, parts))}" if continues else None


def find_work(
    jobs: Sequence[Job],
    earlier: EarlierRuns,
    folder: Path,
    *,
    tasks_live: bool,
    resubmit: bool = False,
) -> Work:
    """Decide for each job what this run does about it.

    Args:
        jobs: All jobs of this run.
        earlier: What earlier runs left.
        folder: Where the videos are.
        tasks_live: Whether tasks outlive a run. Tasks of an embedded emulator end with the run.
        resubmit: Whether to buy a task again if it is uncertain that the first one exists.
    """
    work = Work()
    no_task = {None, *earlier.over}
    for job in jobs:
        row, task = earlier.rows.get(job.index), earlier.tasks.get(job.index)
        if row is not None and row.file == job.file and present(row, folder):
            work.kept.append(job)
        elif task is not None:
            work.resumed.append((job, task))
        elif row is None:
            work.submitted.append(job)
        elif tasks_live and row.status in PAID and row.task_id not in no_task:
            work.attached.append((job, row.task_id or ""))
        elif tasks_live and row.status is Ending.UNCERTAIN and not resubmit:
            work.uncertain.append(job)
        else:
            work.submitted.append(job)
            work.again += row.status not in {Ending.NOT_SUBMITTED, Ending.INTERRUPTED}
    return work


def refusal(
    jobs: Sequence[Job], earlier: EarlierRuns, folder: Path, *, tasks_live: bool
) -> str | None:
    """Say why this run must not start; ``None`` if it may.

    It must not start if it would ignore all paid work in the folder, or overwrite a video that was
    made from another spec.
    """
    paid = {*PAID, Ending.UNCERTAIN} if tasks_live else {Ending.SUCCEEDED}
    left = any(row.status in paid for row in earlier.other_rows)
    left |= any(task.state in _AT_STAKE for task in earlier.other_tasks)
    if left and not earlier.rows and not earlier.tasks:
        return (
            f"{folder} is of another run: nothing that was made there is asked for now; use "
            "another --out, or the input and the options that it was made with"
        )
    there = {
        key_of(row.file)
        for row in earlier.other_rows
        if row.file is not None and (folder / row.file).is_file()
    }
    for job in jobs if there else ():
        if key_of(job.file) in there:
            return (
                f"the input has changed: line {job.line} would write over {job.file!r}, which was "
                f"made from another spec; move that file out of {folder}, or use another --out"
            )
    return None


def journal_loss(
    jobs: Sequence[Job], rows: Collection[Row], tasks: Collection[Task], earlier: EarlierRuns
) -> str | None:
    """Say why an existing journal cannot be trusted; ``None`` if it can.

    A journal has lost data if the rows name tasks that it does not have. If it has any tasks, it
    must also claim that a spec of those rows was never sent. The loss does no harm if every job has
    a row or a task that was sent. SQLite keeps recent changes in a second file (``-wal``), and they
    are lost if that file is missing.
    """
    known_ids = {None, *(task.task_id for task in tasks)}
    unknown = [row for row in rows if row.status in PAID and row.task_id not in known_ids]
    planned = _keys(task.spec for task in earlier.other_tasks if task.state in UNSENT)
    if not unknown or (tasks and planned.isdisjoint(_keys(map(spec_of_row, unknown)))):
        return None
    sent = {index for index, task in earlier.tasks.items() if task.state not in UNSENT}
    if all(job.index in earlier.rows or job.index in sent for job in jobs):
        return None
    return (
        f"journal.db does not know {len(unknown)} tasks that results.jsonl names: it was damaged, "
        "or lost its journal.db-wal, and with that all it knew of what is under way; put both back "
        "as they were, or move journal.db away to go on by results.jsonl alone: what that does not "
        "name is made again"
    )


def changes(earlier: EarlierRuns, folder: Path, *, tasks_live: bool) -> Iterator[str]:
    """Lines about what earlier runs left and this run does not ask for, and what happens to it."""
    known = {None, *earlier.over, *(task.task_id for task in earlier.other_tasks)}
    left = [
        _line(task.task_id, None if task.spec is None else task.spec.prompt, _words(task))
        for task in earlier.other_tasks
        if task.state in _AT_STAKE and task.file is None
    ] + [
        _line(row.task_id, row.spec.get("prompt"), row.last_status or row.status)
        for row in earlier.other_rows
        if tasks_live and row.status in UNFETCHED and row.task_id not in known
    ]
    unsent = sum(task.state in UNSENT for task in earlier.other_tasks)
    videos = sum(present(row, folder) for row in earlier.other_rows)
    changed = "input or options have changed"
    if left:
        yield (
            f"{changed}; sent before, and not asked for now: {len(left)}. What comes of these is "
            "billed and not fetched; once asked for again, it is fetched and not bought again:"
        )
        yield from (f"  {line}" for line in left[:_MOST_NAMED])
        if (rest := len(left) - _MOST_NAMED) > 0:
            yield f"  … and {rest} more"
    if unsent:
        yield f"{changed}; planned before, and not asked for now: {unsent}. These are not sent"
    if videos:
        yield f"{changed}; videos in {folder} not asked for now: {videos}. They stay there"


def _keys(specs: Iterable[TaskSpec | None]) -> set[Hashable]:
    return {None if spec is None else spec_key(spec) for spec in specs}


def _words(task: Task) -> str:
    """The state of a task of another input, for the user."""
    if task.is_sought:
        return "its create got no answer, and is looked for"
    if task.state is State.UNCERTAIN:
        return "may exist and be billed"
    return "rendered" if task.state is State.SUCCEEDED else "under way"


def _line(task_id: str | None, prompt: str | None, state: str) -> str:
    return f"{task_id or 'no id'} {title_of(prompt)}: {state}"
