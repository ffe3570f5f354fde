"""Faults: lost requests, lost answers, and tasks that are made late."""

from __future__ import annotations

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.emulator import ARK, COMET, ConnectionCut, Fault, Faults, Settings
from emulation import Wire
from emulator.desk import EPOCH, PRO, problem, text


SHARES = st.sampled_from([0.0, 0.1, 0.3, 1.0])
TOKEN = {"safety_identifier": "token"}


async def test_a_lost_create_makes_and_bills_nothing(make_client):
    """A lost create makes no task, and the connection ends."""
    client = make_client(faults=[Fault(request="lost")])
    with pytest.raises(ConnectionCut, match="reset"):
        await client.create()
    assert (await client.list()).json()["total"] == 0
    assert client.emulator.ledger.created == client.emulator.requests.create.seen == 0


async def test_a_lost_answer_leaves_a_task_that_is_billed(make_client):
    """A create whose answer is lost makes its task, which lists show with its identifier."""
    client = make_client(faults=[Fault(request="taken", answer="close")])
    with pytest.raises(ConnectionCut, match="close"):
        await client.create(**TOKEN)
    (task,) = (await client.list()).json()["items"]
    assert task["safety_identifier"] == "token"
    client.advance(30)
    assert client.emulator.ledger.billed == 1


async def test_a_late_create_shows_nothing_until_it_counts(make_client):
    """A late task is in no list and not in the ledger before its time, and then like any other."""
    client = make_client(faults=[Fault(request="late", delay=120.0, times=1)])
    with pytest.raises(ConnectionCut):
        await client.create(**TOKEN)
    before = await client.created()
    client.advance(118)
    assert [item["id"] for item in (await client.list()).json()["items"]] == [before]
    assert client.emulator.ledger.created == 1
    client.advance(1)
    late, first = (await client.list()).json()["items"]
    assert (first["id"], late["safety_identifier"]) == (before, "token")
    assert (late["status"], late["created_at"]) == ("running", EPOCH + 120)
    assert (await client.get(late["id"])).json() == late
    after = await client.created()
    ids = [item["id"] for item in (await client.list()).json()["items"]]
    assert ids == [after, late["id"], before]
    client.advance(30)
    assert client.emulator.ledger.billed == 3


async def test_a_late_create_counts_for_quotas_at_once(make_client):
    """Late creates count for the quota of creates, and invalid ones never become tasks."""
    client = make_client(creates_per_minute=1, faults=[Fault(request="late", times=2)])
    for fields in ({"duration": 99}, {}):
        with pytest.raises(ConnectionCut):
            await client.create(**fields)
    assert problem(await client.create())[0] == 429
    client.advance(150)
    assert client.emulator.ledger.created == 1


@pytest.mark.parametrize("verb", ["get", "list", "delete", "download"])
async def test_a_fault_affects_only_its_verbs(make_client, verb):
    """A fault of one verb affects no other verb."""
    client = make_client()
    task_id = await client.created()
    client.advance(30)
    url = (await client.get(task_id)).json()["content"]["video_url"]
    calls = {
        "get": lambda: client.get(task_id),
        "list": client.list,
        "download": lambda: client.download(url),
        "delete": lambda: client.delete(task_id),
    }
    client.emulator.set_faults(Fault(verbs=verb, answer=503))
    answers = {name: (await call()).status_code for name, call in calls.items()}
    assert answers == dict.fromkeys(calls, 200) | {verb: 503}
    assert client.emulator.faults.struck == [1]


async def test_other_paths_are_never_affected(make_client):
    """Faults affect neither the emulator's own routes nor unknown paths."""
    client = make_client(faults=[Fault(verbs=("create", "get", "list", "delete", "download"))])
    assert (await client.download("http://emulator.test/_emulator/state")).status_code == 200
    assert (await client.send("GET", "/api/v3/contents")).status_code == 404
    assert (await client.send("PATCH", ARK)).status_code == 405
    with pytest.raises(ConnectionCut):
        await client.send("POST", COMET, json={})


async def test_an_outage_lasts_its_time(make_client):
    """A fault with a time window affects requests from its start until before its end."""
    client = make_client(faults=[Fault(verbs="list", answer=503, since=10.0, until=20.0)])
    codes = [(await client.list()).status_code for _ in range(25)]
    assert codes == [200] * 10 + [503] * 10 + [200] * 5


