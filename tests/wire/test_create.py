from __future__ import annotations

import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet._models.commands import COMMANDS, commands_in
from callsheet._models.media import AudioRef, Image, VideoRef
from callsheet._models.spec import TaskSpec
from callsheet._wire import dialect_of
from callsheet._wire.dialects import MAX_BODY, ORDER, UNSENDABLE
from callsheet.errors import InvalidRequestError, ProtocolError, SpecError


ARK, COMET = dialect_of("ark"), dialect_of("comet")
MODEL = "doubao-seedance-1-5-pro-251215"


def body_of(spec, dialect=ARK, urls=None, token=None):
    """The JSON of a create; its verb and path are checked."""
    request = dialect.build_create(spec, model=MODEL, urls=urls or {}, token=token)
    assert (request.method, request.target) == ("POST", "/contents/generations/tasks")
    return json.loads(request.body)


def fields_refused(spec, dialect=ARK):
    """The names of the fields for which a spec is refused."""
    with pytest.raises(SpecError) as caught:
        dialect.build_create(spec, model=MODEL, urls={})
    return [problem.field for problem in caught.value.problems]


def test_cometapi_sample_is_written_exactly(sample):
    """A spec with the values of CometAPI's create page becomes the body on that page."""
    spec = TaskSpec("A paper boat drifts on a quiet lake at sunrise.", duration=5, ratio="16:9")
    assert body_of(spec, COMET) == json.loads(sample("01"))


def test_prompt_with_commands_is_not_changed(sample):
    """A prompt that has text commands is sent unchanged, without further commands."""
    expected = json.loads(sample("01"))
    (item,) = expected["content"]
    assert body_of(TaskSpec(item["text"]), COMET) == expected
    assert body_of(TaskSpec(item["text"], duration=5, seed=3), COMET) == expected


def test_ark_sample_is_written_exactly_and_in_order(sample):
    """Ark's body fields keep the documented order, and false is sent as false."""
    wanted = json.loads(sample("04"))
    spec = TaskSpec(
        "小猫对着镜头打哈欠",
        resolution="720p",
        ratio="16:9",
        duration=5,
        seed=11,
        camera_fixed=False,
        watermark=True,
    )
    request = ARK.build_create(spec, model=wanted["model"], urls={})
    got = json.loads(request.body)
    assert got == wanted
    assert list(got) == list(wanted)
    assert "小猫".encode() in request.body


def test_every_ark_field_is_sent_under_its_documented_name():
    """Each field of a spec is sent to Ark under the key that the reference names."""
    values = {
        "callback_url": "https://example.com/hook",
        "return_last_frame": True,
        "service_tier": "flex",
        "execution_expires_after": 3600,
        "generate_audio": False,
        "draft": False,
        "priority": 0,
        "resolution": "480p",
        "ratio": "1:1",
        "duration": -1,
        "frames": 29,
        "seed": 0,
        "camera_fixed": False,
        "watermark": False,
    }
    body = body_of(TaskSpec("x", tools=["web_search", {"type": "other", "n": 1}], **values))
    tools = body.pop("tools")
    assert body == {"model": MODEL, "content": [{"type": "text", "text": "x"}], **values}
    assert tools == [{"type": "web_search"}, {"type": "other", "n": 1}]


def test_unset_fields_are_not_sent():
    """The body of a bare prompt has only model and content, in either dialect."""
    expected = {"model": MODEL, "content": [{"type": "text", "text": "x"}]}
    assert body_of(TaskSpec("x")) == body_of(TaskSpec("x"), COMET) == expected


def test_media_follow_the_text_with_their_roles():
    """The text comes first, then the frames, each with its role."""
    last = Image(b"png")
    spec = TaskSpec("x", first_frame="https://example.com/a.png", last_frame=last)
    assert body_of(spec, urls={last: "data:image/png;base64,cG5n"})["content"] == [
        {"type": "text", "text": "x"},
        {
            "type": "image_url",
            "image_url": {"url": "https://example.com/a.png"},
            "role": "first_frame",
        },
        {
            "type": "image_url",
            "image_url": {"url": "data:image/png;base64,cG5n"},
            "role": "last_frame",
        },
    ]


