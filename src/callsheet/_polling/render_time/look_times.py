"""The cheapest times to look at something that ends once: dynamic programming over ages."""

from __future__ import annotations

import itertools
import math
from array import array

import attrs


FLAT = 1e-9

LAST = 3.0
"""Looks that a task is expected to cost which outruns the last edge."""


@attrs.frozen
class Plan:
    """When to look next, and what that costs on average.

    Attributes:
        following: For each edge the age of the next look, seconds; it may lie between edges.
        delay: Mean seconds between an end and the look that finds it.
        looks: Mean number of looks.
        mean: Mean age at the end, seconds.
    """

    following: array[float]
    delay: float
    looks: float
    mean: float


def plan(edges: list[float], alive: array[float], price: float) -> Plan:
    """The looks at which delay plus *price* per look is least, found from the last edge back.

    From an edge the next look is at a later edge, or several looks come before the next edge,
    evenly: so the gaps may be far shorter than the edges are apart.

    Args:
        edges: Ages, seconds, ascending.
        alive: Chance to run longer than each; ends fall evenly between two edges.
        price: Seconds of delay that are worth a look, > 0.
    """
    last = len(edges) - 1
    moments = [0.0]
    for (a, b), (early, late) in zip(
        itertools.pairwise(edges), itertools.pairwise(alive), strict=True
    ):
        moments.append(moments[-1] + (early - late) * (a + b) / 2)
    cost, delays, looks = ([0.0] * (last + 1) for _ in range(3))
    cost[last] = LAST * price * alive[last]
    following = array("f", edges)
    following[last] = edges[last] ** 2 / edges[last - 1]
    for start in range(last - 1, -1, -1):
        here, began, after = alive[start], moments[start], start + 1
        width, ending = edges[after] - edges[start], here - alive[after]
        running = here - ending / 2
        number = math.sqrt(ending * width / (2 * price * running)) if running > 0 else 0.0
        best, choice = math.inf, after
        asked = number * running + ending / 2
        if number > 1.0:
            best, choice = ending * width / (2 * number) + price * (asked - here) + cost[after], 0
        for stop in range(after, last + 1):
            waiting = edges[stop] * (here - alive[stop]) - (moments[stop] - began)
            if waiting > best:
                break
            if waiting + cost[stop] < best:
                best, choice = waiting + cost[stop], stop
        cost[start] = best + price * here
        if not choice:
            following[start] = edges[start] + width / number
            delays[start] = delays[after] + ending * width / (2 * number)
            looks[start] = looks[after] + asked
            continue
        then = edges[choice]
        delays[start] = delays[choice] + then * (here - alive[choice]) - moments[choice] + began
        looks[start] = looks[choice] + here
        if choice < last:
            sooner, best, later = (
                edges[k] * (here - alive[k]) - moments[k] + cost[k]
                for k in (choice - 1, choice, choice + 1)
            )
            bend = sooner - 2 * best + later
            if bend > FLAT:
                off = max(-0.5, min(0.5, (sooner - later) / (2 * bend)))
                then += off * (edges[choice + (off > 0)] - edges[choice - (off <= 0)])
        following[start] = then
    return Plan(following, delays[0], looks[0], moments[-1] + alive[last] * edges[-1])
