"""Read a file of specs: ``.txt``, ``.jsonl`` or ``.csv``. All problems are found, not only one."""

from __future__ import annotations

import csv
import difflib
import io
import json
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import attrs

from callsheet._cli.refusal import Refusal
from callsheet._models.commands import commands_in
from callsheet._models.spec import TaskSpec
from callsheet.errors import SpecError


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path


FIELDS = tuple(field.name for field in attrs.fields(TaskSpec))
_WHOLE_NUMBERS = frozenset({"duration", "frames", "seed", "execution_expires_after", "priority"})
_FLAG_FIELDS = frozenset(
    {"camera_fixed", "watermark", "generate_audio", "draft", "return_last_frame"}
)
_JSON = frozenset({"references", "tools", "extra"})
_LENGTH = ("duration", "frames")
_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_LARGEST_CELL = 64 * 1024 * 1024
"""Bytes of one CSV cell: the provider's limit for a body, as a cell may hold a data URL."""


@attrs.frozen
class Entry:
    """One spec of the file.

    Attributes:
        line: The line where it starts, from 1.
        spec: The spec.
    """

    line: int
    spec: TaskSpec


@attrs.frozen
class Fault:
    """One thing that is wrong with the file.

    Attributes:
        text: What is wrong, and what would be right.
        line: The line, from 1; ``None`` for the file as a whole.
        column: The character in that line, from 1; ``None`` for the whole line.
    """

    text: str
    line: int | None = None
    column: int | None = None


class InputError(Refusal):
    """The file cannot be used. No spec of it is used, not even a correct one."""

    def __init__(self, path: Path, faults: Sequence[Fault]) -> None:
        super().__init__(path, faults)
        self.path, self.faults = path, tuple(faults)

    def lines(self) -> list[str]:
        """One line of text per fault. It starts with the file and the line number."""
        return [_place(self.path, fault) + fault.text for fault in self.faults]


def _place(path: Path, fault: Fault) -> str:
    numbers = [str(number) for number in (fault.line, fault.column) if number is not None]
    return ":".join([str(path), *numbers]) + ": "


def read(path: Path) -> Parsed:
    """Read *path*. Return the specs that can be read, and the faults of the other lines.

    Raises:
        InputError: The file cannot be read, or it has no specs and no faults.
    """
    try:
        if path.is_dir():
            raise InputError(path, [Fault("it is a folder; a file of specs is wanted")])
        parse = _PARSERS[path.suffix.lower()]
        data = path.read_bytes()
    except KeyError:
        known = ", ".join(_PARSERS)
        fault = Fault(f"unknown kind of file {path.suffix!r}; known are {known}")
        raise InputError(path, [fault]) from None
    except OSError as exc:
        raise InputError(path, [Fault(exc.strerror or type(exc).__name__)]) from exc
    entries, faults = parse(decode(data, path), path.parent)
    if not entries and not faults:
        raise InputError(path, [Fault("holds no specs")])
    return entries, faults


