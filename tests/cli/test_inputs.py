from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet import Image, TaskSpec
from callsheet._catalog import PROVIDERS
from callsheet._cli.inputs import (
    Entry,
    InputError,
    parse_csv,
    parse_jsonl,
    parse_text,
    read,
    with_defaults,
)
from callsheet._cli.plan import entries_of


HERE = Path("shots")


def faults(path: Path, data: bytes) -> list[str]:
    """The error lines for a file with *data*, without its path."""
    path.write_bytes(data)
    provider = PROVIDERS["emulator"]
    with pytest.raises(InputError) as caught:
        anyio.run(partial(entries_of, path, provider=provider, defaults={}, limit=None))
    return [line.removeprefix(f"{path}:") for line in caught.value.lines()]


def test_text_is_one_prompt_a_line(tmp_path):
    """Blank lines, a byte order mark and Windows line ends change nothing; equal lines stay two."""
    path = tmp_path / "prompts.txt"
    path.write_bytes("\ufeffA cat\r\n\r\n  一只猫 \nA cat".encode())
    entries, wrong = read(path)
    assert wrong == []
    assert entries == [
        Entry(1, TaskSpec("A cat")),
        Entry(3, TaskSpec("一只猫")),
        Entry(4, TaskSpec("A cat")),
    ]


def test_only_a_line_feed_ends_a_line():
    """Only a line feed ends a line."""
    entries, _ = parse_text("one\u2028still one\x85and so on\n", HERE)
    assert len(entries) == 1


def test_jsonl_holds_every_field(tmp_path):
    """Fields keep their types, and paths start from the file's folder."""
    path = tmp_path / "shots.jsonl"
    path.write_text('{"prompt": "x", "duration": 5, "first_frame": "a.png", "watermark": false}\n')
    spec = TaskSpec("x", duration=5, first_frame=Image(tmp_path / "a.png"), watermark=False)
    assert read(path) == ([Entry(1, spec)], [])


def test_csv_is_typed_by_field():
    """Whole numbers, flags and JSON get their types; an empty cell leaves its field unset."""
    text = (
        "prompt,duration,watermark,camera_fixed,tools,ratio\n"
        '"a, b\nc",5,Yes,0,"[""web_search""]",\n'
        "d,,,,,16:9\n"
    )
    entries, wrong = parse_csv(text, HERE)
    assert wrong == []
    assert entries == [
        Entry(
            2,
            TaskSpec(
                "a, b\nc", duration=5, watermark=True, camera_fixed=False, tools=["web_search"]
            ),
        ),
        Entry(4, TaskSpec("d", ratio="16:9")),
    ]


@pytest.mark.parametrize(
    ("name", "data", "wanted"),
    [
        ("a.txt", b"", ["holds no specs"]),
        ("a.txt", b"\n \r\n", ["holds no specs"]),
        ("a.txt", b"ok\nna\xefve\n", ["2: byte 5 (0xef) is not UTF-8"]),
        ("a.txt", "hi".encode("utf-16"), ["UTF-16"]),
        ("a.doc", b"x", ["unknown kind of file '.doc'"]),
        ("a.jsonl", b'{"prompt": "a"}\n{"prompt": "b" 5}\n', ["2:16: not JSON"]),
        ("a.jsonl", b'{"prompt": "a"\n[1]\n', ["1:15: not JSON", "2: an object is wanted"]),
        ("a.jsonl", b'{"promt": "a"}', ["1: unknown field 'promt'; did you mean 'prompt'?"]),
        ("a.jsonl", b'{"prompt": "a", "prompt": "b"}', ["1: 'prompt' stands there twice"]),
        ("a.jsonl", b'{"seed": NaN}', ["1: NaN is no JSON value"]),
        (
            "a.jsonl",
            b'{"prompt": 5}\n{"prompt": true}',
            ["1: prompt=5: text", "2: prompt=True: text"],
        ),
        ("a.jsonl", b'{"prompt": ["a"]}', ["1: prompt=['a']: text"]),
        ("a.jsonl", b'{"prompt": {"a": 1}}', ["1: prompt={'a': 1}: text"]),
        (
            "a.jsonl",
            b'{"prompt": "a", "duration": 99}\n{"prompt"\n{"promt": "a"}\n{"prompt": 5}\n',
            ["1: duration=99", "2:10: not JSON", "3: unknown field 'promt'", "4: prompt=5: text"],
        ),
        (
            "a.csv",
            b"prompt,seed\na,-7\nb,x\nc,-8\n",
            ["2: seed=-7", "3: seed='x'", "4: seed=-8"],
        ),
        ("a.jsonl", b'{"references": 5}', ["1: references=5: a list is wanted"]),
        ("a.jsonl", b'{"first_frame": 5}', ["1: first_frame=5"]),
        ("a.jsonl", b'{"prompt": "\\ud800"}', ["1: half of a surrogate pair"]),
        ("a.jsonl", b'{"extra": ' + b"[" * 100_000, ["1: nested too deeply"]),
        (
            "a.csv",
            b"prompt,duraton\nx,5\n",
            ["1: unknown column 'duraton'; did you mean 'duration'"],
        ),
        ("a.csv", b"prompt;seed\nx;5\n", ["1: columns are separated by commas"]),
        ("a.csv", b"prompt,prompt\nx,y\n", ["1: column 'prompt' stands there twice"]),
        ("a.csv", b"prompt\n", ["holds no specs"]),
        ("a.csv", b"prompt,seed\na, b,5\n", ["2: 3 cells, but the header has 2 columns"]),
        (
            "a.csv",
            b'prompt,seed\na,-7\n"open\n',
            ["2: seed=-7", "3: not CSV: unexpected end of data; what follows was not read"],
        ),
        (
            "a.csv",
            b"seed,draft,tools\nx,maybe,[\n",
            ["2: seed='x'", "2: draft='maybe'", "2: tools='['"],
        ),
    ],
)
def test_everything_wrong_is_named_with_its_place(tmp_path, name, data, wanted):
    """Each fault has its line, and no fault hides another."""
    found = faults(tmp_path / name, data)
    assert len(found) == len(wanted)
    for line, start in zip(found, wanted, strict=True):
        assert start in line


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.txt", "No such file"),
        ("folder.txt", "it is a folder"),
        ("folder", "it is a folder"),
    ],
)
def test_file_that_cannot_be_read_is_named(tmp_path, name, reason):
    """A missing file and a folder are reported as such, without a traceback."""
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError) as caught:
        read(tmp_path / name)
    assert caught.value.lines()[0].startswith(f"{tmp_path / name}: {reason}")


def test_defaults_fill_only_unset_fields():
    """Defaults do not replace fields, commands in the prompt or the other way to set a length."""
    defaults = {"duration": 5, "ratio": "16:9", "watermark": False}
    assert with_defaults(TaskSpec("a"), defaults) == TaskSpec("a", **defaults)
    assert with_defaults(TaskSpec("a", ratio="1:1", frames=29), defaults) == TaskSpec(
        "a", ratio="1:1", frames=29, watermark=False
    )
    assert with_defaults(TaskSpec("a --dur 8"), defaults).duration is None
    assert with_defaults(TaskSpec(5), defaults) == TaskSpec(5, **defaults)


@given(st.text())
def test_any_text_parses_or_is_faulted(text):
    """For any text a parser returns entries and faults, and does not raise."""
    for parse in (parse_text, parse_jsonl, parse_csv):
        entries, wrong = parse(text, HERE)
        assert all(entry.line >= 1 for entry in entries)
        assert all(fault.text for fault in wrong)
