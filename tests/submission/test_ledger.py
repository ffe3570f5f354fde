"""The ledger of a client: reserved, uncertain and spent amounts, and what a limit allows."""

from __future__ import annotations

from decimal import Decimal

import pytest

from callsheet._models.policy import SpendLimit
from callsheet._models.spend import Amount, Estimate, Ledger, Price
from callsheet.errors import SpendLimitError


YUAN = Price(per_million=Decimal(10), currency="CNY", source="list", dated="today")
DOLLAR = Price(per_million=Decimal(2), currency="USD", source="list", dated="today")
FREE = Price(per_million=Decimal(0), currency="CNY", source="list", dated="today")

TASK = Estimate(tokens=100_000, tokens_at_least=80_000, price=YUAN)
ONE = Amount(tasks=1, tokens=100_000, cny=Decimal(1))
NOTHING = Amount()


def estimate(tokens: int | None = 100_000, price: Price | None = None) -> Estimate:
    """An estimate with a reason for each unknown figure."""
    return Estimate(tokens=tokens, tokens_at_least=0, price=price, notes=("nobody said",))


def buckets(ledger: Ledger) -> tuple[Amount, Amount, Amount]:
    """The reserved, uncertain and spent amounts."""
    spend = ledger.spend
    return spend.reserved, spend.uncertain, spend.spent


def test_a_new_ledger_is_empty():
    """Without a task nothing is committed, and without a limit nothing is capped."""
    spend = Ledger().spend
    assert spend.committed == NOTHING
    assert spend.left == spend.limit == SpendLimit()


def test_reservation_is_the_most_that_a_task_can_cost():
    """Before it is sent, a task counts with its highest possible cost."""
    ledger = Ledger()
    ledger.reserve("a", TASK)
    assert buckets(ledger) == (ONE, NOTHING, NOTHING)


def test_success_is_settled_from_the_count_of_the_provider():
    """The provider's count of tokens is spent, at the price of the estimate."""
    ledger = Ledger()
    ledger.reserve("a", TASK)
    assert ledger.settle("a", 90_000)
    spent = Amount(tasks=1, tokens=90_000, cny=Decimal("0.9"))
    assert buckets(ledger) == (NOTHING, NOTHING, spent)


@pytest.mark.parametrize("tokens", [None, -1, 0, 1, 79_999])
def test_success_without_a_count_is_settled_from_the_estimate(tokens):
    """A count that is missing, or too low, makes the whole reservation count as spent."""
    ledger = Ledger()
    ledger.reserve("a", TASK)
    assert ledger.settle("a", tokens)
    assert buckets(ledger) == (NOTHING, NOTHING, ONE)


@pytest.mark.parametrize(
    ("least", "said", "spent"),
    [
        (80_000, 0, Amount(tasks=1, tokens=80_000, unpriced=1)),
        (80_000, 90_000, Amount(tasks=1, tokens=90_000, unpriced=1)),
        (80_000, None, Amount(tasks=1, unmeasured=1, unpriced=1)),
        (0, 0, Amount(tasks=1, unmeasured=1, unpriced=1)),
        (0, 1, Amount(tasks=1, tokens=1, unpriced=1)),
    ],
)
def test_a_count_that_is_too_low_is_not_believed_without_a_highest_cost(least, said, spent):
    """If the most is not known, the larger of what is said and the least counts."""
    ledger = Ledger()
    ledger.reserve("a", Estimate(tokens=None, tokens_at_least=least))
    assert ledger.settle("a", said)
    assert buckets(ledger) == (NOTHING, NOTHING, spent)


def test_failure_is_not_billed():
    """A refused or failed task releases its money and its place."""
    ledger = Ledger(SpendLimit(tasks=1))
    ledger.reserve("a", TASK)
    assert ledger.release("a")
    assert ledger.spend.committed == NOTHING
    ledger.reserve("b", TASK)


def test_lost_answer_counts_until_it_is_resolved():
    """An uncertain submission counts against the cap, apart from reserved ones."""
    ledger = Ledger(SpendLimit(tasks=1))
    ledger.reserve("a", TASK)
    assert ledger.doubt("a")
    assert buckets(ledger) == (NOTHING, ONE, NOTHING)
    with pytest.raises(SpendLimitError, match="0 tasks reserved, 1 tasks uncertain"):
        ledger.reserve("b", TASK)


