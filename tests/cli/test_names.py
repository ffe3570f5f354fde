from __future__ import annotations

import re
import sys
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from callsheet._cli import names as module
from callsheet._cli.names import FileNames, frame_name


def file_names(prompts, samples=None):
    """The names of each prompt, as one list for each."""
    names = FileNames(prompts, samples)
    assert len(names) == len(prompts) * (samples or 1)
    every = [names[index] for index in range(len(names))]
    return [every[i : i + (samples or 1)] for i in range(0, len(every), samples or 1)]


PROMPTS = st.lists(st.one_of(st.none(), st.text(max_size=400)), max_size=12)
RESERVED = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9])\s*\.", re.IGNORECASE)


@given(PROMPTS, st.one_of(st.none(), st.integers(1, 12)))
@example(
    ["con", "CON", "nul.", "..", " ", "a/b", "a\\b", "\x00", "e\u0301" * 200, "\u0301" * 400], 3
)
@example(["猫" * 300] * 3, None)
def test_names_hold_on_every_file_system(prompts, samples):
    """Names have no forbidden character, are short enough, and name no device."""
    for name in (name for row in file_names(prompts, samples) for name in row):
        for whole in (name, frame_name(name)):
            assert not re.search(r'[<>:"/\\|?*\x00-\x1f]', whole)
            assert len(f".{whole}.part.etag".encode()) <= 255
        assert name.endswith(".mp4")
        assert not name.startswith((".", " "))
        assert not RESERVED.match(name)


@given(PROMPTS, st.one_of(st.none(), st.integers(1, 4)))
@example(["a", "A", "a~2", "a", "é", "e\u0301"], None)
def test_names_never_clash_and_are_the_same_again(prompts, samples):
    """No two names are equal if case is ignored, and the same input gives the same names."""
    rows = file_names(prompts, samples)
    keys = [unicodedata.normalize("NFC", name).casefold() for row in rows for name in row]
    assert len(keys) == len(set(keys)) == len(prompts) * (samples or 1)
    assert file_names(prompts, samples) == rows


@given(PROMPTS, st.integers(0, 12))
def test_longer_input_keeps_the_names_of_its_beginning(prompts, count):
    """The first specs alone get the same names as in the whole file."""
    assert file_names(prompts[:count]) == file_names(prompts)[:count]


def test_samples_are_named_as_vbench_reads_them():
    """With samples a name is the unchanged prompt, a dash and a number from 0."""
    assert file_names(["A cat sits.", "一只猫"], 2) == [
        ["A cat sits.-0.mp4", "A cat sits.-1.mp4"],
        ["一只猫-0.mp4", "一只猫-1.mp4"],
    ]


def test_a_single_video_of_a_prompt_has_no_number():
    """Without samples there is no number, and a spec without a prompt is named by its position."""
    assert file_names(["A cat.", None, "a cat", "A cat"]) == [
        ["A cat.mp4"],
        ["video-1.mp4"],
        ["a cat~2.mp4"],
        ["A cat~3.mp4"],
    ]


ALIKE = st.lists(
    st.builds(
        lambda beginning, size, end: (beginning * 300)[:size] + end,
        st.sampled_from(["a", "A", "s", "\u017f", "猫", "e\u0301", "x y. ", "a~2"]),
        st.sampled_from([1, 70, 115, 116, 210, 228, 229, 230, 231, 240]),
        st.sampled_from(["", "", "~2", "~3", "-0", "?", ":", "\u0301", *"0123456789"]),
    ),
    max_size=40,
)
"""Prompts with the same beginning, which are cut where they differ or earlier."""


def one_by_one(prompts, samples):
    """Names by their definition: for each prompt, try all numbers from its last one on."""
    endings = [".mp4"] if samples is None else [f"-{i}.mp4" for i in range(samples)]
    room = 255 - len("..part.etag") - max(map(len, endings)) - len("-last.png") - len("_")
    taken, last, found = set(), {}, []
    for index, prompt in enumerate(prompts):
        stem = module._stem(prompt)
        stem = (stem.rstrip(". ") if samples is None else stem) or f"video-{index}"
        number = last.get(module.key_of(stem), 0)
        while True:
            number += 1
            suffix = "" if number == 1 else f"~{number}"
            rows = [module._cut(stem, room - len(suffix)) + suffix + ending for ending in endings]
            rows = [f"_{name}" if module._RESERVED.match(name) else name for name in rows]
            keys = {module.key_of(name) for name in rows}
            if not keys & taken:
                break
        taken |= keys
        last[module.key_of(stem)] = number
        found.append(rows)
    return found


@given(
    ALIKE | st.lists(st.sampled_from(["con", "CON", "_con", "con.", "con ~2", "nul.x"])),
    st.sampled_from([None, 1, 2, 12]),
)
def test_names_have_the_lowest_number_that_is_free(prompts, samples):
    """The names are those that trying every number gives."""
    assert file_names(prompts, samples) == one_by_one(prompts, samples)


SIMILAR = {
    "begin alike": lambda i: "a" * 240 + f" shot {i}",
    "equal": lambda _: "a boat",
    "equal and long": lambda _: "a" * 300,
    "case": lambda i: "".join("aA"[i >> place & 1] for place in range(300)),
    "forbidden characters": lambda i: "a boat" + "?:*|<>"[i % 6] * (1 + i % 3),
    "long Chinese": lambda i: "猫" * 300 + str(i),
    "two lengths of one letter": lambda i: "".join(
        "s\u017f"[i >> place & 1] for place in range(300)
    ),
    "numbers of their own": lambda i: f"a boat~{i // 2}" if i % 2 else "a boat",
}


def steps(prompts, samples):
    """How many lines of the module run to name the prompts."""
    count = 0

    def trace(frame, event, _):
        nonlocal count
        if frame.f_code.co_filename != module.__file__:
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        file_names(prompts, samples)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("samples", [None, 3])
@pytest.mark.parametrize("kind", SIMILAR)
def test_the_work_of_naming_grows_as_the_file_does(kind, samples):
    """Four times as many prompts that resemble each other take about four times as many steps."""
    few, many = ([SIMILAR[kind](i) for i in range(count)] for count in (500, 2000))
    assert steps(many, samples) < 5 * steps(few, samples)


@given(ALIKE, st.data())
def test_names_do_not_depend_on_later_lines(prompts, data):
    """If lines are added or changed, the lines before them keep their names."""
    count = data.draw(st.integers(0, len(prompts)))
    other = prompts[:count] + data.draw(ALIKE)
    assert file_names(other)[:count] == file_names(prompts)[:count]
