"""Repeating what may be repeated: the one module that imports tenacity."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import tenacity

from callsheet.errors import CallsheetError


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


T = TypeVar("T")


async def repeat(
    call: Callable[[], Awaitable[T]],
    *,
    again: Callable[[CallsheetError, int, float], bool],
    pause: Callable[[CallsheetError, int], float],
    sleep: Callable[[float], Awaitable[None]],
) -> T:
    """Await ``call()`` until it succeeds or *again* says that it must not be repeated.

    Args:
        call: Makes one attempt.
        again: Told the error, the number of attempts so far and the seconds of pauses so far,
            says whether another attempt is right.
        pause: Told the error and the number of attempts so far, gives the seconds to wait.
        sleep: Waits.

    Raises:
        CallsheetError: The error of the last attempt. Other exceptions pass at once.
    """

    def error_of(state: tenacity.RetryCallState) -> BaseException | None:
        return None if state.outcome is None else state.outcome.exception()

    def repeats(state: tenacity.RetryCallState) -> bool:
        error = error_of(state)
        return isinstance(error, CallsheetError) and again(
            error, state.attempt_number, state.idle_for
        )

    def seconds(state: tenacity.RetryCallState) -> float:
        error = error_of(state)
        assert isinstance(error, CallsheetError)  # noqa: S101 - what `repeats` lets through
        return pause(error, state.attempt_number)

    # no `stop`: it is asked after `wait`, and a pause that never comes must not be announced
    retrying = tenacity.AsyncRetrying(retry=repeats, wait=seconds, sleep=sleep, reraise=True)

    async def attempt() -> T:  # tenacity awaits only what it can tell is a coroutine function
        return await call()

    return await retrying(attempt)
