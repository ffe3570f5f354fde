"""The requests without a body: retrieve, list, delete.

Source: Ark retrieve, list and delete references (July 2026).
"""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING
from urllib.parse import quote

from callsheet._wire.http import Request
from callsheet.errors import Problem, SpecError


if TYPE_CHECKING:
    from collections.abc import Iterable


TASKS = "/contents/generations/tasks"

URL_ROOM = 7_800
"""Bytes of a request's path and query; common servers and proxies refuse lines above 8 kB."""

LONGEST_ID = URL_ROOM - len(f"{TASKS}/")
"""Most characters of an id as it stands in an address."""

_ID = "&filter.task_ids="

LIST_BASE = len(
    f"{TASKS}?page_num=500&page_size=500&filter.status=succeeded&filter.service_tier=default"
)
"""Most characters of a list target without ids and model, for pages in the documented range.

With the `id_cost` of each id this bounds the length of ``build_list(...).target``.
"""


def build_get(task_id: str) -> Request:
    """Ask for one task.

    Raises:
        SpecError: No id of a task, or one that has no room in an address.
    """
    return Request(method="GET", target=f"{TASKS}/{_path_segment(task_id)}")


def build_cancel(task_id: str) -> Request:
    """Cancel a queued task; the provider removes the record of an ended one and refuses the rest.

    Raises:
        SpecError: No id of a task, or one that has no room in an address.
    """
    return Request(method="DELETE", target=f"{TASKS}/{_path_segment(task_id)}")


def build_list(
    *,
    task_ids: Iterable[str] = (),
    status: str | None = None,
    model: str | None = None,
    page_num: int = 1,
    page_size: int = 20,
    service_tier: str | None = None,
) -> Request:
    """Ask for many tasks of the last 7 days.

    Args:
        task_ids: Only these; sent as one parameter each, as the official SDKs do. *page_size* must
            be at least their number.
        status: Only this status.
        model: Only this model; which of its names, the sources disagree about.
        page_num: 1 to 500.
        page_size: 1 to 500.
        service_tier: ``default``, which the provider assumes, or ``flex``: the tasks of one tier
            are invisible to a list of the other (TanStack/ai probes of BytePlus, July 2026).

    Raises:
        SpecError: An id that has no room in an address; how many ids have is not checked.
    """
    filters = (("status", status), ("model", model), ("service_tier", service_tier))
    chosen = "".join(
        f"&filter.{name}={_encoded(value)}" for name, value in filters if value is not None
    )
    ids = "".join(
        f"{_ID}{_encoded_id(task_id, f'task_ids[{number}]')}"
        for number, task_id in enumerate(task_ids)
    )
    return Request(
        method="GET", target=f"{TASKS}?page_num={page_num}&page_size={page_size}{chosen}{ids}"
    )


def id_cost(task_id: str) -> int:
    """Characters by which one id makes a list target longer."""
    return len(_ID) + len(_encoded(task_id))


def _encoded(value: str) -> str:
    return quote(value, safe="", errors="surrogatepass")


def _path_segment(task_id: str) -> str:
    """An id as one segment of a path, which must not be empty or mean another folder."""
    if task_id.strip() in {"", ".", ".."}:
        shown = reprlib.repr(task_id)
        raise SpecError([Problem("task_id", shown, "an id that the provider gave")])
    return _encoded_id(task_id, "task_id")


def _encoded_id(task_id: str, field: str) -> str:
    """An id as it stands in an address, if there is room for it."""
    encoded = _encoded(task_id)
    if len(encoded) > LONGEST_ID:
        allowed = f"at most {LONGEST_ID} characters in an address, not {len(encoded)}"
        raise SpecError([Problem(field, reprlib.repr(task_id), allowed)])
    return encoded
