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
    # httpx does not close the body of a request that could not be written to its end
    pytest.mark.filterwarnings("ignore:Exception ignored in.*ByteStream.__aiter__"),
    pytest.mark.filterwarnings("ignore:Async generator 'httpx._content.ByteStream.__aiter__'"),
]

SPEED = 2000.0
LOOKUP = 40.0
"""Seconds at the provider: what was lost is looked for during 20 ms here."""

STEPS = [pytest.param(1, marks=pytest.mark.full), 23]
"""Bytes from one cut to the next: each byte before an issue is closed, some of them always."""

LONGEST_ANSWER = 260
"""Bytes; more than the answer to a create has."""

AT_A_TIME = 40
"""Videos of one client: its lists stay short."""

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
    """No proxy of the machine stands between."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """The service, in a process of its own."""
    command = [sys.executable, "-m", "callsheet.emulator", "--port", "0", "--until-stdin-closes"]
    command += ["--settings", json.dumps(SETTINGS)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **pipes) as child:
        yield json.loads(child.stdout.readline())["url"]
        child.stdin.close()


@attrs.define
class Knife:
    """Cuts connections of an emulator, and looks into its books."""

    http: httpx.AsyncClient
    before: int = 0

    async def cut(self, request: str, how: str, at: int) -> None:
        """Cut the exchange of the next create."""
        fault = {"times": 1, "request": request, "answer": how, "cut_at": at}
        (await self.http.put("/_emulator/faults", json=[fault])).raise_for_status()

    async def bookkeeping(self) -> tuple[int, int]:
        """How many tasks were made and billed since this test began."""
        state = (await self.http.get("/_emulator/state?rows=false")).json()
        assert state["created_twice"] == {}
        return state["created"] - self.before, state["billed"] - self.before


@pytest.fixture
async def knife(origin: str) -> AsyncIterator[Knife]:
    """Something to cut with."""
    async with httpx.AsyncClient(base_url=origin) as http:
        made = Knife(http)
        made.before, billed = await made.bookkeeping()
        assert made.before == billed
        yield made


def client(origin: str, transport: str | None, **options: object) -> Client:
    """A client of an account of its own, which has all of its patience in milliseconds."""
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
    """How many bytes the request has."""
    async with listening(answering(answer(b"{}", status="401 No"))) as received:
        async with client(received.origin, transport) as c:
            with pytest.raises(CallsheetError):
                await c.submit(BOAT)
        return len(received.requests[0])


async def cut_at_each(places: range, request: str, how: str, *, knife: Knife, way, origin):
    """Make one video for each byte at which a create is cut."""
    done = 0
    for first in range(0, len(places), AT_A_TIME):
        some = places[first : first + AT_A_TIME]
        async with client(origin, way[1]) as c:
            for at in some:
                await knife.cut(request, how, at)
                assert (await c.run(BOAT, timeout=20)).url, at
                done += 1
                assert await knife.bookkeeping() == (done, done), at
            assert c.spend.spent.tasks == len(some)
            assert c.spend.uncertain.tasks == 0


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a_request_that_is_cut_at_any_byte_is_sent_once_more(origin, knife, way, how, step):
    """Wherever it ended, the provider took nothing; that is found out, and the spec is made."""
    longest = await bytes_of_a_create(way[1])
    assert longest > 300
    places = range(1, longest + 2, step)
    await cut_at_each(places, "lost", how, knife=knife, way=way, origin=origin)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("how", ["reset", "close"])
async def test_an_answer_that_is_cut_at_any_byte_is_looked_for(origin, knife, way, how, step):
    """Wherever it ended, the task is found by its token, and nothing is sent again."""
    places = range(0, LONGEST_ANSWER, step)
    await cut_at_each(places, "taken", how, knife=knife, way=way, origin=origin)


@pytest.mark.parametrize("request_", ["lost", "taken"])
async def test_where_nothing_may_be_sent_again_the_end_is_honest(origin, knife, way, request_):
    """What made nothing is reported with its token and stays in doubt; what was taken is found."""
    async with client(origin, way[1], resubmit="never") as c:
        for done, at in enumerate(range(1, 180, 7), start=1):
            await knife.cut(request_, "reset", at)
            if request_ == "taken":
                assert (await c.run(BOAT, timeout=20)).url
                assert await knife.bookkeeping() == (done, done)
                continue
            with pytest.raises(SubmissionUncertainError) as caught:
                await c.run(BOAT, timeout=20)
            assert caught.value.token
            assert await knife.bookkeeping() == (0, 0)
            assert c.spend.uncertain.tasks == done
