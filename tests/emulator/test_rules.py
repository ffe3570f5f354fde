"""Which creates the emulator accepts, and which it refuses with the name of one parameter."""

from __future__ import annotations

import base64
import io
import json

import pytest
from PIL import Image

from callsheet.emulator import ARK
from callsheet.emulator.catalog import MODEL_RULES, SIZES
from callsheet.emulator.messages import BODY_LIMIT
from emulator.desk import PRO, TWO, TWO_FIVE, problem, text


LITE_T2V = "doubao-seedance-1-0-lite-t2v-250428"
LITE_I2V = "doubao-seedance-1-0-lite-i2v-250428"
PRO_10 = "doubao-seedance-1-0-pro-250528"
FAST_10 = "doubao-seedance-1-0-pro-fast-251015"
FAST_20 = "doubao-seedance-2-0-fast-260128"
WEB = "https://example.com/a"
BAD = "InvalidParameter"
UNSUPPORTED = "InvalidParameter.UnsupportedParameter"
MISSING = "MissingParameter"


def picture(width=400, height=400, form="PNG", named=None):
    """Make a data URL of a plain image."""
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, form)
    data = base64.b64encode(file.getvalue()).decode()
    return f"data:image/{named or form.lower()};base64,{data}"


def media(role=None, url=WEB, kind="image_url"):
    """Make one media item."""
    item = {"type": kind, kind: {"url": url}}
    return item if role is None else item | {"role": role}


FIRST, LAST = media("first_frame"), media("last_frame")
IMAGE = media("reference_image")
CLIP = media("reference_video", kind="video_url")
SOUND = media("reference_audio", kind="audio_url")


