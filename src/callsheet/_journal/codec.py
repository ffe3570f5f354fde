"""Writes specs and errors for the journal, and reads them back with the same values."""

from __future__ import annotations

import contextlib
import hashlib
import json
import reprlib
from collections.abc import Callable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from callsheet import errors
from callsheet._models.media import AudioRef, Image, Media, VideoRef
from callsheet._models.spec import TaskSpec
from callsheet.errors import CallsheetError, Problem, SpecError


if TYPE_CHECKING:
    from callsheet._journal.notes import Plan


_CLASS_OF_KIND: Final[dict[str, type[Media]]] = {
    kind.kind: kind for kind in (Image, VideoRef, AudioRef)
}
_SPEC_FIELDS: Final = tuple(field.name for field in attrs.fields(TaskSpec))
_SPEC_DEFAULTS: Final = tuple(field.default for field in attrs.fields(TaskSpec))
_SPEC_VALUES: Final = attrgetter(*_SPEC_FIELDS)
_FRAME_FIELDS: Final = ("first_frame", "last_frame")
_DEEPEST_CAUSE: Final = 5
_ENCODER: Final = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


@attrs.define
class Contents:
    """The contents of media that were given as bytes, each content once.

    Attributes:
        by_digest: The contents, by their SHA-256 in hex.
    """

    by_digest: dict[str, bytes] = attrs.field(factory=dict[str, bytes], init=False)
    _digests: dict[int, str] = attrs.field(factory=dict[int, str], init=False)

    def add(self, content: bytes) -> str:
        """Add a content and return its digest. The content must live as long as this object."""
        found = self._digests.get(id(content))  # one picture may be in a thousand specs
        if found is None:
            found = self._digests[id(content)] = hashlib.sha256(content).hexdigest()
            self.by_digest[found] = content
        return found


def encode_spec(spec: TaskSpec, contents: Contents) -> str:
    """Write a spec as JSON. Its paths become absolute, and bytes go to *contents*.

    Raises:
        SpecError: It holds a value that JSON cannot hold; every such field is named.
    """
    row: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, default, given in zip(_SPEC_FIELDS, _SPEC_DEFAULTS, _SPEC_VALUES(spec), strict=True):
        if given is default or given == ():
            continue
        value = given
        try:
            if name in _FRAME_FIELDS:
                value = _encode_medium(value, contents)
            elif name == "references":
                value = [_encode_medium(medium, contents) for medium in value]
            elif name == "tools":
                value = [_plain(tool) for tool in value]
            elif name == "extra":
                value = _plain(value)
        except (TypeError, ValueError) as exc:
            problems.append(Problem(name, reprlib.repr(value), str(exc)))
        row[name] = value
    if not problems:
        try:
            return _ENCODER.encode(row)
        except (TypeError, ValueError, RecursionError):
            problems += _not_json(row)
    raise SpecError(problems)


@attrs.frozen(eq=False)
class PlanText:
    """A plan as it is stored.

    Attributes:
        batch: The number of the batch.
        name: Its name as JSON; ``None`` if it has none.
        tasks: For each row its number, the batch, its position in it, and the spec as JSON.
        contents: The media that the specs hold as bytes.
    """

    batch: int
    name: str | None
    tasks: list[tuple[int, int, int, str | None]]
    contents: Contents


def encode_plan(plan: Plan) -> PlanText:
    """Write the specs of a plan as JSON.

    Raises:
        SpecError: Some hold values that JSON cannot hold; all such problems are named.
    """
    contents = Contents()
    problems: list[Problem] = []
    tasks: list[tuple[int, int, int, str | None]] = []
    for index, spec in enumerate(plan.specs):
        try:
            text = None if spec is None else encode_spec(spec, contents)
            tasks.append((plan.rows[index], plan.batch, index, text))
        except SpecError as exc:
            problems += [attrs.evolve(problem, index=index) for problem in exc.problems]
    if problems:
        raise SpecError(problems)
    name = None if plan.name is None else json.dumps(plan.name)
    return PlanText(plan.batch, name, tasks, contents)


def decode_spec(text: str, content_of: Callable[[str], bytes]) -> TaskSpec:
    """Read what `encode_spec` wrote.

    Args:
        text: The JSON.
        content_of: Returns the content for a digest.
    """
    row: dict[str, Any] = json.loads(text)
    for name in _FRAME_FIELDS:
        if name in row:
            row[name] = _decode_medium(row[name], content_of)
    if "references" in row:
        row["references"] = [_decode_medium(medium, content_of) for medium in row["references"]]
    return TaskSpec(**row)


def digests_in(text: str) -> set[str]:
    """The contents that a spec needs which `encode_spec` wrote."""
    row: dict[str, Any] = json.loads(text)
    media = [row[name] for name in _FRAME_FIELDS if name in row] + row.get("references", [])
    return {value for _, form, value in media if form == "bytes"}


def encode_error(error: CallsheetError, *, deepest: int = _DEEPEST_CAUSE) -> dict[str, Any]:
    """Write an error as JSON values: class, values, notes, and at most *deepest* causes."""
    row: dict[str, Any] = {"class": type(error).__name__, "text": str(error)}
    if isinstance(error, SpecError):
        row["problems"] = [attrs.astuple(problem) for problem in error.problems]
    elif all(value is None or isinstance(value, (str, int, float)) for value in error.args):
        row["args"] = error.args
    if notes := getattr(error, "__notes__", None):
        row["notes"] = [str(note) for note in notes]
    if isinstance(error.__cause__, CallsheetError) and deepest:
        row["cause"] = encode_error(error.__cause__, deepest=deepest - 1)
    return row


def decode_error(row: Mapping[str, Any]) -> CallsheetError:
    """Read what `encode_error` wrote.

    An error of an unknown class becomes a plain `CallsheetError` with its text.
    """
    kind = getattr(errors, row["class"], None)
    error = CallsheetError(row["text"])
    with contextlib.suppress(
        KeyError, TypeError
    ):  # written by another version: only the text is kept
        if kind is SpecError:
            error = SpecError([Problem(*problem) for problem in row["problems"]])
        elif isinstance(kind, type) and issubclass(kind, CallsheetError):
            error = kind(*row["args"])
    for note in row.get("notes", ()):
        error.add_note(note)
    if "cause" in row:
        error.__cause__ = decode_error(row["cause"])
    return error


def _encode_medium(medium: object, contents: Contents) -> list[str]:
    if not isinstance(medium, Media) or medium.kind not in _CLASS_OF_KIND:
        raise TypeError("an Image, VideoRef or AudioRef")
    match medium.source:
        case str(url):
            return [medium.kind, "url", url]
        case bytes(content):
            return [medium.kind, "bytes", contents.add(content)]
        case Path() as path:
            return [medium.kind, "path", str(path.absolute())]
    raise TypeError("a URL, an asset:// id, bytes or a file's path")


def _decode_medium(row: list[str], content_of: Callable[[str], bytes]) -> Media:
    kind, form, value = row
    if form == "bytes":
        return _CLASS_OF_KIND[kind](content_of(value))
    return _CLASS_OF_KIND[kind](Path(value) if form == "path" else value)


def _plain(value: Any) -> Any:
    """A mapping as a dict, because JSON can write only that; any other value as it is."""
    return dict(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else value


def _not_json(row: Mapping[str, Any]) -> list[Problem]:
    """A problem for each field that cannot be written as JSON."""
    problems: list[Problem] = []
    for name, value in row.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            allowed = "values that JSON can hold"
            problems.append(Problem(name, reprlib.repr(value), allowed))
    return problems
