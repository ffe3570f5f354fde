"""A process that is killed again and again, while lists lie, answers are lost, clocks are wrong."""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from hostile.lies import LIES, LOOKUP
from hostile.process import be_honest, bill_of, running
from hostile.worlds import most_canaries_of
from slow.killing import ProcessStarter, process_starter, until_kill


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked"),
]

KILLS = [pytest.param(200, marks=pytest.mark.full), 12]
"""How often: two hundred times in the full suite, else twelve times."""

KILLS_OF_A_RUN = 12
LONGEST = 4.0
"""Seconds until a kill at most: several times as long as a lost create is looked for."""

SEED = int(os.environ.get("CALLSHEET_KILL_SEED", "0"))
SPEED = 60.0
COUNT = 40

WAYS = ("honest", "lost", "dropped", "honest", "failed", "broken", "honest", "busy.lost")
"""What happens to the creates, one spec after the other."""

NAMES = (
    "three-of-five-tasks", "marks-cut-32", "another-project", "late-90", "total-zero", "html-404",
    "marks-upper", "every-2nd-task", "no-marks", "empty", "frozen", "pages-skip", "marks-replaced",
    "half-an-answer", "ends-empty", "marks-prefixed", "cached-120",
)  # fmt: skip
"""The lies that the lists tell, one run after the other.

None shows a task with the token of another one: a task that was found so is not looked for again.
"""

SKEWS = (0.0, 0.0, 45.0, -45.0, 3600.0, -3600.0, 100_000.0)
"""How many seconds the clock of a process may be fast."""


@pytest.fixture
def starter() -> Iterator[ProcessStarter]:
    """Starts and kills processes."""
    with process_starter() as made:
        yield made


def run(starter: ProcessStarter, rng: random.Random, kills: int, **how: object) -> int:
    """Kill so many processes, or fewer if one ends by itself; return how many were killed."""
    for spent in range(kills):
        life = starter.start(until_kill(rng, LONGEST), skew=rng.choice(SKEWS), **how)
        if not life.killed:
            return spent
    return kills


def check_bill(bill: dict[str, Any], name: str, ends: dict[int, str | None]) -> None:
    """Each video was paid for once, and each task that was paid for is known by its spec."""
    made = Counter(task["prompt"] for task in bill["tasks"])
    surplus = sum(made.values()) - len(made)
    posts = [(prompt, at) for prompt, at in bill["posts"]]
    allowed = most_canaries_of(posts) if LIES[name].late else 0
    assert surplus <= allowed, {prompt: count for prompt, count in made.items() if count > 1}
    known = {*ends.values()}
    unknown = [task for task in bill["tasks"] if task["id"] not in known]
    assert len(unknown) == surplus, unknown
    for task in bill["tasks"]:
        number = int(task["prompt"].split()[-1])
        assert made[task["prompt"]] > 1 or ends[number] == task["id"]


@pytest.mark.parametrize("wanted", KILLS)
def test_killed_runs_that_are_lied_to_pay_once_and_lose_nothing(
    tmp_path: Path, starter: ProcessStarter, wanted: int
):
    """Nothing is bought twice; when the lists are honest again, each task is found by its token."""
    rng = random.Random(SEED)
    kills = runs = 0
    with running(SPEED) as address:
        while kills < wanted:
            name = NAMES[runs % len(NAMES)]
            key = f"{name}/{runs}"
            prompts = [f"{WAYS[n % len(WAYS)]} boat {n}" for n in range(COUNT)]
            how = {"journal": str(tmp_path / f"{runs}.db"), "base_url": f"{address}/api/v3"}
            how |= {"key": key, "speed": SPEED, "lookup": LOOKUP, "prompts": prompts}
            kills += run(starter, rng, min(KILLS_OF_A_RUN, wanted - kills), **how)
            runs += 1
            be_honest(address, key)
            last = starter.start(None, **how)
            errors = [" ".join(words) for words in last.lines("error")]
            assert all("SubmissionUncertainError" in error for error in errors), errors
            told = {int(number): task_id for number, task_id in last.lines("end")}
            ends = {number: None if each == "None" else each for number, each in told.items()}
            assert sorted(ends) == list(range(COUNT))
            check_bill(bill_of(address, key), name, ends)
    assert kills == wanted
