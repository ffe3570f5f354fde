"""Asyncio and trio SDK for making many videos through the Seedance task API.

One `Client` submits any number of `TaskSpec` values, keeps their ids in a registry and watches all
tasks with one shared poller, until each has an `Outcome`: a video URL or a typed reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from callsheet import _lazy, errors
from callsheet.errors import *  # noqa: F403 - every error is public


if TYPE_CHECKING:
    from callsheet import events
    from callsheet._batch import Batch
    from callsheet._client import Client
    from callsheet._handle import TaskHandle
    from callsheet._http.tasks_api import Tasks
    from callsheet._models.media import AudioRef, Image, Media, VideoRef
    from callsheet._models.outcome import BatchResult, Outcome, Progress, Stats, UncertainAttempt
    from callsheet._models.policy import Limits, Polling, RetryPolicy, SpendLimit
    from callsheet._models.provider import Provider
    from callsheet._models.snapshot import ErrorDetail, Page, Snapshot, Status, Usage, Video
    from callsheet._models.spec import TaskSpec
    from callsheet._models.spend import Spend
    from callsheet._models.state import State
    from callsheet._stream import OutcomeStream


__version__ = "0.1.0"

__all__ = [
    "AudioRef",
    "Batch",
    "BatchResult",
    "Client",
    "ErrorDetail",
    "Image",
    "Limits",
    "Media",
    "Outcome",
    "OutcomeStream",
    "Page",
    "Polling",
    "Progress",
    "Provider",
    "RetryPolicy",
    "Snapshot",
    "Spend",
    "SpendLimit",
    "State",
    "Stats",
    "Status",
    "TaskHandle",
    "TaskSpec",
    "Tasks",
    "UncertainAttempt",
    "Usage",
    "Video",
    "VideoRef",
    "errors",
    "events",
]
__all__ += errors.__all__

if not TYPE_CHECKING:
    __getattr__ = _lazy.names_of(
        __name__,
        {
            "_batch": ("Batch",),
            "_client": ("Client",),
            "_handle": ("TaskHandle",),
            "_http.tasks_api": ("Tasks",),
            "_models.media": ("AudioRef", "Image", "Media", "VideoRef"),
            "_models.outcome": (
                "BatchResult",
                "Outcome",
                "Progress",
                "Stats",
                "UncertainAttempt",
            ),
            "_models.policy": ("Limits", "Polling", "RetryPolicy", "SpendLimit"),
            "_models.provider": ("Provider",),
            "_models.snapshot": ("ErrorDetail", "Page", "Snapshot", "Status", "Usage", "Video"),
            "_models.spec": ("TaskSpec",),
            "_models.state": ("State",),
            "_models.spend": ("Spend",),
            "_stream": ("OutcomeStream",),
            "events": ("events",),
        },
    )

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
