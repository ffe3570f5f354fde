"""The preflight's checks of options, and of fields that exclude each other."""

from __future__ import annotations

import pytest

from callsheet._models.spec import TaskSpec
from catalog.checking import CLIP, PICTURE, SOUND, allowed, problems, wrong


LITE, PRO = "doubao-seedance-1-0-lite-i2v-250428", "doubao-seedance-1-0-pro-250528"
PRO_1_5 = "doubao-seedance-1-5-pro-251215"
V2, V2_5 = "doubao-seedance-2-0-260128", "doubao-seedance-2-5-260628"


def boat(model="ep-1", **fields):
    """A spec with a prompt."""
    return TaskSpec("A boat", model=model, **fields)


def test_all_problems_are_named_at_once():
    """One check finds all problems of a spec and names the model."""
    spec = boat(PRO, duration=13, ratio="2:1", seed=-2, generate_audio=True, callback_url="x")
    found = problems(spec)
    fields = ["callback_url", "duration", "generate_audio", "ratio", "seed"]
    assert sorted(row.field for row in found) == fields
    about = {row.field for row in found if "Seedance 1.0 pro" in row.allowed}
    assert about == {"duration", "generate_audio", "ratio"}


def test_an_object_that_is_not_a_spec_is_a_problem():
    """A bare string instead of a spec is a problem, and nothing is raised."""
    (row,) = problems("A boat")
    assert (row.field, row.value, row.allowed) == ("spec", "'A boat'", "a TaskSpec")


@pytest.mark.parametrize(
    ("field", "least", "most"),
    [("seed", -1, 2**32 - 1), ("priority", 0, 9), ("execution_expires_after", 3600, 259_200)],
)
def test_numbers_have_a_range(field, least, most):
    """The ends of each range are allowed, and the next values are not."""
    model = V2_5 if field == "execution_expires_after" else V2
    for value in (least, most):
        assert wrong(boat(model, **{field: value})) == []
    for value in (least - 1, most + 1):
        assert wrong(boat(model, **{field: value})) == [field]


@pytest.mark.parametrize("model", [V2, "ep-1"])
def test_the_shortest_expiry_is_checked_only_for_some_models(model):
    """The minimum of an hour does not apply to 2.0, which ignores it, nor to unknown models."""
    assert wrong(boat(model, execution_expires_after=60)) == []
    assert wrong(boat(model, execution_expires_after=0)) == ["execution_expires_after"]


def test_frames_come_in_steps_of_four():
    """The number of frames is 25 + 4k, from 29 to 289."""
    assert [n for n in range(400) if not wrong(boat(PRO, frames=n))] == [*range(29, 290, 4)]


def test_frames_and_duration_may_both_be_given():
    """The provider documents that the frames count then."""
    assert wrong(boat(PRO, frames=57, duration=5)) == []


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("duration", (-1, 1, 60, 3600), (0, -2, 3601, 10**5000)),
        ("resolution", ("480p", "2k", "4K", "1440p"), ("720", "hd", "", "x720p")),
        ("ratio", ("2:1", "32:9", "adaptive"), ("wide", "16/9", "", "16:9 ")),
        ("tools", (["web_search"], ["new_tool"], [{"type": "x", "y": 1}]), ([""], [{}], [7])),
        ("draft_task", ("cgt-20260101-x", "021773297205999example"), ("", "a b", "é", "a\n")),
        ("model", ("ep-1",), ("", " ", "a b", "a\n", "模型")),
        ("callback_url", ("https://app.test/h?x=1",), ("", "app.test", "ftp://app.test", "http:")),
        ("service_tier", ("default", "flex"), ("FLEX", "", "fast")),
    ],
)
def test_unknown_models_have_only_the_general_rules(field, good, bad):
    """A newer model may make other sizes and durations, but invalid values are problems."""
    base = {"prompt": None if field == "draft_task" else "A boat", "model": "ep-1"}
    for value in good:
        assert wrong(TaskSpec(**base | {field: value})) == []
    for value in bad:
        assert wrong(TaskSpec(**base | {field: value})) == [field]


def test_tools_are_known_by_name():
    """A model of the table has one tool, given by name or as an object."""
    assert wrong(boat(V2, tools=[{"type": "web_search"}])) == []
    assert wrong(boat(V2, tools=["websearch"])) == ["tools"]
    assert wrong(boat(V2, tools=[{"type": "web_search", "x": float("nan")}])) == ["tools"]


def test_tools_need_text_only():
    """Tools together with media are a problem."""
    assert wrong(boat(V2, tools=["web_search"], first_frame=PICTURE)) == ["tools"]


def test_frames_and_references_exclude_each_other():
    """A first or last frame together with references is a problem."""
    assert wrong(boat(V2, first_frame=PICTURE, references=[PICTURE])) == ["references"]
    assert wrong(boat(V2, last_frame=PICTURE, references=[PICTURE])) == ["last_frame", "references"]


