"""Repeats calls that may be repeated. No other module imports tenacity."""

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
    """Await ``call()`` until it succeeds or *again* returns ``False``.

    Args:
        call: Makes one attempt.
        again: Returns whether to try again, given the error, the number of attempts so far and the
            seconds of all pauses so far.
        pause: Returns the seconds to wait, given the error and the number of attempts so far.
        sleep: Waits for so many seconds.

    Raises:
        CallsheetError: The error of the last attempt. Other exceptions are raised at once.
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
        assert isinstance(error, CallsheetError)  # noqa: S101 - `repeats` has checked it
        return pause(error, state.attempt_number)

    # Almost every call succeeds at once. Setting tenacity up would take a tenth of a create's time.
    try:
        return await call()
    except CallsheetError as error:
        first: CallsheetError | None = error

    # no `stop`: tenacity calls it after `wait`, but `pause` must not be called for the last error
    retrying = tenacity.AsyncRetrying(retry=repeats, wait=seconds, sleep=sleep, reraise=True)

    async def attempt() -> T:  # tenacity awaits only what it knows to be a coroutine function
        nonlocal first
        if first is not None:  # tenacity counts the attempt above as its first
            error, first = first, None
            try:
                raise error
            finally:
                del error  # else the error and this frame would hold each other
        return await call()

    return await retrying(attempt)