async def refusal(make_client, **body):
    """Send a body that is refused, and return the refusal."""
    return problem(
        await make_client().send("POST", ARK, json={"model": PRO, "content": text()} | body)
    )


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"model": None}, MISSING, "model"),
        ({"model": ""}, MISSING, "model"),
        ({"model": 5}, BAD, "model"),
        ({"content": None}, MISSING, "content"),
        ({"content": []}, MISSING, "content"),
        ({"content": "a cat"}, BAD, "content"),
        ({"content": ["a cat"]}, BAD, "content"),
        ({"content": [{"text": "a cat"}]}, MISSING, "content.type"),
        ({"content": [{"type": "image"}]}, BAD, "content.type"),
        ({"content": text("")}, MISSING, "content.text"),
        ({"content": text("  ")}, MISSING, "content.text"),
        ({"content": [{"type": "image_url"}]}, MISSING, "content.image_url"),
        ({"content": [{"type": "image_url", "image_url": WEB}]}, MISSING, "content.image_url.url"),
        ({"content": [media(url="")]}, BAD, "content.image_url.url"),
        ({"content": [media(url="file:///a.png")]}, BAD, "content.image_url.url"),
        ({"content": [media(url="asset://")]}, BAD, "content.image_url.url"),
        ({"content": [media(), media()]}, MISSING, "content.role"),
        ({"content": [FIRST, media()]}, MISSING, "content.role"),
        ({"content": [media("mask")]}, BAD, "content.role"),
        ({"content": [media("reference_video")]}, BAD, "content.role"),
        ({"content": [FIRST, FIRST]}, BAD, "content.role"),
        ({"content": [LAST]}, BAD, "content.role"),
        ({"resolution": "2k"}, BAD, "resolution"),
        ({"resolution": 720}, BAD, "resolution"),
        ({"resolution": "4k"}, BAD, "resolution"),
        ({"model": FAST_20, "resolution": "1080p"}, BAD, "resolution"),
        ({"ratio": "2:1"}, BAD, "ratio"),
        ({"ratio": ["16:9"]}, BAD, "ratio"),
        ({"duration": 3}, BAD, "duration"),
        ({"duration": 13}, BAD, "duration"),
        ({"duration": "5"}, BAD, "duration"),
        ({"duration": 5.0}, BAD, "duration"),
        ({"duration": True}, BAD, "duration"),
        ({"model": PRO_10, "duration": -1}, BAD, "duration"),
        ({"model": TWO, "duration": 16}, BAD, "duration"),
        ({"frames": 29}, UNSUPPORTED, "frames"),
        ({"model": PRO_10, "frames": 30}, BAD, "frames"),
        ({"model": PRO_10, "frames": 293}, BAD, "frames"),
        ({"seed": -2}, BAD, "seed"),
        ({"seed": 2**32}, BAD, "seed"),
        ({"service_tier": "fast"}, BAD, "service_tier"),
        ({"model": TWO, "service_tier": "default"}, UNSUPPORTED, "service_tier"),
        ({"execution_expires_after": 3599}, BAD, "execution_expires_after"),
        ({"execution_expires_after": 259_201}, BAD, "execution_expires_after"),
        ({"generate_audio": 1}, BAD, "generate_audio"),
        ({"model": PRO_10, "generate_audio": True}, UNSUPPORTED, "generate_audio"),
        ({"model": TWO, "draft": True}, UNSUPPORTED, "draft"),
        ({"model": TWO_FIVE, "draft": False}, UNSUPPORTED, "draft"),
        ({"draft": True, "resolution": "720p"}, BAD, "resolution"),
        ({"draft": True, "return_last_frame": True}, BAD, "return_last_frame"),
        ({"draft": True, "service_tier": "flex"}, BAD, "service_tier"),
        ({"model": TWO_FIVE, "camera_fixed": False}, UNSUPPORTED, "camera_fixed"),
        ({"watermark": "true"}, BAD, "watermark"),
        ({"return_last_frame": 0}, BAD, "return_last_frame"),
        ({"priority": 1}, UNSUPPORTED, "priority"),
        ({"model": TWO, "priority": 10}, BAD, "priority"),
        ({"tools": [{"type": "web_search"}]}, UNSUPPORTED, "tools"),
        ({"model": TWO, "tools": [{"type": "other"}]}, BAD, "tools"),
        ({"model": TWO, "tools": "web_search"}, BAD, "tools"),
        (
            {"model": TWO, "tools": [{"type": "web_search"}], "content": [*text(), FIRST]},
            BAD,
            "tools",
        ),
        (
            {"model": "dreamina-seedance-2-0-260128", "tools": [{"type": "web_search"}]},
            UNSUPPORTED,
            "tools",
        ),
        ({"model": TWO, "output_format": "mp4"}, UNSUPPORTED, "output_format"),
        ({"model": TWO_FIVE, "output_format": "avi"}, BAD, "output_format"),
        ({"model": TWO_FIVE, "omni_reference_task_type": "x"}, BAD, "omni_reference_task_type"),
        ({"model": TWO_FIVE, "omni_reference_task_type": "edit"}, BAD, "omni_reference_task_type"),
        ({"model": TWO_FIVE, "content": [FIRST], "ratio": "16:9"}, BAD, "ratio"),
        (
            {
                "model": TWO_FIVE,
                "content": [CLIP],
                "omni_reference_task_type": "edit",
                "duration": 5,
            },
            BAD,
            "duration",
        ),
        (
            {
                "model": TWO_FIVE,
                "content": [CLIP],
                "omni_reference_task_type": "extend",
                "ratio": "1:1",
            },
            BAD,
            "ratio",
        ),
        ({"model": LITE_I2V, "content": [IMAGE], "camera_fixed": True}, BAD, "camera_fixed"),
        ({"model": LITE_I2V, "content": [IMAGE], "resolution": "1080p"}, BAD, "resolution"),
        ({"safety_identifier": "x" * 65}, BAD, "safety_identifier"),
        ({"callback_url": "example.com/hook"}, BAD, "callback_url"),
        ({"callback_url": "http://[::1/"}, BAD, "callback_url"),
    ],
)
async def test_a_wrong_value_is_named(make_client, body, code, param):
    """A body that breaks a rule is answered with 400, which names the parameter."""
    assert await refusal(make_client, **body) == (400, code, param)


