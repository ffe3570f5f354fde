"""Specs and errors as text: every value is read back."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet import AudioRef, Image, Media, TaskSpec, VideoRef, errors
from callsheet._journal.codec import (
    Contents,
    decode_error,
    decode_spec,
    encode_error,
    encode_plan,
    encode_spec,
)
from callsheet._journal.notes import Plan
from callsheet.errors import (
    CallsheetError,
    ConnectFailedError,
    NotSubmittedError,
    Problem,
    RateLimitError,
    SpecError,
    TaskFailedError,
    TaskTimeoutError,
)


TEXT = st.text(st.characters())  # lone surrogates, too: a file name may hold them
NAMES = st.text(st.characters(blacklist_characters="\0/"), min_size=1, max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
SOURCES = (
    st.sampled_from(["https://a.test/b.png?c=d", "asset://clip-1", "data:image/png;base64,AA=="])
    | st.binary(max_size=40)
    | NAMES.map(lambda name: Path("/films") / name)
)
IMAGES = SOURCES.map(Image)
MEDIA = IMAGES | SOURCES.map(VideoRef) | SOURCES.map(AudioRef)
NUMBERS = st.integers(-1, 2**64)
FLAGS = st.booleans()
SPECS = st.builds(
    TaskSpec,
    st.none() | TEXT,
    model=st.none() | TEXT,
    first_frame=st.none() | IMAGES,
    last_frame=st.none() | IMAGES,
    references=st.lists(MEDIA, max_size=4),
    resolution=st.none() | TEXT,
    ratio=st.none() | TEXT,
    duration=st.none() | NUMBERS,
    frames=st.none() | NUMBERS,
    seed=st.none() | NUMBERS,
    camera_fixed=st.none() | FLAGS,
    watermark=st.none() | FLAGS,
    generate_audio=st.none() | FLAGS,
    draft=st.none() | FLAGS,
    draft_task=st.none() | TEXT,
    return_last_frame=st.none() | FLAGS,
    service_tier=st.none() | TEXT,
    execution_expires_after=st.none() | NUMBERS,
    priority=st.none() | NUMBERS,
    tools=st.lists(TEXT | st.dictionaries(TEXT, JSON, max_size=3), max_size=3),
    callback_url=st.none() | TEXT,
    extra=st.none() | st.dictionaries(TEXT, JSON, max_size=4),
)


def typed(value):
    """A value with its types, since ``1 == True == 1.0``."""
    if isinstance(value, dict):
        return {name: typed(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [typed(each) for each in value]
    return (type(value), value)


def test_the_strategy_knows_every_field():
    """The strategy has every field of a spec."""
    assert {field.name for field in attrs.fields(TaskSpec)} == {
        "prompt", "model", "first_frame", "last_frame", "references", "resolution", "ratio",
        "duration", "frames", "seed", "camera_fixed", "watermark", "generate_audio", "draft",
        "draft_task", "return_last_frame", "service_tier", "execution_expires_after", "priority",
        "tools", "callback_url", "extra",
    }  # fmt: skip


@given(spec=SPECS)
def test_a_spec_is_read_back_with_every_value(spec):
    """A spec that is written and read is equal, with all types, and its text is ASCII."""
    contents = Contents()
    text = encode_spec(spec, contents)
    assert text.isascii()
    back = decode_spec(text, contents.by_digest.__getitem__)
    assert back == spec
    for field in attrs.fields(TaskSpec):
        assert typed(getattr(back, field.name)) == typed(getattr(spec, field.name))


def test_a_short_spec_is_short():
    """A field that was not set is not written."""
    assert json.loads(encode_spec(TaskSpec("boat", duration=5), Contents())) == {
        "prompt": "boat",
        "duration": 5,
    }


def test_equal_content_is_kept_once():
    """Content that is used in many places, or in two equal copies, is kept once."""
    contents = Contents()
    pixels = b"pixels"
    for image in (Image(pixels), Image(pixels), Image(bytes(bytearray(pixels)))):
        encode_spec(TaskSpec(first_frame=image, references=[image]), contents)
    assert list(contents.by_digest.values()) == [pixels]


LOOP: list[object] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"extra": {"a": {1}}}, {"extra"}),
        ({"extra": {"a": b""}}, {"extra"}),
        ({"extra": {"a": LOOP}}, {"extra"}),
        ({"extra": {"a": float("inf")}, "tools": [{"b": object()}]}, {"extra", "tools"}),
        ({"references": [Media("https://a.test/b")]}, {"references"}),
        ({"references": ["https://a.test/b"], "extra": {"a": {1}}}, {"references", "extra"}),
        ({"first_frame": Image(Image("a.png"))}, {"first_frame"}),
        ({"references": 5}, {"references"}),
        ({"tools": 5}, {"tools"}),
        ({"seed": 1j}, {"seed"}),
    ],
)
def test_a_value_that_json_cannot_hold_is_named(fields, named):
    """A spec that cannot be written is refused, and every field at fault is named."""
    with pytest.raises(SpecError) as caught:
        encode_spec(TaskSpec("boat", **fields), Contents())
    assert {problem.field for problem in caught.value.problems} >= named - {"extra"}
    assert {problem.field for problem in caught.value.problems} <= named
    plan = Plan(range(3), 0, [TaskSpec("boat"), TaskSpec("boat", **fields), None])
    with pytest.raises(SpecError) as caught:
        encode_plan(plan)
    assert {problem.index for problem in caught.value.problems} == {1}


def through_json(error):
    """An error that was written and read."""
    return decode_error(json.loads(json.dumps(encode_error(error))))


VALUES = st.none() | st.integers() | st.floats(allow_nan=False) | TEXT
KINDS = sorted(
    {
        kind
        for name in errors.__all__
        if isinstance(kind := getattr(errors, name), type) and issubclass(kind, CallsheetError)
    },
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_is_read_back(kind):
    """Class, text, values and notes of an error are read back."""
    given_to = {
        SpecError: ([Problem("duration", "99", "4 to 12"), Problem("ratio", "'x'", "16:9", 3)],),
        TaskTimeoutError: ("cgt-1", 12.5),
        RateLimitError: ("slow", 429, "RateLimitExceeded", "req-1", None, 5.0),
    }
    count = 2 if issubclass(kind, errors.APIError) else 1
    error = kind(*given_to.get(kind, ("what ü", 400)[:count]))
    error.add_note("spec 3")
    back = through_json(error)
    assert type(back) is kind
    assert (str(back), back.args, vars(back)) == (str(error), error.args, vars(error))


def test_a_cause_is_read_back():
    """An error is read back with its cause, such as the error that stopped a batch."""
    error = NotSubmittedError("stopped")
    error.__cause__ = ConnectFailedError("refused")
    error.__cause__.__cause__ = OSError("not ours")
    back = through_json(error)
    assert type(back.__cause__) is ConnectFailedError
    assert str(back.__cause__) == "refused"
    assert back.__cause__.__cause__ is None


def test_an_error_that_is_its_own_cause_can_be_written():
    """Writing an error whose causes form a loop comes to an end."""
    error = CallsheetError("round")
    error.__cause__ = error
    assert str(through_json(error)) == "round"


@pytest.mark.parametrize(
    "row",
    [
        {"class": "LaterError", "args": [1], "text": "from later"},
        {"class": "TaskFailedError", "args": [1, 2, 3, 4, 5], "text": "from later"},
        {"class": "TaskFailedError", "text": "from later"},
        {"class": "BatchError", "args": ["a", []], "text": "from later"},
        {"class": "Problem", "args": ["a", "b", "c"], "text": "from later"},
        {"class": "attrs", "args": [], "text": "from later"},
        {"class": "SpecError", "problems": [["a"]], "text": "from later"},
    ],
)
def test_an_error_of_another_version_keeps_its_text(row):
    """An error of an unknown class or with unknown values is read back as its text."""
    back = decode_error({**row, "notes": ["spec 1"]})
    assert type(back) is CallsheetError
    assert str(back) == "from later"
    assert back.__notes__ == ["spec 1"]


def test_an_error_of_a_class_of_the_caller_keeps_its_text():
    """An error of the caller's class, or with values that JSON cannot hold, keeps its text."""

    class StrangeError(TaskFailedError):
        pass

    assert str(through_json(StrangeError("cgt-1"))) == "task cgt-1 failed"
    assert str(through_json(CallsheetError(object, 1))) == str(CallsheetError(object, 1))
