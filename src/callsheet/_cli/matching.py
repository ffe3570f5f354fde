"""Rows and tasks of earlier runs, and the jobs of this run that they belong to."""

from __future__ import annotations

import json
import os
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from callsheet import State, TaskSpec
from callsheet._cli.results import PAID, Row
from callsheet._models.media import Media
from callsheet.errors import SpecError


if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

    from callsheet import Batch
    from callsheet._cli.plan import Job


T = TypeVar("T")


AT_PROVIDER = frozenset({State.SUBMITTED, State.QUEUED, State.RUNNING})
"""The task exists, and has not ended as far as is known."""
UNSENT = frozenset({State.WAITING, State.SENDING})
"""Nothing was sent, or not yet, of what this run is going on with."""
OVER = frozenset({State.FAILED, State.EXPIRED, State.CANCELLED, State.NOT_SUBMITTED})
"""There is no video, and none will come."""


@attrs.frozen(kw_only=True)
class Task:
    """One submission in the journal.

    Attributes:
        place: Its position in the journal.
        spec: Its spec, made `comparable`; ``None`` if the task was attached by id.
        task_id: The provider's id; ``None`` if it has none.
        file: Name of the saved video; ``None`` if it was not saved.
        state: Its state.
        done: Whether it has its outcome.
    """

    place: int
    spec: TaskSpec | None
    task_id: str | None
    file: str | None
    state: State
    done: bool = False

    @property
    def is_sought(self) -> bool:
        """Whether its create got no answer, and its task is looked for."""
        return self.state is State.UNCERTAIN and not self.done


