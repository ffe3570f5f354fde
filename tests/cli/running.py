"""Run the command line against an emulator in a separate process."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import httpx

from callsheet._cli import main


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


CODE = "import sys; from callsheet._cli import main; sys.exit(main())"
SPEED = 60.0


@attrs.frozen
class Service:
    """An emulator that outlives the runs that use it."""

    origin: str

    @property
    def base_url(self) -> str:
        """URL of the API."""
        return f"{self.origin}/api/v3"

    @property
    def state(self) -> dict:
        """The state of the emulator."""
        return httpx.get(f"{self.origin}/_emulator/state", trust_env=False).json()

    @property
    def struck(self) -> int:
        """How many requests its faults have affected."""
        rows = httpx.get(f"{self.origin}/_emulator/faults", trust_env=False).json()
        return sum(row["struck"] for row in rows)

    def fail(self, *faults: dict) -> None:
        """Replace its faults from now on; without arguments, all requests work."""
        url = f"{self.origin}/_emulator/faults"
        httpx.put(url, json=faults, trust_env=False).raise_for_status()


@contextmanager
def serving(**settings: object) -> Iterator[Service]:
    """Start an emulator."""
    command = [sys.executable, "-m", "callsheet.emulator", "--port", "0", "--until-stdin-closes"]
    command += ["--settings", json.dumps({"speed": SPEED, **settings})]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Service(json.loads(process.stdout.readline())["url"])
        process.stdin.close()


@attrs.frozen
class Workspace:
    """One input file and one output folder, for any number of runs."""

    service: Service
    source: Path
    out: Path

    def write(self, *lines: str | dict) -> None:
        """Replace the input."""
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        self.source.write_text("\n".join(texts), "utf-8")

    def arguments(self, *more: object) -> list[str]:
        """The command."""
        where = ["--provider", "emulator", "--base-url", self.service.base_url]
        speed = ["--speed", str(SPEED)]
        return ["run", str(self.source), "--out", str(self.out), *where, *speed, *map(str, more)]

    def run(self, *more: object) -> int:
        """Run in this process and return the exit code."""
        return main(self.arguments(*more))

    def start(self, *more: object) -> subprocess.Popen[str]:
        """Run in a separate process that prints JSON events."""
        command = [sys.executable, "-c", CODE, *self.arguments("--json", *more)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def kill_after(self, event: str, *more: object, **values: object) -> None:
        """Run until an event with these values comes, then kill the run."""
        with self.start(*more) as process:
            assert process.stdout is not None
            read_until(process.stdout, event=event, **values)
            process.kill()

    @property
    def rows(self) -> list[dict]:
        """The rows on disk, in the order of the file."""
        text = (self.out / "results.jsonl").read_text("utf-8")
        return [json.loads(line) for line in text.splitlines()]

    @property
    def ids(self) -> dict[str, str]:
        """Task ids of the rows by prompt."""
        return {row["spec"]["prompt"]: row["task_id"] for row in self.rows}

    @property
    def videos(self) -> dict[str, bytes]:
        """The videos in the output folder by name."""
        return {path.name: path.read_bytes() for path in self.out.glob("*.mp4")}


@attrs.frozen
class Comet(Workspace):
    """A workspace whose provider lists nothing and gets no tokens."""

    def arguments(self, *more: object) -> list[str]:
        """The command."""
        where = ["--base-url", f"{self.service.origin}/volc/v3"]
        return ["run", str(self.source), "--out", str(self.out), *where, *map(str, more)]

    def resolve(self, *arguments: object) -> int:
        """Say what became of a create."""
        return main(["resolve", str(self.out), *map(str, arguments)])

    @property
    def made(self) -> list[str]:
        """The ids of all tasks at the provider, the oldest first."""
        return [task["id"] for task in self.service.state["tasks"]]


def read_until(lines: Iterable[str], **values: object) -> None:
    """Read JSON events up to the first one with these values."""
    for line in lines:
        if values.items() <= json.loads(line).items():
            return
    raise AssertionError(f"it ended without {values}")
