"""A spend limit holds whatever the provider says that a task has cost."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import anyio
import attrs
import httpx
import pytest

from callsheet import SpendLimit, SpendLimitError, TaskSpec, pricing
from emulation import ARK as EMULATOR
from emulation import COMET, Wire, body_of, client


ARK = attrs.evolve(EMULATOR, name="ark")
"""The emulator under the name of a provider whose prices are known."""

BOAT = TaskSpec("a paper boat", duration=5, ratio="16:9", generate_audio=False)
BOAT_WITH_SOUND = attrs.evolve(BOAT, generate_audio=None)
COST = 108_900
YUAN = Decimal("0.8712")

Lie = Callable[[dict[str, Any]], None]
"""Changes one task of an answer."""


def wire_that_says(lie: Lie, **settings: object) -> Wire:
    """An emulator that answers gets and lists with tasks that were changed."""
    wire = Wire(**settings)

    def change(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if request.method != "GET":
            return None
        answer = body_of(response)
        for task in answer.get("items", [answer]):
            if "status" in task:
                lie(task)
        return httpx.Response(response.status_code, content=json.dumps(answer).encode())

    wire.change = change
    return wire


def usage_of(**counts: object) -> Lie:
    """Give every task that succeeded this usage."""

    def lie(task: dict[str, Any]) -> None:
        if task["status"] == "succeeded":
            task["usage"] = counts

    return lie


def both(count: object, /) -> dict[str, object]:
    """A usage whose counts are equal, as the provider documents it."""
    return {"completion_tokens": count, "total_tokens": count}


LOW: dict[str, dict[str, object]] = {
    "zeros": both(0),
    "zeros as text": both("0"),
    "false": {"completion_tokens": False, "total_tokens": False},
    "one": both(1),
    "a little too low": both(COST - 1),
    "negative": both(-COST),
    "minus two thousand digits": both(-(10**2000)),
    "half": both(0.5),
    "null": both(None),
    "words": both("none"),
    "a list": both([COST]),
    "missing": {},
    "only zero completion tokens": {"completion_tokens": 0},
    "other keys": {"prompt_tokens": 0, "cost": 0},
}
"""Ways in which an answer may say too little."""

CAPS = {
    "tokens": SpendLimit(tokens=10 * COST),
    "money": SpendLimit(cny=10 * YUAN),
    "tasks": SpendLimit(tasks=10),
}


@pytest.mark.parametrize("cap", CAPS)
@pytest.mark.parametrize("kind", LOW)
async def test_a_usage_that_says_too_little_does_not_lift_the_cap(kind, cap):
    """Of 100 creates under a cap of 10, 10 are bought, whatever the answers say they cost."""
    wire = wire_that_says(usage_of(**LOW[kind]))
    async with client(wire, provider=ARK, spend=CAPS[cap]) as c:
        ended = await (await c.submit_many([BOAT] * 100)).result()
        assert c.spend.spent.tokens == wire.emulator.ledger.tokens == 10 * COST
        assert c.spend.spent.cny == 10 * YUAN
    assert wire.emulator.ledger.created == 10
    refused = [each.error for each in ended if each.error is not None]
    assert [type(error) for error in refused] == [SpendLimitError] * 90


@pytest.mark.parametrize(
    ("usage", "spent"),
    [
        (both(2 * COST), 2 * COST),
        (both(str(2 * COST)), 2 * COST),
        (both(float(2 * COST)), 2 * COST),
        ({"completion_tokens": 2 * COST}, 2 * COST),
        ({"completion_tokens": 2 * COST, "total_tokens": 0}, 2 * COST),
        ({"completion_tokens": COST, "total_tokens": 2 * COST}, 2 * COST),
        (both(10**4299), COST),
        (both("9" * 4300), COST),
        (both(1e300), COST),
    ],
)
async def test_a_usage_that_says_more_is_spent(usage, spent):
    """The larger count of an answer is spent, and a number that no video can cost is no count."""
    wire = wire_that_says(usage_of(**usage))
    async with client(wire, provider=ARK, spend=SpendLimit(tokens=10 * COST, cny=100)) as c:
        await c.run(BOAT)
        assert c.spend.spent.tokens == spent
        assert str(c.spend.left.cny)


async def test_a_count_of_thousands_of_digits_does_not_hide_the_video():
    """An answer with a number that Python refuses to read still brings its video, and is spent."""

    def change(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        if request.method != "GET":
            return None
        text = json.dumps(body_of(response)).replace(str(COST), "9" * 5000)
        return httpx.Response(response.status_code, content=text.encode())

    wire = Wire()
    wire.change = change
    async with client(wire, provider=ARK, spend=SpendLimit(tokens=COST)) as c:
        assert (await c.run(BOAT)).url
        assert c.spend.spent.tokens == COST


@pytest.mark.parametrize(
    "spec",
    [
        TaskSpec("a boat", duration=-1, ratio="16:9"),
        TaskSpec("a boat"),
        TaskSpec("a boat --duration 9", duration=5),
        TaskSpec("a boat", draft=True, resolution="480p", duration=5),
    ],
    ids=["any length", "any ratio", "disputed length", "draft"],
)
@pytest.mark.parametrize("said", [0, 1])
async def test_a_task_of_unknown_size_is_spent_with_the_most_that_it_may_cost(spec, said):
    """If a count is too low, and the cost has only bounds, no more is billed than was counted."""
    wire = wire_that_says(usage_of(**both(said)))
    most = pricing.estimate(spec, provider="ark").tokens
    assert most is not None
    async with client(wire, provider=ARK, spend=SpendLimit(tokens=10 * most)) as c:
        await (await c.submit_many([spec] * 30)).result()
        assert wire.emulator.ledger.tokens <= c.spend.spent.tokens == 10 * most


@pytest.mark.parametrize("word", ["[fail]", "[reject]", "[expire]"])
async def test_a_task_that_failed_is_not_billed_whatever_its_usage_says(word):
    """Only tasks that succeed are billed, so a failed one frees its money."""

    def lie(task: dict[str, Any]) -> None:
        task["usage"] = both(COST)

    wire = wire_that_says(lie)
    async with client(wire, provider=ARK, spend=SpendLimit(tasks=1)) as c:
        (ended,) = await (await c.submit_many([attrs.evolve(BOAT, prompt=f"{word} boat")])).result()
        assert not ended.ok
        assert c.spend.committed.tasks == wire.emulator.ledger.billed == 0


class Turncoat:
    """Says that each task succeeded without a video, and then something else."""

    def __init__(self, *, then: str, first: object = COST, later: object = 0) -> None:
        self.then, self.first, self.later = then, first, later
        self.seen: set[str] = set()
        self.told = anyio.Event()

    def __call__(self, task: dict[str, Any]) -> None:
        """Change one task."""
        if task["status"] != "succeeded":
            return
        if task["id"] not in self.seen:
            self.seen.add(task["id"])
            self.told.set()
            task["usage"] = both(self.first)
            del task["content"]
            return
        task["usage"] = both(self.later)
        if self.then != "succeeded":
            task["status"] = self.then
            del task["content"]


@pytest.mark.parametrize("then", ["failed", "cancelled", "expired"])
async def test_a_success_stays_billed_whatever_is_said_later(then):
    """A task that was said to have succeeded frees nothing when another answer denies it."""
    wire = wire_that_says(Turncoat(then=then))
    async with client(wire, provider=ARK, spend=SpendLimit(tasks=3)) as c:
        await (await c.submit_many([BOAT] * 9)).result()
        assert (c.spend.spent.tasks, c.spend.spent.tokens) == (3, 3 * COST)
    assert wire.emulator.ledger.created == 3


@pytest.mark.parametrize("killed", [False, True])
async def test_a_success_stays_billed_in_later_processes(tmp_path, killed):
    """The journal keeps a success, also of a task that the next process is told has failed."""
    lie = Turncoat(then="failed")
    wire = wire_that_says(lie)
    options = {"journal": tmp_path / "j.db", "spend": SpendLimit(tasks=1)}
    async with client(wire, provider=ARK, **options) as c:
        handle = await c.submit(BOAT)
        if killed:
            await lie.told.wait()
            await anyio.sleep(0.1)
        else:
            await handle.outcome()
    for _ in range(2):
        async with client(wire, provider=ARK, **options) as c:
            batch = await c.resume()
            with anyio.move_on_after(600):
                await batch.result()
            assert c.spend.committed.tasks == 1
    assert wire.emulator.ledger.created == 1


@pytest.mark.parametrize(("first", "later"), [(0, 3 * COST), (3 * COST, 0), (3 * COST, 2 * COST)])
async def test_the_larger_of_two_counts_of_one_task_is_spent(first, later):
    """If the usage changes between the answers about one task, the larger one counts."""
    wire = wire_that_says(Turncoat(then="succeeded", first=first, later=later))
    async with client(wire, provider=ARK) as c:
        await c.run(BOAT)
        assert c.spend.spent.tokens == 3 * COST


async def test_the_usage_of_a_callback_is_not_used():
    """A callback is unsigned, so its usage changes nothing; the answer to the next get counts."""
    wire = Wire(render_seconds=30.0, render_sigma=0.0)
    async with client(wire, provider=ARK, spend=SpendLimit(tokens=10 * COST)) as c:
        handle = await c.submit(BOAT)
        for status in ("succeeded", "failed", "cancelled"):
            body = {"id": handle.task_id, "status": status, "usage": both(10**6)}
            assert c.take_callback(json.dumps(body).encode())
        await anyio.sleep(2)
        assert (c.spend.reserved.tokens, c.spend.spent.tokens) == (COST, 0)
        await handle
        assert c.spend.spent.tokens == COST


@pytest.mark.parametrize("said", [0, -1, None, COST])
async def test_a_resumed_task_is_spent_with_what_it_must_have_cost(tmp_path, said):
    """What an earlier process has bought counts under the same rule."""
    wire = wire_that_says(usage_of(**both(said)))
    async with client(wire, provider=ARK, journal=tmp_path / "j.db") as c:
        await (await c.submit_many([BOAT] * 3)).result()
    async with client(
        wire, provider=ARK, journal=tmp_path / "j.db", spend=SpendLimit(tokens=4 * COST)
    ) as c:
        await c.resume()
        assert c.spend.spent.tokens == 3 * COST
        await (await c.submit_many([BOAT] * 5)).result()
        assert wire.emulator.ledger.created == 4


async def test_a_provider_without_a_price_takes_caps_on_tasks_and_tokens():
    """Where no price is known, tasks and tokens can be capped, and both caps hold."""
    for limit in (SpendLimit(tasks=4), SpendLimit(tokens=4 * COST)):
        wire = Wire()
        async with client(wire, provider=COMET, api_key="k", spend=limit) as c:
            ended = await (await c.submit_many([BOAT_WITH_SOUND] * 9)).result()
        assert sum(each.ok for each in ended) == wire.emulator.ledger.created == 4


TASKS = "cap tasks instead: SpendLimit(tasks=100)"
TOKENS = "cap tasks or tokens instead: SpendLimit(tasks=100) or SpendLimit(tokens=10000000)"
YUAN_CAP = "give a cap in CNY, such as SpendLimit(cny=100)"
ENDPOINT = TaskSpec("a boat", model="ep-1")
"""A spec whose tokens nobody knows."""


@pytest.mark.parametrize(
    ("provider", "spec", "limit", "words"),
    [
        (COMET, BOAT_WITH_SOUND, SpendLimit(usd=5), TOKENS),
        (COMET, ENDPOINT, SpendLimit(usd=5), TASKS),
        (ARK, ENDPOINT, SpendLimit(tokens=5), TASKS),
        (ARK, BOAT, SpendLimit(usd=5), YUAN_CAP),
    ],
    ids=["no price", "no price and no tokens", "no tokens", "other currency"],
)
async def test_a_cap_that_cannot_be_kept_says_which_one_can(provider, spec, limit, words):
    """If the cost is not known, the error names a cap that works, with an example."""
    wire = Wire()
    async with client(wire, provider=provider, api_key="k", spend=limit) as c:
        with pytest.raises(SpendLimitError) as caught:
            await c.submit(spec)
    assert words in str(caught.value)
    assert str(caught.value).endswith("nothing was sent")
    assert wire.sent("POST") == []


PRICES = {"doubao-seedance-1-5-pro-251215": "USD 2.4"}
DOLLARS = Decimal(COST) * Decimal("2.4") / 1_000_000
ZEROS = {"verbs": ["get", "list"], "request": "taken", "answer": "usage"}


@pytest.mark.parametrize("provider", [EMULATOR, COMET], ids=["ark", "comet"])
@pytest.mark.parametrize("faults", [[], [ZEROS]], ids=["honest", "zeros"])
async def test_a_limit_on_money_is_rehearsed_with_prices_of_its_own(provider, faults):
    """With the emulator's prices the client keeps its cap, and both say the same bill."""
    wire = Wire(prices=PRICES, faults=faults)
    limit = SpendLimit(usd=3 * DOLLARS)
    async with client(wire, provider=provider, api_key="k", prices=PRICES, spend=limit) as c:
        ended = await (await c.submit_many([BOAT_WITH_SOUND] * 5)).result()
        assert c.spend.spent.usd == pytest.approx(wire.emulator.ledger.usd, rel=Decimal("0.01"))
    assert wire.emulator.ledger.usd <= limit.usd
    assert [type(each.error) for each in ended if not each.ok] == [SpendLimitError] * 2
