"""The emulator's answers have the shape of the published ones."""

from __future__ import annotations

import re

import pytest

from callsheet.emulator import ARK, COMET
from emulator.desk import EPOCH, PRO, problem, sample, text


def shape(value):
    """Reduce a body to names and types."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    return [shape(value[0])] if isinstance(value, list) else type(value)


async def test_a_succeeded_task_has_the_shape_of_the_published_answer(make_client):
    """A task made with the published request is answered like the published answer."""
    client = make_client()
    task_id = (await client.send("POST", ARK, json=sample("04"))).json()["id"]
    client.advance(60)
    body = (await client.get(task_id)).json()
    assert shape(body) == shape(sample("08"))
    assert body["seed"] == 11
    assert body["updated_at"] - body["created_at"] == 30
    assert body["created_at"] == int(EPOCH)
    assert "猫" not in str(body)


async def test_a_running_task_has_the_shape_of_the_published_callback(make_client):
    """A running task shows neither content nor usage."""
    client = make_client()
    task_id = (await client.send("POST", ARK, json=sample("04"))).json()["id"]
    body = (await client.get(task_id)).json()
    assert shape(body) == shape(sample("56"))
    assert body["status"] == "running"


async def test_cometapi_answers_like_its_reference(make_client):
    """A request of the reference gets an id and an answer in the form of the reference."""
    client = make_client()
    client.base = COMET
    created = await client.send("POST", COMET, json=sample("01"))
    assert shape(created.json()) == shape(sample("02"))
    task_id = created.json()["id"]
    assert re.fullmatch(r"02\d{13}\w+", task_id)
    client.advance(60)
    body = (await client.get(task_id)).json()
    assert shape(body) == shape(sample("15"))
    assert (body["ratio"], body["duration"], body["resolution"]) == ("16:9", 5, "720p")


async def test_a_page_has_the_shape_of_the_published_page(make_client):
    """A list answer has the total and complete tasks; an empty list equals the published one."""
    client = make_client()
    empty = (await client.list()).json()
    assert empty == sample("27")
    await client.send("POST", ARK, json=sample("04"))
    client.advance(60)
    page = (await client.list()).json()
    published = sample("25")
    assert list(page) == list(published)
    assert shape(published)["items"][0].items() <= shape(page)["items"][0].items()


async def test_ids_tell_the_tier(make_client):
    """Ark ids contain the time in Beijing, and ids of flex tasks contain "batch"."""
    client = make_client()
    assert re.fullmatch(r"cgt-20260801080000-[0-9a-z]{5}", await client.created())
    flex = await client.created(service_tier="flex")
    assert re.fullmatch(r"cgt-batch-20260801080000-[0-9a-z]{5}", flex)


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"duration": 5, "ratio": "16:9"}, 108_900),
        ({"model": "doubao-seedance-1-0-pro-250528", "duration": 5}, 246_840),
        ({"duration": 4, "ratio": "9:16", "resolution": "480p"}, 40_594),
        ({"duration": 5, "ratio": "16:9", "resolution": "480P"}, 50_638),
        ({"model": "doubao-seedance-2-5-260628", "duration": 5, "resolution": "480p"}, 48_437),
        ({"model": "doubao-seedance-1-0-pro-250528", "frames": 29}, 59_160),
    ],
)
async def test_tokens_are_those_of_published_answers(make_client, fields, tokens):
    """Usage follows the formula of real answers."""
    client = make_client()
    task_id = await client.created(**fields)
    client.advance(60)
    body = (await client.get(task_id)).json()
    assert body["usage"] == {"completion_tokens": tokens, "total_tokens": tokens}
    assert ("frames" in body) == ("frames" in fields)
    assert ("duration" in body) != ("frames" in fields)


async def test_echoes_follow_the_model(make_client):
    """The answer has safety identifier, sound, priority and format if the model has them."""
    client = make_client()
    created = await client.create(
        model="doubao-seedance-2-5-260628", safety_identifier="token", priority=3, tools=[]
    )
    assert created.json()["safety_identifier"] == "token"
    body = (await client.get(created.json()["id"])).json()
    assert body["safety_identifier"] == "token"
    assert (body["priority"], body["output_format"], body["generate_audio"]) == (3, "mp4", True)
    assert "draft" not in body
    assert "safety_identifier" not in (await client.get(await client.created())).json()


async def test_a_web_search_is_counted(make_client):
    """A task with web search shows its tools and how often they were used."""
    client = make_client()
    tools = [{"type": "web_search"}]
    task_id = await client.created(model="doubao-seedance-2-0-260128", tools=tools)
    client.advance(30)
    body = (await client.get(task_id)).json()
    assert body["tools"] == tools
    assert body["usage"]["tool_usage"] == {"web_search": 1}


async def test_an_endpoint_id_answers_with_its_model(make_client):
    """A task made with an endpoint id shows the dated model."""
    task_id = await (client := make_client()).created(model="ep-20260801-abcde")
    assert (await client.get(task_id)).json()["model"] == PRO
    named = make_client(endpoints={"ep-mine": "doubao-seedance-2-0-260128"})
    task_id = await named.created(model="ep-mine")
    assert (await named.get(task_id)).json()["model"] == "doubao-seedance-2-0-260128"
    refused = await named.create(model="ep-other")
    assert problem(refused) == (404, "InvalidEndpointOrModel.NotFound", "")


@pytest.mark.parametrize("authorization", [None, "", "Bearer ", "Basic a", "Bearer a,Bearer b"])
async def test_a_request_without_a_good_key_is_unauthorized(make_client, authorization):
    """A missing, blank or doubled key, or one of another scheme, is answered with 401."""
    headers = {} if authorization is None else {"Authorization": authorization}
    client = make_client()
    for method, path in [("POST", ARK), ("GET", ARK), ("GET", ARK + "/x"), ("DELETE", ARK + "/x")]:
        client.key = ""
        answer = await client.send(method, path, headers=headers, content=b"{}")
        published = sample("34")["error"]
        error = answer.json()["error"]
        assert answer.status_code == 401
        assert error["message"].startswith(published["message"].removesuffix("..."))
        assert {name: error[name] for name in ("code", "type", "param")} == {
            name: published[name] for name in ("code", "type", "param")
        }


async def test_only_listed_keys_are_let_in(make_client):
    """With keys set, any other key is wrong; each key sees its own tasks."""
    client = make_client(keys=("one", "two"))
    assert (await client.create()).status_code == 401
    client.key = "one"
    task_id = await client.created()
    client.key = "two"
    assert (await client.get(task_id)).status_code == 404
    assert (await client.list()).json()["total"] == 0


async def test_an_unknown_task_is_not_found(make_client):
    """An id that never existed is answered with 404 on GET and DELETE."""
    client = make_client()
    assert problem(await client.get("cgt-none")) == (404, "NotFound", "id")
    assert (await client.delete("cgt-none")).status_code == 404


async def test_cometapi_has_its_own_error_body(make_client):
    """Refusals on CometAPI's routes have its type, and the request id in the message."""
    client = make_client()
    client.base = COMET
    error = (await client.create(model="seedance")).json()["error"]
    assert error["type"] == "comet_api_error"
    assert set(error) == {"message", "type", "param", "code"}
    assert "(request id: " in error["message"]


