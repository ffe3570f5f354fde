"""What the emulator bills when it has prices, and answers that lie about it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from callsheet import ConfigurationError, Provider, TaskSpec, pricing
from callsheet.emulator import Fault, Settings
from emulation import Wire, client
from emulator.desk import PRO, TWO


COST = 108_900
PRICES = {PRO: "USD 2.4", TWO: "CNY 46"}
BOAT = TaskSpec("a boat", duration=5, ratio="16:9")
EACH = Decimal(COST) * Decimal("2.4") / 1_000_000
ZEROS = Fault(verbs=("get", "list"), request="taken", answer="usage")


async def test_the_bill_shows_money(make_client):
    """Each task that succeeded is billed at the price of its model; a model without one is free."""
    desk = make_client(prices={PRO: "USD 2.4", TWO: "CNY 46"})
    await desk.created(ratio="16:9")
    await desk.created("[fail] a boat")
    await desk.created(model=TWO, ratio="16:9")
    await desk.created(model="doubao-seedance-1-0-pro-250528", ratio="16:9")
    desk.advance(100)
    ledger = desk.emulator.ledger
    assert (ledger.usd, ledger.cny) == (EACH, Decimal(COST) * 46 / 1_000_000)
    state = (await desk.send("GET", "/_emulator/state")).json()
    assert (state["usd"], state["cny"]) == ("0.26136", "5.0094")
    assert [row["money"] for row in state["tasks"]] == ["USD 0.26136", None, "CNY 5.0094", None]


def test_a_text_that_is_no_price_is_refused_by_both():
    """Emulator and client take the same texts, and name one that is none."""
    for text in (
        "2.4",
        "2.4 USD",
        "EUR 2",
        "USD -1",
        "USD 1e3",
        "USD NaN",
        "",
        "USD  2",
        "USD 2 ",
        2,
    ):
        with pytest.raises((TypeError, ValueError), match="is no price; write it like"):
            Settings(prices={PRO: text})
        with pytest.raises(ConfigurationError, match="is no price; write it like"):
            client(Wire(), prices={PRO: text})
    for wrong in ([PRO], "USD 2", 3):
        with pytest.raises(ConfigurationError, match="prices: "):
            client(Wire(), prices=wrong)


@pytest.mark.parametrize(
    ("tokens", "said"),
    [(0, 0), (-5, -5), (7, 7), (10**30, 10**30), (None, None)],
)
async def test_an_answer_may_lie_about_the_usage(make_client, tokens, said):
    """A fault changes every usage of gets and lists, leaves the rest, and counts as struck."""
    lie = Fault(verbs=("get", "list"), request="taken", answer="usage", tokens=tokens, times=3)
    desk = make_client(faults=[lie])
    task_id = await desk.created(ratio="16:9")
    assert "usage" not in (await desk.get(task_id)).json()
    desk.advance(30)
    answers = [(await desk.get(task_id)).json(), (await desk.list()).json()["items"][0]]
    true = (await desk.get(task_id)).json()
    for answer in answers:
        usage = answer.pop("usage", {})
        assert usage.get("total_tokens") == usage.get("completion_tokens") == said
        assert answer == {name: value for name, value in true.items() if name != "usage"}
    assert true["usage"]["total_tokens"] == COST == desk.emulator.ledger.tokens
    assert desk.emulator.faults.struck == [3]


async def test_a_lie_about_the_usage_leaves_errors_alone(make_client):
    """An answer without a usage, such as an error, passes unchanged."""
    desk = make_client(faults=[ZEROS])
    assert (await desk.get("cgt-0")).status_code == 404
    assert (await desk.list()).json() == {"items": [], "total": 0}


@pytest.mark.parametrize(
    "fields",
    [
        {"answer": "usage"},
        {"answer": "usage", "verbs": "get"},
        {"answer": "usage", "verbs": ("get", "create"), "request": "taken"},
        {"answer": "reset", "tokens": 3},
        {"answer": "usage", "verbs": "get", "request": "taken", "tokens": "3"},
    ],
)
def test_a_lie_without_a_meaning_is_refused(fields):
    """Only gets and lists that are carried out have a usage, and it says a whole number."""
    with pytest.raises((TypeError, ValueError)):
        Fault(**fields)


def test_own_prices_go_before_the_list_prices():
    """A price that is given holds for its model, whatever is known; other models keep theirs."""
    known = Provider(name="ark", base_url="http://a.test", default_model=PRO, prices=PRICES)
    assert pricing.estimate(BOAT, provider=known).money == EACH
    found = pricing.estimate(BOAT, provider=known)
    assert (found.currency, found.money_at_least, found.exact) == ("USD", EACH, True)
    other = TaskSpec("a boat", model="doubao-seedance-1-0-pro-250528", duration=5, ratio="16:9")
    assert pricing.estimate(other, provider=known) == pricing.estimate(other, provider="ark")
    tools = TaskSpec("a boat", model=TWO, tools=["web_search"])
    assert pricing.estimate(tools, provider=known).price is None
    assert hash(known) == hash(Provider(name="ark", base_url="http://a.test", default_model=PRO))
