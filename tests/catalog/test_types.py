"""Values of any type give problems, and nothing is raised."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet._catalog import MODELS, PROVIDERS, check
from callsheet._models.media import AudioRef, Image, Media, MediaFacts, VideoRef
from callsheet._models.spec import TaskSpec
from callsheet.errors import Problem, SpecError
from catalog.checking import ANYWHERE, problems, wrong


class Unprintable:
    """An object whose ``repr`` fails."""

    def __repr__(self):
        raise RuntimeError("no")


class Broken(Mapping):
    """A mapping whose every method fails."""

    def __getitem__(self, key):
        raise RuntimeError("no")

    def __iter__(self):
        raise RuntimeError("no")

    def __len__(self):
        raise RuntimeError("no")


def deep():
    """A list that contains itself."""
    inner = []
    inner.append(inner)
    return inner


ODD = [Broken(), deep(), float("nan"), object, "\ud83d", TaskSpec("x")]
NOT_EVEN_SHOWN = [Unprintable(), 10**5000]

text = st.text(st.characters(exclude_categories=()), max_size=9)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | text | st.binary(max_size=9)
sources = scalars | text.map("data:image/png;base64,{}".format) | text.map("https://{}".format)
media = st.one_of(*(st.builds(kind, sources) for kind in (Image, VideoRef, AudioRef, Media)))
words = st.sampled_from(
    ["480p", "4k", "16:9", "adaptive", "flex", "web_search", "--rt 1:1", "edit"]
    + [row.cn for row in MODELS]
)
anything = st.recursive(
    scalars | words | st.sampled_from(ODD) | media,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text | words, inner, max_size=3),
    max_leaves=4,
)
NAMES = [field.name for field in attrs.fields(TaskSpec)]
specs = st.builds(TaskSpec, **dict.fromkeys(NAMES, st.none() | anything))
facts = st.just("gone") | st.builds(
    MediaFacts,
    format=text,
    size=st.integers(),
    width=st.none() | st.integers(),
    height=st.none() | st.integers(),
)


@given(specs | anything, st.sampled_from([*PROVIDERS.values(), ANYWHERE]), facts)
def test_check_never_raises(spec, provider, fact):
    """Any values give problems with short texts about known fields."""
    local = [row for _, row in getattr(spec, "media", ()) if isinstance(row.source, (bytes, Path))]
    for row in check(spec, provider=provider, facts=dict.fromkeys(local, fact)):
        assert isinstance(row, Problem)
        assert row.field.split("[")[0] in {*NAMES, "spec"}
        assert len(row.value) <= 80
        assert 0 < len(row.allowed) < 300
        assert row.index is None
        assert str(SpecError([row])).encode()


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("prompt", (["A boat"], b"A boat", 5)),
        ("model", (5, ["ep-1"])),
        ("references", (5, object(), "https://cdn.test/a.png", Image("a.png"))),
        ("resolution", (720,)),
        ("ratio", (1.78, ("16", "9"))),
        ("duration", ("5", 5.0, True, float("nan"))),
        ("frames", ("29", 29.0)),
        ("seed", ("1", 1.5, False)),
        ("camera_fixed", (1, 0, "true")),
        ("watermark", (1, "false")),
        ("generate_audio", (1,)),
        ("draft", (1,)),
        ("draft_task", (5,)),
        ("return_last_frame", ("yes",)),
        ("service_tier", (True,)),
        ("execution_expires_after", ("3600", True)),
        ("priority", (True, 1.0)),
        ("tools", ("web_search", 5)),
        ("callback_url", (b"https://app.test",)),
        ("extra", ([("a", 1)], "a", {1: 2}, {"a": {1, 2}}, {"a": float("inf")}, {"\ud83d": 1})),
    ],
)
def test_a_wrong_type_is_one_problem(field, values):
    """A value of the wrong type is one problem, which says what is allowed."""
    for value in values:
        spec = TaskSpec(**{"prompt": "A boat", "model": "ep-1", field: value})
        assert [row.field for row in problems(spec)] == [field]


@pytest.mark.parametrize("value", [*NOT_EVEN_SHOWN, *ODD], ids=lambda value: type(value).__name__)
def test_broken_objects_are_problems(value):
    """An object that raises when it is used is a problem like any other."""
    assert wrong(TaskSpec("A boat", extra={"a": value})) == ["extra"]
    assert wrong(TaskSpec("A boat", seed=value)) == ["seed"]
    assert wrong(TaskSpec("A boat", extra=Broken())) == ["extra"]


def test_wrong_types_hide_no_other_problem():
    """The other fields are checked as if the wrong one were unset."""
    spec = TaskSpec("A boat", model="ep-1", duration="5", priority=10, references=[7])
    assert wrong(spec) == ["duration", "priority", "references[0]"]
