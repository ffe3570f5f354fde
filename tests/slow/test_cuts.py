"""Real connections that are cut at every byte of a create: each video is made and paid once."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING

import attrs
import httpx
import pytest

from callsheet import (
    CallsheetError,
    Client,
    Limits,
    Polling,
    Provider,
    RetryPolicy,
    SubmissionUncertainError,
    TaskSpec,
)
from loopback import answer, answering, listening


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    # because httpx does not close the body of a request that it could not write completely
    pytest.mark.filterwarnings("ignore:Exception ignored in.*ByteStream.__aiter__"),
    pytest.mark.filterwarnings("ignore:Async generator 'httpx._content.ByteStream.__aiter__'"),
]

SPEED = 2000.0
LOOKUP = 40.0
"""Seconds at the provider; lost creates are looked up for 20 ms of real time."""

STEPS = [pytest.param(1, marks=pytest.mark.full), 23]
"""Bytes from one cut to the next: every byte in the full suite, else some of them."""

LONGEST_ANSWER = 260
"""Bytes; the answer to a create is shorter."""

AT_A_TIME = 40
"""Videos of one client; few, so that its lists stay short."""

QUOTA = 10**6
SETTINGS = {
    "speed": SPEED,
    "concurrency": 1000,
    "render_seconds": 5.0,
    "creates_per_minute": QUOTA,
    "gets_per_second": QUOTA,
    "lists_per_second": QUOTA,
}
BOAT = TaskSpec("a paper boat", duration=5)

WAYS = {
    "asyncio": (("asyncio", {}), None),
    "trio": (("trio", {}), None),
    "aiohttp": (("asyncio", {}), "aiohttp"),
}


@pytest.fixture(params=sorted(WAYS))
def way(request: pytest.FixtureRequest):
    """An event loop in real time, and a transport."""
    return WAYS[request.param]


@pytest.fixture
def anyio_backend(way):
    """The event loop."""
    return way[0]


@pytest.fixture(autouse=True)
def no_proxies_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the machine's proxy settings."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """The address of an emulator in a separate process."""
    command = [sys.executable, "-m", "callsheet.emulator", "--port", "0", "--until-stdin-closes"]
    command += ["--settings", json.dumps(SETTINGS)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **pipes) as child:
        yield json.loads(child.stdout.readline())["url"]
        child.stdin.close()


@attrs.define
class ConnectionCutter:
    """Cuts connections of an emulator and reads its ledger."""

    http: httpx.AsyncClient
    before: int = 0

    async def cut(self, request: str, how: str, at: int) -> None:
        """Cut the connection of the next create."""
        fault = {"times": 1, "request": request, "answer": how, "cut_at": at}
        (await self.http.put("/_emulator/faults", json=[fault])).raise_for_status()

    async def counts(self) -> tuple[int, int]:
        """How many tasks were made, and how many billed, since this test began."""
        state = (await self.http.get("/_emulator/state?rows=false")).json()
        assert state["created_twice"] == {}
        return state["created"] - self.before, state["billed"] - self.before


@pytest.fixture
async def cutter(origin: str) -> AsyncIterator[ConnectionCutter]:
    """A cutter for the emulator."""
    async with httpx.AsyncClient(base_url=origin) as http:
        made = ConnectionCutter(http)
        made.before, billed = await made.counts()
        assert made.before == billed
        yield made


def client(origin: str, transport: str | None, **options: object) -> Client:
    """A client with its own account, whose waits take milliseconds."""
    provider = Provider(
        name="emulator",
        base_url=f"{origin}/api/v3",
        default_model="doubao-seedance-1-5-pro-251215",
        limits=Limits(creates_per_minute=QUOTA, gets_per_second=QUOTA, lists_per_second=QUOTA),
        lists=True,
        token=True,
        speed=SPEED,
    )
    retry = RetryPolicy(lookup=LOOKUP, **options)
    choice = {"transport": transport, "polling": Polling(delay=5.0), "retry": retry}
    return Client(api_key=uuid.uuid4().hex, provider=provider, **choice)


async def bytes_of_a_create(transport: str | None) -> int:
    """How many bytes the request of a create has."""
    async with listening(answering(answer(b"{}", status="401 No"))) as received:
        async with client(received.origin, transport) as c:
            with pytest.raises(CallsheetError):
                await c.submit(BOAT)
        return len(received.requests[0])


async def cut_at_each(
    places: range, request: str, how: str, *, cutter: ConnectionCutter, way, origin
):
    """Make one video for each byte at which a create is cut."""
    done = 0
    for first in range(0, len(places), AT_A_TIME):
        some = places[first : first + AT_A_TIME]
        async with client(origin, way[1]) as c:
            for at in some:
                await cutter.cut(request, how, at)
                assert (await c.run(BOAT, timeout=20)).url, at
                done += 1
                assert await cutter.counts() == (done, done), at
            assert c.spend.spent.tasks == len(some)
            assert c.spend.uncertain.tasks == 0


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a_request_that_is_cut_at_any_byte_is_sent_once_more(origin, cutter, way, how, step):
    """A create that is cut before it has arrived made no task, and is sent once more."""
    longest = await bytes_of_a_create(way[1])
    assert longest > 300
    places = range(1, longest + 2, step)
    await cut_at_each(places, "lost", how, cutter=cutter, way=way, origin=origin)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a_create_whose_answer_is_cut_at_any_byte_is_found(origin, cutter, way, how, step):
    """The task is found by its token, and nothing is sent again."""
    places = range(0, LONGEST_ANSWER, step)
    await cut_at_each(places, "taken", how, cutter=cutter, way=way, origin=origin)


@pytest.mark.parametrize("request_", ["lost", "taken"])
async def test_with_resubmit_never_a_lost_create_is_found_or_uncertain(
    origin, cutter, way, request_
):
    """A create that made no task is uncertain and has its token; a task that was made is found."""
    async with client(origin, way[1], resubmit="never") as c:
        for done, at in enumerate(range(1, 180, 7), start=1):
            await cutter.cut(request_, "reset", at)
            if request_ == "taken":
                assert (await c.run(BOAT, timeout=20)).url
                assert await cutter.counts() == (done, done)
                continue
            with pytest.raises(SubmissionUncertainError) as caught:
                await c.run(BOAT, timeout=20)
            assert caught.value.token
            assert await cutter.counts() == (0, 0)
            assert c.spend.uncertain.tasks == done
