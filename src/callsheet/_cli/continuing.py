"""What the rows of an earlier run leave to be done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from callsheet._cli.plan import Job
from callsheet._cli.results import Ending, Row


if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


_PAID = {Ending.SUCCEEDED, Ending.DOWNLOAD_FAILED, Ending.INTERRUPTED, Ending.TIMEOUT}


@attrs.define
class Work:
    """Every job in one of four heaps.

    Attributes:
        kept: The video is there.
        attached: A task was bought for it: ask for its end, fetch its video.
        uncertain: A task may have been bought for it, and only a person can tell.
        submitted: Everything else, to be bought.
        again: How many of `submitted` ended without a video before.
    """

    kept: list[Job] = attrs.field(factory=list[Job])
    attached: list[tuple[Job, str]] = attrs.field(factory=list[tuple[Job, str]])
    uncertain: list[Job] = attrs.field(factory=list[Job])
    submitted: list[Job] = attrs.field(factory=list[Job])
    again: int = 0

    @property
    def done(self) -> bool:
        """Whether the provider need not be asked anything."""
        return not self.attached and not self.submitted

    def words(self) -> str | None:
        """What goes on, for a run that is not the first."""
        parts = [
            f"{len(self.kept)} kept" if self.kept else "",
            f"{len(self.attached)} asked for again, not bought again" if self.attached else "",
            f"{len(self.submitted)} to submit" if self.submitted else "",
        ]
        again = f" ({self.again} of them failed before)" if self.again else ""
        found = ", ".join(filter(None, parts))
        return f"going on: {found}{again}" if self.kept or self.attached or self.again else None


def sort(jobs: Sequence[Job], rows: Mapping[int, Row], folder: Path, *, tasks_live: bool) -> Work:
    """Sort *jobs* by what *rows* say of them.

    Args:
        jobs: Everything that is wanted.
        rows: What an earlier run left, by index.
        folder: Where the videos are.
        tasks_live: Whether tasks outlive a run; those of an embedded emulator end with it.
    """
    work = Work()
    for job in jobs:
        row = rows.get(job.index)
        if row is None:
            work.submitted.append(job)
        elif row.status is Ending.SUCCEEDED and _present(row, folder):
            work.kept.append(job)
        elif tasks_live and row.status in _PAID and row.task_id:
            work.attached.append((job, row.task_id))
        elif tasks_live and row.status is Ending.UNCERTAIN:
            work.uncertain.append(job)
        else:
            work.submitted.append(job)
            work.again += row.status not in {Ending.NOT_SUBMITTED, Ending.INTERRUPTED}
    return work


def _present(row: Row, folder: Path) -> bool:
    names = [name for name in (row.file, row.last_frame_file) if name]
    return bool(names) and all((folder / name).is_file() for name in names)
