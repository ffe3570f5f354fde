"""Run the provider that lies, and ask for its bill."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote


if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def running(speed: float) -> Iterator[str]:
    """Run the provider as a process; yield its address."""
    command = [sys.executable, "-m", "hostile.liar", str(speed)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    folder = Path(__file__).parents[1]
    with subprocess.Popen(command, text=True, cwd=folder, **pipes) as process:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.stdin.close()


def bill_of(address: str, key: str) -> dict[str, Any]:
    """What the provider made for a key."""
    with urllib.request.urlopen(f"{address}/bill/{quote(key, safe='')}") as answer:
        return json.load(answer)


def be_honest(address: str, key: str) -> None:
    """Let the lists of a key tell the truth from now on."""
    with urllib.request.urlopen(f"{address}/truth/{quote(key, safe='')}") as answer:
        answer.read()
