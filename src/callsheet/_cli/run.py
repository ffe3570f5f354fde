"""``callsheet run``: make video files from a file of prompts."""

from __future__ import annotations

import signal
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import attrs

from callsheet import Client, Limits, Polling, RetryPolicy
from callsheet._cli.continuing import changes
from callsheet._cli.files import present
from callsheet._cli.job_runner import JobRunner
from callsheet._cli.matching import match
from callsheet._cli.plan import Job, entries_of, jobs_of
from callsheet._cli.progress import Display, display_for
from callsheet._cli.results import Results, ResultsError
from callsheet._cli.summary import Finish, report
from callsheet.downloads import Downloader
from callsheet.emulator import EmulatorStartError, running
from callsheet.errors import ConfigurationError, JournalError


if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

    from callsheet._cli.run_request import RunRequest


JOURNAL = "journal.db"

_PROBE_BYTES = 1024 * 1024
_EMBEDDED_SPEED = 60.0


async def run(request: RunRequest) -> int:
    """Make every video of *request* and return the exit code.

    Raises:
        InputError: The file of specs cannot be used.
        ResultsError: The output folder cannot be used.
        ConfigurationError: The options or the key do not work; or the journal is in use, is
            damaged, or belongs to another key or address.
        JournalError: The journal cannot be read.
    """
    jobs = jobs_of(
        await entries_of(
            request.source,
            provider=request.known_provider,
            defaults=request.defaults,
            limit=request.limit,
        ),
        request.samples,
    )
    prepare(request.folder)
    with Results(request.folder) as results:
        for row in results.rows.values():
            if row.provider != request.label:
                raise ResultsError(
                    f"{results.path} is of another run: it was made with {row.provider}, this run "
                    f"goes to {request.label}; use another --out"
                )
        if _finished(jobs, results, request.folder):
            earlier = match(jobs, results.rows.values(), [])
            left = changes(earlier, request.folder, tasks_live=not request.embedded)
            ending = Finish(changes=list(left), idle=True)
        else:
            ending = await _make_videos(request, jobs, results)
        lost = results.finish()
    return report(request, jobs, results, lost, ending)


def _finished(jobs: Sequence[Job], results: Results, folder: Path) -> bool:
    """Whether every video is on disk under its name, so that no request is needed."""
    rows = [results.rows.get(job.index) for job in jobs]
    return all(
        row is not None
        and row.spec == job.spec.to_dict()
        and row.file == job.file
        and present(row, folder)
        for job, row in zip(jobs, rows, strict=True)
    )


async def _make_videos(request: RunRequest, jobs: Sequence[Job], results: Results) -> Finish:
    """Make the videos that are missing."""
    title = f"{request.source} → {request.folder} ({request.label})"
    display = display_for(title, quiet=request.quiet, events=request.events)
    try:
        runner = JobRunner(
            jobs=jobs,
            results=results,
            display=display,
            folder=request.folder,
            source=request.source,
            provider=request.label,
            tasks_live=not request.embedded,
            had_journal=not request.embedded and (request.folder / JOURNAL).exists(),
            resubmit=request.resubmit == "always",
        )
        return await _run_with_client(request, runner)
    finally:
        display.close()


def prepare(folder: Path) -> None:
    """Create the output folder and check that a file can be written to it.

    Raises:
        ResultsError: The folder cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".callsheet-") as probe:
            probe.write(b"\0" * _PROBE_BYTES)
            probe.flush()
    except OSError as exc:
        raise ResultsError(f"cannot write to {folder}: {exc.strerror or exc}") from exc


async def _run_with_client(request: RunRequest, runner: JobRunner) -> Finish:
    """Run *runner* with a new client, until it is done, has failed, or a signal comes."""
    failure: Exception | None = None
    scope = anyio.CancelScope()
    async with anyio.create_task_group() as group:
        group.start_soon(_stop_on_signal, scope, runner.display)
        try:
            with scope:
                async with _open_client(request, runner) as (client, downloader):
                    await runner.run(client, downloader, parallel=request.parallel_downloads)
        except Exception as exc:  # noqa: BLE001 - raised again below, outside the group
            failure = exc
        finally:
            with anyio.CancelScope(shield=True):
                await runner.stop("stopped by the user" if failure is None else str(failure))
        group.cancel_scope.cancel()
    in_journal = isinstance(failure, JournalError) and runner.work_is_known
    journal_error = str(failure) if in_journal else None
    if failure is not None and journal_error is None:
        raise failure
    return Finish(
        stopped=scope.cancelled_caught,
        journal_error=journal_error,
        spend=runner.spend,
        changes=runner.changes,
    )


@asynccontextmanager
async def _open_client(
    request: RunRequest, runner: JobRunner
) -> AsyncGenerator[tuple[Client, Downloader]]:
    async with AsyncExitStack() as stack:
        provider = request.known_provider
        if request.embedded:
            speed = request.speed or _EMBEDDED_SPEED
            try:
                origin = await stack.enter_async_context(
                    running(speed=speed, prices=request.prices)
                )
            except EmulatorStartError as exc:
                raise ConfigurationError(str(exc)) from exc
            provider = attrs.evolve(provider, base_url=f"{origin}/api/v3", speed=speed)
        elif request.base_url is not None:
            speed = request.speed or 1.0
            provider = attrs.evolve(provider, base_url=request.base_url, speed=speed)
        connections = request.connections
        limits = Limits() if connections is None else Limits(connections=connections)
        client = Client(
            provider=provider,
            base_url=provider.base_url,
            limits=limits,
            observer=runner.observe,
            polling=Polling() if request.delay is None else Polling(delay=request.delay),
            retry=RetryPolicy(resubmit=request.resubmit),
            journal=None if request.embedded else request.folder / JOURNAL,
            journal_takeover=request.journal_takeover,
            spend=request.spend,
            transport=request.transport,
        )
        downloader = Downloader(
            client, parallel=request.parallel_downloads, transport=request.transport
        )
        await stack.enter_async_context(downloader)
        yield await stack.enter_async_context(client), downloader


async def _stop_on_signal(scope: anyio.CancelScope, display: Display) -> None:
    try:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                if not scope.cancel_called:
                    display.note("stopping: a few seconds for submissions that are under way")
                scope.cancel()
    except NotImplementedError:  # Windows: Ctrl-C arrives as KeyboardInterrupt
        return
