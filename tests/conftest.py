"""Both backends, in virtual time: an hour of polling takes milliseconds."""

from __future__ import annotations

import asyncio

import pytest
import trio.testing


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose clock jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual = 0.0
        wait = self._selector.select

        def select(timeout: float | None = None):
            if timeout:
                self._virtual += timeout
                timeout = 0
            return wait(timeout)

        self._selector.select = select

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual


BACKENDS = {
    "asyncio": lambda: ("asyncio", {"loop_factory": VirtualLoop}),
    "trio": lambda: ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}),
}


@pytest.fixture(params=sorted(BACKENDS))
def anyio_backend(request: pytest.FixtureRequest):
    """Run each async test on asyncio and on trio, in virtual time."""
    return BACKENDS[request.param]()


@pytest.fixture(autouse=True)
def no_keys_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key and no address of the machine reaches a test."""
    for name in ("COMETAPI_KEY", "ARK_API_KEY", "BYTEPLUS_API_KEY", "CALLSHEET_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
