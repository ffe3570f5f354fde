"""Writes a file in worker threads while more of it arrives."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import anyio
import anyio.to_thread
import attrs
from anyio.abc import TaskGroup

from callsheet._download.partial_file import PartialFile


@attrs.define(kw_only=True)
class FileWriter:
    """Writes one piece while the next one is gathered; never two at once, and always in order.

    Attributes:
        part: Gets the bytes.
        on_bytes: Called with the size of each piece that was written.
        group: Runs the writing; the owner enters it. It is cancelled when a write fails.
        failure: The error after which nothing more is written.
    """

    part: PartialFile
    on_bytes: Callable[[int], None]
    group: TaskGroup = attrs.field(factory=anyio.create_task_group, init=False)
    failure: Exception | None = attrs.field(default=None, init=False)
    _gathered: list[bytes] = attrs.field(factory=list[bytes], init=False)
    _size: int = attrs.field(default=0, init=False)
    _turn: anyio.Semaphore = attrs.field(
        factory=partial(anyio.Semaphore, 1, fast_acquire=True), init=False
    )

    def gather(self, chunk: bytes) -> int:
        """Take a chunk; return the number of bytes that are not written yet."""
        self._gathered.append(chunk)
        self._size += len(chunk)
        return self._size

    async def flush(self) -> None:
        """Wait until the last piece is written, then start to write the gathered bytes.

        A cancellation interrupts neither this wait nor the writing.
        """
        with anyio.CancelScope(shield=True):
            await self._turn.acquire()
        if self._size and self.failure is None:
            self.group.start_soon(self._write, self._gathered, self._size)
            self._gathered, self._size = [], 0
        else:
            self._turn.release()

    def fail(self, failure: Exception) -> None:
        """Write nothing more, and cancel the group."""
        self.failure = failure
        self.group.cancel_scope.cancel()

    async def _write(self, chunks: list[bytes], size: int) -> None:
        try:
            with anyio.CancelScope(shield=True):  # bytes that have arrived are kept
                await anyio.to_thread.run_sync(self.part.write, chunks)
            self.on_bytes(size)
        except Exception as exc:  # noqa: BLE001 - the owner raises it, outside of the group
            self.fail(exc)
        finally:
            self._turn.release()
