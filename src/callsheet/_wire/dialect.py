"""What all dialects have in common: everything except how a create sends its options."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

from callsheet._wire import snapshots, task_requests


if TYPE_CHECKING:
    from collections.abc import Mapping

    from callsheet._models.media import Media
    from callsheet._models.spec import TaskSpec
    from callsheet._wire.messages import Request


class Dialect(abc.ABC):
    """Builds requests and reads answers. A dialect has no state and does no I/O."""

    @abc.abstractmethod
    def build_create(
        self, spec: TaskSpec, *, model: str, urls: Mapping[Media, str], token: str | None = None
    ) -> Request:
        """Build the request that creates a task.

        Args:
            spec: The video to make; fields that are not set are not sent.
            model: Model id or endpoint id.
            urls: URL of each medium whose `Media.url` is ``None``.
            token: The correlation token, by which the task can be found in a list. It is sent in
                ``safety_identifier``; ``None`` sends none.

        Raises:
            SpecError: The spec cannot be sent.
        """

    parse_create = staticmethod(snapshots.parse_create)
    build_get = staticmethod(task_requests.build_get)
    parse_snapshot = staticmethod(snapshots.parse_snapshot)
    build_list = staticmethod(task_requests.build_list)
    parse_page = staticmethod(snapshots.parse_page)
    build_cancel = staticmethod(task_requests.build_cancel)
    parse_cancel = staticmethod(snapshots.parse_cancel)
    parse_callback = staticmethod(snapshots.parse_callback)
