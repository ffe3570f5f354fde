"""Lists and ids that lie, in virtual time: nothing is bought twice, and each look-up ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import anyio
import httpx
import pytest

from hostile.account import Account
from hostile.lies import LIES
from hostile.worlds import Case, Result, clock, complaints, provider_at, shoot


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


async def run(case: Case, *, ids: str | None = None, echo: bool = True) -> list[str]:
    """Shoot in virtual time; return what is wrong."""
    account = Account(case.lie, echo=echo)
    provider = provider_at("http://hostile.test", case, speed=1.0)
    transport = HostileTransport(account)
    chosen = Case(**{**{n: getattr(case, n) for n in case.__slots__ if n[0] != "_"}, "transport": transport})
    outcomes = await shoot(chosen, provider, key="key", timeout=20.0, ids=ids)
    return complaints(case, Result(outcomes, account.bill(), account.posts), ids=ids)


@pytest.mark.parametrize("quiet", [False, True], ids=["busy", "quiet"])
@pytest.mark.parametrize("documented", [True, False], ids=["documented", "undocumented"])
@pytest.mark.parametrize("name", LIES)
async def test_no_lying_list_makes_it_buy_twice(name: str, documented: bool, quiet: bool):
    """A list is believed only as far as what is known does not contradict it."""
    case = Case(lie=LIES[name], documented=documented, quiet=quiet)
    assert await run(case) == []
