"""The documentation and the examples match the package."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
import textwrap
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import anyio
import attrs
import httpx
import pytest

import callsheet
from callsheet import events
from callsheet._cli.app import app as command_line
from callsheet._cli.results import Ending, Row
from callsheet.emulator import Settings
from cli.running import serving
from emulation import ARK, Wire


ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
EXAMPLES = ROOT / "examples"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def blocks(page: Path) -> list[tuple[str, str]]:
    """The Python blocks of a page, each with its file and line."""
    text = page.read_text("utf-8")
    return [
        (f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, m.start()) + 2}", textwrap.dedent(m[3]))
        for m in _FENCE.finditer(text)
        if m[2] == "python"
    ]


BLOCKS = {place: code for page in PAGES for place, code in blocks(page)}
SERVED = "http://127.0.0.1:8787"
"""The address of the emulator in the pages: ``callsheet emulate --port 8787 --speed 60``."""

PROGRAMS = {place: code for place, code in BLOCKS.items() if "anyio.run(main" in code}
PIECES = {place: code for place, code in BLOCKS.items() if place not in PROGRAMS}


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return _FENCE.sub("", page.read_text("utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors that a code host makes from the headings of a page."""
    headings = (heading.lower() for heading in _HEADING.findall(prose(page)))
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings}


def is_mentioned(name: str, *pages: str) -> bool:
    """Whether one of the pages contains a name as a whole word."""
    word = re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")
    return any(word.search((DOCS / page).read_text("utf-8")) for page in pages)


def start(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in *folder* and wait for its end."""
    folder.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=50,
        check=False,
    )


Run = Future[subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory):
    """Every program of the pages and the example, all started at once in real time."""
    folder = tmp_path_factory.mktemp("programs")
    with serving() as service, ThreadPoolExecutor(4) as pool:
        started: dict[str, Run] = {}
        for number, (place, code) in enumerate(PROGRAMS.items()):
            script = folder / f"{number}.py"
            script.write_text(code.replace(SERVED, service.origin), "utf-8")
            started[place] = pool.submit(start, [str(script)], folder / str(number))
        example = [str(EXAMPLES / "batch.py")]
        started["batch.py"] = pool.submit(start, example, folder / "batch")
        yield folder, started


def test_there_are_programs_to_run():
    """The pages contain both programs and parts of programs."""
    assert len(PROGRAMS) >= 8
    assert len(PIECES) >= 4


@pytest.mark.parametrize("place", BLOCKS)
def test_every_python_block_compiles(place: str):
    """Every Python block of the pages is valid Python."""
    compile(BLOCKS[place], place, "exec")


@pytest.mark.parametrize("place", BLOCKS)
def test_every_name_that_a_block_imports_exists(place: str):
    """Everything that a block imports from the package exists there."""
    for node in ast.walk(ast.parse(BLOCKS[place])):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("callsheet"):
            module = importlib.import_module(node.module or "")
            for name in (alias.name for alias in node.names):
                assert hasattr(module, name) or find_spec(f"{node.module}.{name}"), name


@pytest.mark.parametrize("place", PIECES)
def test_every_piece_can_be_pasted_into_a_program(place: str, monkeypatch: pytest.MonkeyPatch):
    """A block that is not a whole program runs without an error inside one."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setenv("COMETAPI_KEY", "sk-test")
    exec(compile(PIECES[place], place, "exec"), {"__name__": "piece"})


@pytest.mark.parametrize("place", PROGRAMS)
def test_every_program_runs(place: str, runs: tuple[Path, dict[str, Run]]):
    """Every complete program of the pages runs unchanged with the emulator."""
    done = runs[1][place].result()
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_batch_example_downloads_every_video(runs: tuple[Path, dict[str, Run]]):
    """The example saves one video for each prompt."""
    folder, started = runs
    done = started["batch.py"].result()
    assert done.returncode == 0, done.stderr
    prompts = (EXAMPLES / "prompts.txt").read_text("utf-8").split("\n")
    films = {path.name for path in (folder / "batch" / "videos").iterdir()}
    assert films == {f"{number}.mp4" for number in range(len([p for p in prompts if p.strip()]))}


async def test_the_service_example_turns_a_request_into_a_video(monkeypatch: pytest.MonkeyPatch):
    """A request gets an id at once and a URL later; bad requests and unknown ids are refused."""
    monkeypatch.syspath_prepend(EXAMPLES)
    wire = Wire()
    app = importlib.import_module("fastapi_app").create_app(provider=ARK, transport=wire)
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service") as http,
    ):
        answer = await http.post("/videos", json={"prompt": "A boat", "duration": 5})
        assert answer.status_code == 202
        place = f"/videos/{answer.json()['id']}"
        assert (await http.get(place)).json()["status"] in {"queued", "running"}
        await anyio.sleep(600)
        ended = (await http.get(place)).json()
        assert ended["status"] == "succeeded"
        assert ended["url"].startswith("http://")

        polls = len(wire.sent("GET"))
        await http.get(place)
        assert len(wire.sent("GET")) == polls

        app.state.handles.clear()  # as after a restart
        await http.get(place)
        await anyio.sleep(60)
        assert (await http.get(place)).json()["url"]

        refused = await http.post("/videos", json={"prompt": "A boat", "duration": 99})
        assert refused.status_code == 422
        assert "duration=99" in refused.json()["detail"][0]
        assert (await http.post("/videos", json={"prompt": "[refuse]"})).status_code == 502
        assert (await http.get("/videos/cgt-unknown")).status_code == 404
    assert wire.emulator.ledger.created == 1


