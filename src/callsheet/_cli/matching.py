"""What earlier runs have left, and which of it belongs to what is wanted now."""

from __future__ import annotations

import json
import os
from collections import deque
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from callsheet import TaskSpec
from callsheet._cli.results import PAID, Row
from callsheet._models.media import Media
from callsheet.errors import SpecError, SubmissionUncertainError, TaskError


if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence

    from callsheet import Batch, TaskHandle
    from callsheet._cli.plan import Job


T = TypeVar("T")


class Stage(StrEnum):
    """Where a task of the journal stands when a run begins, in words."""

    PLANNED = "not sent"
    SOUGHT = "its create got no answer, and is looked for"
    UNCERTAIN = "may exist and be billed"
    UNDER_WAY = "under way"
    RENDERED = "rendered"
    OVER = "ended without a video"


@attrs.frozen(kw_only=True)
class Task:
    """What the journal has kept of one submission.

    Attributes:
        place: Its position in the journal.
        spec: What it is made from, `comparable`; ``None`` if it was attached by id.
        task_id: The provider's id, if there is one.
        file: Name of the file to which its video was saved, if that was done.
        stage: Where it stands.
    """

    place: int
    spec: TaskSpec | None
    task_id: str | None
    file: str | None
    stage: Stage


@attrs.frozen(kw_only=True)
class Earlier:
    """What earlier runs have left. Each job has at most one row and one task of it.

    Attributes:
        rows: Rows by the index of their job.
        tasks: Tasks by the index of their job.
        other_rows: Rows of what is not wanted now.
        other_tasks: The same for tasks; those that are over are nobody's, and left out.
        over: Ids of the tasks that ended without a video.
    """

    rows: dict[int, Row]
    tasks: dict[int, Task]
    other_rows: list[Row]
    other_tasks: list[Task]
    over: frozenset[str | None]

    def arranged(self, jobs: Sequence[Job], folder: Path) -> dict[int, Row]:
        """The rows by index: each at that of its job, and what is not wanted now behind all.

        A video that was taken out of *folder* and is not wanted now has no file there any more.
        """
        rows = {
            index: attrs.evolve(row, index=index, spec=jobs[index].spec.to_dict())
            for index, row in self.rows.items()
        }
        end = max([len(jobs), *(row.index + 1 for row in self.other_rows)])
        for row in self.other_rows:
            index = row.index if row.index >= len(jobs) else end
            end = max(end, index + 1)
            rows[index] = attrs.evolve(row, index=index)
            if row.file is not None and not (folder / row.file).is_file():
                rows[index] = attrs.evolve(rows[index], file=None, last_frame_file=None)
        return rows


async def tasks_of(batch: Batch, sought: Collection[int]) -> list[Task]:
    """What a journal holds, as it was resumed.

    Args:
        batch: All of it.
        sought: The positions of those whose create got no answer.
    """
    return [
        Task(
            place=place,
            spec=None if handle.spec is None else comparable(handle.spec),
            task_id=handle.task_id,
            file=None if handle.file is None else handle.file.name,
            stage=await _stage(handle, sought=place in sought),
        )
        for place, handle in enumerate(batch)
    ]


def match(jobs: Sequence[Job], rows: Iterable[Row], tasks: Iterable[Task]) -> Earlier:
    """Find the job of each row and of each task.

    A row belongs to a job with an equal spec, where several are equal to the one that has its file
    or its index. A task belongs to the job whose row has its id, else to one with an equal spec, in
    order. So lines can change their places, and one that is changed itself is a new one.
    """
    texts = [_text(job.spec.to_dict()) for job in jobs]
    specs = [comparable(job.spec) for job in jobs]
    mine, other_rows = _paired(
        jobs,
        sorted(rows, key=lambda row: row.index),
        (lambda job: (texts[job.index], job.file), lambda row: (_text(row.spec), row.file)),
        (lambda job: (texts[job.index], job.index), lambda row: (_text(row.spec), row.index)),
        (lambda job: texts[job.index], lambda row: _text(row.spec)),
    )
    every = list(tasks)
    noted = {task.task_id for task in every}

    def spec_of(job: Job) -> TaskSpec | None:
        """Its spec, unless its row holds a task of which the journal does not know."""
        row = mine.get(job.index)
        elsewhere = row is not None and row.status in PAID and row.task_id not in noted
        return None if elsewhere else specs[job.index]

    over = frozenset(task.task_id for task in every if task.stage is Stage.OVER)
    found, other_tasks = _paired(
        jobs,
        [task for task in every if task.stage is not Stage.OVER],
        (lambda job: _id_in(mine, job), lambda task: task.task_id),
        (
            lambda job: spec_of(job) and (spec_of(job), job.file),
            lambda task: (task.spec, task.file),
        ),
        (spec_of, lambda task: task.spec),
    )
    bare = {task.task_id: index for index, task in found.items() if index not in mine}
    for row in other_rows:  # from another working directory its paths read otherwise
        if row.task_id is not None and row.task_id in bare:
            mine[bare.pop(row.task_id)] = row
    belonging = set(map(id, mine.values()))
    return Earlier(
        rows=mine,
        tasks=found,
        other_rows=[row for row in other_rows if id(row) not in belonging],
        other_tasks=other_tasks,
        over=over,
    )


def comparable(spec: TaskSpec) -> TaskSpec:
    """The spec with one spelling for each file, from whatever folder it is named."""

    def there(medium: Any) -> Any:
        match medium:
            case Media(source=Path() as path):
                return type(medium)(Path(os.path.normpath(path.absolute())))
            case _:
                return medium

    return attrs.evolve(
        spec,
        first_frame=there(spec.first_frame),
        last_frame=there(spec.last_frame),
        references=tuple(map(there, spec.references)),
    )


def made_from(row: Row) -> TaskSpec | None:
    """The spec of a row, `comparable`; ``None`` if another version has written what it holds."""
    try:
        return comparable(TaskSpec.from_dict(row.spec))
    except SpecError:
        return None


def _paired(
    jobs: Sequence[Job],
    found: Sequence[T],
    *marks: tuple[Callable[[Job], Hashable], Callable[[T], Hashable]],
) -> tuple[dict[int, T], list[T]]:
    """Give each job at most one of what was *found*: by the first mark that agrees, in order."""
    pairs: dict[int, T] = {}
    left = list(found)
    for of_job, of_found in marks:
        waiting: dict[Hashable, deque[T]] = {}
        for each in left:
            waiting.setdefault(of_found(each), deque()).append(each)
        for job in jobs:
            mark = None if job.index in pairs else of_job(job)
            if mark is not None and waiting.get(mark):
                pairs[job.index] = waiting[mark].popleft()
        taken = set(map(id, pairs.values()))
        left = [each for each in left if id(each) not in taken]
    return pairs, left


async def _stage(handle: TaskHandle, *, sought: bool) -> Stage:
    if not handle.done:
        if handle.task_id is not None:
            return Stage.UNDER_WAY
        return Stage.SOUGHT if sought else Stage.PLANNED
    outcome = await handle.outcome()
    if outcome.video is not None:
        return Stage.RENDERED
    if isinstance(outcome.error, SubmissionUncertainError):
        return Stage.UNCERTAIN
    # "no such task" may only mean another account's key
    given_up = outcome.task_id is not None and not isinstance(outcome.error, TaskError)
    return Stage.UNDER_WAY if given_up else Stage.OVER


def _id_in(rows: Mapping[int, Row], job: Job) -> str | None:
    return rows[job.index].task_id if job.index in rows else None


def _text(spec: Mapping[str, Any]) -> str:
    return json.dumps(spec, sort_keys=True)
