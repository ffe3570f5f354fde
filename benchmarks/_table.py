"""Prints rows as a table, with ratios to the baseline in the last columns, and keeps them."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path


Row = Mapping[str, object]

RESULTS = Path(__file__).parent / "results"


def machine(packages: Sequence[str] = ()) -> dict[str, object]:
    """The machine and the versions that were measured, those of *packages* included."""
    names = ("callsheet", "httpx", "anyio", "attrs", *packages)
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {name: version(name) for name in names},
    }


def show(title: str, rows: Sequence[Row], *, ratios: Sequence[str] = ()) -> None:
    """Print rows under their column names. Columns in *ratios* come again as baseline/this row.

    The baseline is the last row so far with a true ``baseline``. Missing values print as ``-``.
    """
    columns = [name for name in rows[0] if name != "baseline"]
    table = [[*columns, *(f"{name} x" for name in ratios)]]
    base: Row = rows[0]
    for row in rows:
        if row.get("baseline"):
            base = row
        table.append(
            [*(_text(row.get(name)) for name in columns), *(_ratio(base, row, n) for n in ratios)]
        )
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    print(f"\n{title}\n")
    for number, line in enumerate(table):
        print("| " + " | ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) + " |")
        if number == 0:
            print("| " + " | ".join("-" * (w - 1) + ":" for w in widths) + " |")


def keep(
    name: str, rows: Sequence[Row], *, packages: Sequence[str] = (), really: bool = True
) -> None:
    """Write rows, and the machine that they come from, to ``results/<name>.json``."""
    if not really:
        return
    RESULTS.mkdir(exist_ok=True)
    found = machine(packages)
    text = json.dumps({"machine": found, "rows": list(rows)}, indent=1, default=str)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    print(f"\n{found}", file=sys.stderr)


def _text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _ratio(base: Row, row: Row, name: str) -> str:
    first, this = base.get(name), row.get(name)
    if not isinstance(first, (int, float)) or not isinstance(this, (int, float)) or not this:
        return "-"
    return f"{first / this:.1f}"
