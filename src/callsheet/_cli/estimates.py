"""What the specs of a file may cost, as lines of text and as events."""

from __future__ import annotations

import json
import sys
from decimal import ROUND_CEILING, ROUND_FLOOR
from typing import TYPE_CHECKING, Any, Protocol

from callsheet import pricing
from callsheet._cli.money import exact_text, money_text, rounded
from callsheet._cli.plan import entries_of, jobs_of
from callsheet._cli.printing import put_line


if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from callsheet._cli.run_request import RunRequest
    from callsheet._models.provider import Provider
    from callsheet._models.spec import TaskSpec


_MOST_KINDS = 10


class SpecWithLine(Protocol):
    """A spec, and the line of the file that it comes from."""

    @property
    def line(self) -> int: ...
    @property
    def spec(self) -> TaskSpec: ...


Estimated = tuple[int, pricing.Estimate]
"""The line of a video in the file, and what the video may cost."""


def estimates_of(rows: Iterable[SpecWithLine], provider: Provider) -> list[Estimated]:
    """Estimate each video by the prices of a provider."""
    return [(row.line, pricing.estimate(row.spec, provider=provider)) for row in rows]


async def estimate_order(request: RunRequest) -> int:
    """Check the file of *request*, print what all its videos may cost, and return the exit code.

    Nothing is sent and nothing is written. Results of earlier runs are not considered.

    Raises:
        InputError: The file of specs cannot be used.
    """
    entries = await entries_of(
        request.source,
        provider=request.known_provider,
        defaults=request.defaults,
        limit=request.limit,
    )
    found = estimates_of(jobs_of(entries, request.samples), request.known_provider)
    if request.events:
        for event in events(request.source, found):
            put_line(json.dumps(event, ensure_ascii=False))
    elif request.quiet:
        put_line(total_line(found), sys.stderr)
    else:
        put_line(f"{request.source}: {len(found)} videos for {request.label}, none of them is made")
        for line in summary(request.source, found):
            put_line(line)
    return 0


def summary(source: Path, found: Sequence[Estimated]) -> list[str]:
    """Lines about each kind of video, the total, and the reasons why figures are not exact."""
    kinds: dict[pricing.Estimate, list[int]] = {}
    for line, each in found:
        kinds.setdefault(each, []).append(line)
    lines = [
        f"  {_places(source, numbers)}: {_tokens(each)}, {_money(each)}"
        for each, numbers in list(kinds.items())[:_MOST_KINDS]
    ]
    if (rest := len(kinds) - _MOST_KINDS) > 0:
        lines.append(f"  … and {rest} more kinds of video")
    lines.append(total_line(found))
    lines += [f"  note: {note}" for note in dict.fromkeys(n for each in kinds for n in each.notes)]
    prices = {(each.price.source, each.price.dated) for each in kinds if each.price is not None}
    return lines + [f"  prices: {where}, {when}" for where, when in sorted(prices)]


def total_line(found: Sequence[Estimated]) -> str:
    """One line that says what all videos may cost in total."""
    amount = pricing.total(each for _, each in found)
    measured = amount.tasks - amount.unmeasured
    priced = amount.tasks - amount.unpriced
    exact = all(each.exact and each.money == each.money_at_least for _, each in found)
    bound = "at most " if measured and not exact else ""
    tokens = f"{amount.tokens:,} tokens" if measured else "tokens unknown"
    money = money_text(amount) if priced else "price unknown"
    more = (
        f"; {amount.unmeasured} more of unknown tokens" * (0 < amount.unmeasured < amount.tasks),
        f"; {amount.unpriced} more of unknown price" * (0 < amount.unpriced < amount.tasks),
    )
    return f"together, if all succeed: {bound}{tokens}, {money}{''.join(more)}"


def events(source: Path, found: Sequence[Estimated]) -> Iterable[dict[str, Any]]:
    """An event for each video, then one for the total. Money is text with all its digits."""
    for line, each in found:
        yield {
            "event": "estimate",
            "place": f"{source}:{line}",
            "tokens": each.tokens,
            "tokens_at_least": each.tokens_at_least,
            "money": exact_text(each.money),
            "money_at_least": exact_text(each.money_at_least),
            "currency": each.currency,
            "notes": list(each.notes),
        }
    amount = pricing.total(each for _, each in found)
    yield {
        "event": "total",
        "tasks": amount.tasks,
        "tokens": amount.tokens,
        "usd": exact_text(amount.usd),
        "cny": exact_text(amount.cny),
        "unmeasured": amount.unmeasured,
        "unpriced": amount.unpriced,
    }


def _places(source: Path, numbers: Sequence[int]) -> str:
    lines = len(set(numbers))
    more = f" and {lines - 1} more" if lines > 1 else ""
    videos = f", {len(numbers)} videos" if len(numbers) > lines else ""
    return f"{source}:{numbers[0]}{more}{videos}{', each' if len(numbers) > 1 else ''}"


def _tokens(each: pricing.Estimate) -> str:
    least = f"{each.tokens_at_least:,}"
    if each.tokens is None:
        return f"at least {least} tokens" if each.tokens_at_least else "tokens unknown"
    return f"{least} tokens" if each.exact else f"{least} to {each.tokens:,} tokens"


def _money(each: pricing.Estimate) -> str:
    if each.price is None or each.money_at_least is None:
        return "price unknown"
    if not each.price.per_million:
        return "free"
    least = rounded(each.money_at_least, ROUND_FLOOR)
    if each.money is None:
        return f"at least {each.currency} {least}"
    most = rounded(each.money, ROUND_CEILING)
    same = each.money == each.money_at_least
    return f"{each.currency} {most if same else f'{least} to {most}'}"
