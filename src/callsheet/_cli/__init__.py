"""The command line. It uses the public client, as any program does."""

from __future__ import annotations

import sys


def main(arguments: list[str] | None = None) -> int:
    """Run ``callsheet`` and return the exit code.

    Args:
        arguments: The command line without the program name; ``None`` for that of the process.
    """
    # httpx imports its own command line, and with it click and pygments, if they are installed.
    # With `None` in its place httpx continues as if they were missing.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    try:
        from callsheet._cli.app import start  # noqa: PLC0415 - cyclopts and rich are an extra
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] not in {"cyclopts", "rich"}:
            raise
        print('the command line needs more: pip install "callsheet[cli]"', file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # importing cyclopts and rich takes long enough to press Ctrl-C
        print("interrupted", file=sys.stderr)
        return 130
    return start(sys.argv[1:] if arguments is None else arguments)
