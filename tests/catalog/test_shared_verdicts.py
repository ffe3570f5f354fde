"""Problems that are found once for specs of one shape are those that all rules find."""

from __future__ import annotations

import attrs
from hypothesis import example, given
from hypothesis import strategies as st

from callsheet._catalog import MODELS, PROVIDERS, check, spec_check
from callsheet._catalog.check_context import CheckContext
from callsheet._catalog.models import capability
from callsheet._catalog.spec_check import drop_mistyped_fields
from callsheet._models.media import AudioRef, Image, VideoRef
from callsheet._models.spec import TaskSpec
from catalog.checking import ANYWHERE, CLIP, PICTURE, SOUND


def by_every_rule(spec, provider):
    """The problems that all rules find in this one spec."""
    clean, found = drop_mistyped_fields(spec)
    model = capability(clean.model if clean.model is not None else provider.default_model)
    context = CheckContext(spec=clean, provider=provider, model=model, facts={})
    named = {row.field for row in found}
    rules = spec_check._RULES
    return found + [row for rule in rules for row in rule(context) if row.field not in named]


flags = st.sampled_from([None, None, True, False, 1, 0, "no"])
numbers = st.sampled_from([None, None, -1, 0, 1, 5, 29, 3600, 10**12, 5.0, True, "5"])
media = st.sampled_from([PICTURE, CLIP, SOUND, Image("asset://a b"), VideoRef("a.mp4"), "a.png"])
VALUES = {
    "prompt": st.sampled_from(
        [None, "a boat", "a boat --dur 5 --rs 480p", " ", "\0", 7, "猫" * 9000]
    ),
    "model": st.sampled_from(
        [None, None, "ep-1", "a b", "", 7, *(row.cn for row in MODELS), MODELS[-1].byteplus]
    ),
    "first_frame": st.sampled_from([None, None, PICTURE, Image("ftp://a"), Image(CLIP)]),
    "last_frame": st.sampled_from([None, None, PICTURE, Image("https://b.test/b.png")]),
    "references": st.lists(media, max_size=4) | st.just(()) | st.sampled_from(["a", 7]),
    "resolution": st.sampled_from([None, "480p", "4K", "x", 7]),
    "ratio": st.sampled_from([None, "16:9", "adaptive", "x", 7]),
    "duration": numbers,
    "frames": numbers,
    "seed": numbers,
    "camera_fixed": flags,
    "watermark": flags,
    "generate_audio": flags,
    "draft": flags,
    "draft_task": st.sampled_from([None, None, "cgt-1", "a b", "", 7]),
    "return_last_frame": flags,
    "service_tier": st.sampled_from([None, "default", "flex", "x", 7]),
    "execution_expires_after": numbers,
    "priority": numbers,
    "tools": st.sampled_from([(), (), ["web_search"], [7], "web_search", None]),
    "callback_url": st.sampled_from([None, None, "https://a.test", "a", 7]),
    "extra": st.sampled_from([None, None, {}, {"seed": 1}, {1: 2}, 7]),
}


@st.composite
def specs(draw):
    """Specs with a few fields, valid or not."""
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), unique=True, max_size=5))
    return TaskSpec(**{"prompt": "a boat", **{name: draw(VALUES[name]) for name in names}})


@given(st.lists(specs(), max_size=5), st.sampled_from([*PROVIDERS.values(), ANYWHERE]))
@example([TaskSpec("a", duration=5), TaskSpec("a", duration=True)], PROVIDERS["ark"])
@example([TaskSpec("a", draft_task=None), TaskSpec("a", draft_task="cgt-1")], PROVIDERS["ark"])
@example([TaskSpec("a", seed=1), TaskSpec("a", seed=2**40)], PROVIDERS["ark"])
@example(
    [
        TaskSpec("a", references=[AudioRef("https://a.test/a.mp3")]),
        TaskSpec("a", references=[CLIP]),
    ],
    PROVIDERS["byteplus"],
)
def test_shared_problems_equal_those_of_every_rule(some, provider):
    """Whatever was checked before, a spec has the problems of all rules, in their order."""
    for spec in some:
        found = check(spec, provider=provider)
        assert found == by_every_rule(spec, provider)
        again = attrs.evolve(spec, prompt="another boat", seed=7)
        assert check(again, provider=provider) == by_every_rule(again, provider)


def test_the_rules_of_a_shape_are_applied_once(monkeypatch):
    """For specs of one shape the rules of a shape are applied only to the first."""
    asked = []
    rule = spec_check._RULES_OF_SHAPE[0]
    monkeypatch.setattr(
        spec_check, "_RULES_OF_SHAPE", (lambda context: asked.append(context) or rule(context),)
    )
    monkeypatch.setattr(spec_check, "_good_shapes", set())
    for number in range(100):
        assert check(TaskSpec(f"boat {number}", seed=number), provider=PROVIDERS["ark"]) == []
    assert len(asked) == 1


def test_the_number_of_kept_shapes_is_bounded(monkeypatch):
    """Specs that all have different shapes do not fill the memory."""
    shapes = set()
    monkeypatch.setattr(spec_check, "_good_shapes", shapes)
    monkeypatch.setattr(spec_check, "_MOST_SHAPES", 10)
    for number in range(100):
        check(TaskSpec("boat", model=f"ep-{number}"), provider=ANYWHERE)
        assert len(shapes) <= 10
