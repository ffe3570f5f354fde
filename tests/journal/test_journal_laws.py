"""After any steps in any order, the journal holds the same as a dictionary."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import attrs
from anyio.from_thread import start_blocking_portal
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
)

from callsheet import Status, TaskSpec
from callsheet.errors import JournalError, SubmissionUncertainError, TaskTimeoutError
from journals import answer, journal


ENDS = st.sampled_from([
    answer("cgt-1"),
    answer("cgt-2", "failed", error={"code": "InternalServiceError", "message": "ü"}),
    SubmissionUncertainError("lost", "token"),
    TaskTimeoutError("cgt-3", 2.5),
])  # fmt: skip
PROMPTS = st.lists(st.text(st.characters(), max_size=5), min_size=1, max_size=4)
FULL = "PRAGMA max_page_count = 1"
ROOMY = "PRAGMA max_page_count = 1000000"


@attrs.define
class Known:
    """What the journal must hold of one row."""

    name: str | None
    index: int
    prompt: str | None = None
    token: str | None = None
    sent_at: float | None = None
    task_id: str | None = None
    status: Status | None = None
    end: str | None = None
    file: str | None = None
    unwanted: bool = False
    doubts: int = 0


def known_from(entry):
    """The same values, read from an entry."""
    return Known(
        name=entry.name,
        index=entry.index,
        prompt=entry.spec and entry.spec.prompt,
        token=entry.token,
        sent_at=entry.sent_at,
        task_id=entry.task_id,
        status=entry.status,
        end=repr(entry.error or entry.answer) if entry.error or entry.answer else None,
        file=entry.file,
        unwanted=entry.unwanted,
        doubts=entry.doubts,
    )


class JournalSteps(RuleBasedStateMachine):
    """Plans, attempts, ids, statuses, ends, closing and opening, and a full disk."""

    rows = Bundle("rows")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "shoot.db"
        self.known: dict[int, Known] = {}
        self.room = True
        self.kept = False

    @initialize(backend=st.sampled_from(["asyncio", "trio"]))
    def begin(self, backend):
        """Open it for the first time."""
        self._portal = start_blocking_portal(backend)
        self.portal = self._portal.__enter__()
        self._open()

    def _open(self):
        self.journal = journal(self.path)
        self._block = self.portal.wrap_async_context_manager(self.journal)
        self._block.__enter__()

    def _close(self):
        self._space(ROOMY)
        self._block.__exit__(None, None, None)

    def _space(self, statement):
        self.portal.call(self.journal.flush) if self.room else None
        self.journal._file._database.execute(statement)
        self.room = statement == ROOMY

    def _wait_for(self, call):
        """Await a call; return what it gives, or nothing if the journal refused it."""
        try:
            return self.portal.call(call)
        except JournalError:
            assert not self.room
            return None

    @rule(target=rows, prompts=PROMPTS, name=st.none() | st.text(max_size=3))
    def plan(self, prompts, name):
        """Specs are planned."""
        specs = [TaskSpec(prompt) for prompt in prompts]
        rows = self._wait_for(lambda: self.journal.plan(specs, name=name))
        known = {
            row: Known(name, index, prompt)
            for row, (index, prompt) in zip(rows or (), enumerate(prompts), strict=bool(rows))
        }
        assert not known.keys() & self.known.keys()
        self.known |= known
        return multiple(*known)

    @rule(target=rows, count=st.integers(1, 3))
    def adopt(self, count):
        """Tasks are attached by id."""
        ids = [f"cgt-{index}" for index in range(count)]
        rows = self._wait_for(lambda: self.journal.adopt(ids))
        known = {
            row: Known(None, index, task_id=ids[index]) for index, row in enumerate(rows or ())
        }
        self.known |= known
        return multiple(*known)

    @rule(
        row=rows,
        token=st.none() | st.text(max_size=5),
        at=st.floats(0, 1e10),
        doubts=st.integers(0, 3),
    )
    def send(self, row, token, at, doubts):
        """An attempt is sent, if that can be written."""

        async def send():
            await self.journal.sending(row, token, at=at, doubts=doubts)
            return True

        if self._wait_for(send):
            old = self.known[row]
            new = {"token": token, "sent_at": at, "unwanted": old.unwanted, "doubts": doubts}
            self.known[row] = Known(old.name, old.index, old.prompt, **new)

    @rule(row=rows, doubts=st.integers(0, 3))
    def doubt(self, row, doubts):
        """Other attempts may have made a task."""
        self.portal.call(self.journal.doubted, row, doubts)
        self.known[row].doubts = doubts

    @rule(row=rows, task_id=st.text(min_size=1, max_size=5))
    def create(self, row, task_id):
        """An id comes; an error that was noted before no longer counts."""
        self.portal.call(self.journal.created, row, task_id)
        self.known[row].task_id = task_id
        if self.known[row].end and "Error(" in self.known[row].end:
            self.known[row].end = None

    @rule(row=rows, status=st.sampled_from(Status))
    def move(self, row, status):
        """A status comes."""
        self.portal.call(self.journal.status, row, status)
        self.known[row].status = status

    @rule(row=rows, end=ENDS)
    def settle(self, row, end):
        """A task ends."""
        self.portal.call(self.journal.settled, row, end)
        self.known[row].end = repr(end)
        self.known[row].status = getattr(end, "status", self.known[row].status)

    @rule(row=rows)
    def take_back(self, row):
        """The attempt made no task."""
        self.portal.call(self.journal.unsent, row)
        self.known[row].token = self.known[row].sent_at = None

    @rule(row=rows)
    def download(self, row):
        """The video is on disk."""
        self.portal.call(self.journal.downloaded, row, f"/films/{row}.mp4")
        self.known[row].file = f"/films/{row}.mp4"

    @rule(row=rows)
    def give_up(self, row):
        """A spec is cancelled, and no later attempt changes that."""
        self.portal.call(self.journal.unwanted, row)
        self.known[row].unwanted = True

    @rule()
    def fill_the_disk(self):
        """The disk is full."""
        self._space(FULL)

    @rule()
    def make_room(self):
        """The disk has room again."""
        self._space(ROOMY)

    @rule()
    def open_again(self):
        """The journal is closed, and another process opens it."""
        self._close()
        self._open()

    @invariant()
    def both_hold_the_same(self):
        """Every row is in order and has its latest values."""
        if self.room and hasattr(self, "portal"):
            entries = self.portal.call(self.journal.entries)
            assert [entry.row for entry in entries] == sorted(self.known)
            assert {entry.row: known_from(entry) for entry in entries} == self.known
            order = [(entry.batch, entry.index) for entry in entries]
            assert order == sorted(order)

    def teardown(self):
        """Close everything."""
        self._close()
        self._portal.__exit__(None, None, None)
        shutil.rmtree(self.folder)


TestJournalSteps = JournalSteps.TestCase
TestJournalSteps.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
