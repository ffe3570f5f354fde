"""The video files of an output folder: which exist, and what they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from callsheet._cli.names import frame_name, key_of
from callsheet._cli.results import Ending, ResultsError, Row


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from callsheet._cli.plan import Job


def present(row: Row, folder: Path) -> bool:
    """Whether the row names files and all of them are on disk."""
    names = [name for name in (row.file, row.last_frame_file) if name]
    return bool(names) and all((folder / name).is_file() for name in names)


def rename(rows: Mapping[int, Row], jobs: Sequence[Job], folder: Path) -> dict[int, Row]:
    """Rename videos to the names that their jobs have now, and return the changed rows.

    Args:
        rows: Rows by the index of their job.
        jobs: All jobs of this run.
        folder: Where the videos are.

    Raises:
        ResultsError: A file cannot be renamed.
    """
    renamed = {
        index: attrs.evolve(
            row,
            file=jobs[index].file,
            last_frame_file=row.last_frame_file and frame_name(jobs[index].file),
        )
        for index, row in rows.items()
        if row.status is Ending.SUCCEEDED and row.file != jobs[index].file and present(row, folder)
    }
    moves = {
        key_of(old): (old, new)
        for index, row in renamed.items()
        for old, new in (
            (rows[index].file, row.file),
            (rows[index].last_frame_file, row.last_frame_file),
        )
        if old and new
    }
    try:
        for old, new in _in_order(moves):
            (folder / old).replace(folder / new)
    except OSError as exc:
        raise ResultsError(f"cannot rename videos in {folder}: {exc.strerror or exc}") from exc
    return renamed


def _in_order(moves: dict[str, tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Order the moves so that none overwrites a file that has yet to be moved."""
    successor = {key_of(new): key for key, (_, new) in moves.items()}
    free = [
        key for key, (_, new) in moves.items() if key_of(new) == key or key_of(new) not in moves
    ]
    while moves:
        if free:
            key = free.pop()
            yield moves.pop(key)
        else:  # only cycles are left: move one file to a temporary name
            key, (old, new) = moves.popitem()
            temporary = f".callsheet-{len(moves)}"
            yield old, temporary
            moves[temporary] = temporary, new
            successor[key_of(new)] = temporary
        if (next_key := successor.get(key)) in moves:  # its name is free now
            free.append(next_key)