def test_found_submission_is_reserved_again():
    """A submission that is found is reserved and settled like any other."""
    ledger = Ledger()
    ledger.reserve("a", TASK)
    ledger.doubt("a")
    assert ledger.confirm("a")
    assert buckets(ledger) == (ONE, NOTHING, NOTHING)
    assert ledger.settle("a")
    assert buckets(ledger) == (NOTHING, NOTHING, ONE)


@pytest.mark.parametrize(("step", "spent"), [("settle", ONE), ("release", NOTHING)])
def test_uncertain_submission_may_end_at_once(step, spent):
    """If it is absent, it is released; a callback may settle it before it is found."""
    ledger = Ledger()
    ledger.reserve("a", TASK)
    ledger.doubt("a")
    assert getattr(ledger, step)("a")
    assert buckets(ledger) == (NOTHING, NOTHING, spent)


def test_a_task_of_an_earlier_client_is_counted_past_the_caps():
    """A task of an earlier client counts, even if it exceeds the caps."""
    ledger = Ledger(SpendLimit(tasks=1, usd=Decimal(1)))
    for name in ("a", "b"):
        ledger.carry(name, TASK)
        assert name in ledger
    assert ledger.spend.reserved.tasks == 2
    with pytest.raises(ValueError, match="in the ledger already"):
        ledger.carry("a", TASK)
    with pytest.raises(SpendLimitError):
        ledger.reserve("c", TASK)
    ledger.settle("a")
    ledger.doubt("b")
    assert "a" not in ledger
    assert "b" in ledger
    assert "c" not in ledger


def test_another_attempt_takes_the_place_of_one_that_made_nothing():
    """What is held for a create that made no task does not count beside the next one."""
    ledger = Ledger(SpendLimit(tasks=1))
    ledger.reserve("a", TASK)
    assert isinstance(ledger.refusal(TASK), SpendLimitError)
    assert ledger.refusal(TASK, instead_of="a") is None
    ledger.carry("b", TASK)
    assert isinstance(ledger.refusal(TASK, instead_of="a"), SpendLimitError)
    assert ledger.spend.reserved.tasks == 2


@pytest.mark.parametrize("doubted", [False, True])
def test_a_task_keeps_its_bucket_under_another_name(doubted):
    """An attempt is named after its spec once its task is watched, and no sum changes."""
    ledger = Ledger()
    ledger.reserve("attempt", TASK)
    if doubted:
        ledger.doubt("attempt")
    before = ledger.spend
    assert ledger.move("attempt", "spec")
    assert not ledger.move("attempt", "spec")
    assert ledger.spend == before
    assert "spec" in ledger
    assert "attempt" not in ledger
    ledger.reserve("attempt", TASK)
    with pytest.raises(ValueError, match="in the ledger already"):
        ledger.move("attempt", "spec")


@pytest.mark.parametrize("step", ["settle", "release", "doubt", "confirm"])
def test_steps_of_a_task_that_is_not_in_the_ledger_change_nothing(step):
    """Attached tasks, and tasks that have ended, change no sum."""
    ledger = Ledger()
    ledger.reserve("a", TASK)
    ledger.settle("a")
    before = ledger.spend
    assert getattr(ledger, step)("a") is False
    assert getattr(ledger, step)("stranger") is False
    assert ledger.spend == before


@pytest.mark.parametrize(("first", "step"), [("reserve", "confirm"), ("doubt", "doubt")])
def test_step_from_the_other_bucket_changes_nothing(first, step):
    """A reserved task cannot be confirmed, and an uncertain one cannot be doubted again."""
    ledger = Ledger()
    ledger.reserve("a", TASK)
    if first == "doubt":
        ledger.doubt("a")
    before = ledger.spend
    assert getattr(ledger, step)("a") is False
    assert ledger.spend == before


@pytest.mark.parametrize("doubted", [False, True])
def test_one_task_is_reserved_once(doubted):
    """Reserving a key that is in the ledger already raises."""
    ledger = Ledger()
    ledger.reserve("a", TASK)
    if doubted:
        ledger.doubt("a")
    before = ledger.spend
    with pytest.raises(ValueError, match="in the ledger already"):
        ledger.reserve("a", TASK)
    assert ledger.spend == before


