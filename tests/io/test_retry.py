"""Repeating: who decides, how long the pauses are, what passes."""

from __future__ import annotations

import anyio
import pytest

from callsheet._io.retry import repeat
from callsheet.errors import ProtocolError, ServerError, TransportError


class Calls:
    """Fails with the given errors, then succeeds."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.made = 0

    async def __call__(self) -> str:
        """Make one attempt."""
        self.made += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


async def run(call: Calls, *, most: int = 9) -> tuple[str, list[object], list[float]]:
    """Run for some time."""
    asked: list[object] = []
    paused: list[float] = []

    def again(error: Exception, attempts: int, idle: float) -> bool:
        asked.append((type(error), attempts, idle))
        return attempts < most

    def pause(error: Exception, attempts: int) -> float:
        paused.append(2.0**attempts)
        return 2.0**attempts

    return await repeat(call, again=again, pause=pause, sleep=anyio.sleep), asked, paused


async def test_a_success_is_not_repeated():
    """What succeeds is done, and nobody is asked."""
    call = Calls()
    assert await run(call) == ("done", [], [])
    assert call.made == 1


async def test_errors_are_repeated_as_long_as_it_is_right():
    """Each failure asks with its number and the pauses so far, and waits as told."""
    call = Calls(TransportError("a"), ServerError("b", 500))
    started = anyio.current_time()
    result, asked, paused = await run(call)
    assert result == "done"
    assert asked == [(TransportError, 1, 0.0), (ServerError, 2, 2.0)]
    assert paused == [2.0, 4.0]
    assert anyio.current_time() - started == pytest.approx(6.0)


async def test_the_last_error_is_raised_bare():
    """When no more is right, the error of the last attempt leaves as it is, without a pause."""
    last = ProtocolError("c")
    call = Calls(TransportError("a"), last)
    started = anyio.current_time()
    with pytest.raises(ProtocolError) as caught:
        await run(call, most=2)
    assert caught.value is last
    assert call.made == 2
    assert anyio.current_time() - started == pytest.approx(2.0)


@pytest.mark.parametrize("error", [ValueError, KeyError, KeyboardInterrupt])
async def test_other_errors_pass_at_once(error):
    """What is none of ours is a bug or the user's wish, and is not repeated."""
    call = Calls(error("mine"))
    with pytest.raises(error):
        await run(call)
    assert call.made == 1


async def test_cancellation_ends_a_pause():
    """A pause can be cancelled, and no attempt follows."""
    call = Calls(TransportError("a"), TransportError("b"))
    with anyio.move_on_after(3) as scope:
        await run(call)
    assert scope.cancelled_caught
    assert call.made == 2