def test_the_test_in_the_service_guide_passes(monkeypatch: pytest.MonkeyPatch):
    """The guide's own test passes in real time."""
    monkeypatch.syspath_prepend(EXAMPLES)
    (code,) = (code for code in PIECES.values() if "async def test_" in code)
    names: dict[str, object] = {}
    exec(code, names)
    anyio.run(names["test_a_prompt_becomes_a_video"])


async def test_the_callback_route_in_the_guide_refuses_invalid_bodies():
    """An invalid body gets a 400, and a callback for an unknown task gets a success."""
    (code,) = (code for code in PIECES.values() if "take_callback" in code)
    names: dict[str, object] = {}
    exec(code, names)
    transport = httpx.ASGITransport(app=names["app"])
    async with (
        callsheet.Client(provider=ARK, transport=Wire()) as client,
        httpx.AsyncClient(transport=transport, base_url="http://service") as http,
    ):
        names["app"].state.client = client
        junk = await http.post("/callbacks", content=b"<html>")
        assert junk.status_code == 400
        assert "holds no task" in junk.json()["detail"]
        body = {"id": "cgt-of-another", "status": "succeeded"}
        assert (await http.post("/callbacks", json=body)).json() == {"taken": False}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_works(page: Path):
    """Every link within the project names an existing file and heading."""
    lost = []
    for link in _LINK.findall(prose(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert lost == []


def test_every_page_is_in_the_table_of_contents():
    """The index links to every page."""
    index = (DOCS / "index.md").read_text("utf-8")
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} - {"index.md"}
    assert {page for page in pages if f"({page})" not in index} == set()
    toctree = {line for block in _FENCE.split(index) for line in block.splitlines()}
    raw = {line.strip() for line in index.splitlines()} | toctree
    assert {page for page in pages if page.removesuffix(".md") not in raw} == set()


@pytest.mark.parametrize("name", callsheet.__all__)
def test_every_public_name_is_documented(name: str):
    """The reference contains every public name of ``callsheet``."""
    assert is_mentioned(name, "api.md", "errors.md")


@pytest.mark.parametrize(
    "kind",
    [
        value
        for name in callsheet.__all__
        if inspect.isclass(value := getattr(callsheet, name))
        and not issubclass(value, BaseException)
        and name not in {"Problem", "Tasks"}
    ],
)
def test_every_public_member_is_documented(kind: type):
    """The reference contains every public method and field of the public classes."""
    inherited = {name for base in kind.__mro__[1:-1] if base is not object for name in dir(base)}
    fields = {field.name for field in attrs.fields(kind)} if attrs.has(kind) else set()
    names = {name for name in {*vars(kind), *fields} - inherited if not name.startswith("_")}
    assert {name for name in names if not is_mentioned(name, "api.md")} == set()


def test_every_option_of_the_client_is_documented():
    """The reference contains every argument of the client and of the task API's methods."""
    calls = [callsheet.Client]
    calls += [
        getattr(callsheet.Tasks, verb) for verb in ("create", "get", "list", "iter", "cancel")
    ]
    names = {name for call in calls for name in inspect.signature(call).parameters} - {"self"}
    assert {name for name in names if not is_mentioned(name, "api.md")} == set()


def test_every_event_is_documented():
    """The reference contains every event and each of its fields."""
    names = {kind.__name__ for kind in get_args(events.Event)}
    names |= {field.name for kind in get_args(events.Event) for field in attrs.fields(kind)}
    assert {name for name in names if not is_mentioned(name, "api.md")} == set()


@pytest.mark.parametrize("command", ["run", "check", "emulate"])
def test_every_option_of_the_command_line_is_documented(command: str):
    """The page of the command line contains every option, in both forms of a flag."""
    found = command_line[command].assemble_argument_collection()
    names = {name for argument in found for name in (*argument.names, *argument.negatives)} - {"*"}
    assert len(names) > 3
    assert {name for name in names if not is_mentioned(name, "cli.md")} == set()


def test_every_word_of_the_results_is_documented():
    """The page of the command line contains every field and status of ``results.jsonl``."""
    names = {field.name for field in attrs.fields(Row)} | {ending.value for ending in Ending}
    assert {name for name in names if not is_mentioned(name, "cli.md")} == set()


def test_every_setting_of_the_emulator_is_documented():
    """The emulator's page contains every setting."""
    names = {field.name for field in attrs.fields(Settings)}
    assert {name for name in names if not is_mentioned(name, "emulator.md")} == set()


def test_every_model_is_documented():
    """The providers' table contains every model id in the catalog."""
    models = importlib.import_module("callsheet._catalog.models").MODELS
    ids = {name for row in models for name in (row.cn, row.byteplus) if name is not None}
    assert {name for name in ids if not is_mentioned(name, "providers.md")} == set()


def test_each_file_that_the_architecture_names_exists():
    """A reader who follows a file name of the page finds the file."""
    page = (DOCS / "architecture.md").read_text()
    files = {each.relative_to(ROOT).as_posix() for each in ROOT.glob("[steb]*/**/*.py")}
    named = set(re.findall(r"`([\w/]+\.py)`", page))
    assert named
    assert [
        name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in files)
    ] == []
