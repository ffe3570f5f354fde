"""What a client learns of render times, and what the next client with its journal makes of it."""

from __future__ import annotations

import contextlib
import json
import sqlite3

import anyio
import attrs
import httpx
import pytest

from callsheet import Limits, TaskSpec
from disks import full_disk
from emulation import COMET, Wire, client, prompt_of, refusal
from making import most_in_window


RENDER = 60.0
ALIKE = {"render_seconds": RENDER, "render_sigma": 0.05, "concurrency": 100, "queue_limit": 100}


@pytest.fixture
def path(tmp_path):
    """The path of a new journal."""
    return tmp_path / "shoot.db"


async def looks(wire, path):
    """Seconds after its create at which a new client looks at a single task."""
    async with client(wire, journal=path) as c:
        sent, begun = len(wire.times), anyio.current_time()
        await c.run(TaskSpec("boat"))
        return [at - begun for at in wire.times[sent + 1 :]]


async def learn(wire, path, count=30):
    """Let a client see so many tasks end."""
    async with client(wire, journal=path) as c:
        await (await c.submit_many(TaskSpec(f"boat {i}") for i in range(count))).result()


def learned(path):
    """What the file holds of it."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        return dict(database.execute("SELECT kind, value FROM learned"))


def write(path, kind, value):
    """Change the file from outside."""
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("INSERT OR REPLACE INTO learned VALUES (?, ?)", (kind, value))


async def test_the_next_client_knows_when_tasks_end(path, tmp_path):
    """After a restart the looks at a new task follow what was learned of its kind before."""
    wire = Wire(**ALIKE)
    await learn(wire, path)
    unknown, known = await looks(wire, tmp_path / "new.db"), await looks(wire, path)
    assert unknown[0] < 3
    assert len(unknown) > 8
    assert known[0] > 8
    assert known[1] > 0.7 * RENDER
    assert len(known) <= len(unknown) / 2


async def test_what_was_learned_outlives_a_kill(path, tmp_path):
    """It is written while the client works, and not only when it is left."""
    wire = Wire(**{**ALIKE, "concurrency": 10, "creates_per_minute": 60})
    async with client(wire, journal=path) as c:
        await (await c.submit_many(TaskSpec(f"boat {i}") for i in range(40))).result()
        await anyio.sleep(1)
        for kind in ("", "-wal"):
            content = path.with_name(f"{path.name}{kind}").read_bytes()
            (tmp_path / f"killed.db{kind}").write_bytes(content)
    (times,) = learned(tmp_path / "killed.db").values()
    assert len(json.loads(times)) >= 16
    assert (await looks(wire, tmp_path / "killed.db"))[0] > 8


async def test_what_was_learned_is_learned_on(path):
    """Each client adds to what earlier ones have learned, and keeps the latest ends only."""
    wire = Wire(**ALIKE)
    for count in (10, 20):
        await learn(wire, path, count=10)
        (times,) = learned(path).values()
        assert len(json.loads(times)) == count
    (kind,) = learned(path)
    write(path, kind, json.dumps([60.0] * 1000))
    await learn(wire, path, count=1)
    (times,) = learned(path).values()
    assert len(json.loads(times)) == 256


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (None, "{"),
        (None, "5"),
        (None, '["a"]'),
        (None, "[0]"),
        (None, "[-1, 60]"),
        (None, "[Infinity]"),
        (None, "[NaN]"),
        (None, "[[]]"),
        (None, b"\xff\x00"),
        (None, None),
        (None, "[" * 100_000),
        ("render times of {", "[60]"),
        ("render times of 5", "[60]"),
        ('render times of [["a"]]', "[60]"),
        (b"\xff", "[60]"),
    ],
)
async def test_what_cannot_be_read_is_left_out(path, caplog, kind, value):
    """Foreign values are left out with a warning, and the client works as if it knew nothing."""
    wire = Wire(**ALIKE)
    await learn(wire, path)
    (known,) = learned(path)
    if kind is None:
        write(path, known, value)
    else:
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            database.execute("UPDATE learned SET kind = ?, value = ?", (kind, value))
    assert (await looks(wire, path))[0] < 3
    (warning,) = caplog.records
    assert warning.levelname == "WARNING"
    assert str(path) in warning.getMessage()


class Gets(httpx.AsyncBaseTransport):
    """A provider without lists and without a published rate whose tasks run until `ended`."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.ended = False
        self.refuse = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        if request.method == "POST":
            return httpx.Response(200, json={"id": prompt_of(request)})
        self.times.append(anyio.current_time())
        if self.refuse:
            self.refuse = False
            return refusal(429, "RateLimitExceeded")
        row = {"id": request.url.path.rpartition("/")[2], "status": "running"}
        if self.ended:
            row |= {"status": "succeeded", "content": {"video_url": "http://v.test/1"}}
        return httpx.Response(200, json=row)

    async def busiest(self, path, seconds, *, refused_at=None, **options):
        """The most gets in a second that a new client with 400 tasks sends in so many seconds."""
        begun = len(self.times)
        comet = attrs.evolve(COMET, lists=False)
        async with client(self, provider=comet, api_key="k" * 20, journal=path, **options) as c:
            c.attach_many(f"t{i}" for i in range(400))
            if refused_at is not None:
                await anyio.sleep(refused_at)
                self.refuse = True
                seconds -= refused_at
            await anyio.sleep(seconds)
        return most_in_window(self.times[begun:], 1.0)