@pytest.mark.parametrize(
    ("model", "content", "task"),
    [
        (PRO, [IMAGE], "r2v"),
        (PRO_10, [CLIP], "r2v"),
        (LITE_I2V, [IMAGE, CLIP], "r2v"),
        (FAST_10, [FIRST, LAST], "flf2v"),
        (LITE_T2V, [FIRST], "i2v"),
        (LITE_I2V, text(), "t2v"),
    ],
)
async def test_a_scenario_that_the_model_lacks_is_refused_in_its_words(
    make_client, model, content, task
):
    """The refusal of a scenario that a model does not support names the task type."""
    answer = await make_client().create(model=model, content=content)
    assert problem(answer) == (400, BAD, "content")
    assert f"task_type {task} does not support model seedance-" in answer.text


@pytest.mark.parametrize(
    ("model", "content"),
    [
        (TWO, [FIRST, IMAGE]),
        (TWO, [FIRST, SOUND]),
        (LITE_I2V, [IMAGE] * 5),
        (TWO, [IMAGE] * 10),
        (TWO_FIVE, [IMAGE] * 31),
        (TWO, [CLIP] * 4),
        (TWO_FIVE, [CLIP] * 11),
        (TWO, [SOUND]),
        (TWO, [*text(), SOUND]),
        (TWO, [IMAGE, *[SOUND] * 4]),
    ],
)
async def test_scenarios_do_not_mix_and_counts_have_limits(make_client, model, content):
    """First/last frame and references exclude each other; each model has its own limits."""
    assert problem(await make_client().create(model=model, content=content)) == (
        400,
        BAD,
        "content",
    )


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (PRO, {"content": [media()]}),
        (PRO, {"content": [*text(), FIRST, LAST]}),
        (PRO, {"duration": -1, "resolution": "1080P", "seed": 2**32 - 1, "callback_url": WEB}),
        (PRO_10, {"priority": "ignored", "frames": 289, "service_tier": "flex"}),
        (LITE_I2V, {"content": [IMAGE] * 4}),
        (TWO, {"content": [*[IMAGE] * 9, *[CLIP] * 3, *[SOUND] * 3], "resolution": "4K"}),
        (TWO, {"execution_expires_after": 60, "tools": [{"type": "web_search"}]}),
        (TWO_FIVE, {"content": [SOUND], "duration": 30}),
        (TWO_FIVE, {"content": [FIRST], "ratio": "adaptive", "output_format": "mov"}),
        (TWO_FIVE, {"content": [CLIP], "omni_reference_task_type": "edit"}),
        (PRO, {"content": [media(url="asset://asset-1")]}),
        (PRO, {"framespersecond": 999, "prompt_extend": {"a": 1}, "seed": None}),
    ],
)
async def test_valid_requests_are_accepted(make_client, model, body):
    """Values at the documented limits are accepted; unknown keys and nulls are ignored."""
    assert (await make_client().create(model=model, **body)).status_code == 200


async def test_draft_in_480p_is_rendered_in_full(make_client):
    """A finished draft can be rendered in full, with its prompt, seed and length."""
    client = make_client(film=lambda film: film.prompt.encode())
    draft = await client.created("小猫", draft=True, duration=4, ratio="1:1")
    content = [{"type": "draft_task", "draft_task": {"id": draft}}]
    assert problem(await client.create(content=content)) == (400, BAD, "content.draft_task.id")
    client.advance(30)
    seed = (body := (await client.get(draft)).json())["seed"]
    assert (body["draft"], body["resolution"]) == (True, "480p")
    final = await client.created(content=content, return_last_frame=True)
    client.advance(30)
    body = (await client.get(final)).json()
    assert body["draft_task_id"] == draft
    assert (body["draft"], body["resolution"], body["ratio"]) == (False, "720p", "1:1")
    assert (body["seed"], body["duration"]) == (seed, 4)
    assert (await client.download(body["content"]["video_url"])).text == "小猫"
    again = [{"type": "draft_task", "draft_task": {"id": final}}]
    assert problem(await client.create(content=again))[2] == "content.draft_task.id"


