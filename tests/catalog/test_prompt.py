"""The preflight's checks of prompts."""

from __future__ import annotations

import pytest

from callsheet._models.spec import TaskSpec
from catalog.checking import PICTURE, allowed, problems, wrong


def test_a_spec_needs_a_prompt_or_media():
    """A spec without a prompt, media and a draft is a problem."""
    assert wrong(TaskSpec()) == ["prompt"]
    assert wrong(TaskSpec(first_frame=PICTURE)) == []
    assert wrong(TaskSpec(references=[PICTURE])) == []
    assert wrong(TaskSpec(draft_task="cgt-1")) == []


@pytest.mark.parametrize("blank", ["", "  ", "\n\t", "\u3000"])
def test_a_blank_prompt_is_a_problem_even_beside_media(blank):
    """A blank prompt must be left out."""
    assert wrong(TaskSpec(blank)) == ["prompt"]
    assert wrong(TaskSpec(blank, first_frame=PICTURE)) == ["prompt"]


@pytest.mark.parametrize(
    "prompt", ["纸船漂在湖上", "👩‍👩‍👧 in the rain", "line\nbreak\ttab\r\n", "e\u0301"]
)
def test_any_script_passes(prompt):
    """Text in any script, emoji, combining marks and line breaks are allowed."""
    assert wrong(TaskSpec(prompt)) == []


@pytest.mark.parametrize("bad", ["\0", "\x1b", "\x7f", "\ud83d"])
def test_control_characters_and_half_characters_are_named(bad):
    """Characters that are not valid text are shown with their surroundings."""
    spec = TaskSpec("A boat " * 50 + bad + " drifts" * 50)
    (row,) = problems(spec)
    assert repr(bad)[1:-1] in row.value
    assert "control characters" in row.allowed


@pytest.mark.parametrize("prompt", ["word " * 4_000, "船" * 4_000, "x" * 32_000])
def test_a_long_prompt_passes_up_to_the_bound(prompt):
    """Up to four times the length that the provider advises is allowed."""
    assert wrong(TaskSpec(prompt)) == []


@pytest.mark.parametrize(
    ("prompt", "length"),
    [
        ("word " * 5_000, "5000 words"),
        ("船" * 5_000, "5000 words"),
        ("船 boat " * 2_001, "4002 words"),
        ("x" * 32_001, "32001 characters"),
        ("word " * 1_000_000, "5000000 characters"),
    ],
)
def test_a_too_long_prompt_is_named_with_its_length(prompt, length):
    """The short problem has the length of the prompt and the advised length."""
    spec = TaskSpec(prompt)
    (row,) = problems(spec)
    assert (row.field, len(row.value)) == ("prompt", 80)
    assert length in row.allowed
    assert "1000 English words" in row.allowed
    assert spec.prompt is prompt


def test_the_longest_allowed_length_is_in_the_problem():
    """The problem of a prompt that is too long says how long it may be."""
    assert "at most 4000 words" in allowed(TaskSpec("word " * 4_001), "prompt")
