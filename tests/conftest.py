"""Runs tests on both backends in virtual time: an hour of polling takes milliseconds."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest
import trio.testing
from hypothesis import HealthCheck, settings

from callsheet._submission.transition import UnexpectedEventError


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator


# machines are shared: how long an example takes says nothing about it
settings.register_profile("callsheet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("callsheet")


REAL = {"listening", "running", "serving", "socket", "started", "subprocess"}
"""Names whose import shows that a module starts processes or uses sockets, so needs real time."""


class _Defects(logging.Handler):
    """Collects the defects that the client logs in place of stopping."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a log record about an event that cannot come."""
        if record.exc_info and isinstance(record.exc_info[1], UnexpectedEventError):
            self.found.append(str(record.exc_info[1]))


@pytest.fixture(autouse=True)
def _no_unexpected_event() -> Iterator[None]:
    """No event comes in a state in which it cannot come."""
    defects, log = _Defects(), logging.getLogger("callsheet")
    log.addHandler(defects)
    yield
    log.removeHandler(defects)
    assert not defects.found


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options: which part of the suite runs, and whether anything may be missing."""
    group = parser.getgroup("callsheet")
    group.addoption("--asyncio-only", action="store_true", help="leave out what runs on trio")
    group.addoption(
        "--nothing-missing",
        action="store_true",
        help="what a test needs and does not find is a failure, not a reason to skip it",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out trio if asked to, and run tests that need real time on one worker.

    In parallel such tests would slow each other down, and fail on a busy machine.
    """
    if config.getoption("--asyncio-only"):
        left_out = [item for item in items if _is_on_trio(item)]
        items[:] = [item for item in items if not _is_on_trio(item)]
        config.hook.pytest_deselected(items=left_out)
    for item in items:
        if REAL & vars(item.module).keys():
            item.add_marker(pytest.mark.xdist_group("real"))


def _is_on_trio(item: pytest.Item) -> bool:
    call = getattr(item, "callspec", None)
    return call is not None and "trio" in call.params.values()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """With ``--nothing-missing``, fail tests that skip themselves; ``skipif`` marks may skip."""
    report = yield
    if item.config.getoption("--nothing-missing") and not any(item.iter_markers("skipif")):
        _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """Do the same for whole modules."""
    report = yield
    if collector.config.getoption("--nothing-missing"):
        _fail_if_skipped(report)
    return report


def _fail_if_skipped(report: pytest.CollectReport | pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome, report.longrepr = "failed", f"something is missing: {report.longrepr[2]}"


RUNNING_THREADS: Counter[object] = Counter()
"""Running threads of each loop or clock; virtual time does not advance while there are any."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose clock jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual = 0.0
        wait = self._selector.select

        def select(timeout: float | None = None):
            if timeout and RUNNING_THREADS[self]:
                return wait(None)  # the thread wakes the loop when it is done
            if timeout:
                self._virtual += timeout
                timeout = 0
            return wait(timeout)

        self._selector.select = select

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual


def virtual_clock() -> trio.testing.MockClock:
    """A trio clock with the same behaviour."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    jump = clock._autojump

    def patient() -> None:
        if RUNNING_THREADS[clock]:
            time.sleep(0.0002)  # else the idle loop would slow the thread down
        else:
            jump()

    clock._autojump = patient
    return clock


run_in_thread = anyio.to_thread.run_sync


async def run_counted(*args, **options):
    """Run in a thread, and stop virtual time meanwhile."""
    try:
        timekeeper = asyncio.get_running_loop()
    except RuntimeError:
        timekeeper = trio.lowlevel.current_clock()
    RUNNING_THREADS[timekeeper] += 1
    try:
        return await run_in_thread(*args, **options)
    finally:
        RUNNING_THREADS[timekeeper] -= 1
        if not RUNNING_THREADS[timekeeper]:
            del RUNNING_THREADS[timekeeper]


anyio.to_thread.run_sync = run_counted


BACKENDS = {
    "asyncio": lambda: ("asyncio", {"loop_factory": VirtualLoop}),
    "trio": lambda: ("trio", {"clock": virtual_clock()}),
}


def run(work: Callable[[], Awaitable[None]], *, backend: str) -> None:
    """Run *work* in virtual time, from a test that is not async itself."""
    name, options = BACKENDS[backend]()
    if name == "trio":
        trio.run(work, **options)  # before anyio 4.14, anyio.run() drops the clock (its #1162)
    else:
        anyio.run(work, backend=name, backend_options=options)


@pytest.fixture(params=sorted(BACKENDS))
def anyio_backend(request: pytest.FixtureRequest):
    """Run each async test on asyncio and on trio, in virtual time."""
    return BACKENDS[request.param]()


@pytest.fixture(autouse=True)
def no_keys_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the machine's keys and addresses from the environment."""
    for name in ("COMETAPI_KEY", "ARK_API_KEY", "BYTEPLUS_API_KEY", "CALLSHEET_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
