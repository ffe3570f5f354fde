"""The checks of the project. ``nox -l`` lists them; arguments after ``--`` go to the tool."""

from __future__ import annotations

import re
from pathlib import Path

import nox


nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.sessions = ["lint", "types", "tests"]

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
EXTRAS = ".[cli,emulator,fast,media]"
PEERS = ("bench_peers.py", "bench_faults.py")
"""Benchmarks beside other packages, at pinned versions."""

USER = ("bench_import.py", "bench_create.py")
"""Benchmarks of what a program costs that has installed the package and nothing else."""

FAST = ("bench_create.py",)
"""Those of them that run a second time, with the extra ``fast``."""

TRIO = ("bench_downloads.py",)
"""Benchmarks with a variant on trio. Trio installs sniffio, which makes httpx faster."""


def _tests(*names: str) -> list[str]:
    return [f"tests/test_{name}.py" for name in names]


CALLERS = [
    "tests/cli",
    "tests/emulator",
    "tests/journal",
    *_tests("aiohttp", "batch", "callbacks", "cancellation", "client", "docs", "downloads"),
    *_tests("exports", "journal", "journal_file", "journal_lock", "media", "money", "requests"),
    *_tests("sockets", "stream"),
]
"""Tests of the code that calls anyio, attrs, httpx, tenacity, or a package of an extra."""

SPEAKERS = [
    "tests/cli/test_addresses.py",
    "tests/cli/test_fetching.py",
    "tests/cli/test_run.py",
    "tests/emulator/test_connections.py",
    *_tests("aiohttp", "bad_input", "client", "downloads", "errors", "exports", "fresh_urls"),
    *_tests("lost", "outages", "requests", "sockets"),
]
"""Tests of the code that sends and reads with httpx, and of the errors that httpx raises."""

OPENERS = ["tests/journal", *_tests("aiohttp", "cancellation", "client", "downloads", "sockets")]
"""Tests of the code that opens and closes files, connections and threads."""

SMALL = [
    ["bench_fanout.py", "100"],
    ["bench_delay.py", "--quick"],
    ["bench_queue.py", "--seeds", "1"],
    ["bench_transport.py", "--seconds", "0.3", "--repeats", "1"],
    ["bench_downloads.py", "16", "--repeats", "1"],
    ["bench_journal.py", "20", "--alone", "50", "--resume", "100", "--repeats", "1"],
    ["bench_files.py", "100"],
    ["bench_create.py", "20", "--repeats", "1"],
    ["bench_import.py", "--repeats", "1"],
    ["bench_start.py", "--repeats", "1"],
]
"""Benchmarks with their smallest sizes."""


def _group(name: str) -> list[str]:
    """The requirements of a dependency group, without the project itself."""
    wanted = nox.project.dependency_groups(PROJECT, name)
    return [requirement for requirement in wanted if not requirement.startswith("callsheet")]


