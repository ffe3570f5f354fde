"""What all dialects have in common: everything but how options travel in a create."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

from callsheet._wire import snapshots, targets


if TYPE_CHECKING:
    from collections.abc import Mapping

    from callsheet._models.media import Media
    from callsheet._models.spec import TaskSpec
    from callsheet._wire.http import Request


class Dialect(abc.ABC):
    """Builds requests and reads answers. It holds no state and does no I/O."""

    @abc.abstractmethod
    def build_create(
        self, spec: TaskSpec, *, model: str, urls: Mapping[Media, str], token: str | None = None
    ) -> Request:
        """Ask for a new task.

        Args:
            spec: What is to be made; fields that are not set are not sent.
            model: Model or endpoint id.
            urls: URL of each medium that has none of its own.
            token: Mark by which the task can be found again; travels in ``safety_identifier``.

        Raises:
            SpecError: The spec cannot be sent.
        """

    parse_create = staticmethod(snapshots.parse_create)
    build_get = staticmethod(targets.build_get)
    parse_snapshot = staticmethod(snapshots.parse_snapshot)
    build_list = staticmethod(targets.build_list)
    parse_page = staticmethod(snapshots.parse_page)
    build_cancel = staticmethod(targets.build_cancel)
    parse_cancel = staticmethod(snapshots.parse_cancel)
    parse_callback = staticmethod(snapshots.parse_callback)
