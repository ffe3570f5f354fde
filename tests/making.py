"""Records, answers and errors for tests of the pure modules."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import strategies as st

from callsheet._models.snapshot import Snapshot, Status
from callsheet._models.spec import TaskSpec
from callsheet._state.record import Record
from callsheet._state.registry import MadeTask
from callsheet._submission.list_scan import FIRST_GAP, ListScan, LostCreate
from callsheet.errors import (
    APIError,
    AuthenticationError,
    ConnectFailedError,
    ContentRejectedError,
    InvalidRequestError,
    NotFoundError,
    Problem,
    ProtocolError,
    RateLimitError,
    ServerError,
    SpecError,
    SubmissionUncertainError,
    TransportError,
)


NEVER = float("inf")

UNKNOWN_ID = NotFoundError("no such task", 404, "ResourceNotFound")
NOT_FOUND_PAGE = NotFoundError("<html>", 404)
BAD_REQUEST = InvalidRequestError("bad", 400, "InvalidParameter")
BAD_REQUEST_PAGE = InvalidRequestError("<html>", 400)
WRONG_KEY = AuthenticationError("who?", 401, "AuthenticationError")
DOWN = ServerError("down", 503)
BUSY = RateLimitError("slow down", 429, "RateLimit")
BUSY_FOR_AN_HOUR = RateLimitError("slow down", 429, retry_after=3600.0)
LOST = TransportError("lost")
REFUSED = ConnectFailedError("refused")
NO_ROUTE = APIError("no such method", 405)
NOT_BUILT = ServerError("not built", 501)
CONTENT_REFUSED = ContentRejectedError("no", 400, "InputTextSensitiveContentDetected")
LOST_ANSWER = SubmissionUncertainError("lost")
UNWRITABLE = SpecError([Problem("task_id", "'.'", "an id")])
GARBAGE = ProtocolError("not JSON", "<html>")

OUTAGES = (DOWN, BUSY, LOST, REFUSED, GARBAGE, NOT_FOUND_PAGE, BAD_REQUEST_PAGE)
"""Failures of a get that say nothing about its task or the account."""

moments = st.floats(0, 1e7)
pauses = st.floats(0, 120) | st.floats(0, 0.2) | st.just(0.0)


def record(task_id: str | None = None, *, tier: str | None = None, **values) -> Record:
    """A record of a simple spec."""
    spec = TaskSpec("boat", service_tier=tier, **values)
    return Record(spec, model="model", task_id=task_id)


def snapshot(task_id: str, status: Status, *, url: bool = True, **values) -> Snapshot:
    """A status answer; a success has a video URL unless *url* is false."""
    done = url and status is Status.SUCCEEDED
    return Snapshot(
        task_id=task_id,
        status=status,
        raw_status=str(status),
        video_url=f"https://storage.test/{task_id}" if done else None,
        **values,
    )


def most_in_window(times: list[float], period: float) -> int:
    """The most of the ascending *times* that lie in one closed window of length *period*."""
    most = first = 0
    for last, time in enumerate(times):
        while time - times[first] > period:
            first += 1
        most = max(most, last - first + 1)
    return most


def gaps(times: list[float]) -> list[float]:
    """Seconds between each time and the next one."""
    return [later - earlier for earlier, later in pairwise(times)]


def lost(
    mark: str | None = "token", *, sent: float | None = 0.0, tier: str | None = None, **values
) -> LostCreate:
    """A create whose answer was lost at once; by default both clocks agree."""
    left = sent or 0.0
    known = {"at": left, "ours": True, "lost_at": left, "look_at": left + FIRST_GAP}
    known |= {"error": LOST_ANSWER, **values}
    return LostCreate(record=record(tier=tier), n=1, mark=mark, sent=sent, **known)


def searching(
    *lost_creates: LostCreate, began: float = 10.0, known=(), unmarked=(), **values
) -> ListScan:
    """A list scan for some of them; *known* are our own tasks, *unmarked* ours without a token."""
    ours = {each: MadeTask(each, 1, "model", marked=True, mark=f"mark of {each}") for each in known}
    ours |= {each: MadeTask(each, 1, "model", marked=False) for each in unmarked}
    chosen = {"wall": began, "page_size": 4, "local": lambda at: at, **values}
    tokens = {each.mark: each.key for each in lost_creates if each.ours}
    return ListScan(began=began, lost=list(lost_creates), tokens=tokens, known=ours.get, **chosen)
