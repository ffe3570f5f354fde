"""Every way in which a provider's list of tasks can lie, each written once, as pure functions.

It is written from the description of the wire alone and imports nothing of the package. A lie
applies to all tasks alike: it does not know which create was lost.

A list is answered in three steps, and a lie may change each one:

* ``rows`` gets all tasks of the account, the newest first, and returns the rows that exist.
* ``page`` gets the rows that the request asks for, and returns those of one page.
* ``told`` gets the page and the number of rows, and returns the answer.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple


if TYPE_CHECKING:
    from collections.abc import Callable


Row = dict[str, Any]
MARK = "safety_identifier"
LOOKUP = 60.0
"""Seconds for which clients in these tests look for a lost create."""

_TRUE_ID = "~id"
"""Where a row has the id by which requests find it, while lies may change the one that it shows."""

FLEX, OTHER_MODEL = "flex", "doubao-seedance-1-0-pro-250528"


class Asked(NamedTuple):
    """A request for a list.

    Attributes:
        now: When it came, in Unix seconds.
        began: When the account was used for the first time.
        number: How many lists of the account were asked for before.
        num: Which page.
        size: How many rows on a page.
        ids: The ids that are asked for; ``None``: all.
        tier: The service tier.
    """

    now: float
    began: float
    number: int
    num: int
    size: int
    ids: frozenset[str] | None
    tier: str


class Answer(NamedTuple):
    """An answer.

    Attributes:
        status: The HTTP status.
        body: JSON, or a text that is sent as it is.
        delay: Seconds until it is sent; ``None``: never.
    """

    status: int
    body: object
    delay: float | None = 0.0


def plain(items: list[Row], total: int, _asked: Asked) -> Answer:
    """An honest answer."""
    return Answer(200, {"items": items, "total": total})


def cut(rows: list[Row], asked: Asked) -> list[Row]:
    """An honest page."""
    return rows[(asked.num - 1) * asked.size : asked.num * asked.size]


@dataclass(frozen=True)
class Lie:
    """A way to answer lists.

    Attributes:
        rows, page, told: The three steps.
        finds: Each task is shown with enough of its mark, so a lost create that made one is found.
        proves: What the list does not show was never made, and a client can see that.
        late: What it hides is new. No task that is old enough contradicts it, so it may cost what
            the first create after a loss costs.
        some: It treats some tasks rightly. The first task that was bought without a witness may be
            one of these, and then it is a witness for the list.
        shy: The first list of a client shows nothing, or takes long, so a client that does not know
            whether there are lists may believe that there are none.
        crowd: Other users of the account make hundreds of tasks after those that get lost.
        stale: It shows old statuses for ever, also to requests with ids.
        forges: It shows a task with the whole token of another one. A client that believes the list
            takes that task for its own.
    """

    rows: Callable[[list[Row], Asked], list[Row]] = lambda rows, _: rows
    page: Callable[[list[Row], Asked], list[Row]] = cut
    told: Callable[[list[Row], int, Asked], Answer] = plain
    finds: bool = False
    proves: bool = False
    late: bool = False
    some: bool = False
    shy: bool = False
    crowd: bool = False
    stale: bool = False
    forges: bool = False
    name: str = field(default="", compare=False)

    def answer(self, rows: list[Row], asked: Asked) -> Answer:
        """Answer one request. *rows* are all tasks of the account, the newest first."""
        known = self.rows([row | {_TRUE_ID: row["id"]} for row in rows], asked)
        wanted = [
            {name: value for name, value in row.items() if name != _TRUE_ID}
            for row in known
            if row.get("service_tier", "default") == asked.tier
            and (asked.ids is None or row[_TRUE_ID] in asked.ids)
        ]
        return self.told(self.page(wanted, asked), len(wanted), asked)


# Which rows exist.


def _kept(keep: Callable[[Row, Asked], bool]) -> Callable[[list[Row], Asked], list[Row]]:
    """Only the rows that a rule keeps."""
    return lambda rows, asked: [row for row in rows if keep(row, asked)]


def _hash(text: str) -> int:
    return zlib.crc32(text.encode())


def _number(row: Row) -> int:
    """How many tasks of the account were made before."""
    digits = row["id"].split("-")[1]
    return int(digits) if digits.isdigit() else 0


def another_project(rows: list[Row], asked: Asked) -> list[Row]:
    """The rows of another project, as many as there are here."""
    ids = [f"cgt-project-b-{asked.began:.0f}-{number}" for number in range(len(rows))]
    return [
        row | {"id": other, _TRUE_ID: other, MARK: f"user-of-{other}", "status": "succeeded"}
        for other, row in zip(ids, rows, strict=True)
    ]


def as_of(rows: list[Row], then: float) -> list[Row]:
    """What a list showed at the time *then*."""
    shown = [row for row in rows if row["created_at"] <= then]
    return [row if row["updated_at"] <= then else _before_its_end(row) for row in shown]


def _before_its_end(row: Row) -> Row:
    left_out = ("content", "usage", "updated_at", "status")
    kept = {name: value for name, value in row.items() if name not in left_out}
    return kept | {"status": "running", "updated_at": row["created_at"]}


def _frozen_after(seconds: float) -> Lie:
    return Lie(
        rows=lambda rows, asked: as_of(rows, min(asked.now, asked.began + seconds)),
        late=True, stale=True,
    )  # fmt: skip


def _older_than(seconds: float) -> Callable[[list[Row], Asked], list[Row]]:
    """Each task appears so many seconds late."""
    return _kept(lambda row, asked: row["created_at"] <= asked.now - seconds)


def _kept_for(seconds: float) -> Callable[[list[Row], Asked], list[Row]]:
    """What is shown was true up to so many seconds ago; then all of it is read anew."""
    return lambda rows, asked: as_of(rows, asked.now - (asked.now - asked.began) % seconds)


def _late_by(seconds: float) -> Lie:
    """A list in which each task appears so many seconds late."""
    hides = seconds >= LOOKUP
    return Lie(
        rows=_older_than(seconds),
        finds=not hides, proves=not hides, late=hides, shy=True,
    )  # fmt: skip


# What a row shows.


def _each(change: Callable[[Row], Row]) -> Callable[[list[Row], Asked], list[Row]]:
    """All rows, each changed."""
    return lambda rows, _: [change(row) for row in rows]


def _marks(change: Callable[[str], str]) -> Callable[[list[Row], Asked], list[Row]]:
    """All rows, the mark of each changed."""
    return _each(lambda row: row | {MARK: change(row[MARK])} if MARK in row else row)


def _without(name: str, which: Callable[[Row], bool] = lambda _: True):
    """All rows, some of them without a field."""
    return _each(
        lambda row: {key: value for key, value in row.items() if not (key == name and which(row))}
    )


def swapped(rows: list[Row], _: Asked) -> list[Row]:
    """Each row shows the mark of the next one."""
    marks = [row.get(MARK) for row in rows]
    turned = marks[1:] + marks[:1]
    return [row | ({MARK: mark} if mark else {}) for row, mark in zip(rows, turned, strict=True)]


def one_of_ours(rows: list[Row], _: Asked) -> list[Row]:
    """All rows show the mark of the newest task."""
    mark = next((row[MARK] for row in rows if MARK in row), None)
    return [row | ({MARK: mark} if mark else {}) for row in rows]


def _times(change: Callable[[float], object]) -> Lie:
    """A list whose times are wrong, all in the same way."""
    return Lie(
        rows=_each(
            lambda row: row | {each: change(row[each]) for each in ("created_at", "updated_at")}
        ),
        finds=True, proves=True,
    )  # fmt: skip


# Pages and orders.


def _capped(most: int, *, shift: int = 0) -> Callable[[list[Row], Asked], list[Row]]:
    """At most so many rows on a page; a shift makes pages overlap (> 0) or leave rows out (< 0)."""

    def page(rows: list[Row], asked: Asked) -> list[Row]:
        size = min(most, asked.size)
        first = (asked.num - 1) * (size - shift)
        return rows[first : first + size]

    return page


def _gap_at(number: int) -> Callable[[list[Row], Asked], list[Row]]:
    """Pages of ten; one page in the middle is empty, and its rows are on the next one."""

    def page(rows: list[Row], asked: Asked) -> list[Row]:
        if asked.num == number:
            return []
        return _capped(10)(rows, asked._replace(num=asked.num - (asked.num > number)))

    return page


def every_second(rows: list[Row], asked: Asked) -> list[Row]:
    """Pages of ten, of which each second one is empty, and its rows are nowhere."""
    return [] if asked.num % 2 == 0 else _capped(10)(rows, asked)


def by_hash(rows: list[Row], _: Asked) -> list[Row]:
    """All rows, in an order that means nothing, and stays."""
    return sorted(rows, key=lambda row: _hash(row["id"]))


def shuffled(rows: list[Row], asked: Asked) -> list[Row]:
    """All rows, in another order for each request."""
    return random.Random(asked.number).sample(rows, len(rows))


# What is said about the page.


def _total(change: Callable[[int, int], object]) -> Callable[[list[Row], int, Asked], Answer]:
    """An answer whose total is wrong; it is made of the true one and of the rows on the page."""
    return lambda items, total, _: Answer(200, {"items": items, "total": change(total, len(items))})


def _instead(status: int, body: object, delay: float | None = 0.0):
    """One answer in place of all lists."""
    return lambda _items, _total, _asked: Answer(status, body, delay)


def _after(seconds: float, then: Answer) -> Callable[[list[Row], int, Asked], Answer]:
    """Honest answers for so many seconds, then another one."""
    return lambda items, total, asked: (
        plain(items, total, asked) if asked.now < asked.began + seconds else then
    )


PAGE = "<html><head><title>{0}</title></head><body>{0}</body></html>"
NO_SUCH = {"error": {"code": "NotFound", "message": "no such route", "param": "", "type": "x"}}

_ALL = {"finds": True, "proves": True}

_TABLE = {
    # honest, whatever it looks like
    "honest": Lie(**_ALL),
    "ascending": Lie(rows=lambda rows, _: rows[::-1], **_ALL),
    "unsorted": Lie(rows=by_hash, finds=True),
    "pages-of-10": Lie(page=_capped(10), **_ALL),
    "pages-of-50": Lie(page=_capped(50), **_ALL),
    "pages-of-20-always": Lie(
        page=lambda rows, asked: cut(rows, asked._replace(size=20)), finds=True
    ),
    "crowd": Lie(crowd=True, **_ALL),
    "crowd-ascending": Lie(rows=lambda rows, _: rows[::-1], crowd=True, **_ALL),
    "crowd-pages-of-50": Lie(page=_capped(50), crowd=True, **_ALL),
    "crowd-cached-50": Lie(_kept_for(50.0), crowd=True, shy=True, **_ALL),
    "crowd-no-total": Lie(
        told=lambda items, _total, _asked: Answer(200, {"items": items}), crowd=True, **_ALL
    ),
    "pages-overlap": Lie(page=_capped(10, shift=3), finds=True),
    "repeated-items": Lie(
        page=lambda rows, asked: [row for row in cut(rows, asked) for _ in range(2)], finds=True
    ),
    "no-total": Lie(told=lambda items, _total, _asked: Answer(200, {"items": items}), **_ALL),
    "no-total-pages-of-10": Lie(
        page=_capped(10), told=lambda items, _t, _a: Answer(200, {"items": items}), finds=True
    ),
    "total-text": Lie(told=_total(lambda total, _: str(total)), **_ALL),
    "late-5": _late_by(5.0),
    "late-30": _late_by(30.0),
    "hours-ahead": _times(lambda at: int(at) + 5 * 3600),
    "hours-behind": _times(lambda at: int(at) - 5 * 3600),
    "milliseconds": _times(lambda at: int(at * 1000)),
    "times-as-text": _times(lambda at: str(int(at))),
    "no-times": Lie(rows=_without("created_at"), finds=True),
    # rows are missing
    "empty": Lie(rows=lambda _rows, _asked: []),
    "another-project": Lie(rows=another_project),
    "every-2nd-task": Lie(rows=_kept(lambda row, _: _number(row) % 2 == 0), some=True),
    "three-of-five-tasks": Lie(rows=_kept(lambda row, _: _number(row) % 5 > 1), some=True),
    "one-of-eight-by-mark": Lie(
        rows=_kept(lambda row, _: _hash(row.get(MARK, "")) % 8 == 0), some=True
    ),
    "one-model": Lie(rows=_kept(lambda row, _: row["model"] != OTHER_MODEL)),
    "one-tier": Lie(rows=_kept(lambda row, _: row.get("service_tier") != FLEX)),
    "any-tier": Lie(rows=_each(lambda row: row | {"service_tier": "default"})),
    "ended-only": Lie(rows=_kept(lambda row, _: row["status"] == "succeeded")),
    "running-only": Lie(rows=_kept(lambda row, _: row["status"] != "succeeded")),
    "newest-8": Lie(rows=lambda rows, _: rows[:8]),
    "oldest-8": Lie(rows=lambda rows, _: rows[-8:]),
    "horizon": Lie(rows=_kept(lambda row, asked: row["created_at"] > asked.now - 2 * LOOKUP)),
    "crowd-newest-page": Lie(
        rows=lambda rows, asked: _kept_for(50.0)(rows, asked)[:500], crowd=True, some=True
    ),
    "crowd-one-page-for-all": Lie(
        page=lambda rows, asked: cut(rows, asked._replace(num=1)), crowd=True, some=True
    ),
    "every-2nd-page": Lie(page=every_second),
    "pages-skip": Lie(page=_capped(10, shift=-3), some=True),
    "one-page-for-all": Lie(page=lambda rows, asked: _capped(10)(rows, asked._replace(num=1))),
    "empty-page-between": Lie(page=_gap_at(2)),
    "shuffled-pages-of-10": Lie(rows=shuffled, page=_capped(10)),
    "ids-are-ignored": Lie(
        page=lambda rows, asked: [] if asked.ids is not None else cut(rows, asked)
    ),
    # rows are old
    "frozen": _frozen_after(1.2 * LOOKUP),
    "frozen-at-once": _frozen_after(0.0),
    "cached-50": Lie(_kept_for(50.0), shy=True, **_ALL),
    "cached-120": Lie(_kept_for(120.0), late=True),
    "late-90": _late_by(90.0),
    # marks
    "marks-upper": Lie(rows=_marks(str.upper), finds=True),
    "marks-title": Lie(rows=_marks(str.title), finds=True),
    "marks-cut-32": Lie(rows=_marks(lambda mark: mark[:32]), finds=True),
    "marks-cut-20": Lie(rows=_marks(lambda mark: mark[:20])),
    "marks-cut-8": Lie(rows=_marks(lambda mark: mark[:8])),
    "marks-tail": Lie(rows=_marks(lambda mark: mark[-8:])),
    "marks-prefixed": Lie(rows=_marks(lambda mark: f"gateway-7:{mark}"), finds=True),
    "marks-padded": Lie(rows=_marks(lambda mark: f" {mark} "), finds=True),
    "marks-upper-prefixed": Lie(rows=_marks(lambda mark: f"GW-{mark.upper()}"), finds=True),
    "marks-replaced": Lie(rows=_marks(lambda mark: f"{_hash(mark):08x}")),
    "marks-constant": Lie(rows=_marks(lambda _: "account-42")),
    "marks-empty": Lie(rows=_marks(lambda _: "")),
    "no-marks": Lie(rows=_without(MARK)),
    "no-marks-of-a-model": Lie(rows=_without(MARK, lambda row: row["model"] == OTHER_MODEL)),
    "no-marks-of-ended": Lie(rows=_without(MARK, lambda row: row["status"] == "succeeded")),
    "half-without-marks": Lie(rows=_without(MARK, lambda row: _number(row) % 2 == 0),
                               some=True),
    "marks-swapped": Lie(rows=swapped, forges=True),
    "marks-one-of-ours": Lie(rows=one_of_ours, some=True, forges=True),
    # totals
    "total-of-page": Lie(told=_total(lambda _, page: page), finds=True),
    "total-of-page-pages-of-10": Lie(_kept_for(50.0), _capped(10), _total(lambda _, page: page)),
    "total-zero": Lie(told=_total(lambda _all, _page: 0), finds=True),
    "total-zero-pages-of-10": Lie(_kept_for(50.0), _capped(10), _total(lambda *_: 0)),
    "total-half-pages-of-10": Lie(
        _kept_for(50.0), _capped(10), _total(lambda total, _: total // 2)
    ),
    "total-of-page-crowd": Lie(_kept_for(50.0), told=_total(lambda _, page: page), crowd=True),
    "total-zero-crowd": Lie(_kept_for(50.0), told=_total(lambda _all, _page: 0), crowd=True),
    "total-half-crowd": Lie(_kept_for(50.0), told=_total(lambda total, _: total // 2), crowd=True),
    "total-negative-crowd": Lie(_kept_for(50.0), told=_total(lambda *_: -1), crowd=True),
    "total-large": Lie(told=_total(lambda total, _: total + 7), finds=True),
    "total-negative": Lie(told=_total(lambda _all, _page: -1), finds=True),
    # ids
    "ids-padded": Lie(rows=_each(lambda row: row | {"id": f" {row['id']} "}), finds=True),
    "ids-doubled": Lie(rows=_each(lambda row: row | {"id": row["id"] * 2})),
    "ids-upper": Lie(rows=_each(lambda row: row | {"id": row["id"].upper()})),
    # no list at all
    "items-null": Lie(told=lambda _items, total, _: Answer(200, {"items": None, "total": total})),
    "items-missing": Lie(told=lambda _items, total, _: Answer(200, {"total": total})),
    "html-200": Lie(told=_instead(200, PAGE.format("Welcome"))),
    "html-403": Lie(told=_instead(403, PAGE.format("403 Forbidden"))),
    "html-404": Lie(told=_instead(404, PAGE.format("404 Not Found"))),
    "html-500": Lie(told=_instead(500, PAGE.format("500"))),
    "json-404": Lie(told=_instead(404, NO_SUCH)),
    "always-429": Lie(told=_instead(429, {"error": {"code": "ServerOverloaded", "message": "no"}})),
    "half-an-answer": Lie(told=_instead(200, '{"items": [{"id": "cgt-')),
    "never": Lie(told=_instead(200, {}, None)),
    "slow": Lie(told=lambda items, total, asked: plain(items, total, asked)._replace(delay=15.0),
                finds=True, shy=True),
    "ends-in-404": Lie(told=_after(1.6 * LOOKUP, Answer(404, PAGE.format("404 Not Found")))),
    "ends-in-silence": Lie(told=_after(1.6 * LOOKUP, Answer(200, {}, None))),
    "ends-empty": Lie(told=_after(1.6 * LOOKUP, Answer(200, {"items": [], "total": 0}))),
}  # fmt: skip

LIES: dict[str, Lie] = {name: Lie(**{**vars(lie), "name": name}) for name, lie in _TABLE.items()}
"""All of them by name."""
