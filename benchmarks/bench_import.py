"""What an import costs: from a bare interpreter to a client, beside the four dependencies alone.

Each figure is that of a process of its own, measured inside it, so the start of Python is not
counted. It is CPU time: an import waits for nothing but the disk, which has been read before. The
variants take turns; the medians are told, and the quickest runs, which other work on the machine
disturbs least. Run it in an environment that holds what a user's holds: trio, or what the command
line needs, changes what the dependencies import.

    nox -s user -- bench_import.py [--repeats R]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

from _environment import USUAL
from _table import keep, show


BASELINE = "the four dependencies"

VARIANTS = {
    BASELINE: "import anyio, attrs, httpx, tenacity",
    "import callsheet": "import callsheet",
    "until a client is made": (
        "from callsheet import Client; Client(provider='ark', api_key='k' * 20)"
    ),
    "until a client is open": (
        "import anyio; from callsheet import Client\n"
        "async def open():\n"
        "    async with Client(provider='ark', api_key='k' * 20): pass\n"
        "anyio.run(open)"
    ),
}

TIMED = """
import time
begun = time.process_time()
exec({code!r})
print(time.process_time() - begun)
"""


def seconds(code: str) -> float:
    """CPU seconds that *code* takes in a fresh interpreter."""
    command = [sys.executable, "-c", TIMED.format(code=code)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=USUAL)
    return float(done.stdout)


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--keep-nothing", action="store_true", help="leave the results folder")
    options = parser.parse_args()
    for code in VARIANTS.values():  # the first run writes the .pyc files
        seconds(code)
    runs: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(options.repeats):
        for name, taken in runs.items():
            taken.append(seconds(VARIANTS[name]))
    base = {
        "median": statistics.median(runs[BASELINE]),
        "quickest": min(runs[BASELINE]),
    }
    rows: list[dict[str, object]] = [
        {
            "variant": name,
            "baseline": name == BASELINE,
            "median ms": 1000 * statistics.median(taken),
            "quickest ms": 1000 * min(taken),
            "of the four": statistics.median(taken) / base["median"],
            "of the four, quickest": min(taken) / base["quickest"],
        }
        for name, taken in runs.items()
    ]
    show("what an import costs", rows)
    keep("import", rows, packages=["tenacity"], really=not options.keep_nothing)


if __name__ == "__main__":
    main()
