"""How the client behaves: frozen values with their defaults in sight."""

from __future__ import annotations

from typing import Literal

import attrs
from attrs.validators import ge, gt, in_, optional


Resubmit = Literal["if-absent", "never", "always"]


@attrs.frozen(kw_only=True)
class Limits:
    """How much of the provider's quota the client may use; ``None`` means all that is published.

    Attributes:
        creates_per_minute: New tasks per minute, > 0.
        gets_per_second: Status requests for one task per second, > 0.
        lists_per_second: Status requests for many tasks per second, > 0.
        cancels_per_second: Cancel requests per second, > 0.
        connections: Most requests in flight at once, >= 1.
    """

    creates_per_minute: float | None = attrs.field(default=None, validator=optional(gt(0)))
    gets_per_second: float | None = attrs.field(default=None, validator=optional(gt(0)))
    lists_per_second: float | None = attrs.field(default=None, validator=optional(gt(0)))
    cancels_per_second: float | None = attrs.field(default=None, validator=optional(gt(0)))
    connections: int = attrs.field(default=16, validator=ge(1))


@attrs.frozen(kw_only=True)
class Polling:
    """How soon an end should be noticed.

    Attributes:
        delay: Seconds between the end of a task and the client's knowing it to aim for, > 0.
            Smaller costs more requests; the provider's quota is never passed for it.
    """

    delay: float = attrs.field(default=5.0, validator=gt(0))


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often, and after which pauses, a request that may be repeated is repeated.

    A create is repeated only if it provably never arrived or was refused. A failed poll is not
    counted here at all: it never decides anything, and the task is asked about again.

    Attributes:
        attempts: Most attempts of one request, >= 1.
        initial: Seconds before the second attempt, > 0; doubled for each further one, with jitter.
        ceiling: Longest pause, seconds; a ``Retry-After`` is honoured up to this, too.
        timeout: Seconds that one attempt may take in all, > 0.
        patience: Seconds for which a create is offered again that is refused for load (HTTP 429),
            or cannot be sent to a provider that has been reached before. While the queue is full
            of the client's own tasks there is no end to it.
        resubmit: What happens to a create whose answer was lost, once it cannot be found.
    """

    attempts: int = attrs.field(default=6, validator=ge(1))
    initial: float = attrs.field(default=1.0, validator=gt(0))
    ceiling: float = attrs.field(default=60.0, validator=gt(0))
    timeout: float = attrs.field(default=60.0, validator=gt(0))
    patience: float = attrs.field(default=1800.0, validator=ge(0))
    resubmit: Resubmit = attrs.field(
        default="if-absent", validator=in_(("if-absent", "never", "always"))
    )