async def test_a_rate_that_was_proven_is_kept(path):
    """The next client begins with half of the proven rate of gets, and still doubles it."""
    provider = Gets()
    assert await provider.busiest(path, 50) in (19, 20)
    assert learned(path) == {"rate of gets": "20.0"}
    assert await provider.busiest(path, 9) in (9, 10)
    assert await provider.busiest(path, 15) in (19, 20)


async def test_without_a_proven_rate_the_next_client_begins_with_four(path):
    """A client that was left before its rate was proven leaves nothing."""
    provider = Gets()
    assert await provider.busiest(path, 5) == 4
    assert learned(path) == {}
    assert await provider.busiest(path, 5) == 4


async def test_a_rate_that_was_refused_is_no_longer_proven(path):
    """After a 429 half of the refused rate counts as proven, if a higher rate was proven before."""
    provider = Gets()
    await provider.busiest(path, 50, refused_at=45)
    assert learned(path) == {"rate of gets": "10.0"}
    assert await provider.busiest(path, 9) == 5


async def test_a_low_rate_that_was_proven_is_not_halved(path):
    """A rate of four or less was used for long, so the next client begins with all of it."""
    provider = Gets()
    await provider.busiest(path, 1)
    write(path, "rate of gets", "3")
    assert await provider.busiest(path, 9) == 3


async def test_a_rate_that_is_set_is_not_changed_by_what_was_learned(path):
    """`Limits` of the caller count more, and nothing is learned beside them."""
    provider = Gets()
    await provider.busiest(path, 1)
    write(path, "rate of gets", "20")
    limits = Limits(gets_per_second=3)
    assert await provider.busiest(path, 20, limits=limits) == 3
    assert learned(path) == {"rate of gets": "20"}


@pytest.mark.parametrize("value", ["0", "-1", "NaN", "Infinity", '"8"', "[8]", "null", "{", None])
async def test_a_rate_that_cannot_be_read_is_left_out(path, caplog, value):
    """It is left out with a warning, and the rate begins as if nothing were known."""
    provider = Gets()
    await provider.busiest(path, 1)
    write(path, "rate of gets", value)
    assert await provider.busiest(path, 5) == 4
    (warning,) = caplog.records
    assert "rate of gets" in warning.getMessage()


async def test_a_429_of_a_get_of_the_callers_own_halves_the_rate():
    """Requests of the caller and polls share one rate, whichever of them is refused."""
    provider = Gets()
    comet = attrs.evolve(COMET, lists=False)
    async with client(provider, provider=comet, api_key="k" * 20) as c:
        provider.refuse = True
        await c.tasks.get("t1")
        await anyio.sleep(10)
        begun = len(provider.times)
        c.attach_many(f"t{i}" for i in range(400))
        await anyio.sleep(9)
    assert most_in_window(provider.times[begun:], 1.0) == 2


async def test_what_a_later_version_has_learned_stays(path, caplog):
    """Other kinds are neither used nor removed."""
    wire = Wire(**ALIKE)
    await learn(wire, path)
    write(path, "rates", "{}")
    await learn(wire, path)
    assert learned(path)["rates"] == "{}"
    assert not caplog.records


async def test_a_missing_table_stops_no_client(path, caplog):
    """If the table cannot be read, a warning says so, and the client works."""
    wire = Wire(**ALIKE)
    await learn(wire, path)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("DROP TABLE learned")
    assert (await looks(wire, path))[0] < 3
    assert "what was learned cannot be read" in caplog.text
    async with client(wire, journal=path) as c:
        assert len((await (await c.resume()).result()).urls()) == 31


async def test_a_full_disk_costs_only_what_was_learned(path):
    """What was learned and finds no room is dropped, and leaving the client raises nothing."""
    wire = Wire(**ALIKE)
    with contextlib.ExitStack() as limit:
        async with client(wire, journal=path) as c:
            await (await c.submit_many([TaskSpec("boat")])).result()
            await anyio.sleep(1)
            limit.enter_context(full_disk(path))
    assert learned(path) == {}
