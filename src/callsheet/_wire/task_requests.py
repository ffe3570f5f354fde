"""Builds the requests without a body: retrieve, list, delete.

Source: Ark retrieve, list and delete references (July 2026).
"""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING
from urllib.parse import quote

from callsheet._wire.messages import Request
from callsheet.errors import Problem, SpecError


if TYPE_CHECKING:
    from collections.abc import Iterable


TASKS = "/contents/generations/tasks"

URL_ROOM = 7_800
"""Most bytes of a request's path and query. Common servers and proxies refuse more than 8 kB for
the whole request line."""

LONGEST_ID = URL_ROOM - len(f"{TASKS}/")
"""Most characters of a percent-encoded id in a URL."""

_ID_PARAMETER = "&filter.task_ids="

LIST_BASE = len(
    f"{TASKS}?page_num=500&page_size=500&filter.status=succeeded&filter.service_tier=default"
)
"""Most characters of a list target without ids and model, for pages in the documented range.

Together with the `id_cost` of each id, this is an upper limit for the length of
``build_list(...).target``.
"""


def build_get(task_id: str) -> Request:
    """Ask for one task.

    Raises:
        SpecError: The id is not the id of a task, or is too long for a URL.
    """
    return Request(method="GET", target=f"{TASKS}/{_path_segment(task_id)}")


def build_cancel(task_id: str) -> Request:
    """Cancel a queued task.

    For a task that has ended, the provider deletes its record instead. It refuses the request for a
    task that runs.

    Raises:
        SpecError: The id is not the id of a task, or is too long for a URL.
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
        task_ids: Only these tasks. Each id is a parameter of its own, as in the official SDKs.
            *page_size* must be at least their number.
        status: Only tasks with this status.
        model: Only tasks of this model. The sources disagree on which of its names counts.
        page_num: Number of the page, 1 to 500.
        page_size: Tasks per page, 1 to 500.
        service_tier: ``default``, which the provider uses if none is given, or ``flex``. A list
            never shows tasks of the other tier (TanStack/ai probes of BytePlus, July 2026).

    Raises:
        SpecError: An id is too long for a URL. Whether all ids together fit is not checked.
    """
    filters = (("status", status), ("model", model), ("service_tier", service_tier))
    chosen = "".join(
        f"&filter.{name}={_encoded(value)}" for name, value in filters if value is not None
    )
    ids = "".join(
        f"{_ID_PARAMETER}{_encoded_id(task_id, f'task_ids[{number}]')}"
        for number, task_id in enumerate(task_ids)
    )
    return Request(
        method="GET", target=f"{TASKS}?page_num={page_num}&page_size={page_size}{chosen}{ids}"
    )


def id_cost(task_id: str) -> int:
    """Number of characters that one id adds to a list target."""
    return len(_ID_PARAMETER) + len(_encoded(task_id))


def _encoded(value: str) -> str:
    return quote(value, safe="", errors="surrogatepass")


def _path_segment(task_id: str) -> str:
    """An id as one segment of a path.

    It must not be empty, ``.`` or ``..``: the URL would name something else then.

    Raises:
        SpecError: The id is one of these, or is too long for a URL.
    """
    if task_id.strip() in {"", ".", ".."}:
        shown = reprlib.repr(task_id)
        raise SpecError([Problem("task_id", shown, "an id that the provider gave")])
    return _encoded_id(task_id, "task_id")


def _encoded_id(task_id: str, field: str) -> str:
    """An id, percent-encoded for a URL.

    Raises:
        SpecError: The id is too long for a URL.
    """
    encoded = _encoded(task_id)
    if len(encoded) > LONGEST_ID:
        allowed = f"at most {LONGEST_ID} characters in an address, not {len(encoded)}"
        raise SpecError([Problem(field, reprlib.repr(task_id), allowed)])
    return encoded