def decode(data: bytes, path: Path) -> str:
    """Decode UTF-8 text, with or without a byte order mark.

    Raises:
        InputError: The data is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        hint = "; it looks like UTF-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else ""
        text = f"byte {exc.start} (0x{data[exc.start]:02x}) is not UTF-8{hint}"
        raise InputError(path, [Fault(text, line)]) from None


Parsed = tuple[list[Entry], list[Fault]]


def parse_text(text: str, _base: Path) -> Parsed:
    """Read one prompt per line. Blank lines are skipped."""
    lines = ((number, line.strip()) for number, line in enumerate(text.split("\n"), 1))
    return [Entry(number, TaskSpec(line)) for number, line in lines if line], []


def parse_jsonl(text: str, base: Path) -> Parsed:
    """Read one JSON object per line, with the fields of `TaskSpec`.

    Relative paths in it start from *base*.
    """
    entries: list[Entry] = []
    faults: list[Fault] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(
                line, object_pairs_hook=_reject_duplicates, parse_constant=_reject_constant
            )
        except json.JSONDecodeError as exc:
            faults.append(Fault(f"not JSON: {exc.msg}", number, exc.colno))
        except (ValueError, RecursionError) as exc:
            words = "nested too deeply" if isinstance(exc, RecursionError) else str(exc)
            faults.append(Fault(words, number))
        else:
            _add(number, row, base, entries, faults)
    return entries, faults


def parse_csv(text: str, base: Path) -> Parsed:
    """Read a header of `TaskSpec` fields, then one spec per row.

    An empty cell leaves its field unset. Relative paths start from *base*.
    """
    csv.field_size_limit(_LARGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    entries: list[Entry] = []
    faults: list[Fault] = []
    header: list[str] | None = None
    for number, cells in _rows(reader, faults):
        if not any(map(str.strip, cells)):
            continue
        if header is None:
            header = [name.strip() for name in cells]
            faults += _header_faults(header, number)
            if faults:
                break
        elif len(cells) > len(header):
            words = f"{len(cells)} cells, but the header has {len(header)} columns"
            faults.append(Fault(f"{words}; text with commas in it needs quotes", number))
        else:
            row, wrong = _typed(zip(header, cells, strict=False))
            faults += [Fault(words, number) for words in wrong]
            if not wrong:
                _add(number, row, base, entries, faults)
    return entries, faults


_OF_FEW_WORDS = ("model", "resolution", "ratio", "service_tier", "output_format")
"""Fields that say the same in nearly all specs of a file."""

_PARSERS: dict[str, Callable[[str, Path], Parsed]] = {
    ".txt": parse_text,
    ".jsonl": parse_jsonl,
    ".csv": parse_csv,
}


def with_defaults(spec: TaskSpec, defaults: Mapping[str, Any]) -> TaskSpec:
    """Fill in *defaults* where the spec sets neither the field nor a command in the prompt.

    `duration` and `frames` both set the length, so a spec that has one gets no default for the
    other.
    """
    if not defaults:
        return spec
    said = {name for name in (*defaults, *_LENGTH) if getattr(spec, name) is not None}
    said |= set(commands_in(spec.prompt)) if isinstance(spec.prompt, str) else set()
    if not said.isdisjoint(_LENGTH):
        said.update(_LENGTH)
    unsaid = {name: value for name, value in defaults.items() if name not in said}
    return attrs.evolve(spec, **unsaid) if unsaid else spec


def _add(number: int, value: object, base: Path, entries: list[Entry], faults: list[Fault]) -> None:
    if not isinstance(value, dict):
        faults.append(Fault(f"an object is wanted, not {_short(value)}", number))
        return
    row = cast("dict[str, Any]", value)
    unknown = [name for name in row if name not in FIELDS]
    faults += [Fault(f"unknown field {name!r}{_nearest(name)}", number) for name in unknown]
    if not isinstance(row.get("references"), list | dict | str | None):
        text = f"references={_short(row['references'])}: a list is wanted"
        faults.append(Fault(text, number))
    elif not unknown:
        for name in _OF_FEW_WORDS:
            if type(word := row.get(name)) is str:
                row[name] = sys.intern(word)  # one object for all specs of a large file
        try:
            json.dumps(row, ensure_ascii=False).encode()
            entries.append(Entry(number, TaskSpec.from_dict(row, base=base)))
        except SpecError as exc:
            faults += [Fault(str(problem), number) for problem in exc.problems]
        except UnicodeEncodeError:
            faults.append(Fault("half of a surrogate pair is no character", number))


def _rows(reader: Any, faults: list[Fault]) -> Iterator[tuple[int, list[str]]]:
    """The records, each with the line where it starts. Reading stops at the first broken one."""
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as exc:
            faults.append(Fault(f"not CSV: {exc}; what follows was not read", start))
            return
        yield start, cells


def _header_faults(header: list[str], number: int) -> list[Fault]:
    if len(header) == 1 and (mark := next((mark for mark in ";\t" if mark in header[0]), None)):
        return [Fault(f"columns are separated by commas, not by {mark!r}", number)]
    faults: list[Fault] = []
    for position, name in enumerate(header):
        if name not in FIELDS:
            faults.append(Fault(f"unknown column {name!r}{_nearest(name)}", number))
        elif name in header[:position]:
            faults.append(Fault(f"column {name!r} stands there twice", number))
    return faults


@lru_cache(maxsize=256)  # the same in every line
def _nearest(name: str) -> str:
    key = name.lower().replace("-", "_").replace(" ", "_")
    near = difflib.get_close_matches(key, FIELDS, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(FIELDS)}"


def _typed(cells: Iterator[tuple[str, str]]) -> tuple[dict[str, Any], list[str]]:
    row: dict[str, Any] = {}
    wrong: list[str] = []
    for name, cell in cells:
        if not cell.strip():
            continue
        try:
            row[name] = _value(name, cell)
        except (ValueError, RecursionError):
            wrong.append(f"{name}={_short(cell)}: {_wanted(name)} is wanted")
    return row, wrong


def _value(name: str, cell: str) -> Any:
    if name in _WHOLE_NUMBERS:
        return int(cell)
    if name in _FLAG_FIELDS:
        if (word := cell.strip().lower()) not in _WORDS:
            raise ValueError(word)
        return _WORDS[word]
    if name in _JSON:
        return json.loads(
            cell, object_pairs_hook=_reject_duplicates, parse_constant=_reject_constant
        )
    return cell if name == "prompt" else cell.strip()


def _wanted(name: str) -> str:
    if name in _WHOLE_NUMBERS:
        return "a whole number"
    return "true or false" if name in _FLAG_FIELDS else "JSON"


def _reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, value in pairs:
        if name in row:
            raise ValueError(f"{name!r} stands there twice")
        row[name] = value
    return row


def _reject_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON value")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004 - one terminal line
