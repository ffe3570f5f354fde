"""What holds the project together; ``nox -l`` lists it, arguments after ``--`` go to the tool."""

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


def _group(name: str) -> list[str]:
    """The requirements of a dependency group, without the project itself."""
    wanted = nox.project.dependency_groups(PROJECT, name)
    return [requirement for requirement in wanted if not requirement.startswith("callsheet")]


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the suite against the installed package, on every Python that is there."""
    session.install(EXTRAS, *_group("tests"))
    if session.python == PYTHONS[0]:
        session.run("coverage", "run", "-m", "pytest", *session.posargs)
        session.run("coverage", "report", "--skip-covered", "--skip-empty")
    else:
        session.run("python", "-X", "dev", "-m", "pytest", *session.posargs)


@nox.session(python=PYTHONS[0])
def slow(session: nox.Session) -> None:
    """Kill real processes and cut real connections, for some minutes."""
    session.install(EXTRAS, *_group("tests"))
    session.run("pytest", "-m", "slow", "--durations=5", *session.posargs)


@nox.session(python=PYTHONS[0])
def oldest(session: nox.Session) -> None:
    """Run the suite on the lowest versions that the package declares."""
    declared = [*PROJECT["project"]["dependencies"]]
    for extra in PROJECT["project"]["optional-dependencies"].values():
        declared += extra
    pins = [requirement.replace(">=", "==") for requirement in dict.fromkeys(declared)]
    session.install(*_group("tests"), *pins)
    session.install("--no-deps", ".")
    session.run("pytest", *session.posargs)


@nox.session(python=PYTHONS[0])
def httpx2(session: nox.Session) -> None:
    """Run the suite on httpx2 under the name of httpx, as an application may have it."""
    session.install(EXTRAS, *_group("tests"), "httpx2>=2.16")
    session.run("pytest", "-p", "alias_httpx2", *session.posargs, env={"PYTHONPATH": "tests"})


@nox.session(python=PYTHONS[0])
def lint(session: nox.Session) -> None:
    """Check style and layout with ruff."""
    session.install(*_group("lint"))
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")


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
    """Run every benchmark without peers, or one with arguments: ``-- bench_fanout.py 100``."""
    session.install(EXTRAS, *_group("bench"))
    if session.posargs:
        script, *arguments = session.posargs
        session.run("python", f"benchmarks/{script}", *arguments)
        return
    for path in sorted(Path("benchmarks").glob("bench_*.py")):
        if path.name not in PEERS:
            session.run("python", str(path))


@nox.session(python=PYTHONS[0])
def peers(session: nox.Session) -> None:
    """Run the benchmarks with peers, or one with arguments: ``-- bench_peers.py 100``."""
    session.install(".", *_group("peers"))
    if session.posargs:
        script, *arguments = session.posargs
        session.run("python", f"benchmarks/{script}", *arguments)
        return
    for script in PEERS:
        session.run("python", f"benchmarks/{script}")


@nox.session(python=PYTHONS[0])
def build(session: nox.Session) -> None:
    """Build sdist and wheel, and check what the wheel holds."""
    session.install("build")
    session.run("python", "-m", "build", "--outdir", session.create_tmp(), silent=True)
    (wheel,) = Path(session.create_tmp()).glob("*.whl")
    listing = session.run("python", "-m", "zipfile", "-l", str(wheel), silent=True) or ""
    names = re.findall(r"^(\S+)\s", listing, re.MULTILINE)[1:]
    strangers = [n for n in names if not re.match(r"callsheet(/|-[\d.]+\.dist-info/)", n)]
    if strangers or "callsheet/py.typed" not in names:
        session.error(f"the wheel holds {strangers}, or lacks py.typed")
    session.log("%d files in %s", len(names), wheel.name)
