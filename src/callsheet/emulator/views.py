"""Tasks as JSON: Ark's object, CometAPI's shorter object, and pages of tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import attrs

from callsheet.emulator.accounts import Account, newest_first
from callsheet.emulator.answers import invalid
from callsheet.emulator.tasks import FPS, Task


if TYPE_CHECKING:
    from starlette.datastructures import QueryParams

    from callsheet.emulator.lies import Lie


_STATUSES = frozenset({"queued", "running", "cancelled", "succeeded", "failed"})
_MOST = 500

Link = Callable[[Task, str], str]
"""Builds the URL of a task's file with the given suffix (``mp4``, ``mov`` or ``png``)."""


def full_view(task: Task, link: Link) -> dict[str, Any]:
    """Build Ark's JSON of a task. It has neither the prompt nor the input media.

    Source: Ark get reference, July 2026; published answers of 1.0 pro.
    """
    order = task.order
    body = _common_fields(task)
    if task.status == "succeeded":
        tokens = task.tokens
        body["content"] = _content(task, link)
        usage: dict[str, Any] = {"completion_tokens": tokens, "total_tokens": tokens}
        if order.tools:
            usage["tool_usage"] = {"web_search": 1}
        body["usage"] = usage
        body["seed"] = task.seed
        body |= _format_fields(task)
    body["service_tier"] = order.tier
    body["execution_expires_after"] = order.expires_after
    echoes = {
        "generate_audio": order.generate_audio,
        "draft": order.draft,
        "draft_task_id": order.draft_task,
        "priority": order.priority,
        "tools": [{"type": "web_search"}] if order.tools else None,
        "output_format": order.output_format,
        "safety_identifier": order.safety_identifier,
    }
    return body | {name: value for name, value in echoes.items() if value is not None}


def short_view(task: Task, link: Link) -> dict[str, Any]:
    """Build the JSON of CometAPI's reference: no usage, no seed, and no fields of the request."""
    body = _common_fields(task)
    if task.status == "succeeded":
        body["content"] = _content(task, link)
        body |= _format_fields(task)
    return body


def _common_fields(task: Task) -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": task.id,
        "model": task.order.model_id,
        "status": task.status,
        "created_at": int(task.created_at),
        "updated_at": int(task.updated_at),
    }
    if task.status == "failed":
        body["error"] = {"code": task.ending.code, "message": task.ending.message}
    return body


def _content(task: Task, link: Link) -> dict[str, str]:
    content = {"video_url": link(task, task.order.output_format or "mp4")}
    if task.order.return_last_frame:
        content["last_frame_url"] = link(task, "png")
    return content


def _format_fields(task: Task) -> dict[str, Any]:
    body: dict[str, Any] = {"resolution": task.order.resolution, "ratio": task.ratio}
    if task.duration is None:
        body["frames"] = task.frames
    else:
        body["duration"] = task.duration
    return body | {"framespersecond": FPS}


@attrs.frozen(kw_only=True)
class Query:
    """What a list call asks for.

    Attributes:
        page_num: Page, 1 to 500.
        page_size: Tasks on a page, 1 to 500.
        status: Only tasks with this status; None: any.
        task_ids: Only these tasks; empty: all.
        model: Only this model or endpoint; None: any.
        tier: Only this tier. A list shows flex tasks only if it asks for that tier.
    """

    page_num: int
    page_size: int
    status: str | None
    task_ids: tuple[str, ...]
    model: str | None
    tier: str

    @classmethod
    def read(cls, params: QueryParams) -> Query:
        """Read a query string. ``filter.task_ids`` may repeat and is never split at commas.

        Raises:
            Refusal: If a value is out of range. Ark documents the ranges, but not the answer. 400
                is the answer of a gateway that copies Ark.

        Source: Ark list reference, July 2026; hidden flex tasks seen live on BytePlus.
        """
        status = params.get("filter.status") or None
        if status is not None and status not in _STATUSES:
            raise invalid("filter.status", f"{status} is not a status")
        tier = params.get("filter.service_tier") or "default"
        if tier not in {"default", "flex"}:
            raise invalid("filter.service_tier", "default or flex is expected")
        return cls(
            page_num=_page(params, "page_num", 1),
            page_size=_page(params, "page_size", 20),
            status=status,
            task_ids=tuple(params.getlist("filter.task_ids")),
            model=params.get("filter.model") or None,
            tier=tier,
        )

    def run(self, account: Account, link: Link, lie: Lie | None = None) -> dict[str, Any]:
        """Return one page of the tasks of *account*, newest first.

        *total* counts the matches on all pages. With ids the cost is O(ids), else O(tasks on
        record). A *lie* makes the page wrong.
        """
        found = [task for task in self._candidates(account) if self._matches(task)]
        if lie is not None:
            return lie.page(
                [full_view(task, link) for task in found], self.page_num, self.page_size
            )
        first = (self.page_num - 1) * self.page_size
        page = found[first : first + self.page_size]
        return {"total": len(found), "items": [full_view(task, link) for task in page]}

    def _candidates(self, account: Account) -> Iterable[Task]:
        if not self.task_ids:
            return newest_first(account)
        tasks = (account.tasks.get(task_id) for task_id in dict.fromkeys(self.task_ids))
        return sorted((task for task in tasks if task), key=lambda task: -task.index)

    def _matches(self, task: Task) -> bool:
        return (
            task.order.tier == self.tier
            and self.status in {None, task.status}
            and self.model in {None, task.order.requested_model, task.order.model_id}
        )


def _page(params: QueryParams, name: str, default: int) -> int:
    text = params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:9]) <= _MOST:
        raise invalid(name, f"an integer from 1 to {_MOST} is expected")
    return int(text)
