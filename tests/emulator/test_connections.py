"""Real connections that end early: reset or closed, after any byte of request or answer."""

from __future__ import annotations

import json
import subprocess
import sys

import anyio
import anyio.lowlevel
import httpx
import pytest

from callsheet.emulator import ARK, running
from emulator.desk import PRO, text


BODY = json.dumps({"model": PRO, "content": text(), "safety_identifier": "token"}).encode()
REQUEST = (
    b"POST " + ARK.encode() + b" HTTP/1.1\r\nHost: emulator\r\nAuthorization: Bearer key\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
)
COMMAND = [sys.executable, "-m", "callsheet.emulator", "--until-stdin-closes"]
LOOSE = {"creates_per_minute": 10**6, "gets_per_second": 10**6, "speed": 1000.0}


class RawClient:
    """Talks to an emulator in a separate process, in bytes and in HTTP."""

    def __init__(self, url, http):
        self.url, self.http, self.before = url, http, 0

    async def set(self, *faults):
        """Replace the faults."""
        assert (await self.http.put("/_emulator/faults", json=faults)).is_success

    async def created(self):
        """How many tasks this client has created."""
        state = (await self.http.get("/_emulator/state?rows=false")).json()
        return state["created"] - self.before

    async def exchange(self, *pieces):
        """Send bytes on a new connection; return the answer and how the connection ended."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        received = b""
        async with await anyio.connect_tcp(host, int(port)) as stream:
            try:
                for piece in pieces:
                    await stream.send(piece)
                    await anyio.lowlevel.checkpoint()
                while True:
                    received += await stream.receive()
            except anyio.EndOfStream:
                return received, "close"
            except anyio.BrokenResourceError:
                return received, "reset"


@pytest.fixture(scope="module")
def origin():
    """Serve an emulator in a separate process to all tests of this file."""
    command = [*COMMAND, "--settings", json.dumps(LOOSE)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        yield json.loads(child.stdout.readline())["url"]
        child.stdin.close()


@pytest.fixture
async def raw_client(origin):
    """Make a client of it, without faults at first."""
    headers = {"Authorization": "Bearer key"}
    async with httpx.AsyncClient(base_url=origin, headers=headers, trust_env=False) as http:
        raw_client = RawClient(origin, http)
        await raw_client.set()
        raw_client.before = await raw_client.created()
        yield raw_client


@pytest.mark.parametrize("request_", ["lost", "taken", "late"])
@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a_connection_ends_without_an_answer(raw_client, request_, how):
    """The connection is really reset or closed after the request was read."""
    await raw_client.set({"request": request_, "answer": how, "delay": 10**6})
    assert await raw_client.exchange(REQUEST) == (b"", how)
    assert await raw_client.created() == (request_ == "taken")


async def test_the_client_library_sees_the_cuts(raw_client):
    """The library httpx raises different errors for a reset and for a close."""
    options = {"content": BODY, "headers": {"Content-Type": "application/json"}}
    await raw_client.set({"request": "taken", "answer": "reset"})
    with pytest.raises(httpx.ReadError):
        await raw_client.http.post(ARK, **options)
    await raw_client.set({"request": "taken", "answer": "close"})
    with pytest.raises(httpx.RemoteProtocolError):
        await raw_client.http.post(ARK, **options)
    await raw_client.set({"request": "taken", "answer": "close", "cut_at": 180})
    with pytest.raises(httpx.RemoteProtocolError):
        await raw_client.http.post(ARK, **options)
    assert await raw_client.created() == 3
    await raw_client.set()
    assert (await raw_client.http.post(ARK, **options)).is_success


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_an_answer_is_cut_at_any_byte(raw_client, how):
    """Exactly the set number of bytes of an answer arrive, and the task is made each time."""
    await raw_client.set({"times": 1, "request": "taken", "answer": how, "cut_at": 10_000})
    whole, _ = await raw_client.exchange(REQUEST.replace(b"Host:", b"Connection: close\r\nHost:"))
    head, _, body = whole.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert json.loads(body)["safety_identifier"] == "token"
    kept_alive = len(whole) - len(b"connection: close\r\n")
    for count in range(kept_alive + 1):
        await raw_client.set({"request": "taken", "answer": how, "cut_at": count})
        received, ending = await raw_client.exchange(REQUEST)
        assert (len(received), ending) == (count, how)
    assert json.loads(received.partition(b"\r\n\r\n")[2])["safety_identifier"] == "token"
    assert await raw_client.created() == kept_alive + 2


async def test_a_request_is_cut_at_any_byte(raw_client):
    """A request that is interrupted while it is read makes no task, at whatever byte."""
    for count in range(0, len(REQUEST) + 1, 3):
        await raw_client.set({"request": "lost", "cut_at": count})
        received, _ = await raw_client.exchange(REQUEST[:7], REQUEST[7:90], REQUEST[90:])
        assert received == b""
    assert await raw_client.created() == 0
    await raw_client.set({"request": "lost", "answer": "close", "cut_at": 10_000})
    assert await raw_client.exchange(REQUEST) == (b"", "close")
    assert await raw_client.created() == 0


async def test_a_cut_is_for_one_request_of_a_connection(raw_client):
    """A connection survives requests without a fault and ends at the request that has one."""
    await raw_client.set({"verbs": "get", "request": "taken", "cut_at": 20})
    for _ in range(3):
        task_id = (await raw_client.http.post(ARK, content=BODY)).json()["id"]
    with pytest.raises(httpx.ReadError):
        await raw_client.http.get(f"{ARK}/{task_id}")
    assert (await raw_client.http.get(ARK)).is_success
    assert await raw_client.created() == 3


async def test_a_large_body_can_be_cut_in_its_middle(raw_client):
    """A create of some megabytes is interrupted while it is sent, and its task is not made."""
    await raw_client.set({"request": "lost", "cut_at": 3_000_000})
    head = REQUEST.partition(b"\r\n\r\n")[0].replace(b"Length: ", b"Length: 8000")
    assert await raw_client.exchange(head + b"\r\n\r\n" + b" " * 8_000_000) == (b"", "reset")
    assert await raw_client.created() == 0


async def test_a_film_is_cut_in_its_middle(raw_client):
    """A download ends after the set number of bytes, although its headers announce more."""
    task_id = (await raw_client.http.post(ARK, content=BODY)).json()["id"]
    answer = {}
    while answer.get("status") != "succeeded":
        answer = (await raw_client.http.get(f"{ARK}/{task_id}")).json()
    await raw_client.set(
        {"verbs": "download", "request": "taken", "answer": "close", "cut_at": 5000}
    )
    target = answer["content"]["video_url"].removeprefix(raw_client.url).encode()
    received, how = await raw_client.exchange(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (len(received), how) == (5000, "close")
    assert received.startswith(b"HTTP/1.1 200")


async def test_a_silent_connection_stays_open(raw_client):
    """Silence does not end the connection; the client stops waiting."""
    await raw_client.set({"verbs": "list", "answer": "silence"})
    with pytest.raises(httpx.ReadTimeout):
        await raw_client.http.get(ARK, timeout=0.2)
    await raw_client.set({"verbs": "list", "answer": 429, "retry_after": 3})
    assert (await raw_client.http.get(ARK)).headers["retry-after"] == "3"


async def test_settings_reach_the_process():
    """Faults reach the emulator's process with its other settings."""
    faults = [{"request": "taken", "times": 1}]
    async with running(faults=faults) as url, httpx.AsyncClient(trust_env=False) as http:
        assert await RawClient(url, http).exchange(REQUEST) == (b"", "reset")
        state = (await http.get(url + "/_emulator/state")).json()
    assert state["tasks"][0]["safety_identifier"] == "token"


async def test_a_cut_is_no_error_of_the_server():
    """A server that cuts connections on purpose writes nothing about it."""
    faults = [{"request": "lost", "cut_at": 100, "times": 2}, {"request": "taken"}]
    process = await anyio.open_process([*COMMAND, "--settings", json.dumps({"faults": faults})])
    async with process:
        url = json.loads(await process.stdout.receive())["url"]
        raw_client = RawClient(url, None)
        for _ in range(4):
            assert (await raw_client.exchange(REQUEST))[0] == b""
        await process.stdin.aclose()
        with pytest.raises(anyio.EndOfStream):
            await process.stderr.receive()
        assert await process.wait() == 0