def _suite(session: nox.Session, *arguments: str, **environment: str) -> None:
    """Run tests on two workers; the tests that wait in real time all run on one of them."""
    session.run("pytest", "-n", "2", "--dist", "loadgroup", *arguments, env=environment)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the suite on the current Python, on asyncio and on trio."""
    session.install(EXTRAS, *_group("tests"))
    _suite(session, *session.posargs)


@nox.session(python=PYTHONS)
def pythons(session: nox.Session) -> None:
    """Run the suite on each supported Python, on asyncio.

    On the last Python, the tests in ``OPENERS`` run once more in development mode. That makes the
    whole suite several times slower, so only ``nox -s full`` runs all of it in this mode.
    """
    session.install(EXTRAS, *_group("tests"))
    _suite(session, "--asyncio-only", *session.posargs)
    if session.python == PYTHONS[-1] and not session.posargs:
        _suite(session, "--asyncio-only", *OPENERS, PYTHONDEVMODE="1")


@nox.session(python=PYTHONS[0])
def slow(session: nox.Session) -> None:
    """Run the tests of more than ten seconds: real processes, cut connections, many tasks."""
    session.install(EXTRAS, *_group("tests"))
    _suite(session, "-m", "slow and not full", "--durations=5", *session.posargs)


@nox.session(python=PYTHONS[0])
def oldest(session: nox.Session) -> None:
    """Test the code that calls dependencies with the lowest versions that the package declares.

    The pure modules (``tests/polling``, ``tests/catalog``, ``tests/wire`` and others) call no
    dependency. Tests of failures (``tests/test_lost.py`` and others) make the same calls as the
    files in ``CALLERS``. ``nox -s full`` runs the whole suite with these versions.
    """
    declared = [*PROJECT["project"]["dependencies"]]
    for extra in PROJECT["project"]["optional-dependencies"].values():
        declared += extra
    pins = [requirement.replace(">=", "==") for requirement in dict.fromkeys(declared)]
    session.install(*_group("tests"), *pins)
    session.install("--no-deps", ".")
    _suite(session, *(session.posargs or ["--asyncio-only", *CALLERS]))


@nox.session(python=PYTHONS[0])
def httpx2(session: nox.Session) -> None:
    """Test the code that uses httpx with httpx2 under that name, as an application may have it.

    That is the transport, the downloads and the addresses, and clients that use them with a server
    or with the emulator. ``nox -s full`` runs the whole suite with httpx2.
    """
    session.install(EXTRAS, *_group("tests"), "httpx2>=2.16")
    arguments = session.posargs or ["--asyncio-only", *SPEAKERS]
    _suite(session, "-p", "alias_httpx2", *arguments, PYTHONPATH="tests")


@nox.session(python=PYTHONS)
def full(session: nox.Session) -> None:
    """Run all tests, on every Python and on both event loops: before an issue is closed.

    Slow tests and those that take minutes are among them, and what is missing fails. After that
    come the whole suite on the oldest dependencies and on httpx2, and the small benchmarks.
    """
    session.install(EXTRAS, *_group("tests"))
    _suite(session, "-m", "", "--nothing-missing", "--timeout=600", *session.posargs)
    if session.python == PYTHONS[-1]:
        session.notify("oldest", ["--nothing-missing"])
        session.notify("httpx2", ["--nothing-missing"])
        session.notify("small")


@nox.session(python=PYTHONS[0])
def coverage(session: nox.Session) -> None:
    """Tell which lines and branches the tests do not reach, on one worker."""
    session.install(EXTRAS, *_group("tests"))
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "report", "--skip-covered", "--skip-empty")


@nox.session(python=PYTHONS[0])
def lint(session: nox.Session) -> None:
    """Check style and layout with ruff; check imports, pure files and names with tests."""
    session.install(EXTRAS, *_group("tests"), *_group("lint"))
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")
    session.run("pytest", "-q", "tests/layers")


@nox.session(python=PYTHONS[0])
def types(session: nox.Session) -> None:
    """Check types with mypy (strict) and pyright (strict)."""
    session.install("-e", EXTRAS, *_group("typing"))
    session.run("mypy")
    session.run("pyright", "--pythonpath", f"{session.virtualenv.location}/bin/python")


@nox.session(python=PYTHONS[0])
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error."""
    session.install(*_group("docs"))
    session.run(
        "sphinx-build", "-W", "-b", "html", "docs", str(Path(session.create_tmp()) / "html")
    )


@nox.session(python=PYTHONS[0])
def bench(session: nox.Session) -> None:
    """Run every benchmark without peers, or one with arguments: ``-- bench_fanout.py 100``.

    Those that need trio come last. Those of ``nox -s user`` are not among them.
    """
    session.install(EXTRAS, *_group("bench"))
    ours = {path.name for path in Path("benchmarks").glob("bench_*.py")}
    chosen = session.posargs[:1] or [*sorted(ours - {*PEERS, *USER, *TRIO}), *TRIO]
    for script in chosen:
        if script in TRIO:
            session.install("trio>=0.31")
        session.run("python", f"benchmarks/{script}", *session.posargs[1:])


@nox.session(python=PYTHONS[0])
def user(session: nox.Session) -> None:
    """Run the benchmarks that need what a user has and nothing more, or one with arguments."""
    chosen = session.posargs[:1] or [*USER]
    for extra, scripts in (("", chosen), ("[fast]", [each for each in chosen if each in FAST])):
        session.install(f".{extra}")
        for script in scripts:
            session.run("python", f"benchmarks/{script}", *session.posargs[1:])


@nox.session(python=PYTHONS[0])
def small(session: nox.Session) -> None:
    """Run some benchmarks with small sizes, only to check that they work; no result is kept."""
    session.install(EXTRAS, *_group("bench"), "trio>=0.31")
    for script, *arguments in SMALL:
        session.run("python", f"benchmarks/{script}", *arguments, "--keep-nothing")


@nox.session(python=PYTHONS[0])
def peers(session: nox.Session) -> None:
    """Run the comparisons with other packages, or one with arguments: ``-- bench_peers.py 100``."""
    session.install(".", *_group("peers"))
    if session.posargs:
        script, *arguments = session.posargs
        session.run("python", f"benchmarks/{script}", *arguments)
        return
    for script in PEERS:
        session.run("python", f"benchmarks/{script}")


@nox.session(python=PYTHONS[0])
def build(session: nox.Session) -> None:
    """Build sdist and wheel, and check which files the wheel holds."""
    session.install("build")
    session.run("python", "-m", "build", "--outdir", session.create_tmp(), silent=True)
    (wheel,) = Path(session.create_tmp()).glob("*.whl")
    listing = session.run("python", "-m", "zipfile", "-l", str(wheel), silent=True) or ""
    names = re.findall(r"^(\S+)\s", listing, re.MULTILINE)[1:]
    strangers = [n for n in names if not re.match(r"callsheet(/|-[\d.]+\.dist-info/)", n)]
    if strangers or "callsheet/py.typed" not in names:
        session.error(f"the wheel holds {strangers}, or lacks py.typed")
    session.log("%d files in %s", len(names), wheel.name)