async def test_undocumented_verbs_of_cometapi_answer_a_page(make_client):
    """List and DELETE are HTML pages with 404 or 405 on CometAPI's routes, unless enabled."""
    client = make_client()
    client.base = COMET
    task_id = await client.created()
    for answer in (await client.list(), await client.delete(task_id)):
        assert answer.status_code in {404, 405}
        assert answer.headers["content-type"].startswith("text/html")
    full = make_client(comet_full=True, concurrency=1)
    full.base = COMET
    first = await full.created(safety_identifier="token")
    second = await full.created()
    assert (await full.get(first)).json()["safety_identifier"] == "token"
    assert (await full.list()).json()["total"] == 2
    assert (await full.delete(second)).json() == {}


async def test_a_wrong_path_answers_a_page(make_client):
    """An unknown path is answered with 404 and HTML."""
    answer = await make_client().send("GET", "/api/v3/contents/generations")
    assert answer.status_code == 404
    assert "<html>" in answer.text


async def test_posting_to_a_cancel_path_creates(make_client):
    """A POST to a path below a task is a create, as on the service."""
    client = make_client()
    task_id = await client.created()
    answer = await client.send("POST", f"{ARK}/{task_id}/cancel", json={})
    assert problem(answer) == (400, "MissingParameter", "model")
    body = {"model": PRO, "content": text()}
    answer = await client.send("POST", f"{ARK}/{task_id}/cancel", json=body)
    assert answer.json()["id"] != task_id


async def test_every_answer_has_a_request_id(make_client):
    """The request id is in a header, and in the message of an error."""
    client = make_client()
    answer = await client.create(model="nothing")
    assert answer.headers["x-request-id"] in answer.json()["error"]["message"]
    assert "x-request-id" in (await client.create()).headers