async def test_a_fault_affects_the_set_number_of_requests(make_client):
    """After the set number of times, requests work again."""
    client = make_client(faults=[Fault(verbs="list", answer=500, times=2)])
    assert [(await client.list()).status_code for _ in range(4)] == [500, 500, 200, 200]


@pytest.mark.parametrize(
    ("answer", "after", "body"),
    [
        (429, 7.5, "AccountRateLimitExceeded"),
        (429, None, "AccountRateLimitExceeded"),
        (500, None, "InternalServiceError"),
        (503, 30, "<html>"),
        (403, None, "<html>"),
        (200, None, "<html>"),
    ],
)
async def test_a_status_is_answered_in_the_form_of_the_service(make_client, answer, after, body):
    """429 and 500 have error objects, others are web pages; Retry-After is sent if it is set."""
    client = make_client(faults=[Fault(verbs=("list", "create"), answer=answer, retry_after=after)])
    found = await client.list()
    assert (found.status_code, body in found.text) == (answer, True)
    assert found.headers.get("retry-after") == (None if after is None else f"{after:g}")
    client.base = COMET
    refused = await client.create()
    assert ("comet_api_error" in refused.text) == (answer in {429, 500})
    assert client.emulator.ledger.created == 0


async def test_a_create_can_be_accepted_although_the_answer_is_an_error(make_client):
    """A create may make its task although its answer is an error."""
    client = make_client(faults=[Fault(request="taken", answer=500)])
    assert (await client.create()).status_code == 500
    assert client.emulator.ledger.created == 1


async def test_silence_lasts_until_the_client_disconnects(make_client):
    """A silent service keeps the client waiting, and may have made the task."""
    client = make_client(faults=[Fault(request="taken", answer="silence")])
    with anyio.move_on_after(0.05) as patience:
        await client.create()
    assert patience.cancelled_caught
    assert client.emulator.ledger.created == 1


async def test_a_transport_turns_a_cut_into_its_own_error(make_client):
    """The test transport raises what httpx raises when a real connection ends."""
    body = {"model": PRO, "content": text()}
    options = {"json": body, "headers": {"Authorization": "Bearer key"}}
    for answer, error in (("reset", httpx.ReadError), ("close", httpx.RemoteProtocolError)):
        wire = Wire(latency=0.0, faults=[Fault(request="taken", answer=answer)])
        async with httpx.AsyncClient(transport=wire, base_url="http://emulator.test") as client:
            with pytest.raises(error):
                await client.post(ARK, **options)
        assert wire.emulator.ledger.created == 1


async def test_shares_hold_and_repeat(make_client):
    """Of many creates about the set shares are affected, the same ones for the same seed."""
    faults = [
        Fault(share=0.1, request="lost"),
        Fault(share=0.1, request="taken"),
        Fault(share=0.05, request="late"),
    ]

    async def run(seed):
        client = make_client(faults=faults, seed=seed, creates_per_minute=10_000)
        cut = []
        for number in range(1000):
            try:
                await client.create()
            except ConnectionCut:
                cut.append(number)
        struck = client.emulator.faults.struck
        assert len(cut) == sum(struck)
        assert client.emulator.ledger.created == 1000 - struck[0] - struck[2]
        client.advance(121)
        assert client.emulator.ledger.created == 1000 - struck[0]
        return cut, struck

    cut, struck = await run(1)
    assert 75 < struck[0] < 125
    assert 75 < struck[1] < 125
    assert 30 < struck[2] < 70
    assert await run(1) == (cut, struck)
    assert (await run(2))[0] != cut


