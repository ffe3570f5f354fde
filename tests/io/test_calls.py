"""Each verb, sent once: what an answer to a create leaves open, and what it does not."""

from __future__ import annotations

import json
from functools import partial

import anyio
import httpx
import pytest

from callsheet import TaskSpec
from callsheet._io.calls import Calls
from callsheet._io.transport import Transport
from callsheet._wire import dialect_of
from callsheet.errors import (
    APIError,
    ConflictError,
    ConnectFailedError,
    InvalidRequestError,
    NotFoundError,
    ProtocolError,
    SpecError,
    SubmissionUncertainError,
)
from emulation import ARK, Script, refusal


def calls(*answers: object) -> Calls:
    """The verbs before a scripted provider."""
    custom = Script(*answers)
    wire = Transport(base_url="http://a.test", api_key="k", connections=1, custom=custom)
    return Calls(wire, dialect_of("ark"), ARK, 30.0)


async def create(*answers: object) -> str:
    """Create once, and see that one request left."""
    made = calls(*answers)
    request = await made.prepare(TaskSpec("boat"), token="callsheet-1")
    assert json.loads(request.body)["safety_identifier"] == "callsheet-1"
    try:
        return await made.create(request, token="callsheet-1")
    finally:
        assert len(made.transport._custom.seen) == 1


async def test_a_create_gives_the_id():
    """The id of the answer is handed on as it stands."""
    assert await create(httpx.Response(200, json={"id": "0217"})) == "0217"


@pytest.mark.parametrize(
    "answer",
    [httpx.ReadTimeout(""), refusal(500, "X"), httpx.Response(200), httpx.Response(408),
     httpx.Response(200, text="<html>")],
)  # fmt: skip
async def test_what_says_nothing_is_uncertain(answer):
    """A lost, failed or unreadable answer is uncertain, with the token and its cause."""
    with pytest.raises(SubmissionUncertainError) as caught:
        await create(answer)
    assert caught.value.token == "callsheet-1"
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 409, 413, 422, 429, 302])
async def test_what_refuses_is_certain(status):
    """A refusal, whatever its number, means that there is no task."""
    with pytest.raises(APIError):
        await create(refusal(status, "Some.Code"))


async def test_what_never_left_is_certain():
    """A connection that failed sent nothing."""
    with pytest.raises(ConnectFailedError):
        await create(httpx.ConnectError("refused"))


async def test_a_spec_that_cannot_be_written_is_a_spec_error():
    """Values that fit no JSON are the spec's fault, with the reason as its cause."""
    for spec in (TaskSpec("a", extra={"x": object()}), TaskSpec(3), TaskSpec("a", tools=3)):
        try:
            await calls(httpx.Response(200)).prepare(spec, token=None)
        except SpecError as error:
            assert error.problems  # noqa: PT017 - what can be written is the provider's to refuse


async def test_a_get_keeps_the_id_that_was_asked_for():
    """A gateway that answers with no id of its own still tells of the task that was asked for."""
    made = calls(httpx.Response(200, json={"status": "running", "model": "m"}))
    assert (await made.get("cgt-1")).task_id == "cgt-1"


async def test_a_get_says_what_went_wrong():
    """Unknown ids and unreadable answers are errors of their own."""
    with pytest.raises(NotFoundError):
        await calls(refusal(404, "NotFound")).get("cgt-1")
    with pytest.raises(ProtocolError):
        await calls(httpx.Response(200, text="hello")).get("cgt-1")


async def test_a_list_sends_its_filters():
    """Ids are repeated, and what was not asked for is not sent."""
    made = calls(httpx.Response(200, json={"items": [{"id": "a", "status": "queued"}], "total": 1}))
    page = await made.list(task_ids=["a", "b"], page_size=2, service_tier="flex")
    (request,) = made.transport._custom.seen
    assert request.url.params.get_list("filter.task_ids") == ["a", "b"]
    assert request.url.params["filter.service_tier"] == "flex"
    assert "filter.status" not in request.url.params
    assert page.items[0].task_id == "a"


@pytest.mark.parametrize("body", [b"", b"{}", b'{"id": "a", "status": "cancelled"}'])
async def test_a_cancel_takes_every_kind_of_yes(body):
    """Nothing, an empty object and a whole task are all a success."""
    await calls(httpx.Response(200, content=body)).cancel("cgt-1")
    await calls(httpx.Response(204)).cancel("cgt-1")


async def test_a_cancel_that_comes_too_late_is_a_conflict():
    """A task that runs is not cancelled, and that is no failure of the call."""
    with pytest.raises(ConflictError):
        await calls(refusal(409, "InvalidAction.RunningTaskDeletion")).cancel("cgt-1")
    with pytest.raises(InvalidRequestError):
        await calls(refusal(400, "InvalidParameter")).cancel("cgt-1")


async def test_a_shorter_patience_ends_a_read_earlier():
    """A read takes no longer than its caller allows, nor than an attempt may."""

    class Silent(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await anyio.sleep_forever()

    wire = Transport(base_url="http://a.test", api_key="k", connections=1, custom=Silent())
    made = Calls(wire, dialect_of("ark"), ARK, 30.0)
    for most, taken in ((5.0, 5.0), (60.0, 30.0)):
        for read in (partial(made.get, "a", most=most), partial(made.list, most=most)):
            started = anyio.current_time()
            with pytest.raises(Exception, match=f"within {taken:g} s"):
                await read()
            assert anyio.current_time() - started == pytest.approx(taken)