@pytest.mark.parametrize(
    ("model", "content", "code", "param"),
    [
        (TWO, [{"type": "draft_task", "draft_task": {"id": "x"}}], BAD, "content.type"),
        (PRO, [{"type": "draft_task"}], MISSING, "content.draft_task.id"),
        (PRO, [*text(), {"type": "draft_task", "draft_task": {"id": "x"}}], BAD, "content"),
    ],
)
async def test_a_draft_reference_stands_alone(make_client, model, content, code, param):
    """A draft_task item needs an id and a model with drafts, and must be the only item."""
    assert await refusal(make_client, model=model, content=content) == (400, code, param)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (picture(299, 400), "300 to 6000 px"),
        (picture(300, 6001), "300 to 6000 px"),
        (picture(1000, 300), "aspect ratio"),
        (picture(300, 800), "aspect ratio"),
        (picture(named="PNG"), "malformed"),
        (picture(named="ppm", form="PPM"), "format ppm"),
        (picture(named="png", form="PPM"), "format PPM"),
        ("data:image/png;base64,****", "decoded"),
        ("data:image/png;base64," + base64.b64encode(b"no image").decode(), "cannot be read"),
        ("data:image/heic;base64," + base64.b64encode(b"no image").decode(), "cannot be read"),
        ("data:audio/wav;base64,UklGRg==", "malformed"),
        ("data:image/png;base64," + base64.b64encode(bytes(30 * 2**20)).decode(), "30 MB"),
    ],
)
async def test_images_inside_the_body_are_checked(make_client, url, words):
    """A base64 image must be readable, of a known format, and within the size limits."""
    answer = await make_client().create(content=[media(url=url)])
    assert problem(answer) == (400, BAD, "content.image_url.url")
    assert words in answer.json()["error"]["message"]


async def test_good_images_inside_the_body_pass_and_set_the_ratio(make_client):
    """With ratio adaptive the video gets the ratio of the table nearest to the image's ratio."""
    client = make_client()
    heic = "data:image/heic;base64," + base64.b64encode(b"\0\0\0\x18ftypheic").decode()
    assert problem(await client.create(model=PRO_10, content=[media(url=heic)]))[0] == 400
    await client.created(content=[media(url=heic)])
    cases = {(300, 750): "9:16", (600, 600): "1:1", (640, 480): "4:3", (1200, 500): "21:9"}
    for (width, height), ratio in cases.items():
        url = picture(width, height, "JPEG")
        task_id = await client.created(content=[media(url=url)])
        client.advance(30)
        assert (await client.get(task_id)).json()["ratio"] == ratio


async def test_audio_inside_the_body_is_checked_and_video_is_refused(make_client):
    """Base64 audio must be wav or mp3 of at most 15 MB; base64 video is refused."""
    wav = base64.b64encode(b"RIFF\0\0\0\0WAVEfmt ").decode()

    async def answer(url, kind):
        role = kind.replace("_url", "").join(["reference_", ""])
        return problem(
            await make_client().create(model=TWO, content=[IMAGE, media(role, url, kind)])
        )

    good = media("reference_audio", "data:audio/wav;base64," + wav, "audio_url")
    await make_client().created(model=TWO, content=[IMAGE, good])
    large = base64.b64encode(b"ID3" + bytes(15 * 2**20)).decode()
    for url in ("data:audio/ogg;base64," + wav, "data:audio/mp3;base64," + large):
        assert await answer(url, "audio_url") == (400, BAD, "content.audio_url.url")
    assert (await answer("data:video/mp4;base64,AAAA", "video_url"))[2] == "content.video_url.url"


@pytest.mark.parametrize("content", [b"{", b"\xff", b"", b"[" * 100_000])
async def test_a_body_that_is_no_json_is_refused(make_client, content):
    """Invalid JSON is answered with 400."""
    answer = await make_client().send("POST", ARK, content=content)
    assert problem(answer) == (400, BAD, "body")


async def test_a_body_that_is_no_object_is_refused(make_client):
    """JSON that is not an object is answered with 400."""
    assert problem(await make_client().send("POST", ARK, json=[1])) == (400, BAD, "body")