@given(
    shares=st.lists(SHARES, max_size=4),
    verbs=st.lists(st.sampled_from(["create", "get", "list"]), max_size=60),
    seed=st.integers(0, 3),
)
def test_faults_of_a_verb_do_not_depend_on_other_verbs(shares, verbs, seed):
    """The fault of the n-th request of a verb depends only on seed, verb and n."""
    rules = tuple(Fault(verbs=("create", "get"), share=share) for share in shares)
    mixed, alone = Faults(seed, rules), Faults(seed, rules)
    found = [mixed.strike(verb, float(at)) for at, verb in enumerate(verbs)]
    expected = [alone.strike("get", 0.0) for verb in verbs if verb == "get"]
    pairs = list(zip(verbs, found, strict=True))
    assert [fault for verb, fault in pairs if verb == "get"] == expected
    assert not any(fault for verb, fault in pairs if verb == "list")
    assert sum(mixed.struck) == sum(fault is not None for fault in found)


async def test_faults_can_be_changed_over_http(make_client):
    """The faults are readable and replaceable without a key; times count from the change."""
    client = make_client(faults=[Fault(request="taken")])
    url = "/_emulator/faults"
    (row,) = (await client.send("GET", url)).json()
    assert (row["request"], row["verbs"], row["struck"]) == ("taken", ["create"], 0)
    client.advance(1000)
    outage = {"verbs": ["list", "get"], "answer": 503, "until": 60}
    (row,) = (await client.send("PUT", url, json=[outage])).json()
    assert row["until"] == 60
    assert (await client.create()).status_code == 200
    assert (await client.list()).status_code == 503
    assert (await client.send("GET", url)).json()[0]["struck"] == 1
    client.advance(60)
    assert (await client.list()).status_code == 200
    for wrong in ([{"share": 2}], [{"shares": 1}], {"share": 1}, {}, [3], 3, ""):
        assert (await client.send("PUT", url, json=wrong)).status_code == 400
    assert (await client.send("PUT", url, content=b"no")).status_code == 400
    assert (await client.send("PUT", url, json=[])).json() == []


LISTED = ["aaa", "bbb", "ccc", "ddd", "eee", "fff"]
"""Identifiers of tasks, newest first."""


async def listed(client, **params):
    """Identifiers on one page of a list, and its total."""
    page = (await client.list(**params)).json()
    return [item.get("safety_identifier") for item in page["items"]], page.get("total")


@pytest.mark.parametrize(
    ("lie", "shown", "total"),
    [
        ({"lie": "missing", "part": 1.0}, [], 0),
        ({"lie": "missing", "part": 0.0}, LISTED, 6),
        ({"lie": "other-project"}, [], 0),
        ({"lie": "late", "delay": 30.0}, LISTED[3:], 3),
        ({"lie": "frozen"}, LISTED[3:], 3),
        ({"lie": "capped", "most": 4}, LISTED[:4], 6),
        ({"lie": "same-page"}, LISTED, 6),
        ({"lie": "no-total"}, LISTED, None),
        ({"lie": "total-of-page"}, LISTED, 6),
        ({"lie": "total-zero"}, LISTED, 0),
        ({"lie": "marks-upper"}, [mark.upper() for mark in LISTED], 6),
        ({"lie": "marks-cut"}, LISTED, 6),
        ({"lie": "marks-prefixed"}, [f"gateway-{mark}" for mark in LISTED], 6),
        ({"lie": "no-marks"}, [None] * 6, 6),
    ],
    ids=lambda value: value["lie"] if isinstance(value, dict) else None,
)
async def test_a_list_that_lies(make_client, lie, shown, total):
    """Three tasks are older than the fault, and three are younger; the list shows what it says."""
    client = make_client(render_seconds=5.0)
    for mark in reversed(LISTED[3:]):
        await client.create(safety_identifier=mark)
    client.advance(10)
    client.emulator.set_faults(Fault(verbs="list", **lie))
    client.advance(50)
    for mark in reversed(LISTED[:3]):
        await client.create(safety_identifier=mark)
    assert await listed(client) == (shown, total)
    client.emulator.set_faults()
    assert await listed(client) == (LISTED, 6)


async def test_a_list_that_lies_about_pages(make_client):
    """A cap holds for any page size, one page stands for all, and a total may be of one page."""
    client = make_client()
    for mark in reversed(LISTED):
        await client.create(safety_identifier=mark)
    for lie, second in (
        ({"lie": "capped", "most": 2}, (LISTED[2:4], 6)),
        ({"lie": "same-page"}, (LISTED[:4], 6)),
        ({"lie": "total-of-page"}, (LISTED[4:], 2)),
    ):
        client.emulator.set_faults(Fault(verbs="list", **lie))
        assert await listed(client, page_num=2, page_size=4) == second


