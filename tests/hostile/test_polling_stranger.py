"""A provider that tells the state of tasks as badly as it can costs no wait and no quota."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import pytest

from callsheet import Client, Provider, TaskSpec
from callsheet._catalog import PROVIDERS
from callsheet.events import TaskSettled
from making import most_in_window


if TYPE_CHECKING:
    from collections.abc import Iterator


pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SPEED = 20.0
MEAN, WORST = 5.0, 10.0
"""Seconds from an end until it is known, as promised."""

SLACK = 6.0
"""Seconds that a machine with other work may take on top: 0.3 in real time."""

RENDERS = [60.0, 45.0, 75.0, 55.0]
QUEUE = {"at_once": 3, "renders": [20.0, 15.0, 25.0]}
"""So many ends that the later tasks go by what was learned from the earlier ones."""

CASES: dict[str, tuple[int, float, dict[str, object]]] = {
    "honest": (24, 0.0, {}),
    "half a second": (1, 0.0, {"renders": [0.5]}),
    "clock behind": (24, 0.0, {"clock": "behind"}),
    "clock steps": (40, 2.0, {"clock": "steps", **QUEUE}),
    "clock stands still": (40, 2.0, {"clock": "still", **QUEUE}),
    "clock tells anything": (40, 2.0, {"clock": "random", **QUEUE}),
    "no times": (24, 0.0, {"times": "missing"}),
    "times are null": (24, 0.0, {"times": "null"}),
    "times in milliseconds": (40, 2.0, {"times": "milliseconds", **QUEUE}),
    "times in words": (24, 0.0, {"times": "words"}),
    "running tasks are queued again": (40, 2.0, {"goes_back": 3, **QUEUE}),
    "lists are 10 s old": (24, 10.0, {"lag": 10.0}),
    "lists are 40 s old": (24, 40.0, {"lag": 40.0}),
    "slow link": (24, 4.0, {"latency": 1.0, "bandwidth": 2000.0}),
    "429 for 20 s of each minute": (24, 24.0, {"storm": 20.0}),
    "429 with Retry-After": (24, 50.0, {"storm": 20.0, "retry_after": "30"}),
    "429 with Retry-After of a day": (24, 120.0, {"storm": 20.0, "retry_after": "86400"}),
    "lists fail": (24, 0.0, {"fails": "lists"}),
    "gets fail": (24, 0.0, {"fails": "gets"}),
}  # fmt: skip
"""By name: the tasks, the seconds that an end may be known later for it, and what is done."""


@contextmanager
def running(settings: dict[str, object]) -> Iterator[str]:
    """Run the provider as a process; yield its address."""
    text = json.dumps({"speed": SPEED, "renders": RENDERS} | settings)
    command = [sys.executable, str(Path(__file__).with_name("polling_provider.py")), text]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.stdin.close()


@attrs.define
class Watch:
    """What a client knows, and when; and what it takes of the machine."""

    known: dict[str, float] = attrs.Factory(dict)
    share: float = 0.0

    def __call__(self, event: object) -> None:
        """Note an end."""
        if isinstance(event, TaskSettled) and event.outcome.ok:
            self.known[event.outcome.task_id] = time.monotonic()

    async def all(self, provider: Provider, count: int, *, busy: bool = False) -> None:
        """Make so many videos; *busy*, beside something that holds the event loop half the time."""

        async def hold() -> None:
            while True:
                time.sleep(0.03)  # noqa: ASYNC251 - that is what it is for
                await anyio.sleep(0.03)

        began = time.monotonic(), time.process_time()
        async with (
            Client(provider=provider, observer=self) as c,
            anyio.create_task_group() as group,
        ):
            if busy:
                group.start_soon(hold)
            await (await c.submit_many(TaskSpec(f"boat {n}") for n in range(count))).result()
            group.cancel_scope.cancel()
        self.share = (time.process_time() - began[1]) / (time.monotonic() - began[0])


def watch(
    settings: dict[str, object],
    count: int,
    *,
    lists: bool | None,
    backend: str = "asyncio",
    busy: bool = False,
    **limits: float | None,
) -> tuple[list[float], dict[str, Any], Watch]:
    """Make so many videos; return by how many seconds each end was known late, and the requests."""
    watched = Watch()
    with running(settings) as address:
        provider = attrs.evolve(
            PROVIDERS["emulator"], base_url=f"{address}/api/v3", speed=SPEED, lists=lists,
            limits=attrs.evolve(PROVIDERS["ark"].limits, **limits),
        )  # fmt: skip

        async def run() -> None:
            await watched.all(provider, count, busy=busy)

        anyio.run(run, backend=backend)
        with urllib.request.urlopen(f"{address}/told") as answer:
            told = json.load(answer)
    assert watched.known.keys() == told["ends"].keys()
    late = [(watched.known[name] - end) * SPEED for name, end in told["ends"].items()]
    return late, told["log"], watched


@pytest.mark.parametrize(
    ("name", "lists"),
    # Where gets fail and there are no lists, there is no other way to ask. Queues take long.
    [
        pytest.param(name, lists, marks=[pytest.mark.full] * (QUEUE.items() <= case.items()))
        for name, (_, _, case) in CASES.items()
        for lists in (True, False)
        if lists or name != "gets fail"
    ],
)
def test_every_end_is_known_in_time_within_the_quota(name, lists):
    """No wait is lost, each is as short as the provider lets it be, and no rate is passed."""
    count, later, settings = CASES[name]
    late, log, watched = watch(settings, count, lists=lists)
    assert len(late) == count
    assert max(late) <= WORST + later + SLACK
    assert sum(late) / count <= MEAN + later + SLACK / 3
    for route, most in (("lists", 1), ("gets", 20)):
        times = [at * SPEED for at, what, _ in log if what == route]
        assert most_in_window(times, 10.0) <= 10 * most + 1
    assert watched.share < 0.6


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("lists", [True, False], ids=["lists", "gets"])
def test_a_busy_program_learns_of_ends_in_time(lists, backend):
    """Where something else holds the event loop half the time, the promise holds."""
    late, _, _ = watch({}, 24, lists=lists, busy=True, backend=backend)
    assert max(late) <= WORST + SLACK


@pytest.mark.parametrize("fails", ["lists", "gets"])
def test_a_route_that_fails_from_the_start_is_found_out(fails):
    """Where it is not known whether the provider lists, either route may fail alone."""
    late, log, _ = watch({"fails": fails}, 24, lists=None)
    assert max(late) <= WORST + SLACK
    assert sum(what == fails for _, what, _ in log) <= 5


def test_a_rate_that_is_not_published_is_not_passed():
    """While a third of each minute is refused, gets stay few, and every end is known."""
    settings = {"storm": 20.0}
    late, log, _ = watch(settings, 24, lists=False, gets_per_second=None)
    assert max(late) <= WORST + 24.0 + SLACK
    times = [at * SPEED for at, _, _ in log]
    assert most_in_window(times, 10.0) <= 81
