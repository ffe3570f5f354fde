"""The floors of the house: imports point down only."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import callsheet


if TYPE_CHECKING:
    from collections.abc import Iterator


ROOT = Path(callsheet.__file__).parent
FILES = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in ROOT.rglob("*.py")}

FLOORS = (
    {"errors"},
    {"_models"},
    {"events"},
    {"_catalog", "_wire", "_core"},
    {"_io"},
    {"_handle"},
    {"_batch", "_stream"},
    {"_client"},
    {"__init__", "downloads", "pricing", "_cli", "testing", "webhooks", "integrations"},
)
HEIGHT = {name: height for height, floor in enumerate(FLOORS) for name in floor}
PURE = ("errors", "_models", "events", "_catalog", "_wire", "_core")
APART = {"emulator"}
"""Stands on its own ground: anybody may start it, and it imports nothing of ours."""

ONE_IMPORTER = {
    "httpx": {"_http/addresses.py", "_http/transport.py", "_download/http.py"},
    "tenacity": {"_http/retry.py"},
    "imagesize": {"_submission/media_files.py"},
    "sqlite3": {"_journal/sqlite.py"},
    "asyncio": set(),
    "trio": set(),
    "requests": set(),
    "aiohttp": {"_http/aiohttp_session.py"},
}
LATE = {
    "_submission/media_files.py": {"imagesize"},
    "_http/aiohttp_session.py": {"aiohttp", "yarl"},
}
"""What comes with an extra, by the one file that imports it."""
IMPURE = {
    "anyio", "asyncio", "httpx", "io", "logging", "os", "secrets", "socket", "subprocess",
    "tenacity", "threading", "time", "trio", "uuid",
}  # fmt: skip
PURE_OF_RANDOM = {"Random"}
CLOCKS = {"now", "utcnow", "today", "monotonic", "getenv", "environ"}


def floor_of(name: str) -> str:
    """The floor of a file or of a dotted module below the package."""
    return name.replace("/", ".").removesuffix(".py").split(".")[0]


def imports(source: str) -> Iterator[str]:
    """Every module that a file imports, wherever it does; names of a package count as modules."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(source: str) -> set[str]:
    """The floors that a file imports."""
    inside = [name.removeprefix("callsheet.") for name in imports(source) if
              name.startswith("callsheet.")]  # fmt: skip
    named = {floor_of(name) for name in inside}
    return {name for name in named if name in HEIGHT or name in APART}


def upward(file: str, source: str) -> set[str]:
    """The floors that a file imports although they are above it or beside it."""
    own = floor_of(file)
    if own in APART:
        return {name for name in imports(source) if name.split(".")[0] == "callsheet"
                and not name.startswith(f"callsheet.{own}")}  # fmt: skip
    return {
        floor
        for floor in ours(source) - {own} - APART
        if HEIGHT[floor] > HEIGHT[own] or (HEIGHT[floor] == HEIGHT[own] < len(FLOORS) - 1)
    }


def thirds(source: str) -> set[str]:
    """The top-level packages that a file imports."""
    return {name.split(".")[0] for name in imports(source)}


@pytest.mark.parametrize("file", sorted(FILES))
def test_imports_point_down_only(file):
    """No file imports a floor above its own, or another one beside it."""
    assert floor_of(file) in {*HEIGHT, *APART}, "a floor that the plan does not know"
    assert upward(file, FILES[file]) == set()


@pytest.mark.parametrize(
    ("file", "line", "found"),
    [
        ("_wire/ark.py", "from callsheet._state.circuit_breaker import Gate", {"_core"}),
        ("_state/circuit_breaker.py", "import callsheet._wire.ark", {"_wire"}),
        ("_models/spec.py", "from callsheet import _catalog", {"_catalog"}),
        ("errors.py", "from callsheet._models.spec import TaskSpec", {"_models"}),
        ("_runtime/engine.py", "def late():\n    from callsheet._client import Client", {"_client"}),
        ("_handle.py", "from callsheet._batch import Batch", {"_batch"}),
        ("_polling/queue_model.py", "if TYPE_CHECKING:\n    from callsheet._http.api import Calls", {"_io"}),
        ("emulator/app.py", "from callsheet._wire.messages import Request",
         {"callsheet._wire.messages", "callsheet._wire.messages.Request"}),
        ("_http/api.py", "from callsheet._wire import Request", set()),
        ("emulator/app.py", "from callsheet.emulator.rendering import Film", set()),
    ],
)  # fmt: skip
def test_an_import_upwards_would_be_found(file, line, found):
    """The check itself sees every way of importing upwards, also late and for types only."""
    assert upward(file, line) == found


@pytest.mark.parametrize("library", ONE_IMPORTER)
def test_each_dependency_has_one_importer(library):
    """A library that could be exchanged is known to the files that are named for it alone."""
    found = {
        file
        for file, source in FILES.items()
        if library in thirds(source) and floor_of(file) not in APART
    }
    assert found <= ONE_IMPORTER[library]


@pytest.mark.parametrize("file", sorted(f for f in FILES if floor_of(f) in PURE))
def test_pure_floors_read_no_clock_and_no_environment(file):
    """Below ``_io`` nobody reads time, environment or global random state, or does I/O."""
    source = FILES[file]
    assert thirds(source) & IMPURE == set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "random":
                assert node.attr in PURE_OF_RANDOM
            if node.value.id in {"datetime", "date", "time", "os"}:
                assert node.attr not in CLOCKS
        if isinstance(node, ast.ImportFrom) and node.module == "random":
            assert {alias.name for alias in node.names} <= PURE_OF_RANDOM


def test_only_doors_need_more_than_the_core_dependencies():
    """What is imported with the front door comes with the package itself."""
    core = {"anyio", "attrs", "httpx", "tenacity", "callsheet", *sys.stdlib_module_names}
    for file, source in FILES.items():
        if floor_of(file) in APART | {"_cli", "testing"}:
            continue
        late = LATE.get(file, set())
        assert thirds(source) <= core | late, file


def test_no_file_holds_two_ideas():
    """No file is much longer than 320 lines, and none is called a heap of odds and ends."""
    for file, source in FILES.items():
        assert source.count("\n") <= 350, file
        assert Path(file).stem not in {"utils", "util", "helpers", "common", "misc"}


def test_every_file_says_what_it_is():
    """Each module begins with a docstring."""
    assert [
        file for file, source in FILES.items() if not ast.get_docstring(ast.parse(source))
    ] == []