@pytest.mark.parametrize(
    ("limit", "price", "words"),
    [
        (SpendLimit(tasks=2), YUAN, "limit of 2 tasks would be passed: 0 tasks spent, 2 tasks"),
        (SpendLimit(tokens=299_999), YUAN, "limit of 299999 tokens would be passed: 0 tokens"),
        (SpendLimit(cny=2.5), YUAN, "limit of CNY 2.5 would be passed: CNY 0 spent, CNY 2 res"),
        (SpendLimit(usd=0.5), DOLLAR, "this may cost USD 0.2; nothing was sent"),
    ],
)
def test_cap_is_never_exceeded(limit, price, words):
    """A task that fits is allowed, and the next is refused with a reason and changes nothing."""
    ledger = Ledger(limit)
    task = estimate(price=price)
    ledger.reserve("a", task)
    ledger.reserve("b", task)
    before = ledger.spend
    with pytest.raises(SpendLimitError, match=words):
        ledger.reserve("c", task)
    assert ledger.spend == before
    assert ledger.release("c") is False


@pytest.mark.parametrize(
    "limit", [SpendLimit(tasks=2), SpendLimit(tokens=200_000), SpendLimit(cny=2)]
)
def test_cap_may_be_used_completely(limit):
    """A task that reaches a cap exactly is allowed."""
    ledger = Ledger(limit)
    ledger.reserve("a", TASK)
    ledger.reserve("b", TASK)
    left = ledger.spend.left
    assert 0 in {left.tasks, left.tokens, left.cny}


@pytest.mark.parametrize(
    ("limit", "task", "words"),
    [
        (SpendLimit(tokens=10**9), estimate(None, YUAN), "tokens of this are not known"),
        (SpendLimit(cny=100), estimate(100, None), "price of this is not known"),
        (SpendLimit(usd=100), estimate(None, None), "price of this is not known"),
        (SpendLimit(cny=100), estimate(None, YUAN), "tokens of this, and so the money, are not"),
        (SpendLimit(usd=100), estimate(100, YUAN), "paid in CNY, for which it sets no cap"),
        (SpendLimit(cny=100), estimate(100, DOLLAR), "paid in USD, for which it sets no cap"),
    ],
)
def test_unknown_figure_with_a_cap_is_refused(limit, task, words):
    """A spec is refused if a figure that has a cap is unknown."""
    ledger = Ledger(limit)
    with pytest.raises(SpendLimitError, match=words) as caught:
        ledger.reserve("a", task)
    assert ("nobody said" in str(caught.value)) == ("not known" in words or "are not" in words)
    assert ledger.spend.committed == NOTHING


@pytest.mark.parametrize(
    ("limit", "task"),
    [
        (SpendLimit(tasks=1), estimate(None, None)),
        (SpendLimit(tokens=100), estimate(100, None)),
        (SpendLimit(usd=0, cny=5), estimate(100, YUAN)),
        (SpendLimit(usd=1), estimate(100, FREE)),
    ],
)
def test_figure_that_is_not_capped_may_be_unknown(limit, task):
    """Only a figure with a cap must be known; another currency or a price of 0 needs no cap."""
    ledger = Ledger(limit)
    ledger.reserve("a", task)
    assert ledger.spend.reserved.tasks == 1


def test_zero_allows_nothing():
    """A cap of 0 refuses the first task."""
    for limit in (SpendLimit(tasks=0), SpendLimit(tokens=0), SpendLimit(cny=0)):
        with pytest.raises(SpendLimitError, match="would be passed"):
            Ledger(limit).reserve("a", TASK)


def test_unknown_figures_are_added_when_they_are_known():
    """Tokens without an estimate are in the sums once the provider has counted them."""
    ledger = Ledger()
    ledger.reserve("a", estimate(None, YUAN))
    ledger.reserve("b", estimate(100, None))
    assert ledger.spend.reserved == Amount(tasks=2, tokens=100, unmeasured=1, unpriced=2)
    ledger.settle("a", 100_000)
    ledger.settle("b", 200)
    assert ledger.spend.spent == Amount(tasks=2, tokens=100_200, cny=Decimal(1), unpriced=1)


def test_nothing_is_allowed_after_a_task_above_its_highest_cost():
    """The real count is added, beyond the cap, and then nothing more is allowed."""
    ledger = Ledger(SpendLimit(tokens=150_000))
    ledger.reserve("a", TASK)
    ledger.settle("a", 160_000)
    assert ledger.spend.spent.tokens == 160_000
    assert ledger.spend.left.tokens == 0
    with pytest.raises(SpendLimitError, match="160000 tokens spent"):
        ledger.reserve("b", estimate(0, YUAN))
