"""``python -m callsheet.emulator``: serve, and say where in one JSON line."""

from __future__ import annotations

import argparse
import json
import sys

from callsheet.emulator.serving import serve
from callsheet.emulator.settings import Settings


def main() -> None:
    """Read the command line and serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m callsheet.emulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="TCP port on loopback; 0: a free one")
    parser.add_argument(
        "--settings", type=json.loads, default={}, help='JSON object, such as {"speed": 60}'
    )
    parser.add_argument(
        "--until-stdin-closes", action="store_true", help="stop when standard input ends"
    )
    options = parser.parse_args()
    serve(
        Settings(**options.settings),
        port=options.port,
        on_ready=_announce,
        until_stdin_closes=options.until_stdin_closes,
    )


def _announce(url: str) -> None:
    sys.stdout.write(json.dumps({"url": url}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
