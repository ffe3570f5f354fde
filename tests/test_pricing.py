"""The prices of one spec and of many."""

from __future__ import annotations

import math
import pickle
from decimal import Decimal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet import ConfigurationError, Provider, Spend, SpendLimit, TaskSpec, pricing
from callsheet._catalog import PROVIDERS
from emulation import ARK, Wire, client


SPEC = TaskSpec("a boat", duration=5, ratio="16:9", generate_audio=True)


@pytest.mark.parametrize("name", PROVIDERS)
def test_provider_may_be_a_name_or_a_provider(name):
    """A name and its provider give the same estimate."""
    assert pricing.estimate(SPEC, provider=name) is pricing.estimate(SPEC, provider=PROVIDERS[name])


def test_provider_of_the_caller_is_used():
    """The caller's own provider has its default model and no known price."""
    mine = Provider(
        name="mine", base_url="https://mine.test", default_model="doubao-seedance-1-5-pro-251215"
    )
    found = pricing.estimate(SPEC, provider=mine)
    assert found.tokens == 108_900
    assert found.money is None


def test_default_is_cometapi_whose_prices_are_unknown():
    """Without a provider the tokens are known and the money is not."""
    found = pricing.estimate(SPEC)
    assert (found.tokens, found.money, found.currency) == (108_900, None, None)


def test_unknown_provider_is_refused():
    """An unknown name raises an error that lists the known ones."""
    with pytest.raises(ConfigurationError, match="cometapi, ark, byteplus, emulator"):
        pricing.estimate(SPEC, provider="comet")


def test_total_adds_known_figures_and_counts_unknown_ones():
    """Currencies stay separate, and unknown figures are counted and not guessed."""
    estimates = [
        pricing.estimate(SPEC, provider="ark"),
        pricing.estimate(SPEC, provider="ark"),
        pricing.estimate(SPEC, provider="byteplus"),
        pricing.estimate(SPEC),
        pricing.estimate(TaskSpec("a", model="ep-1"), provider="ark"),
    ]
    assert pricing.total(estimates) == pricing.Amount(
        tasks=5,
        tokens=4 * 108_900,
        cny=2 * Decimal("1.7424"),
        usd=Decimal("0.26136"),
        unmeasured=1,
        unpriced=2,
    )


def test_total_of_no_specs_is_zero():
    """No specs cost no tokens and no money."""
    assert pricing.total([]) == pricing.Amount()


@given(st.lists(st.sampled_from(["ark", "byteplus", "cometapi", "emulator"]), max_size=9))
def test_amounts_add_and_subtract(names):
    """Subtracting what was added leaves nothing."""
    amount = pricing.total(pricing.estimate(SPEC, provider=name) for name in names)
    assert amount.tasks == len(names)
    assert amount - amount == pricing.Amount()
    assert amount + pricing.Amount() == amount


def test_values_are_frozen_and_can_be_pickled():
    """Estimates, prices, amounts and limits cannot be changed, and can be pickled."""
    found = pricing.estimate(SPEC, provider="ark")
    for value in (found, found.price, pricing.total([found]), SpendLimit(usd=1)):
        assert pickle.loads(pickle.dumps(value)) == value
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(value, attrs.fields(type(value))[0].name, None)


@pytest.mark.parametrize(
    ("given", "held"),
    [(3, "3"), (0.1, "0.1"), (Decimal("2.50"), "2.50"), (0, "0"), (1e-7, "0.0000001")],
)
def test_money_of_a_limit_is_exact(given, held):
    """Numbers become the decimal that is written."""
    assert SpendLimit(usd=given).usd == SpendLimit(cny=given).cny == Decimal(held)


@pytest.mark.parametrize(
    ("cap", "words"),
    [
        ({"usd": -1}, "usd must be a finite amount >= 0, not -1"),
        ({"cny": Decimal("-0.01")}, "cny must be"),
        ({"usd": math.nan}, "usd must be"),
        ({"usd": math.inf}, "usd must be"),
        ({"cny": Decimal("sNaN")}, "cny must be"),
        ({"tokens": -1}, "tokens must be >= 0, not -1"),
        ({"tasks": -5}, "tasks must be"),
        ({"usd": "5"}, "money is a Decimal or a number, not '5'"),
        ({"usd": True}, "money is"),
        ({"tokens": 1.5}, "tokens is a whole number, not 1.5"),
        ({"tasks": True}, "tasks is"),
    ],
)
def test_invalid_limit_is_refused(cap, words):
    """A cap is a finite amount of at least 0 and of the right type."""
    with pytest.raises((ValueError, TypeError), match=words):
        SpendLimit(**cap)


def test_the_rest_is_the_cap_less_the_committed_amount():
    """Reserved, uncertain and spent amounts all count, and the rest is at least 0 or uncapped."""
    one = pricing.total([pricing.estimate(SPEC, provider="ark")])
    spend = Spend(
        limit=SpendLimit(tokens=400_000, tasks=2, cny=10),
        reserved=one,
        uncertain=one,
        spent=one,
    )
    assert spend.committed.tasks == 3
    assert spend.left == SpendLimit(
        tokens=400_000 - 326_700, tasks=0, cny=Decimal(10) - 3 * Decimal("1.7424")
    )
    assert spend.left.usd is None


V2_5 = "doubao-seedance-2-5-260628"
PRO = "doubao-seedance-1-0-pro-250528"
OPEN = [
    SPEC,
    TaskSpec("a boat"),
    TaskSpec("a boat", duration=-1, resolution="480p"),
    TaskSpec("a boat --dur 7 --rt 9:16"),
    TaskSpec("a boat", draft=True),
    TaskSpec("a boat", model=PRO, frames=57),
    TaskSpec("a boat", model=PRO, resolution="480p", service_tier="flex"),
    TaskSpec("a boat", model=V2_5),
    TaskSpec("a boat", model="doubao-seedance-2-0-260128", resolution="4k"),
    TaskSpec(
        "a boat", model="doubao-seedance-1-0-lite-i2v-250428", first_frame="https://a.test/a.png"
    ),
]


async def test_the_bill_is_within_the_estimate():
    """The emulator calculates its bill independently, and it is always within the bounds."""
    async with client(Wire()) as c:
        videos = (await (await c.submit_many(OPEN)).result()).videos()
    for spec, video in zip(OPEN, videos, strict=True):
        found = pricing.estimate(spec, provider=ARK)
        assert found.tokens_at_least <= video.usage.total_tokens <= found.tokens, spec