def test_a_last_frame_needs_a_first():
    """A last frame alone is a problem."""
    assert wrong(boat(V2, last_frame=PICTURE)) == ["last_frame"]


def test_references_exclude_a_fixed_camera():
    """A fixed camera with references is a problem, and for the lite model also 1080p."""
    spec = boat(LITE, references=[PICTURE], camera_fixed=False, resolution="1080p")
    assert wrong(spec) == ["camera_fixed", "resolution"]
    assert "with references" in allowed(spec, "resolution")


def test_clips_need_a_picture_or_a_video_before_2_5():
    """A clip alone is allowed only for 2.5 and for unknown models."""
    assert wrong(boat(V2, references=[SOUND])) == ["references"]
    assert wrong(boat(V2, references=[SOUND, CLIP])) == []
    assert wrong(boat(V2_5, references=[SOUND])) == []
    assert wrong(boat("ep-1", references=[SOUND])) == []


def test_each_reference_above_the_limit_is_named():
    """Each reference above the limit is a problem, which has the limit."""
    spec = boat(V2, references=[CLIP, CLIP, SOUND, CLIP, CLIP, CLIP])
    assert wrong(spec) == ["references[4]", "references[5]"]
    assert "at most 3 videos" in allowed(spec, "references[5]")
    assert "no pictures" in allowed(boat(PRO_1_5, references=[PICTURE]), "references[0]")


def test_a_first_frame_fixes_the_ratio_of_2_5():
    """With a first frame 2.5 allows only the adaptive ratio."""
    spec = boat(V2_5, first_frame=PICTURE, ratio="16:9")
    assert wrong(spec) == ["ratio"]
    assert "adaptive at Seedance 2.5 with a first frame" in allowed(spec, "ratio")
    assert wrong(boat(V2_5, references=[PICTURE], ratio="16:9")) == []


def test_a_draft_has_few_options():
    """A draft allows no other resolution, no last frame and no flex tier."""
    assert wrong(boat(PRO_1_5, draft=True, resolution="480P", service_tier="default")) == []
    spec = boat(PRO_1_5, draft=True, resolution="720p", return_last_frame=True, service_tier="flex")
    assert wrong(spec) == ["resolution", "return_last_frame", "service_tier"]
    assert wrong(boat(PRO_1_5, draft=False, resolution="720p", return_last_frame=True)) == []


def test_a_final_render_repeats_nothing_of_its_draft():
    """Fields that come from the draft are problems, and new ones are not."""
    new = {"resolution": "720p", "watermark": True, "return_last_frame": True}
    assert wrong(TaskSpec(model=PRO_1_5, draft_task="cgt-1", **new)) == []
    old = {
        "prompt": "A boat",
        "first_frame": PICTURE,
        "generate_audio": True,
        "seed": 1,
        "ratio": "1:1",
        "duration": 5,
        "camera_fixed": True,
        "draft": False,
    }
    assert wrong(TaskSpec(model=PRO_1_5, draft_task="cgt-1", **old)) == sorted(old)


def test_models_without_drafts_have_no_final_renders():
    """A draft task is a problem for a model without drafts, also for the lite model."""
    assert wrong(TaskSpec(model=PRO, draft_task="cgt-1")) == ["draft_task"]
    assert wrong(TaskSpec(model=LITE, draft_task="cgt-1")) == ["draft_task"]


def test_flex_has_no_priority():
    """A priority is allowed only in the default tier."""
    assert wrong(boat(service_tier="flex", priority=1)) == ["priority"]
    assert wrong(boat(service_tier="default", priority=1)) == []


@pytest.mark.parametrize("name", ["model", "content"])
def test_extra_does_not_replace_model_and_content(name):
    """A raw model or content is a problem, because fields set them."""
    assert wrong(boat(extra={name: "x"})) == ["extra"]


def test_extra_repeats_no_field():
    """A raw key is a problem if its field is set, and else it is allowed."""
    assert wrong(boat(extra={"seed": 7, "newest": [1]})) == []
    spec = boat(seed=7, watermark=False, extra={"seed": 7, "watermark": True})
    assert [row.value for row in problems(spec)] == ["'seed'", "'watermark'"]


def test_edits_and_extensions_keep_the_ratio():
    """At 2.5 declared edits and extensions allow no ratio, and edits no duration."""
    for task, fields in (("edit", ["duration", "ratio"]), ("extend", ["ratio"]), ("auto", [])):
        extra = {"omni_reference_task_type": task}
        spec = boat(V2_5, references=[CLIP], ratio="16:9", duration=5, extra=extra)
        assert wrong(spec) == fields
    extra = {"omni_reference_task_type": "edit"}
    assert wrong(boat(V2_5, references=[CLIP], ratio="adaptive", duration=-1, extra=extra)) == []
    assert wrong(boat("ep-1", references=[CLIP], ratio="16:9", duration=5, extra=extra)) == []
