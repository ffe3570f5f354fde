"""The list call: filters, pages and order."""

from __future__ import annotations

import pytest

from callsheet.emulator import ARK
from emulator.desk import PRO, TWO, problem, sample, text


async def test_pages_are_newest_first_with_a_total_over_all(make_client):
    """A page has 20 tasks by default, the newest first; the total counts all."""
    client = make_client(concurrency=1)
    ids = [await client.created() for _ in range(45)]
    page = (await client.list()).json()
    assert [item["id"] for item in page["items"]] == ids[:-21:-1]
    last = (await client.list(page_num=3)).json()
    assert [item["id"] for item in last["items"]] == ids[4::-1]
    beyond = (await client.list(page_num=4)).json()
    assert (page["total"], last["total"], beyond) == (45, 45, {"total": 45, "items": []})
    assert len((await client.list(page_size=500)).json()["items"]) == 45


async def test_thousands_of_tasks_are_paged_whole(make_client):
    """Every task is on exactly one page for any page size, newest first, for seven days."""
    client = make_client(creates_per_minute=10**6)
    body = {"model": PRO, "content": text(), "safety_identifier": "token"}
    service, start = client.emulator._service, client.emulator.now()
    ids = [service.create("key", body, start + number / 10).id for number in range(3000)]
    client.advance(300)
    for size in (500, 490):
        pages = [(await client.list(page_num=n, page_size=size)).json() for n in range(1, 9)]
        items = [item for page in pages for item in page["items"]]
        assert [item["id"] for item in items] == ids[::-1]
        assert {page["total"] for page in pages} == {3000}
        assert {item["safety_identifier"] for item in items} == {"token"}
    assert [item["created_at"] for item in items] == sorted(
        (item["created_at"] for item in items), reverse=True
    )
    succeeded = (await client.list(filter__status="succeeded", page_size=1)).json()
    assert succeeded["total"] == sum(
        row["status"] == "succeeded" for row in client.emulator.ledger.rows()
    )
    client.seconds = 7 * 86_400 + 149
    page = (await client.list(page_num=2, page_size=500)).json()
    assert page["total"] == 1500 - 1
    assert page["items"][0]["id"] == ids[-501]


async def test_a_tier_and_a_status_are_chosen_together(make_client):
    """Each tier has its own total, and other filters apply within it."""
    client = make_client(concurrency=1)
    flex = [await client.created(service_tier="flex") for _ in range(3)]
    plain = [await client.created() for _ in range(2)]
    both = [*flex, *plain]
    assert (await client.list(*both)).json()["total"] == 2
    assert (await client.list(*both, filter__service_tier="default")).json()["total"] == 2
    page = (await client.list(*both, filter__service_tier="flex", filter__status="queued")).json()
    assert [item["id"] for item in page["items"]] == flex[:0:-1]
    assert {item["service_tier"] for item in page["items"]} == {"flex"}


async def test_repeated_ids_choose_tasks_and_a_joined_one_does_not(make_client):
    """Ids are a repeated parameter; unknown ids are left out, and commas do not split."""
    client = make_client()
    first, second, _ = [await client.created() for _ in range(3)]
    page = (await client.list(first, "cgt-none", second, first)).json()
    assert [item["id"] for item in page["items"]] == [second, first]
    assert page["total"] == 2
    assert (await client.list(f"{first},{second}")).json() == sample("27")
    params = {"filter.task_ids[]": first}
    client.advance(1)
    assert (await client.send("GET", ARK, params=params)).json()["total"] == 3


async def test_the_page_size_cuts_a_page_of_ids(make_client):
    """Asking for more ids than the page size returns only a page of them."""
    client = make_client()
    ids = [await client.created() for _ in range(25)]
    page = (await client.list(*ids)).json()
    assert (len(page["items"]), page["total"]) == (20, 25)


async def test_flex_tasks_are_on_no_list_that_does_not_ask_for_them(make_client):
    """A list does not show a flex task without the tier filter, even by id."""
    client = make_client()
    flex, plain = await client.created(service_tier="flex"), await client.created()
    assert (await client.list(flex)).json() == sample("27")
    page = (await client.list(flex, plain, filter__service_tier="flex")).json()
    assert [item["id"] for item in page["items"]] == [flex]
    assert (await client.get(flex)).json()["service_tier"] == "flex"


async def test_status_and_model_choose_tasks(make_client):
    """Filters by status and by model or endpoint are exact."""
    client = make_client(concurrency=1)
    running, queued = await client.created(), await client.created()
    endpoint = await client.created(model="ep-1")
    other = await client.created(model=TWO)

    async def found(**params):
        return {item["id"] for item in (await client.list(**params)).json()["items"]}

    assert await found(filter__status="running") == {running, other}
    assert await found(filter__status="queued") == {queued, endpoint}
    assert await found(filter__model=TWO) == {other}
    assert await found(filter__model="ep-1") == {endpoint}
    assert await found(filter__model=PRO) == {running, queued, endpoint}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("page_num", "0"),
        ("page_num", "501"),
        ("page_num", "1.5"),
        ("page_size", "0"),
        ("page_size", "501"),
        ("page_size", "-1"),
        ("page_size", ""),
        ("page_size", "9" * 5000),
        ("filter.status", "done"),
        ("filter.status", "expired"),
        ("filter.service_tier", "fast"),
    ],
)
async def test_values_out_of_range_are_refused(make_client, name, value):
    """A page or filter value out of range is answered with 400, which names the parameter."""
    answer = await make_client().list(**{name: value})
    assert problem(answer) == (400, "InvalidParameter", name)
