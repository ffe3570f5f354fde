"""How soon the command line is there: its version, its first line, its first create.

``callsheet run`` makes three videos at the embedded emulator, on a terminal of its own. The first
line is the title, which names the file and the folder. The first create is the first connection to
the emulator, which nothing but a create opens. Each run is a process of its own, timed from
outside, so the start of Python counts. Medians, and the slowest run.

    nox -s bench -- bench_start.py [--repeats R]
"""

from __future__ import annotations

import argparse
import os
import pty
import select
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _environment import USUAL
from _table import keep, show


MOST = {"version": 0.3, "first line": 0.5, "first create": 1.5}
"""Seconds that each may take on an idle machine."""

RUN = """
import os, sys, time
def told(event, arguments):
    if event == "socket.connect" and not seen:
        seen.append(os.write(3, str(time.time()).encode()))
seen = []
sys.addaudithook(told)
from callsheet._cli import main
sys.exit(main())
"""
"""The command line; the moment of its first connection goes to a pipe."""


def version() -> float:
    """Seconds of ``callsheet --version``."""
    begun = time.perf_counter()
    command = [sys.executable, "-c", RUN, "--version"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=USUAL)
    return time.perf_counter() - begun


def run() -> tuple[float, float]:
    """Seconds until the first line of ``callsheet run``, and until its first create."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "prompts.txt"
        source.write_text("boat 1\nboat 2\nboat 3\n")
        command = [sys.executable, "-c", RUN, "run", str(source), "--out", f"{folder}/videos"]
        terminal, end = pty.openpty()
        moments, writer = os.pipe()
        begun = time.time()
        process = subprocess.Popen(
            ["/bin/sh", "-c", f'exec 3>&{writer}; exec "$@"', "sh", *command, "--provider",
             "emulator", "--speed", "500"],
            stdin=subprocess.DEVNULL, stdout=end, stderr=end, pass_fds=[writer], env=USUAL,
        )  # fmt: skip
        os.close(end)
        os.close(writer)
        first, seen = None, b""
        while process.poll() is None:
            if select.select([terminal], [], [], 0.05)[0]:
                try:
                    seen += os.read(terminal, 65536)
                except OSError:  # the other end is closed
                    break
                if first is None and b"videos" in seen:
                    first = time.time()
        process.wait()
        created = float(os.read(moments, 100))
        os.close(terminal)
        os.close(moments)
    assert first is not None, seen
    return first - begun, created - begun


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--keep-nothing", action="store_true", help="leave the results folder")
    options = parser.parse_args()
    version()
    run()
    taken: dict[str, list[float]] = {name: [] for name in MOST}
    for _ in range(options.repeats):
        taken["version"].append(version())
        line, create = run()
        taken["first line"].append(line)
        taken["first create"].append(create)
    rows = [
        {
            "until": name,
            "median s": statistics.median(found),
            "slowest s": max(found),
            "goal s": MOST[name],
        }
        for name, found in taken.items()
    ]
    show("how soon the command line is there", rows)
    keep("start", rows, packages=["cyclopts", "rich"], really=not options.keep_nothing)


if __name__ == "__main__":
    main()