@attrs.frozen(kw_only=True)
class EarlierRuns:
    """What earlier runs left. Each job has at most one row and at most one task.

    Attributes:
        rows: Rows by the index of their job.
        tasks: Tasks by the index of their job.
        other_rows: Rows that belong to no job of this run.
        other_tasks: Tasks that belong to no job of this run, without those in `over`.
        over: Ids of the tasks that ended without a video. They belong to no job.
    """

    rows: dict[int, Row]
    tasks: dict[int, Task]
    other_rows: list[Row]
    other_tasks: list[Task]
    over: frozenset[str | None]

    def arranged(self, jobs: Sequence[Job], folder: Path) -> dict[int, Row]:
        """All rows by index: each at the index of its job, rows without a job after all jobs.

        A row without a job loses its file names if its video is no longer in *folder*.
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


def tasks_of(batch: Batch) -> list[Task]:
    """Describe every submission of a resumed journal."""
    return [
        Task(
            place=place,
            spec=None if handle.spec is None else comparable(handle.spec),
            task_id=handle.task_id,
            file=None if handle.file is None else handle.file.name,
            state=handle.state,
            done=handle.done,
        )
        for place, handle in enumerate(batch)
    ]


def match(jobs: Sequence[Job], rows: Iterable[Row], tasks: Iterable[Task]) -> EarlierRuns:
    """Find the job of each row and of each task.

    A row belongs to a job with an equal spec. If several jobs have an equal spec, the job with the
    same file name comes first, then the job with the same index.

    A task belongs to the job whose row has its id. Otherwise it belongs to a job with an equal
    spec, in order. So lines may move in the input, and a changed line counts as a new one.
    """
    all_rows = sorted(rows, key=lambda row: row.index)
    texts = [_text(job.spec.to_dict()) for job in jobs] if all_rows else []
    row_texts = {id(row): _text(row.spec) for row in all_rows}
    rows_by_job, other_rows = _pair(
        jobs,
        all_rows,
        (lambda job: (texts[job.index], job.file), lambda row: (row_texts[id(row)], row.file)),
        (lambda job: (texts[job.index], job.index), lambda row: (row_texts[id(row)], row.index)),
        (lambda job: texts[job.index], lambda row: row_texts[id(row)]),
    )
    all_tasks = list(tasks)
    known_ids = {task.task_id for task in all_tasks}
    specs = [spec_key(comparable(job.spec)) for job in jobs] if all_tasks else []
    task_specs = {
        task.place: None if task.spec is None else spec_key(task.spec) for task in all_tasks
    }

    def spec_of(job: Job) -> Hashable:
        """The spec of a job; ``None`` if its row names a task that is not in the journal."""
        row = rows_by_job.get(job.index)
        unknown_task = row is not None and row.status in PAID and row.task_id not in known_ids
        return None if unknown_task else specs[job.index]

    over = frozenset(task.task_id for task in all_tasks if task.state in OVER)
    found, other_tasks = _pair(
        jobs,
        [task for task in all_tasks if task.state not in OVER],
        (lambda job: _id_in(rows_by_job, job), lambda task: task.task_id),
        (
            lambda job: None if (key := spec_of(job)) is None else (key, job.file),
            lambda task: (task_specs[task.place], task.file),
        ),
        (spec_of, lambda task: task_specs[task.place]),
    )
    without_row = {task.task_id: index for index, task in found.items() if index not in rows_by_job}
    for row in other_rows:  # relative paths differ if the run starts in another working directory
        if row.task_id is not None and row.task_id in without_row:
            rows_by_job[without_row.pop(row.task_id)] = row
    matched_rows = set(map(id, rows_by_job.values()))
    return EarlierRuns(
        rows=rows_by_job,
        tasks=found,
        other_rows=[row for row in other_rows if id(row) not in matched_rows],
        other_tasks=other_tasks,
        over=over,
    )


def comparable(spec: TaskSpec) -> TaskSpec:
    """The spec with absolute, normalised paths, so that equal specs compare equal."""
    if not spec.media:
        return spec

    def with_absolute_path(medium: Any) -> Any:
        match medium:
            case Media(source=Path() as path):
                return type(medium)(Path(os.path.normpath(path.absolute())))
            case _:
                return medium

    return attrs.evolve(
        spec,
        first_frame=with_absolute_path(spec.first_frame),
        last_frame=with_absolute_path(spec.last_frame),
        references=tuple(map(with_absolute_path, spec.references)),
    )


def spec_key(spec: TaskSpec) -> Hashable:
    """A key that is equal for equal specs, and whose hash differs for different ones.

    The hash of a spec leaves out its tools and raw keys: a dictionary of specs that differ only
    there would be slow.
    """
    if not spec.tools and not spec.extra:
        return spec
    return spec, json.dumps([spec.tools, spec.extra], sort_keys=True)


def spec_of_row(row: Row) -> TaskSpec | None:
    """The spec of a row, made `comparable`; ``None`` if this version cannot read it."""
    try:
        return comparable(TaskSpec.from_dict(row.spec))
    except SpecError:
        return None


def _pair(
    jobs: Sequence[Job],
    found: Sequence[T],
    *keys: tuple[Callable[[Job], Hashable], Callable[[T], Hashable]],
) -> tuple[dict[int, T], list[T]]:
    """Pair each job with at most one item of *found*. Return the pairs and the items left over.

    Args:
        jobs: The jobs.
        found: Rows or tasks.
        keys: Pairs of key functions, one for jobs and one for items. They are tried in order. A job
            and an item match if their keys are equal; a job whose key is ``None`` matches nothing.
    """
    pairs: dict[int, T] = {}
    left = list(found)
    for of_job, of_found in keys:
        if not left:
            break
        waiting: dict[Hashable, deque[T]] = {}
        for each in left:
            waiting.setdefault(of_found(each), deque()).append(each)
        for job in jobs:
            key = None if job.index in pairs else of_job(job)
            if key is not None and waiting.get(key):
                pairs[job.index] = waiting[key].popleft()
        taken = set(map(id, pairs.values()))
        left = [each for each in left if id(each) not in taken]
    return pairs, left


def _id_in(rows: Mapping[int, Row], job: Job) -> str | None:
    return rows[job.index].task_id if job.index in rows else None


def _text(spec: Mapping[str, Any]) -> str:
    return json.dumps(spec, sort_keys=True)