@pytest.mark.parametrize("dialect", [ARK, COMET])
def test_references_keep_their_order(dialect):
    """References are sent in the order in which the prompt numbers them."""
    spec = TaskSpec(
        references=[
            VideoRef("https://example.com/b.mp4"),
            Image("asset://one"),
            AudioRef("data:audio/wav;base64,AA"),
            Image("asset://two"),
        ]
    )
    items = body_of(spec, dialect)["content"]
    assert [(item["type"], item["role"], item[item["type"]]["url"]) for item in items] == [
        ("video_url", "reference_video", "https://example.com/b.mp4"),
        ("image_url", "reference_image", "asset://one"),
        ("audio_url", "reference_audio", "data:audio/wav;base64,AA"),
        ("image_url", "reference_image", "asset://two"),
    ]


def test_draft_task_is_a_content_item():
    """A final render has its draft as a content item."""
    assert body_of(TaskSpec(draft_task="cgt-1"))["content"] == [
        {"type": "draft_task", "draft_task": {"id": "cgt-1"}}
    ]


@pytest.mark.parametrize("dialect", [ARK, COMET])
def test_token_is_sent_only_if_given(dialect):
    """The token is sent as ``safety_identifier``, which is left out if there is no token."""
    assert body_of(TaskSpec("x"), dialect, token="t-1")["safety_identifier"] == "t-1"
    assert "safety_identifier" not in body_of(TaskSpec("x"), dialect)


def test_callback_is_a_key_at_cometapi():
    """At CometAPI the callback is a key of the body, as documented."""
    body = body_of(TaskSpec("x", callback_url="https://example.com/h"), COMET)
    assert body["callback_url"] == "https://example.com/h"


@pytest.mark.parametrize("dialect", [ARK, COMET])
def test_extra_replaces_every_key(dialect):
    """Raw keys come last and replace the values of the fields."""
    extra = {"model": "ep-1", "callback_url": None, "omni_reference_task_type": "edit"}
    body = body_of(TaskSpec("x", callback_url="https://a.test/", extra=extra), dialect)
    assert {key: body[key] for key in extra} == extra


def test_extra_content_is_added_to_the_content():
    """Raw content items come after those of the fields."""
    spec = TaskSpec("x", extra={"content": [{"type": "new", "new": 1}]})
    assert body_of(spec)["content"] == [{"type": "text", "text": "x"}, {"type": "new", "new": 1}]
    assert fields_refused(TaskSpec("x", extra={"content": {"type": "new"}})) == ["extra"]


LOOP: list[object] = []
LOOP.append(LOOP)
DEEP: list[object] = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1}, LOOP, DEEP, "\udc80"])
def test_a_value_that_json_cannot_hold_is_named(value):
    """A value that cannot be written is refused under the name of its field."""
    assert fields_refused(TaskSpec("x", extra={"new": value, "fine": 1})) == ["extra"]
    assert fields_refused(TaskSpec("x", extra={"content": [value]})) == ["extra"]
    assert fields_refused(TaskSpec("x", tools=[{"type": value}])) == ["tools"]


def test_extra_key_that_is_not_text_is_named():
    """A key that JSON cannot hold is refused under ``extra``."""
    assert fields_refused(TaskSpec("x", extra={(1, 2): 3})) == ["extra"]


@pytest.mark.parametrize("dialect", [ARK, COMET])
def test_lone_surrogates_are_named(dialect):
    """All fields with text that UTF-8 cannot hold are refused at once."""
    spec = TaskSpec("a\ud800b", first_frame="https://example.com/\udfff", callback_url="\ud83d")
    assert fields_refused(spec, dialect) == ["prompt", "first_frame", "callback_url"]


def test_body_above_64_mib_is_refused_with_its_largest_part():
    """The error of a body above the provider's limit names the largest medium."""
    big = Image("data:image/png;base64," + "A" * MAX_BODY)
    spec = TaskSpec("x", references=[Image("https://example.com/a.png"), big])
    with pytest.raises(SpecError, match=r"references\[1\].*at most 67108864 bytes"):
        ARK.build_create(spec, model=MODEL, urls={})


def test_body_of_exactly_64_mib_passes():
    """A body of exactly 64 MiB is allowed."""
    empty = len(ARK.build_create(TaskSpec("x"), model=MODEL, urls={}).body) - 1
    request = ARK.build_create(TaskSpec("x" * (MAX_BODY - empty)), model=MODEL, urls={})
    assert len(request.body) == MAX_BODY


def test_options_become_text_commands_in_a_fixed_order():
    """At CometAPI options follow the prompt in a fixed order, however they were given."""
    spec = TaskSpec(
        "A boat",
        watermark=False,
        camera_fixed=True,
        seed=7,
        ratio="1:1",
        frames=29,
        duration=-1,
        resolution="480p",
    )
    assert body_of(spec, COMET)["content"][0]["text"] == (
        "A boat --resolution 480p --duration -1 --frames 29 --ratio 1:1 --seed 7"
        " --camerafixed true --watermark false"
    )


