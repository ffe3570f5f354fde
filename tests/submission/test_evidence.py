"""No false absence: whatever is done to a list, a task that exists is not called absent by it."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet._models.snapshot import Page, Snapshot, Status
from callsheet._state.fate import Grade
from callsheet._state.moment import Moment
from callsheet._state.registry import MadeTask
from callsheet._submission.evidence import Scope, contradictions, judge, missing, obliged
from callsheet._submission.list_scan import ListScan, LostCreate
from making import lost, snapshot


WINDOW = 60.0
LEFT = 10_000.0
"""When the lost create was sent."""
OURS = f"callsheet-{'7e' * 16}"
MODELS = ("model", "other")


@attrs.frozen
class Lie:
    """One function over all rows of the list, and over its total.

    Attributes:
        rows: What becomes of the rows, which come newest first.
        total: What becomes of the total; ``None`` if none is told.
    """

    rows: Callable[[list[Snapshot]], list[Snapshot]] = list
    total: Callable[[int], int | None] = int


def _mark(change: Callable[[str], str | None]) -> Callable[[list[Snapshot]], list[Snapshot]]:
    def rows(items: list[Snapshot]) -> list[Snapshot]:
        changed = ((each, each.safety_identifier) for each in items)
        return [
            attrs.evolve(each, safety_identifier=None if mark is None else change(mark))
            for each, mark in changed
        ]

    return rows


def _where(kept: Callable[[Snapshot], bool]) -> Lie:
    return Lie(lambda items: [each for each in items if kept(each)])


def _as_of(at: float) -> Lie:
    """A list that stands still."""
    return _where(lambda each: each.created_at is None or each.created_at <= at)


def _rest(text: str, by: int) -> int:
    return sum(text.encode()) % by


LIES = st.one_of(
    st.just(Lie()),
    st.builds(
        lambda by, at: _where(lambda each: _rest(each.task_id, by) != at),
        st.integers(1, 5),
        st.integers(0, 4),
    ),
    st.sampled_from(
        [
            Lie(_mark(change))
            for change in (str.upper, lambda _: None, lambda _: "", lambda _: "all the same")
        ]
    ),
    st.builds(lambda n: Lie(_mark(lambda mark: mark[:n])), st.integers(0, 42)),
    st.builds(lambda n: Lie(_mark(lambda mark: mark[n:])), st.integers(0, 42)),
    st.builds(
        lambda n: Lie(_mark(lambda mark: None if _rest(mark, 3) == n else mark)), st.integers(0, 2)
    ),
    st.builds(lambda n: Lie(lambda items: items[:n]), st.integers(0, 30)),
    st.builds(lambda n: Lie(lambda items: items[n:]), st.integers(0, 30)),
    st.builds(lambda by: Lie(total=lambda total: max(total + by, 0)), st.integers(-30, 30)),
    st.just(Lie(total=lambda _: None)),
    st.builds(_as_of, st.floats(LEFT - 500, LEFT + 500)),
    st.just(_where(lambda each: each.task_id.startswith("other"))),  # another project
    st.just(Lie(lambda items: [attrs.evolve(each, created_at=None) for each in items])),
)


@attrs.frozen
class Account:
    """The tasks of an account, newest first, and what the client knows of them."""

    rows: list[Snapshot]
    made: dict[str, MadeTask]


@st.composite
def accounts(draw: st.DrawFn, *, extra: list[Snapshot], witness: bool) -> Account:
    """An account with *extra* tasks; with *witness*, one of ours was sent after the lost create."""
    rows, made = list(extra), dict[str, MadeTask]()
    whens = draw(st.lists(st.floats(LEFT - 900, LEFT + 290), max_size=12))
    fresh = [draw(st.floats(LEFT + 1, LEFT + 200))] if witness else []
    for number, sent in enumerate((*fresh, *whens)):
        own = number < len(fresh) or draw(st.booleans())
        mark = f"callsheet-{number:032x}" if own else draw(st.sampled_from([None, "theirs"]))
        name = f"{'ours' if own else 'other'}-{number}"
        model = draw(st.sampled_from(MODELS))
        task = snapshot(name, Status.RUNNING, safety_identifier=mark, created_at=sent, model=model)
        rows.append(task)
        if own:
            at = Moment(sent, sent)
            made[name] = MadeTask(name, 1, model, marked=True, mark=mark, sent=at, confirmed=True)
    return Account(sorted(rows, key=lambda each: -each.created_at), made)


def look(
    account: Account, lie: Lie, one: LostCreate, *, began: float, size: int
) -> tuple[ListScan, list[Snapshot]]:
    """Read the list to its end, as the reconciler does; return the look and all that was shown."""
    shown = lie.rows(account.rows)
    scan = ListScan(
        began=began, wall=began, lost=[one], tokens={one.mark: one.key}, known=account.made.get,
        local=lambda at: at, proving=True, page_size=size,
    )  # fmt: skip
    for _ in range(200):
        begin = (scan.page_num - 1) * min(scan.page_size, size)
        items = shown[begin : begin + min(scan.page_size, size)]
        if not scan.read(Page(items=items, total=lie.total(len(shown)))):
            break
    return scan, shown


def verdict(
    account: Account, scan: ListScan, one: LostCreate, *, documented: bool
) -> tuple[Grade | None, list[MadeTask]]:
    """What the look proves of the lost create, and the tasks that it had to show."""
    began = Moment(scan.began, scan.wall)
    tasks = account.made.values()
    must_be_shown = obliged(tasks, deleted=(), began=began, window=WINDOW)
    now = contradictions(scan, must_be_shown, missing(scan, must_be_shown))
    scope = Scope()
    scope.observe(scan)
    said = judge(
        scan, one, now=now, lasting=scope.lasting.values(), witnesses=must_be_shown,
        documented=documented,
    )  # fmt: skip
    return (None if one.key in scan.found else said.grade), must_be_shown


@settings(max_examples=2000)
@given(
    data=st.data(),
    lies=st.lists(LIES, min_size=1, max_size=2),
    documented=st.booleans(),
    witness=st.booleans(),
    size=st.sampled_from([500, 9, 4]),
)
def test_a_hidden_task_is_never_proven_absent(data, lies, documented, witness, size):
    """A list is not believed if it hides or changes a task that it must show.

    Without such a task that is young enough, the absence is presumed at most. Of that only one
    record makes use.
    """
    one = lost(OURS, sent=LEFT)
    model = data.draw(st.sampled_from(MODELS), label="its model")
    one.record.model = model
    task = snapshot("lost", Status.QUEUED, safety_identifier=OURS, created_at=LEFT, model=model)
    account = data.draw(accounts(extra=[task], witness=witness), label="the account")
    lie = Lie(
        lambda items: lies[-1].rows(lies[0].rows(items)) if len(lies) > 1 else lies[0].rows(items),
        lies[0].total,
    )
    scan, shown = look(account, lie, one, began=LEFT + 300.0, size=size)
    grade, must_be_shown = verdict(account, scan, one, documented=documented)
    by_id = {each.task_id: each for each in shown}
    wrong = [
        each
        for each in must_be_shown
        if each.task_id not in by_id or by_id[each.task_id].safety_identifier != each.mark
    ]
    # Marks may be omitted for one model only, and then only its tasks are in doubt.
    telling = [
        each
        for each in wrong
        if each.task_id not in by_id
        or by_id[each.task_id].safety_identifier is not None
        or each.model == model
    ]
    assert not (telling and grade is not None)
    if grade is Grade.WITNESSED:
        # A task whose model's marks are left out is not changed for other models.
        assert any(each.task_id in by_id and each.sent.now > LEFT for each in must_be_shown)


@given(data=st.data(), documented=st.booleans(), size=st.sampled_from([500, 40]))
def test_an_honest_list_proves_what_is_absent_and_shows_what_is_there(data, documented, size):
    """Where nothing lies, an old witness of its model is enough for each list."""
    one = lost(OURS, sent=LEFT)
    account = data.draw(accounts(extra=[], witness=True), label="the account")
    witness = account.made["ours-0"]
    one.record.model = witness.model
    scan, _ = look(account, Lie(), one, began=LEFT + 300.0, size=size)
    assert verdict(account, scan, one, documented=documented)[0] is Grade.WITNESSED
