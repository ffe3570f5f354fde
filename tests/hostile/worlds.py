"""What callers do to a provider that lies, and what must hold then, however it is served.

A *shoot* submits specs whose creates go wrong in the ways that their prompts name. It waits for all
of them, and says what is wrong with the outcomes and the provider's true bill.
"""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio
import attrs

from callsheet import Batch, Client, Outcome, Provider, RetryPolicy, TaskSpec
from callsheet._catalog import PROVIDERS
from hostile.lies import FLEX, LOOKUP, OTHER_MODEL, Lie


if TYPE_CHECKING:
    from collections.abc import Callable


ATTEMPTS = 6
"""The default of ``RetryPolicy.attempts``."""

MOST_LOSSES = 3
"""How many creates of one spec are lost at most, one after the other."""

BEFORE = 80.0
"""Seconds from the first create of a shoot to those that get lost. Earlier tasks have ended."""

RENDER = 120.0
"""Seconds in which a task has surely ended and a client has seen it."""

LONGEST_LOOK = (4 + ATTEMPTS - 1) * LOOKUP
"""Seconds after which a lost create has an outcome, whatever the list does."""

LIMIT = BEFORE + RENDER + MOST_LOSSES * LONGEST_LOOK

LOSSES = ("lost", "dropped", "failed", "broken")

DEFAULT_LANE = (
    "lost", "dropped", "failed", "broken", "busy.lost", "lost.lost", "dropped.dropped.lost",
    "dropped", "honest", "honest",
)  # fmt: skip
OTHER_LANE = ("lost", "dropped", "failed", "broken", "honest", "honest")
"""What happens to the creates of each model and tier, in their order."""

ID_WAYS = ("twin", "thief", "gateway", "foreign", "unknown", "padded", "doubled", "upper", "later")


@attrs.frozen(kw_only=True)
class Case:
    """How a client meets a lie.

    Attributes:
        lie: The lie; ``None``: there is no list.
        documented: Whether the provider documents its lists.
        quiet: No create brings an id before those that get lost, so no task of ours can show
            whether the list is right.
        journal: A journal; then a second client takes over in the middle.
        transport: The client's.
        token: Whether the provider documents the field that carries tokens.
    """

    lie: Lie | None
    documented: bool = True
    quiet: bool = False
    journal: Path | None = None
    transport: Any = None
    token: bool = True

    @property
    def allows_canary(self) -> bool:
        """Whether no task of ours can contradict the list before it has cost something."""
        late = self.lie is not None and self.lie.late
        return late or (self.quiet and self.documented)


@attrs.define
class Result:
    """What came of a shoot.

    Attributes:
        outcomes: The outcomes that came within ``LIMIT``.
        lost: Prompts of specs that had neither an outcome nor an id by then.
        watched: Prompts of specs that had an id and no outcome.
        bill: The tasks that the provider made.
        posts: Prompt and time of each create.
    """

    outcomes: list[Outcome] = attrs.Factory(list)
    lost: list[str] = attrs.Factory(list)
    watched: list[str] = attrs.Factory(list)
    bill: list[dict[str, Any]] = attrs.Factory(list)
    posts: list[tuple[str, float]] = attrs.Factory(list)

    async def collect(self, *batches: Batch, seconds: float) -> None:
        """Take all outcomes that come in so many seconds."""
        with anyio.move_on_after(seconds):
            for batch in batches:
                await batch.result()
        for handle in (each for batch in batches for each in batch):
            if handle.done:
                self.outcomes.append(await handle.outcome())
            else:
                unended = self.lost if handle.task_id is None else self.watched
                unended.append(handle.spec.prompt)


def specs(*, quiet: bool) -> list[TaskSpec]:
    """Specs of two models and two tiers whose creates get lost in all ways."""
    lanes = ((DEFAULT_LANE, {}), (OTHER_LANE, {"model": OTHER_MODEL}))
    lanes += ((OTHER_LANE, {"service_tier": FLEX}),)
    return [
        TaskSpec(f"{way} boat {lane}-{n}", **fields)
        for lane, (ways, fields) in enumerate(lanes)
        for n, way in enumerate(way for way in ways if not (quiet and way == "honest"))
    ]


def earlier_specs() -> list[TaskSpec]:
    """Specs whose tasks have ended when the others get lost."""
    lanes = ({}, {"model": OTHER_MODEL}, {"service_tier": FLEX})
    return [TaskSpec(f"honest kite {n}", **lanes[n % 3]) for n in range(9)]


def id_specs(way: str) -> list[TaskSpec]:
    """Specs of which some get ids that lie in one way."""
    ways = ("honest", "lost", way, way, "honest")
    return [TaskSpec(f"{each} boat {n}") for n, each in enumerate(ways)]


