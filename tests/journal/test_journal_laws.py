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
from callsheet._journal.notes import (
    AbsenceNote,
    AnswerNote,
    AttachmentNote,
    ByHandNote,
    CancelNote,
    DoubtNote,
    EndNote,
    FileNote,
    RefusalNote,
    StatusNote,
    TaskNote,
)
from callsheet._state.fate import Fate, Grade
from callsheet.errors import JournalError, SubmissionUncertainError, TaskTimeoutError
from journals import answer, attempt, entries, journal, plan


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
    attempts: tuple[tuple[str | None, float, Fate, str | None], ...] = ()
    task_id: str | None = None
    status: Status | None = None
    answer: str | None = None
    error: str | None = None
    file: str | None = None
    cancelled: bool = False
    succeeded: bool = attrs.field(default=False, eq=False)


def known_from(entry):
    """The same values, read from an entry."""
    return Known(
        name=entry.name,
        index=entry.index,
        prompt=entry.spec and entry.spec.prompt,
        attempts=tuple((each.token, each.at, each.fate, each.task_id) for each in entry.attempts),
        task_id=entry.task_id,
        status=entry.status,
        answer=repr(entry.answer.snapshot) if entry.answer else None,
        error=repr(entry.error) if entry.error else None,
        file=entry.file,
        cancelled=entry.cancelled,
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
        rows = self._wait_for(lambda: plan(self.journal, specs, name=name))
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

        async def adopt():
            made = self.journal.new_plan([None] * count)
            attached = [AttachmentNote(*pair) for pair in zip(made.rows, ids, strict=True)]
            await self.journal.write_first([made, *attached])
            return made.rows

        rows = self._wait_for(adopt)
        known = {
            row: Known(None, index, task_id=ids[index]) for index, row in enumerate(rows or ())
        }
        self.known |= known
        return multiple(*known)

    @rule(row=rows, token=st.none() | st.text(max_size=5), at=st.floats(0, 1e10))
    def send(self, row, token, at):
        """An attempt is sent, if that can be written."""
        n = len(self.known[row].attempts) + 1

        async def send():
            await attempt(self.journal, row, token, at=at, n=n)
            return True

        if self._wait_for(send):
            self.known[row].attempts += ((token, at, Fate.OUT, None),)

    def _tell(self, *told):
        self.portal.call(self.journal.write, told)

    def _change(self, row, n, fate, task_id=None):
        before = self.known[row].attempts
        token, at, *_ = before[n - 1]
        changed = (token, at, fate, task_id)
        self.known[row].attempts = (*before[: n - 1], changed, *before[n:])

    def _one_of(self, row, data, *fates):
        """The number of an attempt of a row with one of these fates, or nothing."""
        attempts = self.known[row].attempts
        numbers = [n for n, each in enumerate(attempts, 1) if each[2] in fates]
        return data.draw(st.sampled_from(numbers)) if numbers else None

    @rule(row=rows, data=st.data())
    def refuse(self, row, data):
        """An attempt was refused, and made no task."""
        n = self._one_of(row, data, Fate.OUT)
        if n:
            self._tell(RefusalNote(row, n))
            self._change(row, n, Fate.REFUSED)

    @rule(row=rows, data=st.data())
    def doubt(self, row, data):
        """Nobody can tell whether an attempt made a task."""
        n = self._one_of(row, data, Fate.OUT, Fate.DOUBTED)
        if n:
            self._tell(DoubtNote(row, n))
            self._change(row, n, Fate.DOUBTED)

    @rule(row=rows, data=st.data(), grade=st.sampled_from(Grade))
    def miss(self, row, data, grade):
        """An attempt made no task, as a list shows."""
        n = self._one_of(row, data, Fate.OUT, Fate.DOUBTED)
        if n:
            self._tell(AbsenceNote(row, n, grade))
            self._change(row, n, Fate.ABSENT)

    @rule(row=rows, data=st.data(), task_id=st.text(min_size=1, max_size=5))
    def create(self, row, data, task_id):
        """An id comes for an attempt, whatever was believed of it."""
        n = self._one_of(row, data, Fate.OUT, Fate.REFUSED, Fate.DOUBTED, Fate.ABSENT)
        if n:
            self._tell(TaskNote(row, n, task_id))
            self._change(row, n, Fate.MADE, task_id)
            self.known[row].task_id = self.known[row].task_id or task_id

    @rule(row=rows, data=st.data(), task_id=st.none() | st.text(min_size=1, max_size=5))
    def resolve(self, row, data, task_id):
        """A person says what became of an attempt."""
        n = self._one_of(row, data, Fate.OUT, Fate.DOUBTED)
        if n:
            self._tell(ByHandNote(row, n, task_id, 1.0))
            self._change(row, n, Fate.ABSENT if task_id is None else Fate.MADE, task_id)
            self.known[row].task_id = self.known[row].task_id or task_id

    @rule(row=rows, status=st.sampled_from(Status))
    def move(self, row, status):
        """A status comes."""
        self._tell(StatusNote(row, status))
        self.known[row].status = status

    @rule(row=rows, end=ENDS)
    def settle(self, row, end):
        """A task ends; the provider's word goes before the client's own."""
        known = self.known[row]
        if isinstance(end, Exception):
            self._tell(EndNote(row, end, 1.0))
            known.error = None if known.answer else repr(end)
        else:
            self._tell(AnswerNote(row, end, 1.0))
            if known.succeeded and end.status is not Status.SUCCEEDED:
                return  # what has succeeded is billed, whatever is said of it later
            known.succeeded = end.status is Status.SUCCEEDED
            known.answer, known.status, known.error = repr(end), end.status, None

    @rule(row=rows)
    def download(self, row):
        """The video is on disk."""
        self._tell(FileNote(row, f"/films/{row}.mp4"))
        self.known[row].file = f"/films/{row}.mp4"

    @rule(row=rows)
    def give_up(self, row):
        """A spec is cancelled, and no later attempt changes that."""
        self._tell(CancelNote(row))
        self.known[row].cancelled = True

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
            found = self.portal.call(entries, self.journal)
            assert [entry.row for entry in found] == sorted(self.known)
            assert {entry.row: known_from(entry) for entry in found} == self.known
            order = [(entry.batch, entry.index) for entry in found]
            assert order == sorted(order)

    def teardown(self):
        """Close everything."""
        self._close()
        self._portal.__exit__(None, None, None)
        shutil.rmtree(self.folder)


TestJournalSteps = JournalSteps.TestCase
TestJournalSteps.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
