"""The jobs of a run: every spec of the file, once per sample, with the name of its video."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from callsheet._catalog import check
from callsheet._cli.inputs import Entry, Fault, InputError, read, with_defaults
from callsheet._cli.names import FileNames
from callsheet._models.spec import TaskSpec
from callsheet._submission.media_files import inspect_all


if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from callsheet._models.provider import Provider


class Names(Protocol):
    """File names by the index of their job."""

    def __getitem__(self, index: int, /) -> str: ...


@attrs.frozen(kw_only=True, weakref_slot=False)
class Job:
    """One video to be made.

    Attributes:
        index: Position among the jobs, from 0.
        line: Line of the input file that it comes from, from 1.
        spec: What to make.
        names: The names of all videos in the output folder.
    """

    index: int
    line: int
    spec: TaskSpec
    names: Names = attrs.field(repr=False)

    @property
    def file(self) -> str:
        """Name of its video in the output folder."""
        return self.names[self.index]

    @property
    def title(self) -> str:
        """The beginning of its prompt, in quotes."""
        return title_of(self.spec.prompt)


def title_of(prompt: str | None) -> str:
    """The beginning of a prompt, in quotes."""
    words = " ".join((prompt or "").split())
    return f"“{words if len(words) <= 48 else words[:47] + '…'}”"  # noqa: PLR2004 - one line


async def entries_of(
    path: Path, *, provider: Provider, defaults: Mapping[str, Any], limit: int | None
) -> list[Entry]:
    """Read the specs of a file, fill in defaults, and check them. Nothing is sent.

    Args:
        path: The file.
        provider: The provider that must accept the specs.
        defaults: Values for fields that a spec does not set.
        limit: How many specs of the file to take; ``None`` for all.

    Raises:
        InputError: With every problem of every line, and whatever the provider does not accept.
    """
    found, faults = read(path)
    entries = [
        attrs.evolve(entry, spec=with_defaults(entry.spec, defaults)) for entry in found[:limit]
    ]
    facts = await inspect_all([entry.spec for entry in entries])
    faults += [
        Fault(f"{problem.field}={problem.value}: {problem.allowed}", entry.line)
        for entry in entries
        for problem in check(entry.spec, provider=provider, facts=facts)
    ]
    if faults:
        raise InputError(path, sorted(faults, key=lambda fault: fault.line or 0))
    return entries


def jobs_of(entries: Sequence[Entry], samples: int | None) -> list[Job]:
    """Make a job for each sample of each spec. The samples of one spec follow each other.

    Args:
        entries: The specs.
        samples: Videos of each spec; ``None`` for one with a plain name.
    """
    names = FileNames([entry.spec.prompt for entry in entries], samples)
    each = itertools.chain.from_iterable(itertools.repeat(e, samples or 1) for e in entries)
    return [
        Job(index=index, line=entry.line, spec=entry.spec, names=names)
        for index, entry in enumerate(each)
    ]