def provider_at(url: str, case: Case, *, speed: float) -> Provider:
    """The description of the provider that a client gets."""
    return attrs.evolve(
        PROVIDERS["emulator"], base_url=f"{url}/api/v3", speed=speed,
        lists=case.documented or None, token=case.token,
    )  # fmt: skip


async def shoot(
    case: Case, provider: Provider, *, key: str, patience: float, ids: str | None = None
) -> Result:
    """Make all videos, or as many as have an outcome within ``LIMIT``.

    Args:
        case: How the client meets the lie.
        provider: The provider, as the client knows it.
        key: The API key.
        patience: Real seconds that one request may take.
        ids: The way in which ids lie, if they do.
    """
    open_client = partial(
        Client, provider=provider, api_key=key, journal=case.journal, transport=case.transport,
        retry=RetryPolicy(lookup=LOOKUP, timeout=patience),
    )  # fmt: skip
    speed, result = provider.speed, Result()
    chosen = id_specs(ids) if ids else specs(quiet=case.quiet)
    first = [] if case.quiet and not ids else earlier_specs()
    async with open_client() as client:
        began = anyio.current_time()
        before = [await client.submit_many(first)] if first else []
        await anyio.sleep_until(began + BEFORE / speed)
        batch = await client.submit_many(chosen)
        if case.journal is None:
            await result.collect(*before, batch, seconds=LIMIT / speed)
            return result
        await anyio.sleep(20.0 / speed)
    async with open_client() as client:
        await result.collect(await client.resume(), seconds=LIMIT / speed)
    return result


def complaints(case: Case, result: Result) -> list[str]:
    """What is wrong with the result of a shoot whose lists lie."""
    believes = case.lie is not None and case.lie.forges
    waiting = [] if case.lie is not None and case.lie.stale else result.watched
    return [
        *paid_twice(case, result),
        *(f"{prompt!r} is looked for without end" for prompt in result.lost),
        *(f"{prompt!r} is watched without end" for prompt in waiting),
        *([] if believes else wrong_videos(result)),
        *not_resolved(case, result),
    ]


def id_complaints(case: Case, result: Result, *, must: Callable[[str], bool]) -> list[str]:
    """What is wrong with the result of a shoot whose ids lie.

    Args:
        case: How the client met them.
        result: The result.
        must: Tells of a prompt whether the client can find out which task is that of the spec.
    """
    failed = {each.spec.prompt: each.error for each in result.outcomes if not each.ok}
    return [
        *paid_twice(case, result),
        *(f"{prompt!r} is looked for without end" for prompt in result.lost),
        *(f"{prompt!r} is watched without end" for prompt in result.watched),
        *wrong_videos(result),
        *(f"{prompt!r} ends with {error!r}" for prompt, error in failed.items() if must(prompt)),
    ]


def paid_twice(case: Case, result: Result) -> list[str]:
    """Specs that were bought more often than the rules of evidence allow."""
    made = Counter(task["prompt"] for task in result.bill)
    surplus: Counter[str] = Counter()
    for task in {task["prompt"]: task for task in result.bill}.values():
        surplus[task["tier"]] += made[task["prompt"]] - 1
    found = []
    for tier, count in surplus.items():
        allowed = most_canaries_of(result.posts) if case.allows_canary else 0
        if case.allows_canary and case.lie is not None and case.lie.some:
            allowed = len(result.posts)  # the first one may be shown, and then all are believed
        if count > allowed:
            found.append(f"{count} of tier {tier} too many, allowed are {allowed}")
    return found


def most_canaries_of(posts: list[tuple[str, float]]) -> int:
    """How many submissions of a scope can have been sent again without a witness.

    They are sent one at a time, each a lookup after the one before.
    """
    lost = [at for prompt, at in posts if prompt.split(" ")[0].split(".")[0] in LOSSES]
    last = max(at for _, at in posts)
    return int((last - min(lost)) / LOOKUP) if lost else 0


def wrong_videos(result: Result) -> list[str]:
    """Specs that got the video of another one."""
    return [
        f"{each.spec.prompt!r} got {each.url}"
        for each in result.outcomes
        if each.ok and each.url != f"http://videos.test/{quote(each.spec.prompt)}.mp4"
    ]


def not_resolved(case: Case, result: Result) -> list[str]:
    """Specs without a video although the list can tell what became of their creates."""
    if case.lie is None:
        return []
    failed = {each.spec.prompt: each.error for each in result.outcomes if not each.ok}
    made = {task["prompt"] for task in result.bill}
    if case.lie.shy and not case.documented:
        return []
    must = made if case.lie.finds else set()
    if case.lie.proves and (case.documented or not case.quiet):
        must = failed.keys()
    return [f"{prompt!r} ends with {error!r}" for prompt, error in failed.items() if prompt in must]


def clock() -> Callable[[], float]:
    """The provider's time, which follows the clock of the event loop."""
    epoch, start = time.time(), anyio.current_time()
    return lambda: epoch + anyio.current_time() - start
