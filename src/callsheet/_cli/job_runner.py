"""The work of one run: wait for tasks, download their videos, write rows."""

from __future__ import annotations

import itertools
import time
from array import array
from collections import Counter, deque
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import attrs

from callsheet import Batch, Client, TaskHandle
from callsheet._cli.continuing import Work, changes, find_work, journal_loss, refusal
from callsheet._cli.files import rename
from callsheet._cli.matching import (
    comparable,
    match,
    spec_key,
    spec_of_row,
    tasks_of,
)
from callsheet._cli.names import frame_name
from callsheet._cli.outage import Outage
from callsheet._cli.plan import Job
from callsheet._cli.progress import Counts, Display
from callsheet._cli.results import Ending, Results, ResultsError, Row
from callsheet._cli.rows import failure_row, not_made_row, stopped_row, video_row
from callsheet._models.snapshot import Status, Video
from callsheet.errors import DownloadError, NotSubmittedError
from callsheet.events import GateOpened, GateShut, PollFailed, SubmissionLost


if TYPE_CHECKING:
    from anyio.abc import ObjectReceiveStream, ObjectSendStream

    from callsheet._models.spend import Spend
    from callsheet.downloads import Downloader
    from callsheet.events import Event


_MOST_SHOWING = 0.05
"""Most of the time that counting and showing may take."""

LOST = "the answer to a create was lost: its task is looked for, for up to five minutes"


_Jobs = Mapping[int, Job] | Sequence[Job]
"""Jobs by their position in a batch."""


