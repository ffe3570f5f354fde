"""Lists and ids that lie, in virtual time: nothing is bought twice, and each look-up ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import anyio
import attrs
import httpx
import pytest

from hostile.account import Account
from hostile.lies import LIES
from hostile.worlds import (
    ID_WAYS,
    Case,
    Result,
    clock,
    complaints,
    id_complaints,
    provider_at,
    shoot,
    wrong_videos,
)


if TYPE_CHECKING:
    from pathlib import Path

    from hostile.lies import Answer


class HostileTransport(httpx.AsyncBaseTransport):
    """The hostile account in this process."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self._now = clock()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        await anyio.sleep(0.02)
        answer = self._answer(request)
        if answer is None:
            raise httpx.ReadError("closed")
        if answer.delay is None:
            await anyio.sleep_forever()
        await anyio.sleep(0.02 + answer.delay)
        text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
        return httpx.Response(answer.status, content=text)

    def _answer(self, request: httpx.Request) -> Answer | None:
        tail = request.url.raw_path.decode().partition("?")[0].partition("/tasks")[2]
        query = parse_qs(request.url.query.decode())
        order = json.loads(request.content) if request.content else None
        return self.account.answer(request.method, tail[1:], query, order, self._now())


async def run(case: Case, *, ids: str | None = None, echo: bool = True) -> Result:
    """Shoot in virtual time."""
    account = Account(case.lie, echo=echo)
    provider = provider_at("http://hostile.test", case, speed=1.0)
    case = attrs.evolve(case, transport=HostileTransport(account))
    result = await shoot(case, provider, key="key", patience=20.0, ids=ids)
    result.bill, result.posts = account.bill(), account.posts
    return result


MEETINGS = [
    pytest.param(True, False, id="documented-busy"),
    pytest.param(True, True, id="documented-quiet", marks=pytest.mark.slow),
    pytest.param(False, False, id="undocumented-busy", marks=pytest.mark.full),
    pytest.param(False, True, id="undocumented-quiet", marks=pytest.mark.full),
]
"""Whether lists are documented, and whether no task of ours can tell of the list beforehand."""


@pytest.mark.parametrize(("documented", "quiet"), MEETINGS)
@pytest.mark.parametrize("name", LIES)
async def test_no_list_makes_a_client_buy_twice_or_look_without_end(name: str, documented, quiet):
    """A list is believed only as far as nothing that is known contradicts it."""
    case = Case(lie=LIES[name], documented=documented, quiet=quiet)
    assert complaints(case, await run(case)) == []


@pytest.mark.full
@pytest.mark.parametrize(
    "documented",
    [
        pytest.param(True, id="documented"),
        pytest.param(False, id="undocumented", marks=pytest.mark.full),
    ],
)
@pytest.mark.parametrize("name", LIES)
async def test_no_list_makes_the_next_process_buy_twice(tmp_path: Path, name: str, documented):
    """The same holds for a client that takes a journal over while creates are looked for."""
    case = Case(lie=LIES[name], documented=documented, journal=tmp_path / "shoot.db")
    assert complaints(case, await run(case)) == []


@pytest.mark.parametrize("name", [name for name, lie in LIES.items() if lie.forges])
async def test_a_list_with_the_tokens_of_others_takes_no_video_from_a_spec_that_was_answered(
    name: str,
):
    """A get shows the true token of a task, so the id of the create's own answer stays right."""
    result = await run(Case(lie=LIES[name]))
    answered = [each for each in result.outcomes if each.spec.prompt.startswith("honest ")]
    assert wrong_videos(attrs.evolve(result, outcomes=answered)) == []
    assert all(each.ok for each in answered)


@pytest.mark.parametrize("journal", [False, True], ids=["memory", "journal"])
@pytest.mark.parametrize("documented", [True, False], ids=["documented", "undocumented"])
@pytest.mark.parametrize("way", ID_WAYS)
async def test_where_lists_show_tokens_a_wrong_id_costs_nothing(
    tmp_path: Path, way: str, documented, journal
):
    """The token says which task is that of a spec, whatever id the create was answered with."""
    path = tmp_path / "shoot.db" if journal else None
    case = Case(lie=LIES["honest"], documented=documented, journal=path)
    assert id_complaints(case, await run(case, ids=way), must=lambda _: True) == []


@pytest.mark.parametrize("journal", [False, True], ids=["memory", "journal"])
@pytest.mark.parametrize("way", ID_WAYS)
async def test_without_lists_no_spec_gets_the_video_of_another(tmp_path: Path, way: str, journal):
    """A status answer with the token of another spec, or with a stranger's, is no answer."""
    case = Case(lie=None, documented=False, journal=tmp_path / "shoot.db" if journal else None)
    result = await run(case, ids=way)
    assert (
        id_complaints(case, result, must=lambda prompt: prompt[:7] in {"honest ", "gateway"}) == []
    )


@pytest.mark.parametrize("way", sorted({*ID_WAYS} - {"foreign", "thief"}))
async def test_without_tokens_one_id_is_never_the_task_of_two_specs(way: str):
    """An id is that of the first spec that got it; the gateway's own id is as good as another."""
    case = Case(lie=None, documented=False, token=False)
    result = await run(case, ids=way, echo=False)
    assert (
        id_complaints(case, result, must=lambda prompt: prompt[:7] in {"honest ", "gateway"}) == []
    )
