"""Run the emulator in a separate process."""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import asynccontextmanager
from importlib.util import find_spec
from subprocess import PIPE
from typing import IO, TYPE_CHECKING, Any

import anyio
import anyio.abc
import attrs
from anyio.streams.buffered import BufferedByteReceiveStream

from callsheet.emulator.settings import Settings


if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


_GRACE = 5.0
_NEEDS = ("starlette", "uvicorn", "av", "PIL")
"""What the extra brings."""

_LONGEST_LINE = 4096


class EmulatorStartError(RuntimeError):
    """The emulator's process ended before it could serve. The message has what it wrote."""


@asynccontextmanager
async def running(**settings: Any) -> AsyncGenerator[str, None]:
    """Run an emulator in a separate process, on a free loopback port.

    The process is stopped when the block ends, also after cancellation. If this process is killed,
    the emulator ends by itself.

    Args:
        settings: Fields of `Settings`.

    Yields:
        The origin URL, such as ``http://127.0.0.1:40123``.

    Raises:
        EmulatorStartError: If the process ends before it serves, or the extra is not installed.
        TypeError: If a setting does not exist.
    """
    if not all(map(find_spec, _NEEDS)):
        raise EmulatorStartError('the emulator needs more: pip install "callsheet[emulator]"')
    wanted = attrs.asdict(Settings(**settings))
    command = [sys.executable, "-m", "callsheet.emulator", "--port", "0", "--until-stdin-closes"]
    command += ["--settings", json.dumps(wanted)]
    with tempfile.TemporaryFile() as stderr_file:
        process = await anyio.open_process(
            command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=stderr_file,
            start_new_session=True,  # so that Ctrl-C in a terminal reaches only the parent
        )
        try:
            yield await _origin(process, stderr_file)
        finally:
            with anyio.CancelScope(shield=True):
                await _stop(process)


async def _origin(process: anyio.abc.Process, stderr_file: IO[bytes]) -> str:
    """Wait for the line with the URL, and return the URL."""
    assert process.stdout is not None  # noqa: S101 - stdout=PIPE sets it
    lines = BufferedByteReceiveStream(process.stdout)
    try:
        line = await lines.receive_until(b"\n", _LONGEST_LINE)
        return str(json.loads(line)["url"])
    except (anyio.IncompleteRead, anyio.DelimiterNotFound, ValueError, LookupError) as error:
        stderr_file.seek(0)
        text = stderr_file.read().decode(errors="replace").strip()
        raise EmulatorStartError(f"the emulator did not start: {text or error}") from error


async def _stop(process: anyio.abc.Process) -> None:
    """Ask the process to end. Kill it if it does not end in time."""
    if process.stdin is not None:
        await process.stdin.aclose()
    with anyio.move_on_after(_GRACE):
        await process.wait()
    if process.returncode is None:
        process.kill()
    await process.aclose()