async def test_a_body_above_64_megabytes_is_refused(make_client):
    """A body of 64 MB is accepted, and one byte more is refused."""
    body = json.dumps({"model": PRO, "content": text(), "pad": ""}).encode()
    client = make_client()
    fits = body.replace(b'"pad": ""', b'"pad": "' + b"x" * (BODY_LIMIT - len(body)) + b'"')
    assert (await client.send("POST", ARK, content=fits)).status_code == 200
    answer = await client.send("POST", ARK, content=fits + b" ")
    assert problem(answer) == (400, BAD, "body")


@pytest.mark.parametrize(
    "model", ["seedance-1-5-pro", "doubao-seedance-2-0", "seedance-2-0-260128", "sora"]
)
async def test_unknown_and_undated_models_are_not_found(make_client, model):
    """A model name without a date, or without the prefix of its cloud, is answered with 404."""
    assert await refusal(make_client, model=model) == (404, "InvalidEndpointOrModel.NotFound", "")


async def test_a_body_with_only_a_model_tells_whether_it_is_open(make_client):
    """Open, closed and unknown models answer differently to a body with only a model."""
    client = make_client(not_open=TWO)
    codes = [
        (await client.send("POST", ARK, json={"model": model})).json()["error"]["code"]
        for model in (PRO, TWO, "none")
    ]
    assert codes == [MISSING, "ModelNotOpen", "InvalidEndpointOrModel.NotFound"]


@pytest.mark.parametrize("model", MODEL_RULES)
async def test_every_model_takes_a_plain_request(make_client, model):
    """Each dated model id of both clouds makes a task with its defaults."""
    client = make_client()
    content = [media()] if "i2v" in model else text()
    task_id = await client.created(model=model, content=content)
    client.advance(30)
    body = (await client.get(task_id)).json()
    assert body["model"] == model
    assert body["resolution"] == MODEL_RULES[model].resolution
    low = MODEL_RULES[model].shortest
    assert low <= body["duration"] <= MODEL_RULES[model].longest


async def test_commands_in_the_prompt_count_for_1_x(make_client):
    """Long and short commands in the prompt set options on 1.x and are only text on 2.x."""
    client = make_client()
    prompt = "A cat --rs 480p --rt 9:16 --dur 7 --seed 9 --wm true --cf false --fps 24"
    task_id = await client.created(prompt, model=PRO_10)
    other = await client.created(prompt, model=TWO)
    client.advance(30)
    body = (await client.get(task_id)).json()
    expected = {"resolution": "480p", "ratio": "9:16", "duration": 7, "seed": 9}
    assert expected.items() <= body.items()
    body = (await client.get(other)).json()
    assert (body["resolution"], body["duration"]) == ("720p", 5)


async def test_bad_commands_are_replaced_by_defaults(make_client):
    """A command with a bad value, or for another model, changes nothing."""
    client = make_client()
    prompt = "A cat --resolution 9k --ratio wide --duration 99 --frames 29 --seed x --dur"
    task_id = await client.created(prompt)
    client.advance(30)
    body = (await client.get(task_id)).json()
    assert (body["resolution"], body["ratio"], body["duration"]) == ("720p", "16:9", 5)


async def test_a_body_field_wins_over_a_command(make_client):
    """If both are given, the body field applies."""
    client = make_client()
    task_id = await client.created("A cat --duration 9", duration=4)
    client.advance(30)
    assert (await client.get(task_id)).json()["duration"] == 4


async def test_a_length_that_the_model_chooses_is_in_the_answer(make_client):
    """Duration -1 becomes a length in the model's range, the same for the same seed."""

    async def lengths():
        client = make_client()
        ids = [await client.created(duration=-1) for _ in range(8)]
        client.advance(30)
        return [(await client.get(task_id)).json()["duration"] for task_id in ids]

    first = await lengths()
    assert first == await lengths()
    assert set(first) <= set(range(4, 13))
    assert len(set(first)) > 2


def test_the_size_table_keeps_its_ratios():
    """Each size is within 4 % of the ratio under which it is listed."""
    for sizes in SIZES.values():
        for ratio, (width, height) in sizes.items():
            wide, high = map(int, ratio.split(":"))
            assert abs(width / height / (wide / high) - 1) < 0.04