def test_options_without_a_prompt_are_the_text():
    """If there are only media, the commands are the text."""
    spec = TaskSpec(first_frame="https://example.com/a.png", duration=5)
    items = body_of(spec, COMET)["content"]
    assert items[0] == {"type": "text", "text": "--duration 5"}
    assert items[1]["type"] == "image_url"


def test_media_alone_need_no_text():
    """Without a prompt and options there is no text item."""
    (item,) = body_of(TaskSpec(first_frame="https://example.com/a.png"), COMET)["content"]
    assert item["role"] == "first_frame"


def test_fields_without_a_text_command_are_refused_at_cometapi():
    """All such fields are named at once, including those that are false."""
    values = dict.fromkeys(UNSENDABLE, False) | {"tools": ["web_search"]}
    assert fields_refused(TaskSpec("x", **values), COMET) == list(UNSENDABLE)


def test_every_field_is_sent_to_cometapi_or_refused():
    """No field of a spec is dropped silently."""
    sent = {"prompt", "model", "first_frame", "last_frame", "references", "callback_url", "extra"}
    fields = {field.name for field in attrs.fields(TaskSpec)}
    assert fields == sent | set(ORDER) | set(UNSENDABLE)
    assert set(ORDER) < set(COMMANDS)


@given(
    prompt=st.text(min_size=1),
    duration=st.none() | st.integers(-1, 30),
    seed=st.none() | st.integers(-1, 2**32 - 1),
    watermark=st.none() | st.booleans(),
    ratio=st.none() | st.sampled_from(["16:9", "adaptive"]),
)
def test_options_read_back_as_they_were_set(prompt, **options):
    """Options are read back from a body: from keys at Ark, from commands at CometAPI."""
    given_options = {name: value for name, value in options.items() if value is not None}
    spec = TaskSpec(prompt, **options)
    body = body_of(spec)
    assert body.pop("model") == MODEL
    assert body.pop("content") == [{"type": "text", "text": prompt}]
    assert body == given_options
    text = body_of(spec, COMET)["content"][0]["text"]
    assert text.startswith(prompt)
    if not commands_in(prompt):
        assert set(commands_in(text)) == set(given_options)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(extra=st.dictionaries(st.text().filter(lambda key: key != "content"), JSON))
def test_extra_reads_back_as_it_was_given(extra):
    """Raw keys are read back unchanged."""
    body = body_of(TaskSpec("x", extra=extra))
    assert {key: body[key] for key in extra} == extra


def test_id_is_opaque(sample, answer):
    """The id in the recorded answer keeps its leading zero."""
    assert ARK.parse_create(answer(sample("02"))) == "021773297205999example"


@pytest.mark.parametrize(
    ("body", "task_id"),
    [
        ({"id": "007", "safety_identifier": "t"}, "007"),
        ({"id": 7}, "7"),
        ({"task_id": "task_1"}, "task_1"),
        ({"code": 0, "message": "success", "data": {"id": "cgt-1"}}, "cgt-1"),
        ({"code": 0, "data": '{"id": "cgt-1"}'}, "cgt-1"),
        (json.dumps({"id": "cgt-1"}), "cgt-1"),
        ({"id": "cgt-1", "error": {"code": "Odd", "message": "beside an id"}}, "cgt-1"),
        (b'\xef\xbb\xbf {"id": "cgt-1"}', "cgt-1"),
        (b'{"id": "a", "id": "cgt-1"}', "cgt-1"),
    ],
)
def test_id_is_found_in_every_shape(body, task_id, answer):
    """An id may be plain, wrapped, a number, or beside an error, because it may be billed."""
    assert ARK.parse_create(answer(body)) == task_id


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"null", b'{"id": ""}', b'{"id": true}', b'{"id": " "}', b"{"]
)
def test_success_without_id_is_a_protocol_error(body, answer):
    """An answer without an id is unreadable, and no id is invented."""
    with pytest.raises(ProtocolError):
        ARK.parse_create(answer(body))


def test_error_in_a_success_is_raised(answer):
    """A 2xx answer with an error and no id raises that error."""
    body = {"error": {"code": "InvalidParameter.ratio", "message": "no such ratio"}}
    with pytest.raises(InvalidRequestError, match="no such ratio"):
        ARK.parse_create(answer(body))
