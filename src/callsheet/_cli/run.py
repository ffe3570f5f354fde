"""``callsheet run``: make video files from a file of prompts."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import attrs

from callsheet import Client, Limits, Polling, RetryPolicy, SpendLimit
from callsheet._catalog import PROVIDERS
from callsheet._cli.continuing import changes
from callsheet._cli.files import present
from callsheet._cli.job_runner import JobRunner
from callsheet._cli.matching import match
from callsheet._cli.plan import Job, entries_of, jobs_of
from callsheet._cli.progress import Display, display_for
from callsheet._cli.results import Results, ResultsError
from callsheet._cli.summary import Finish, report
from callsheet._models.policy import Resubmit
from callsheet._models.provider import without_secrets
from callsheet.downloads import Downloader
from callsheet.errors import JournalError


JOURNAL = "journal.db"

_PROBE_BYTES = 1024 * 1024
_EMBEDDED_SPEED = 60.0


@attrs.frozen(kw_only=True)
class Order:
    """The options of one ``callsheet run``.

    Attributes:
        source: The file of specs.
        folder: Where videos and results go.
        provider: Name of the provider.
        base_url: The provider's address; ``None`` for the usual one.
        defaults: Values for fields that a spec does not set.
        samples: Videos of each spec; ``None`` for one with a plain name.
        limit: How many specs of the file to take; ``None`` for all.
        delay: Target for the seconds from the end of a task until the client notices it.
        connections: Most requests to the provider at once.
        parallel_downloads: Most downloads at once.
        speed: How much faster than real time the emulator runs; ``None`` for the default.
        resubmit: What to do with a create if it cannot be known whether it made a task.
        spend: The spend limit.
        quiet: Print only the summary.
        events: Print JSON events instead of text.
    """

    source: Path
    folder: Path
    provider: str
    base_url: str | None = attrs.field(repr=False)
    defaults: Mapping[str, Any]
    samples: int | None
    limit: int | None
    delay: float | None
    connections: int | None
    parallel_downloads: int
    speed: float | None
    resubmit: Resubmit
    spend: SpendLimit
    quiet: bool
    events: bool

    @property
    def embedded(self) -> bool:
        """Whether the run starts its own emulator."""
        return self.provider == "emulator" and self.base_url is None

    @property
    def label(self) -> str:
        """The provider, as the rows name it. It holds no secrets."""
        if self.base_url is None:
            return self.provider
        return f"{self.provider} at {without_secrets(self.base_url)}"


async def run(order: Order) -> int:
    """Make every video of *order* and return the exit code.

    Raises:
        InputError: The file of specs cannot be used.
        ResultsError: The output folder cannot be used.
        ConfigurationError: The options or the key do not work; or the journal is in use, is
            damaged, or belongs to another key or address.
        JournalError: The journal cannot be read.
    """
    entries = await entries_of(
        order.source,
        provider=PROVIDERS[order.provider],
        defaults=order.defaults,
        limit=order.limit,
    )
    jobs = jobs_of(entries, order.samples)
    prepare(order.folder)
    with Results(order.folder) as results:
        for row in results.rows.values():
            if row.provider != order.label:
                raise ResultsError(
                    f"{results.path} is of another run: it was made with {row.provider}, this run "
                    f"goes to {order.label}; use another --out"
                )
        if _finished(jobs, results, order.folder):
            earlier = match(jobs, results.rows.values(), [])
            left = changes(earlier, order.folder, tasks_live=not order.embedded)
            ending = Finish(changes=list(left), idle=True)
        else:
            ending = await _make_videos(order, jobs, results)
        lost = results.finish()
    return report(order, jobs, results, lost, ending)


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


async def _make_videos(order: Order, jobs: Sequence[Job], results: Results) -> Finish:
    """Make the videos that are missing."""
    title = f"{order.source} → {order.folder} ({order.label})"
    display = display_for(title, quiet=order.quiet, events=order.events)
    try:
        runner = JobRunner(
            jobs=jobs,
            results=results,
            display=display,
            folder=order.folder,
            source=order.source,
            provider=order.label,
            tasks_live=not order.embedded,
            had_journal=not order.embedded and (order.folder / JOURNAL).exists(),
            resubmit=order.resubmit == "always",
        )
        return await _run_with_client(order, runner)
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


async def _run_with_client(order: Order, runner: JobRunner) -> Finish:
    """Run *runner* with a new client, until it is done, has failed, or a signal comes."""
    failure: Exception | None = None
    scope = anyio.CancelScope()
    async with anyio.create_task_group() as group:
        group.start_soon(_stop_on_signal, scope, runner.display)
        try:
            with scope:
                async with _open_client(order, runner) as (client, downloader):
                    await runner.run(client, downloader, parallel=order.parallel_downloads)
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
    order: Order, runner: JobRunner
) -> AsyncGenerator[tuple[Client, Downloader]]:
    async with AsyncExitStack() as stack:
        provider = PROVIDERS[order.provider]
        if order.embedded:
            from callsheet.emulator import running  # noqa: PLC0415 - a separate extra

            speed = order.speed or _EMBEDDED_SPEED
            origin = await stack.enter_async_context(running(speed=speed))
            provider = attrs.evolve(provider, base_url=f"{origin}/api/v3", speed=speed)
        elif order.base_url is not None:
            speed = order.speed or 1.0
            provider = attrs.evolve(provider, base_url=order.base_url, speed=speed)
        client = Client(
            provider=provider,
            base_url=provider.base_url,
            limits=Limits() if order.connections is None else Limits(connections=order.connections),
            observer=runner.observe,
            polling=Polling() if order.delay is None else Polling(delay=order.delay),
            retry=RetryPolicy(resubmit=order.resubmit),
            journal=None if order.embedded else order.folder / JOURNAL,
            spend=order.spend,
        )
        downloader = Downloader(client, parallel=order.parallel_downloads)
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
