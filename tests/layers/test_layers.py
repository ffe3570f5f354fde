"""The structure of the package: which files may import which, and which are pure."""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest


if TYPE_CHECKING:
    from collections.abc import Iterator


ROOT = Path(__file__).parents[2] / "src" / "callsheet"
TREES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8"))
    for path in sorted(ROOT.rglob("*.py"))
}
"""Every file, parsed once."""

LAYERS = (
    {"_lazy"},
    {"errors"},
    {"_models"},
    {"events"},
    {"_catalog", "_wire"},
    {"_state"},
    {"_http", "_journal"},
    {"_polling", "_download"},
    {"_submission"},
    {"_runtime"},
    {"_handle"},
    {"_batch", "_stream"},
    {"_client"},
    {"__init__", "downloads", "pricing", "_cli"},
)
"""From the lowest to the highest. A part of one layer does not see another part of the same one;
only those of the last layer, which use the package as a user does, may use each other."""
HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}
EMULATOR = "emulator"
"""It imports nothing else of the package, and any file may start it."""

PURE_PACKAGES = {"_lazy", "errors", "_models", "events", "_catalog", "_wire"}
PURE_FILES = {
    "_state/backoff.py",
    "_state/circuit_breaker.py",
    "_state/fate.py",
    "_state/group.py",
    "_state/lifecycle.py",
    "_state/moment.py",
    "_state/rate_limit.py",
    "_state/record.py",
    "_state/registry.py",
    "_journal/codec.py",
    "_journal/entries.py",
    "_journal/identity.py",
    "_journal/notes.py",
    "_polling/pages.py",
    "_polling/planner.py",
    "_polling/queue_model.py",
    "_polling/render_times.py",
    "_polling/schedule.py",
    "_polling/service_tier.py",
    "_submission/admission.py",
    "_submission/effects.py",
    "_submission/evidence.py",
    "_submission/list_scan.py",
    "_submission/states.py",
    "_submission/submission_events.py",
    "_submission/submissions.py",
    "_submission/transition.py",
}
"""Files whose functions get the time and the events as arguments."""

IMPORTERS = {
    "httpx": {"_http/transport.py", "_download/http.py"},
    "tenacity": {"_http/retry.py"},
    "aiohttp": {"_http/aiohttp_session.py"},
    "sqlite3": {"_journal/sqlite.py"},
    "imagesize": {"_submission/media_files.py"},
    "asyncio": set(),
    "trio": set(),
    "requests": set(),
}
EXTRAS = {
    "_submission/media_files.py": {"imagesize"},
    "_http/aiohttp_session.py": {"aiohttp", "yarl"},
}
"""Libraries of an extra, by the only file that may import them."""

IMPURE = {
    "anyio", "asyncio", "httpx", "io", "logging", "os", "secrets", "socket", "subprocess",
    "tempfile", "tenacity", "threading", "time", "trio", "uuid",
}  # fmt: skip
CLOCKS = {"now", "utcnow", "today", "monotonic", "getenv", "environ"}
AWAITS = (ast.Await, ast.AsyncFor, ast.AsyncWith, ast.AsyncFunctionDef)
VAGUE_NAMES = {"utils", "util", "helpers", "common", "misc"}


def module_of(file: str) -> str:
    """The dotted name of a file, below the package."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


FILE_OF = {module_of(file): file for file in TREES}


def layer_of(file: str) -> str:
    """The part of the package that a file belongs to."""
    return module_of(file).split(".")[0]


def imports(tree: ast.Module) -> Iterator[str]:
    """Every module that a file imports anywhere in it, and every name with its module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(tree: ast.Module) -> set[str]:
    """The modules of the package that a file imports; the package itself is ``__init__``."""
    found: set[str] = set()
    for name in imports(tree):
        top, _, inside = name.partition(".")
        if top != "callsheet":
            continue
        while inside and inside not in FILE_OF:
            inside = inside.rpartition(".")[0]
        found.add(inside or "__init__")
    return found


def upward(file: str, tree: ast.Module) -> set[str]:
    """The modules that a file imports from its own layer or from a higher one."""
    own = layer_of(file)
    if own == EMULATOR:
        return {name for name in ours(tree) if name.split(".")[0] != EMULATOR}
    height, top = HEIGHT[own], len(LAYERS) - 1
    return {
        name
        for name in ours(tree)
        if (layer := name.split(".")[0]) not in {own, EMULATOR}
        and (HEIGHT[layer] > height or (HEIGHT[layer] == height < top))
    }


def libraries(tree: ast.Module) -> set[str]:
    """The top-level packages that a file imports."""
    return {name.split(".")[0] for name in imports(tree)}


def impurities(tree: ast.Module) -> set[str]:
    """What a file does that depends on more than its arguments."""
    found = libraries(tree) & IMPURE
    for node in ast.walk(tree):
        if isinstance(node, AWAITS):
            found.add("await")
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            of, what = node.value.id, node.attr
            if of == "random" and what != "Random":
                found.add(f"random.{what}")
            if of in {"datetime", "date", "time", "os"} and what in CLOCKS:
                found.add(f"{of}.{what}")
        if isinstance(node, ast.ImportFrom) and node.module == "random":
            found |= {f"random.{alias.name}" for alias in node.names if alias.name != "Random"}
    return found


def is_pure(file: str) -> bool:
    """Whether a file must be pure."""
    return layer_of(file) in PURE_PACKAGES or file in PURE_FILES


def constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The constants of a module with the source of their values, without leading underscores."""
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                pass
            case _:
                continue
        if name.isupper() and len(name) > 1:
            yield name.lstrip("_"), ast.unparse(value)


def cycles(graph: dict[str, set[str]]) -> set[str]:
    """The nodes from which a path leads back to themselves."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            new = graph[ahead.pop()] - seen
            seen |= new
            ahead += new
        return seen

    return {name for name in graph if name in reached(name)}


def test_imports_go_to_lower_layers_only():
    """No file imports a part of the package from its own layer or from a higher one."""
    assert {layer_of(file) for file in TREES} - {EMULATOR} == set(HEIGHT)
    assert {file: found for file, tree in TREES.items() if (found := upward(file, tree))} == {}


@pytest.mark.parametrize(
    ("file", "line", "found"),
    [
        ("_wire/dialects.py", "from callsheet._catalog.models import MODELS", {"_catalog.models"}),
        ("_catalog/models.py", "import callsheet._wire.dialects", {"_wire.dialects"}),
        ("_models/spec.py", "from callsheet import _catalog", {"_catalog"}),
        ("errors/base.py", "from callsheet._models.spec import TaskSpec", {"_models.spec"}),
        ("_http/api.py", "def late():\n    from callsheet._client import Client", {"_client"}),
        ("_handle.py", "from callsheet._batch import Batch", {"_batch"}),
        ("_polling/planner.py", "if T:\n    from callsheet._submission.turns import Turns",
         {"_submission.turns"}),
        ("_client.py", "from callsheet import Batch", {"__init__"}),
        ("emulator/app.py", "from callsheet._wire.messages import Request", {"_wire.messages"}),
        ("_http/api.py", "from callsheet._wire import Request", set()),
        ("_cli/app.py", "from callsheet import downloads, pricing", set()),
        ("emulator/app.py", "from callsheet.emulator.tasks import Task", set()),
    ],
)  # fmt: skip
def test_every_upward_import_is_detected(file, line, found):
    """The check finds every kind of upward import, even inside functions and for types only."""
    assert upward(file, ast.parse(line)) == found


def test_there_are_no_import_cycles():
    """No cycle of imports exists, even with those for types only."""
    graph = {module_of(file): ours(tree) - {module_of(file)} for file, tree in TREES.items()}
    assert cycles(graph) == set()
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == {"b", "c"}


@pytest.mark.parametrize("library", IMPORTERS)
def test_each_library_has_its_importers(library):
    """A library that could be replaced is imported only by the files that are listed for it."""
    found = {
        file
        for file, tree in TREES.items()
        if library in libraries(tree) and layer_of(file) != EMULATOR
    }
    assert found == IMPORTERS[library]


def test_pure_files_are_pure():
    """A pure file has no ``await`` and reads no clock, environment or global random state."""
    assert set(TREES) >= PURE_FILES
    assert {
        f: found for f, tree in TREES.items() if is_pure(f) and (found := impurities(tree))
    } == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time", {"time"}),
        ("from anyio import sleep", {"anyio"}),
        ("async def wait(): ...", {"await"}),
        ("import random\nrandom.random()", {"random.random"}),
        ("from random import Random, choice", {"random.choice"}),
        ("from datetime import datetime\ndatetime.now()", {"datetime.now"}),
        ("import random\nrandom.Random(1)", set()),
    ],
)
def test_every_impurity_is_detected(source, found):
    """The check finds awaits, clocks and random state."""
    assert impurities(ast.parse(source)) == found


def test_a_pure_file_uses_pure_files_only():
    """A pure file imports only pure files of the package, directly or indirectly."""
    reached = {
        file: {name for name in ours(tree) if not is_pure(FILE_OF[name])}
        for file, tree in TREES.items()
        if is_pure(file)
    }
    packages = {"_polling", "_state", "_submission", "_journal"}
    assert {file: names - packages for file, names in reached.items() if names - packages} == {}


def test_only_outer_packages_need_more_than_the_core_dependencies():
    """``import callsheet`` needs only the dependencies of the package without extras."""
    core = {"anyio", "attrs", "httpx", "tenacity", "callsheet", *sys.stdlib_module_names}
    more = {
        file: found
        for file, tree in TREES.items()
        if layer_of(file) not in {EMULATOR, "_cli"}
        and (found := libraries(tree) - core - EXTRAS.get(file, set()))
    }
    assert more == {}


def test_no_two_modules_share_a_name():
    """Each module name is used once, and no module is called ``utils`` or the like."""
    named: dict[str, list[str]] = defaultdict(list)
    for file in TREES:
        stem = Path(file).stem
        assert stem not in VAGUE_NAMES, file
        if layer_of(file) not in {EMULATOR, "_cli"} and stem != "__init__":
            named[stem.lstrip("_")].append(file)
    assert {stem: files for stem, files in named.items() if len(files) > 1} == {}


def test_no_constant_has_two_values():
    """Constants with the same name have the same value in all modules."""
    values: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for file, tree in TREES.items():
        for name, value in constants(tree):
            values[name][value].append(file)
    assert {name: dict(found) for name, found in values.items() if len(found) > 1} == {}


def test_every_module_has_a_docstring():
    """Each module begins with a docstring."""
    assert [file for file, tree in TREES.items() if not ast.get_docstring(tree)] == []
