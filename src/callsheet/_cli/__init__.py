"""The command line: a door like any other, over the same client."""

from __future__ import annotations

import sys


def main(arguments: list[str] | None = None) -> int:
    """Run ``callsheet`` with *arguments*, those of the process by default; gives the exit code."""
    try:
        from callsheet._cli.app import start  # noqa: PLC0415 - cyclopts and rich are an extra
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] not in {"cyclopts", "rich"}:
            raise
        print('the command line needs more: pip install "callsheet[cli]"', file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # importing them takes a moment
        print("interrupted", file=sys.stderr)
        return 130
    return start(sys.argv[1:] if arguments is None else arguments)