@attrs.define(kw_only=True)
class JobRunner:
    """One run, from the first submission to the last row.

    Attributes:
        jobs: All jobs of this run.
        results: Writes the rows.
        display: Shows progress to the user.
        folder: Where the videos go.
        source: The input file, to name its lines in messages.
        provider: The provider, as the rows name it.
        tasks_live: Whether tasks outlive the run. If so, the client keeps a journal.
        had_journal: Whether the journal existed before this run.
        resubmit: Whether to buy a task again if it is uncertain that the first one exists.
        changes: Lines about what earlier runs left and this run does not ask for.
    """

    jobs: Sequence[Job]
    results: Results
    display: Display
    folder: Path
    source: Path
    provider: str
    tasks_live: bool
    had_journal: bool
    resubmit: bool
    changes: list[str] = attrs.field(factory=list[str], init=False)
    _work: Work | None = attrs.field(default=None, init=False)
    _client: Client | None = attrs.field(default=None, init=False)
    _batches: list[Batch] = attrs.field(factory=list[Batch], init=False)
    """The batches of the tasks of this run: at most three."""
    _numbers: bytearray = attrs.field(init=False)
    """By the index of a job, the number of the batch of its task, from 1; 0 if it has none. A
    handle for each would take much memory: there may be very many jobs."""
    _places: array[int] = attrs.field(init=False)
    """By the index of a job, the place of its task in that batch."""
    _open: bytearray = attrs.field(init=False)
    """By the index of a job, whether it still gets a row from this run."""
    _unrequested: list[TaskHandle] = attrs.field(factory=list[TaskHandle], init=False)
    """Tasks that no job asks for. They are looked up because their create got no answer."""
    _uncertain: dict[Hashable, deque[int]] | None = attrs.field(default=None, init=False)
    """Indices of uncertain rows that no job asks for, by their spec, once one has to be found."""
    _lost_is_told: bool = attrs.field(default=False, init=False)
    _endings: Counter[Ending] = attrs.field(factory=Counter[Ending], init=False)
    _settled: int = attrs.field(default=0, init=False)
    _started: float = attrs.field(factory=anyio.current_time, init=False)
    _outage: Outage = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._outage = Outage(self.display)
        self._numbers = bytearray(len(self.jobs))
        self._places = array("i", itertools.repeat(0, len(self.jobs)))
        self._open = bytearray(len(self.jobs))

    @property
    def work_is_known(self) -> bool:
        """Whether the run knows its work. Before that, `stop` has no rows to write."""
        return self._work is not None

    @property
    def spend(self) -> Spend | None:
        """What the client has spent; ``None`` if no client was started."""
        return None if self._client is None else self._client.spend

    async def run(self, client: Client, downloader: Downloader, *, parallel: int) -> None:
        """Work until every job has an outcome.

        Args:
            client: Submits the specs and waits for their tasks.
            downloader: Downloads the videos.
            parallel: Number of downloads at once.

        Raises:
            ResultsError: The folder belongs to another run, or its journal has lost data. Nothing
                was sent.
            JournalError: The journal cannot be read, or cannot be written before a request.
        """
        self._client = client
        batch = await client.resume() if self.tasks_live else None
        work = await self._prepare_work(batch)
        watched: list[tuple[Batch, _Jobs]] = []
        if batch is not None and work.resumed:
            watched.append((batch, {task.place: job for job, task in work.resumed}))
        if work.attached:
            ids = [task_id for _, task_id in work.attached]
            jobs = [job for job, _ in work.attached]
            watched.append((client.attach_many(ids), jobs))
        for each in watched:
            self._add_handles(*each)
        if work.submitted:
            new = await client.submit_many([job.spec for job in work.submitted])
            watched.append((new, work.submitted))
            self._add_handles(*watched[-1])
        send, receive = anyio.create_memory_object_stream[tuple[Job, Video]](sum(self._open))
        async with receive, anyio.create_task_group() as showing:
            showing.start_soon(self._show)
            for handle in self._unrequested:
                showing.start_soon(self._correct_row, handle)
            async with anyio.create_task_group() as downloads:
                for _ in range(parallel):
                    downloads.start_soon(self._download, downloader, receive)
                async with send, anyio.create_task_group() as watchers:
                    for each in watched:
                        watchers.start_soon(self._watch, *each, send)
            showing.cancel_scope.cancel()
        self.display.show(self.counts())

    async def _prepare_work(self, batch: Batch | None) -> Work:
        """Find out what this run has to do, and update the folder to match.

        Args:
            batch: The submissions in the journal; ``None`` without a journal.

        Raises:
            ResultsError: The folder belongs to another run, or its journal has lost data. Nothing
                was sent.
        """
        self.results.read()  # another run may have written it since it was read
        tasks = [] if batch is None else tasks_of(batch)
        earlier = match(self.jobs, self.results.rows.values(), tasks)
        live = self.tasks_live
        problem = refusal(self.jobs, earlier, self.folder, tasks_live=live)
        if problem is None and self.had_journal:
            problem = journal_loss(self.jobs, self.results.rows.values(), tasks, earlier)
        if problem is not None:
            raise ResultsError(problem)
        for task in earlier.other_tasks:
            if batch is not None:
                # the client has had no chance yet to send it
                batch[task.place].withdraw()
                if task.is_sought:
                    self._unrequested.append(batch[task.place])
        self.changes += changes(earlier, self.folder, tasks_live=live)
        for index, row in rename(earlier.rows, self.jobs, self.folder).items():
            earlier.rows[index] = row
            if batch is not None and index in earlier.tasks:
                batch[earlier.tasks[index].place].saved(self.folder / self.jobs[index].file)
        self.results.arrange(earlier.arranged(self.jobs, self.folder))
        work = find_work(self.jobs, earlier, self.folder, tasks_live=live, resubmit=self.resubmit)
        self._work = work
        for job in work.open:
            self._open[job.index] = True
        for words in filter(None, [*self.changes, work.words()]):
            self.display.note(words)
        return work

    async def stop(self, reason: str) -> None:
        """Write a row for every job that has none from this run. The client must be closed.

        Args:
            reason: Why the run stopped, for the rows.
        """
        for job in itertools.compress(self.jobs, bytes(self._open)):
            handle = self._handle(job.index)
            if handle is None:
                if job.index not in self.results.rows:
                    self._put(job, stopped_row(job, self.provider, reason))
                continue
            outcome = await handle.outcome() if handle.done else None
            if outcome is not None and outcome.video is None:
                before = self.results.rows.get(job.index) if handle.spec is None else None
                row = failure_row(job, self.provider, outcome, handle.snapshot, before)
            else:
                row = stopped_row(
                    job,
                    self.provider,
                    reason,
                    task_id=handle.task_id,
                    last_status=handle.status.value if handle.status else None,
                    url=outcome.url if outcome else None,
                )
            self._put(job, row)

    def observe(self, event: Event) -> None:
        """Tell of the first lost create, and record since when the provider is down."""
        match event:
            case GateShut(error=error):
                self._outage.begin(error)
            case PollFailed(error=error):
                self._outage.update(error)
            case SubmissionLost():
                if self.work_is_known and not self._lost_is_told:
                    self.display.note(LOST)
                    self._lost_is_told = True
            case GateOpened():
                self._outage.end()
            case _:
                pass

    def counts(self) -> Counts:
        """Count the videos by their current state."""
        work = self._work or Work()
        states, submitted = Counter[Status | None](), 0
        for index, still_open in enumerate(self._open):
            handle = self._handle(index)
            submitted += handle is not None and handle.task_id is not None
            if still_open:
                states[_state(handle)] += 1
        return Counts(
            total=len(self.jobs),
            submitted=submitted,
            kept=len(work.kept),
            waiting=states[None],
            queued=states[Status.QUEUED],
            running=states[Status.RUNNING],
            rendered=states[Status.SUCCEEDED],
            endings=self._endings + Counter({Ending.UNCERTAIN: len(work.uncertain)}),
            settled=self._settled,
            elapsed=anyio.current_time() - self._started,
        )

    def _add_handles(self, batch: Batch, jobs: _Jobs) -> None:
        self._batches.append(batch)
        for place, job in jobs.items() if isinstance(jobs, Mapping) else enumerate(jobs):
            self._numbers[job.index], self._places[job.index] = len(self._batches), place

    def _handle(self, index: int) -> TaskHandle | None:
        """The handle of the task of a job; ``None`` if it has none in this run."""
        number = self._numbers[index]
        return self._batches[number - 1][self._places[index]] if number else None

    async def _show(self) -> None:
        while True:
            self._outage.report()
            begun = time.perf_counter()
            self.display.show(self.counts())
            taken = time.perf_counter() - begun  # grows with the number of jobs
            await anyio.sleep(max(self.display.interval, taken / _MOST_SHOWING))

    async def _correct_row(self, handle: TaskHandle) -> None:
        """Correct the row of a task that no job asks for, once it is proven that no task exists.

        If the row stayed uncertain and its line came back, a later run would not submit it.
        """
        error = (await handle.outcome()).error
        if not isinstance(error, NotSubmittedError) or handle.spec is None:
            return
        if self._uncertain is None:
            self._uncertain = {}
            for row in self.results.rows.values():
                spec = spec_of_row(row) if row.status is Ending.UNCERTAIN else None
                if spec is not None and row.index >= len(self.jobs):
                    self._uncertain.setdefault(spec_key(spec), deque()).append(row.index)
        if indices := self._uncertain.get(spec_key(comparable(handle.spec))):
            row = self.results.rows[indices.popleft()]
            self.results.put(not_made_row(row, error))

    async def _watch(
        self, batch: Batch, jobs: _Jobs, send: ObjectSendStream[tuple[Job, Video]]
    ) -> None:
        """Write rows for failures and queue videos for download, until all of *jobs* have ended."""
        left = len(jobs)
        async for outcome in batch.as_completed():
            job = jobs.get(outcome.index) if isinstance(jobs, Mapping) else jobs[outcome.index]
            if job is None:
                continue
            if outcome.video is not None:
                await send.send((job, outcome.video))
            else:
                handle = batch[outcome.index]
                before = self.results.rows.get(job.index) if handle.spec is None else None
                row = failure_row(job, self.provider, outcome, handle.snapshot, before)
                self._put(job, row)
            left -= 1
            if not left:
                return

    async def _download(
        self, downloader: Downloader, receive: ObjectReceiveStream[tuple[Job, Video]]
    ) -> None:
        async for job, video in receive:
            error: DownloadError | None = None
            try:
                await self._fetch(downloader, job, video)
            except DownloadError as exc:
                error = exc
            self._put(job, video_row(job, self.provider, video, error))

    async def _fetch(self, downloader: Downloader, job: Job, video: Video) -> None:
        """Download a video and its last frame, unless both are on disk and only the row is missing.

        Raises:
            DownloadError: One of them could not be downloaded.
        """
        handle = self._handle(job.index)
        assert handle is not None, "it has a video"  # noqa: S101 - for the type checkers
        path = self.folder / job.file
        frame = path.with_name(frame_name(job.file)) if video.last_frame_url else None
        saved = handle.file is not None and handle.file.name == path.name
        if saved and path.is_file() and (frame is None or frame.is_file()):
            return
        await downloader.fetch(video, path)
        if frame is not None:
            await downloader.fetch(video, frame, last_frame=True)
        handle.saved(path)

    def _put(self, job: Job, row: Row) -> None:
        self._open[job.index] = False
        self._endings[row.status] += 1
        self._settled += row.task_id is not None
        self.results.put(row)
        self.display.row(job, row, f"{self.source}:{job.line}")


def _state(handle: TaskHandle | None) -> Status | None:
    """The state to show for a task that has no row yet; ``None`` without an id."""
    if handle is None or handle.task_id is None:
        return None
    match handle.status:
        case None | Status.QUEUED:
            return Status.QUEUED
        case Status.SUCCEEDED:
            return Status.SUCCEEDED
        case _:  # running, or it has just failed and its row is written next
            return Status.RUNNING