async def test_a_list_leaves_out_or_mixes_always_the_same_tasks(make_client):
    """What is missing stays missing, and an order that means nothing stays as well."""
    client = make_client(creates_per_minute=1000)
    marks = [f"{number:03d}" for number in range(100)]
    for mark in marks:
        await client.create(safety_identifier=mark)
    client.emulator.set_faults(Fault(verbs="list", lie="missing", part=0.3))
    shown, total = await listed(client, page_size=500)
    assert 55 < len(shown) == total < 85
    assert await listed(client, page_size=500) == (shown, total)
    client.emulator.set_faults(Fault(verbs="list", lie="unsorted"))
    shown, total = await listed(client, page_size=500)
    assert sorted(shown) == marks != shown
    assert await listed(client, page_size=500) == (shown, total)


async def test_a_frozen_list_shows_no_later_end(make_client):
    """A task that ends after the fault began is still running in the list, and has no video."""
    client = make_client(faults=[Fault(verbs="list", lie="frozen", since=10.0)])
    await client.list()
    task_id = await client.created()
    client.advance(60)
    (item,) = (await client.list()).json()["items"]
    assert (item["status"], "content" in item, "usage" in item) == ("running", False, False)
    assert await client.status(task_id) == "succeeded"


async def test_marks_are_cut_to_32_characters(make_client):
    """A mark that is longer than 32 characters loses the rest."""
    client = make_client(faults=[Fault(verbs="list", lie="marks-cut")])
    await client.create(safety_identifier="abcdefghij" * 4)
    assert await listed(client) == (["abcdefghij" * 3 + "ab"], 1)


async def test_one_id_for_two_creates(make_client):
    """The second create makes a task, too, but is answered with the id of the first."""
    client = make_client()
    first = await client.created()
    client.emulator.set_faults(Fault(lie="id-twice"))
    assert await client.created() == first
    assert client.emulator.ledger.created == 2
    client.key = "another"
    assert await client.created() != first  # an account without an earlier task


async def test_an_id_of_the_gateways_own(make_client):
    """It works in get and delete, whose answers show the id of the service."""
    client = make_client(faults=[Fault(lie="id-of-gateway")], concurrency=1)
    aliases = [await client.created() for _ in range(2)]
    rows = [(await client.get(alias)).json() for alias in aliases]
    assert len({*aliases, *(row["id"] for row in rows)}) == 4
    assert [row["id"] for row in (await client.list()).json()["items"]] == [
        row["id"] for row in reversed(rows)
    ]
    assert (await client.delete(aliases[1])).status_code == 200
    assert await client.status(rows[1]["id"]) == "cancelled"


async def test_a_padded_id_is_not_known(make_client):
    """The answer has the id with spaces around it, which a get does not know."""
    client = make_client(faults=[Fault(lie="id-padded")])
    padded = await client.created()
    assert padded == f" {padded.strip()} "
    assert problem(await client.get("%20" + padded.strip() + "%20"))[0] == 404
    assert (await client.get(padded.strip())).status_code == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"verbs": "copy"},
        {"verbs": ()},
        {"share": 1.5},
        {"times": 0},
        {"since": 5, "until": 5},
        {"request": "gone"},
        {"request": "late", "verbs": ("create", "get")},
        {"request": "late", "delay": 0},
        {"answer": "no"},
        {"answer": 404},
        {"cut_at": -1},
        {"cut_at": 5, "answer": "silence"},
        {"cut_at": 5, "request": "late"},
        {"retry_after": 5},
        {"lie": "white"},
        {"lie": "late"},
        {"lie": "id-twice", "verbs": ("create", "list")},
        {"lie": "late", "verbs": "list", "answer": 503},
        {"lie": "id-twice", "request": "taken"},
        {"lie": "missing", "verbs": "list", "part": 2},
        {"lie": "capped", "verbs": "list", "most": 0},
    ],
)
def test_faults_that_make_no_sense_are_refused(fields):
    """Values out of range and impossible combinations raise at once, in the settings as well."""
    with pytest.raises(ValueError, match=r"."):
        Settings(faults=[fields])
