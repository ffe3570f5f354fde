from __future__ import annotations

import re
import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st

from callsheet._cli.names import file_names, frame_name


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
