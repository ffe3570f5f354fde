"""A provider that lies about creates is paid for each video once, and nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import anyio
import attrs
import pytest
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from callsheet import Client, Provider, RetryPolicy, SubmissionUncertainError, TaskSpec
from callsheet._catalog import PROVIDERS


if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from callsheet import Outcome
    from callsheet.pricing import Spend


pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SPEED = 60.0
COUNT = 30
WAYS = (
    "honest", "eager", "dropped", "lost", "failed", "busy", "liar", "twin", "doubled",
    "honest", "dropped", "dropped", "busy", "lost",
)  # fmt: skip
"""What is done to the creates, one after the other, again and again."""

UNTOLD = tuple(way for way in WAYS if way != "doubled")
"""The same where no list shows what was made: nobody could know of a second task of one create."""


@contextmanager
def running(*, lists: bool) -> Iterator[str]:
    """Run the provider as a process; yield its address."""
    ways = WAYS if lists else UNTOLD
    settings = json.dumps({"speed": SPEED, "seed": 1, "lists": lists, "ways": ways})
    command = [sys.executable, str(Path(__file__).with_name("provider.py")), settings]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.stdin.close()


def bill_of(address: str) -> dict[str, Any]:
    """What the provider bills."""
    with urllib.request.urlopen(f"{address}/bill") as answer:
        return json.load(answer)


@attrs.define
class Web:
    """The web service of the caller, which passes callbacks to the client that is open."""

    url: str = ""
    client: Client | None = None
    told: set[str] = attrs.Factory(set)

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[None]:
        """Take callbacks until the block ends."""
        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
            anyio.create_task_group() as group,
        ):
            port = listener.extra(SocketAttribute.local_port)
            self.url = f"http://127.0.0.1:{port}/hook?token={{token}}"
            group.start_soon(listener.serve, self.take)
            yield
            group.cancel_scope.cancel()

    async def take(self, stream: SocketStream) -> None:
        """Take one callback."""
        async with stream:
            received = BufferedByteReceiveStream(stream)
            head = (await received.receive_until(b"\r\n\r\n", 10_000)).decode()
            body = await received.receive_exactly(int(head.rpartition(": ")[2]))
            (token,) = parse_qs(urlsplit(head.split(" ")[1]).query)["token"]
            if self.client is not None and self.client.take_callback(body, token=token):
                self.told.add(token)
            await stream.send(b"HTTP/1.1 204 Taken\r\n\r\n")


async def shoot(provider: Provider, path: Path | None) -> tuple[list[Outcome], Spend]:
    """Make all videos; with a journal, in two clients that follow each other."""
    web = Web()
    options = {"provider": provider, "journal": path, "retry": RetryPolicy(lookup=90.0)}
    async with web.listening():
        specs = [TaskSpec(f"boat {n}", callback_url=web.url) for n in range(COUNT)]
        if path is not None:
            async with Client(**options) as web.client:
                await web.client.submit_many(specs)
                await anyio.sleep(1.0)
        web.client = None
        async with Client(**options) as web.client:
            c = web.client
            batch = await (c.submit_many(specs) if path is None else c.resume())
            outcomes = list(await batch.result())
            for _ in range(300):  # tasks that no spec waits for end later
                if c.spend.reserved.tasks == 0:
                    break
                await anyio.sleep(0.1)
            return outcomes, c.spend


@pytest.mark.parametrize("journal", [False, True], ids=["memory", "journal"])
@pytest.mark.parametrize("lists", [True, False], ids=["lists", "no lists"])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_hostile_provider_bills_what_the_books_say(tmp_path, backend, lists, journal):
    """What was billed is what was spent, and each video is that of its own spec."""
    path = tmp_path / "shoot.db" if journal else None
    with running(lists=lists) as address:
        provider = attrs.evolve(
            PROVIDERS["emulator"], base_url=f"{address}/api/v3", speed=SPEED,
            lists=lists or None, token=lists, limits=attrs.evolve(PROVIDERS["ark"].limits),
        )  # fmt: skip
        outcomes, spend = anyio.run(shoot, provider, path, backend=backend)
        bill = bill_of(address)
    billed = [task for task in bill["tasks"] if task["status"] == "succeeded"]
    prompts = {task["id"]: task["prompt"] for task in billed}
    assert len(outcomes) == COUNT
    assert all(prompts[each.task_id] == each.spec.prompt for each in outcomes if each.ok)
    assert spend.reserved.tasks == 0
    assert spend.spent.tasks <= len(billed) <= spend.committed.tasks
    marks = Counter(task.get("safety_identifier") for task in billed)
    if lists:
        doubled = sum(count - 1 for count in marks.values())
        assert [each.error for each in outcomes if not each.ok] == []
        assert len(billed) == COUNT + doubled
        assert (spend.spent.tasks, spend.uncertain.tasks) == (len(billed), 0)
        return
    doubts = [each for each in outcomes if isinstance(each.error, SubmissionUncertainError)]
    assert sum(each.ok for each in outcomes) + len(doubts) == COUNT
    assert spend.uncertain.tasks == len(doubts)
    assert len(billed) <= COUNT
