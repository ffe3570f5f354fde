"""A provider whose lists and ids lie, as a process of its own, is paid for each video once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import pytest

from hostile.lies import LIES
from hostile.process import bill_of, running
from hostile.worlds import (
    ID_WAYS,
    Case,
    Result,
    complaints,
    id_complaints,
    provider_at,
    shoot,
)


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SPEED = 60.0
TIMEOUT = 2.0
"""Real seconds for one request, which are two minutes at the provider."""

AT_ONCE = 20
"""How many clients run at once: more of them would make each other late."""


class Way(NamedTuple):
    """How a client meets the provider."""

    backend: str
    transport: str
    documented: bool
    journal: bool

    def __str__(self) -> str:
        lists = "documented" if self.documented else "undocumented"
        words = (self.backend, self.transport, lists, "journal" if self.journal else "memory")
        return "-".join(words)


WAYS = [
    pytest.param(way, id=str(way))
    for way in (
        Way("asyncio", "httpx", documented=True, journal=False),
        Way("asyncio", "aiohttp", documented=False, journal=True),
        Way("trio", "httpx", documented=True, journal=True),
    )
] + [
    *(
        pytest.param(way, id=f"all-{way}", marks=pytest.mark.full)
        for backend, transport in (("asyncio", "httpx"), ("asyncio", "aiohttp"), ("trio", "httpx"))
        for documented in (True, False)
        for journal in (False, True)
        for way in (Way(backend, transport, documented=documented, journal=journal),)
    ),
]
"""The first ones have each value at least once. `nox -s full` runs all of them."""


async def run_all(jobs: dict[str, Callable[[], Awaitable[Result]]]) -> dict[str, Result]:
    """Run jobs side by side; return their results by name."""
    results: dict[str, Result] = {}
    limit = anyio.CapacityLimiter(AT_ONCE)

    async def run(name: str, job: Callable[[], Awaitable[Result]]) -> None:
        async with limit:
            results[name] = await job()

    async with anyio.create_task_group() as group:
        for name, job in jobs.items():
            group.start_soon(run, name, job)
    return results


def shoot_all(
    cases: dict[str, Case], *, backend: str, ids: dict[str, str] | None = None
) -> dict[str, Result]:
    """Shoot with one account for each case; the name of a case is its API key."""
    with running(SPEED) as address:
        jobs = {
            key: partial(
                shoot, case, provider_at(address, case, speed=SPEED),
                key=key, patience=TIMEOUT, ids=ids and ids[key],
            )
            for key, case in cases.items()
        }  # fmt: skip
        results = anyio.run(run_all, jobs, backend=backend)
        for key, result in results.items():
            bill = bill_of(address, key)
            result.bill = bill["tasks"]
            result.posts = [(prompt, at) for prompt, at in bill["posts"]]
    return results


def case_of(path: Path, *, transport: str, documented, journal, **fields: Any) -> Case:
    """A case with a journal of its own, if any."""
    return Case(
        documented=documented,
        journal=path if journal else None,
        transport=None if transport == "httpx" else transport,
        **fields,
    )


@pytest.mark.parametrize("quiet", [pytest.param(True, marks=pytest.mark.full), False])
@pytest.mark.parametrize("way", WAYS)
def test_no_list_of_a_hostile_provider_makes_a_client_buy_twice(tmp_path: Path, way: Way, quiet):
    """Whatever its lists say, each video is paid for once, and each look for it ends."""
    backend, transport, documented, journal = way
    make = partial(case_of, transport=transport, documented=documented, journal=journal)
    cases = {
        f"{name}/1": make(tmp_path / f"{name}.db", lie=lie, quiet=quiet)
        for name, lie in LIES.items()
        if not lie.crowd  # lists of hundreds of tasks take real time, so they are virtual only
    }
    results = shoot_all(cases, backend=backend)
    wrong = {key: complaints(case, results[key]) for key, case in cases.items()}
    assert {key: found for key, found in wrong.items() if found} == {}


@pytest.mark.parametrize("way", WAYS)
def test_no_id_of_a_hostile_provider_gives_a_spec_the_video_of_another(tmp_path: Path, way: Way):
    """Where lists show tokens, each spec has its own video; elsewhere that, or an error."""
    backend, transport, documented, journal = way
    make = partial(case_of, transport=transport, journal=journal)
    cases, ids = {}, {}
    for id_way in ID_WAYS:
        for name in ("honest", "no-list"):
            key = f"{name}/{id_way}"
            path = tmp_path / f"{name}-{id_way}.db"
            shown = documented and name == "honest"
            cases[key] = make(path, lie=LIES.get(name), documented=shown)
            ids[key] = id_way
    results = shoot_all(cases, backend=backend, ids=ids)
    wrong = {}
    for key, case in cases.items():
        sure = ("",) if case.lie else ("honest ", "gateway ")
        wrong[key] = id_complaints(case, results[key], must=lambda p, sure=sure: p.startswith(sure))
    assert {key: found for key, found in wrong.items() if found} == {}
