"""The work of one run: tasks are watched, videos fetched, rows written."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import attrs

from callsheet import Batch, Client, TaskHandle
from callsheet._cli.continuing import Work
from callsheet._cli.names import frame_name
from callsheet._cli.plan import Job
from callsheet._cli.progress import Counts, Display
from callsheet._cli.results import Results, Row
from callsheet._cli.rows import failure_row, stopped_row, video_row
from callsheet._models.outcome import Video
from callsheet.errors import CallsheetError, DownloadError
from callsheet.events import GateOpened, GateShut


if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyio.abc import ObjectReceiveStream, ObjectSendStream

    from callsheet.downloads import Downloader
    from callsheet.events import Event


HICCUP = 3.0
"""Seconds that the provider may be away before it is worth a word."""


@attrs.define(kw_only=True)
class Crew:
    """One run, from the first submission to the last row.

    Attributes:
        work: What is to be done.
        results: Where the rows go.
        display: Where the user looks.
        folder: Where the videos go.
        source: The input file, for naming lines.
        provider: Where the specs go, as the rows say it.
    """

    work: Work
    results: Results
    display: Display
    folder: Path
    source: Path
    provider: str
    _batches: list[Batch] = attrs.field(factory=list[Batch], init=False)
    _handles: dict[int, TaskHandle] = attrs.field(factory=dict[int, TaskHandle], init=False)
    _open: dict[int, Job] = attrs.field(factory=dict[int, Job], init=False)
    _downloaded: int = attrs.field(default=0, init=False)
    _not_downloaded: int = attrs.field(default=0, init=False)
    _away: tuple[float, CallsheetError] | None = attrs.field(default=None, init=False)
    _told: bool = attrs.field(default=False, init=False)
    _started: float = attrs.field(factory=anyio.current_time, init=False)

    async def run(self, client: Client, downloader: Downloader, *, parallel: int) -> None:
        """Bring every job to its end; *parallel* is the number of downloads at once."""
        attached = [job for job, _ in self.work.attached]
        self._open = {job.index: job for job in [*attached, *self.work.submitted]}
        watched: list[tuple[Batch, Sequence[Job]]] = []
        if attached:
            batch = client.attach_many([task_id for _, task_id in self.work.attached])
            watched.append((self._take(batch, attached), attached))
        if self.work.submitted:
            batch = await client.submit_many([job.spec for job in self.work.submitted])
            watched.append((self._take(batch, self.work.submitted), self.work.submitted))
        send, receive = anyio.create_memory_object_stream[tuple[Job, Video]](len(self._open))
        async with receive, anyio.create_task_group() as showing:
            showing.start_soon(self._show)
            async with anyio.create_task_group() as downloads:
                for _ in range(parallel):
                    downloads.start_soon(self._download, client, downloader, receive)
                async with send, anyio.create_task_group() as watchers:
                    for batch, jobs in watched:
                        watchers.start_soon(self._watch, batch, jobs, send)
            showing.cancel_scope.cancel()
        self.display.show(self.counts())

    async def stop(self, reason: str) -> None:
        """Write the truth about every job that has no row of this run; the client is closed."""
        for job in list(self._open.values()):
            handle = self._handles.get(job.index)
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
        """Keep in mind since when the provider does not serve; say when it is back."""
        match event:
            case GateShut(error=error):
                self._away = (anyio.current_time(), error)
            case GateOpened():
                if self._told:
                    self.display.note("the provider is back")
                self._away, self._told = None, False
            case _:
                pass

    def _tell_outage(self) -> None:
        """Say that the provider does not serve, once that is more than a hiccup."""
        if self._away is not None and not self._told:
            since, error = self._away
            if anyio.current_time() - since >= HICCUP:
                self._told = True
                self.display.note(f"the provider does not serve, waiting: {error}")

    def counts(self) -> Counts:
        """Where everything stands."""
        states = [batch.progress for batch in self._batches]
        return Counts(
            total=len(self.work.kept) + len(self.work.uncertain) + self._wanted,
            kept=len(self.work.kept),
            submitted=sum(state.submitted for state in states),
            queued=sum(state.queued for state in states),
            running=sum(state.running for state in states),
            succeeded=sum(state.succeeded for state in states),
            downloaded=self._downloaded,
            failed=sum(state.failed for state in states) + self._not_downloaded,
            elapsed=anyio.current_time() - self._started,
        )

    @property
    def _wanted(self) -> int:
        return len(self.work.attached) + len(self.work.submitted)

    def _take(self, batch: Batch, jobs: Sequence[Job]) -> Batch:
        self._batches.append(batch)
        self._handles |= {job.index: handle for job, handle in zip(jobs, batch, strict=True)}
        return batch

    async def _show(self) -> None:
        while True:
            self._tell_outage()
            self.display.show(self.counts())
            await anyio.sleep(self.display.interval)

    async def _watch(
        self, batch: Batch, jobs: Sequence[Job], send: ObjectSendStream[tuple[Job, Video]]
    ) -> None:
        """Record what failed, pass on what is to be fetched."""
        async for outcome in batch.as_completed():
            job = jobs[outcome.index]
            if outcome.video is not None:
                await send.send((job, outcome.video))
            else:
                handle = self._handles[job.index]
                before = self.results.rows.get(job.index) if handle.spec is None else None
                row = failure_row(job, self.provider, outcome, handle.snapshot, before)
                self._put(job, row)

    async def _download(
        self,
        client: Client,
        downloader: Downloader,
        receive: ObjectReceiveStream[tuple[Job, Video]],
    ) -> None:
        async for job, video in receive:
            error: DownloadError | None = None
            fresh = partial(_fresh, client, video.task_id)
            path = self.folder / job.file
            try:
                await downloader.fetch(video, path, refresh=fresh)
                if video.last_frame_url:
                    frame = path.with_name(frame_name(job.file))
                    await downloader.fetch(video.last_frame_url, frame)
            except DownloadError as exc:
                error = exc
                self._not_downloaded += 1
            else:
                self._downloaded += 1
            self._put(job, video_row(job, self.provider, video, error))

    def _put(self, job: Job, row: Row) -> None:
        self._open.pop(job.index, None)
        self.results.put(row)
        self.display.row(job, row, f"{self.source}:{job.line}")


async def _fresh(client: Client, task_id: str) -> Video:
    """The task's video with URLs signed anew, while the provider keeps its record."""
    snapshot = await client.tasks.get(task_id)
    try:
        return Video.from_snapshot(snapshot)
    except ValueError as exc:
        raise CallsheetError(str(exc)) from exc
