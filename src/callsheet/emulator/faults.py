"""Decide which requests fail on the way to the service or back. Other modules carry it out."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from types import NoneType
from typing import TYPE_CHECKING, Any, cast

import attrs
from attrs.validators import and_, deep_iterable, ge, gt, in_, instance_of, le, min_len, optional

from callsheet.emulator.lies import ID_LIES, LIST_LIES
from callsheet.emulator.routes import VERBS


if TYPE_CHECKING:
    from collections.abc import Iterable


CUTS = ("reset", "close")
"""Answers that end the connection: by a reset, or by an orderly close."""

USAGE = "usage"
"""An answer that is whole, but whose ``usage`` is wrong."""

_ANSWERS: tuple[Any, ...] = (*CUTS, "silence", USAGE, 200, 403, 429, 500, 502, 503, 504)

_count = and_(instance_of(int), ge(1))


def _verbs(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


@attrs.frozen(kw_only=True)
class Fault:
    """One way in which requests fail. All times are in emulated seconds.

    Attributes:
        verbs: Requests that it may affect: ``create``, ``get``, ``list``, ``delete``,
            ``download``. A single verb may be a plain string.
        share: Share of those requests that it affects, 0 to 1. A request is affected by one fault
            at most, so shares add up: two faults with 0.1 each affect 0.2 of the requests.
        times: Most requests that it affects, >= 1; None: no limit.
        since: When it begins, >= 0: seconds after the faults were set. For faults of the settings:
            seconds after the first request.
        until: When it ends, on the same clock, > *since*; None: never.
        request: What happens to the request. ``lost``: the service does not receive it. ``taken``:
            the service carries it out, and only the answer fails. ``late``: for creates only; the
            task is made *delay* seconds later and cannot be seen before.
        delay: How many seconds later the task of a ``late`` create is made, or a list with the lie
            ``late`` shows a task, > 0.
        answer: What the client gets. ``reset``: the connection is reset. ``close``: it is closed.
            ``silence``: no answer, and the connection stays open. A number: an answer with that
            status. 429 and 500 have the service's error body; 200, 403, 502, 503 and 504 are web
            pages. A client sees a 403 on a download as an expired URL. ``usage``: the real answer
            to a get or list that is ``taken``, but every ``usage`` in it says *tokens*.
        tokens: The number of tokens that a ``usage`` answer says; None: the usage is left out.
        cut_at: Bytes that pass before a ``reset`` or ``close``. If the request is ``taken``, bytes
            of the answer; if it is ``lost``, bytes of the request, with its head. None: the whole
            request and nothing of the answer. Without a real connection it means the same as None.
        retry_after: Seconds in the ``Retry-After`` header of a status, >= 0; None: no such header.
        lie: The request works, and its answer is well formed and wrong. For lists one of
            `LIST_LIES`, for creates one of `ID_LIES`; None: it does not lie.
        part: Share of the tasks that a list with the lie ``missing`` leaves out, 0 to 1. It is
            always the same tasks.
        most: Most tasks on a page of a list with the lie ``capped``, >= 1.
    """

    verbs: tuple[str, ...] = attrs.field(
        default=("create",), converter=_verbs, validator=[min_len(1), deep_iterable(in_(VERBS))]
    )
    share: float = attrs.field(default=1.0, validator=and_(ge(0), le(1)))
    times: int | None = attrs.field(default=None, validator=optional(_count))
    since: float = attrs.field(default=0.0, validator=ge(0))
    until: float | None = attrs.field(default=None, validator=optional(gt(0)))
    request: str = attrs.field(default="lost", validator=in_(("lost", "taken", "late")))
    delay: float = attrs.field(default=120.0, validator=gt(0))
    answer: str | int = attrs.field(default="reset", validator=in_(_ANSWERS))
    tokens: int | None = attrs.field(default=0, validator=instance_of((int, NoneType)))
    cut_at: int | None = attrs.field(
        default=None, validator=optional(and_(instance_of(int), ge(0)))
    )
    retry_after: float | None = attrs.field(default=None, validator=optional(ge(0)))

    lie: str | None = attrs.field(default=None, validator=optional(in_((*LIST_LIES, *ID_LIES))))
    part: float = attrs.field(default=0.5, validator=and_(ge(0), le(1)))
    most: int = attrs.field(default=10, validator=_count)

    def __attrs_post_init__(self) -> None:
        """Refuse combinations that have no meaning."""
        if self.lie is not None:
            self._check_lie("list" if self.lie in LIST_LIES else "create")
        if self.until is not None and self.until <= self.since:
            raise ValueError("until must be after since")
        if self.request == "late" and self.verbs != ("create",):
            raise ValueError("only a create can be late")
        if self.cut_at is not None and (self.answer not in CUTS or self.request == "late"):
            raise ValueError("cut_at is for a reset or close of a request that is lost or taken")
        if self.retry_after is not None and not isinstance(self.answer, int):
            raise ValueError("retry_after is for an answer with a status")
        self._check_usage()

    def _check_lie(self, verb: str) -> None:
        if self.verbs != (verb,):
            raise ValueError(f"the lie {self.lie!r} is for the verb {verb!r} alone")
        if (self.request, self.answer) != ("lost", "reset"):
            raise ValueError("a lie is an answer; it has neither request nor answer")

    def _check_usage(self) -> None:
        if self.answer == USAGE and (
            self.request != "taken" or not {"get", "list"}.issuperset(self.verbs)
        ):
            raise ValueError("usage is an answer to a get or list that is taken")
        if self.answer != USAGE and self.tokens != 0:
            raise ValueError("tokens is for the answer usage")

    def covers(self, verb: str, seconds: float) -> bool:
        """Whether it may affect a *verb* that comes *seconds* after the faults were set."""
        until = math.inf if self.until is None else self.until
        return verb in self.verbs and self.since <= seconds < until


def read_faults(value: Iterable[Fault | Mapping[str, Any]]) -> tuple[Fault, ...]:
    """Read faults, each a `Fault` or a mapping of its fields.

    Raises:
        TypeError: If a field does not exist, or *value* is not a list of faults.
        ValueError: If a value is out of range.
    """
    if isinstance(value, str | Mapping):
        raise TypeError("a list of faults is expected")
    return tuple(fault if isinstance(fault, Fault) else _fault(fault) for fault in value)


def _fault(value: object) -> Fault:
    if not isinstance(value, Mapping):
        raise TypeError(f"a mapping of the fields of a fault is expected, not {value!r}")
    fields = cast("Mapping[str, Any]", value)
    known = [field.name for field in attrs.fields(Fault)]
    if unknown := [repr(name) for name in fields if name not in known]:
        words = f"a fault has no field {' or '.join(unknown)}"
        raise TypeError(f"{words}; known are {', '.join(known)}")
    return Fault(**fields)


@attrs.define
class Faults:
    """Decides which requests fail.

    The same seed and the same order of the requests of a verb give the same decisions.

    Attributes:
        seed: Whole number. It determines the decisions.
        rules: The faults. At most one affects a request; earlier ones are considered first.
        struck: How many requests each fault has affected.
    """

    seed: int
    rules: tuple[Fault, ...] = ()
    struck: list[int] = attrs.field(factory=list[int], init=False)
    _start: float | None = attrs.field(default=None, init=False)
    _seen: dict[str, int] = attrs.field(factory=dict[str, int], init=False)

    def __attrs_post_init__(self) -> None:
        """Set all counts to 0."""
        self.struck = [0] * len(self.rules)

    def replace(self, *rules: Fault, now: float) -> None:
        """Replace all faults by *rules*. Their times count from *now*, unix seconds."""
        self.rules, self.struck = rules, [0] * len(rules)
        self._start = now

    def strike(self, verb: str | None, now: float) -> Fault | None:
        """Choose the fault of a request that comes at *now*; None: the request works."""
        if verb is None or not self.rules:
            return None
        if self._start is None:
            self._start = now
        number = self._seen[verb] = self._seen.get(verb, 0) + 1
        chance = random.Random(f"{self.seed}/{verb}/{number}").random()  # noqa: S311 - repeatable
        for index, fault in enumerate(self.rules):
            spent = fault.times is not None and self.struck[index] >= fault.times
            if spent or not fault.covers(verb, now - self._start):
                continue
            if chance < fault.share:
                self.struck[index] += 1
                return fault
            chance -= fault.share
        return None

    def began(self, fault: Fault) -> float:
        """When the times of *fault* began, unix seconds."""
        return (self._start or 0.0) + fault.since

    def rows(self) -> list[dict[str, Any]]:
        """Return every fault and how many requests it has affected, as JSON values."""
        pairs = zip(self.rules, self.struck, strict=True)
        return [attrs.asdict(rule) | {"struck": struck} for rule, struck in pairs]
