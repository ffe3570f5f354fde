"""Estimates: the price tables, and the bounds if something is unknown."""

from __future__ import annotations

from decimal import Decimal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet import Image, TaskSpec, VideoRef
from callsheet._catalog import MODELS, PROVIDERS, capability, estimate, output_size, tokens
from callsheet._catalog.estimates import TABLES, price_of
from callsheet._catalog.models import RATIOS


LITE = "doubao-seedance-1-0-lite-t2v-250428"
PRO = "doubao-seedance-1-0-pro-250528"
PRO_1_5 = "doubao-seedance-1-5-pro-251215"
V2 = "doubao-seedance-2-0-260128"
V2_5 = "doubao-seedance-2-5-260628"
ARK = PROVIDERS["ark"]
BYTEPLUS = PROVIDERS["byteplus"]

NUMBERS = st.none() | st.integers(-2, 400)
WORDS = st.none() | st.sampled_from(["480p", "720P", "1080p", "4k", "8k", *RATIOS, "2:1", ""])
FLAGS = st.none() | st.booleans()
COMMANDS = st.sampled_from(
    ["", " --dur 7", " --duration 99", " --rs 480p", " --resolution 9k", " --rt 1:1", " --ratio x",
     " --frames 57", " --frames 30", " --dur x"]
)  # fmt: skip


@st.composite
def specs(draw: st.DrawFn) -> TaskSpec:
    """Specs of every kind, valid or not."""
    extra = st.fixed_dictionaries(
        {},
        optional={
            "duration": NUMBERS | st.text(max_size=3),
            "resolution": WORDS | st.booleans(),
            "ratio": WORDS,
            "generate_audio": FLAGS | NUMBERS,
            "service_tier": st.sampled_from(["flex", "default", None, 3]),
            "tools": st.just([{"type": "web_search"}]),
            "model": st.sampled_from([V2, "ep-1"]),
            "content": st.just([{"type": "text", "text": "--dur 12"}]),
        },
    )
    return TaskSpec(
        "a boat" + draw(COMMANDS) + draw(COMMANDS),
        model=draw(st.sampled_from([row.cn for row in MODELS] + [None, "ep-1"])),
        resolution=draw(WORDS),
        ratio=draw(WORDS),
        duration=draw(NUMBERS),
        frames=draw(NUMBERS),
        generate_audio=draw(FLAGS),
        draft=draw(FLAGS),
        draft_task=draw(st.none() | st.just("cgt-1")),
        service_tier=draw(st.sampled_from([None, "default", "flex"])),
        first_frame=draw(st.none() | st.just(Image("https://a.test/a.png"))),
        references=draw(st.sampled_from([(), (VideoRef("https://a.test/a.mp4"),)])),
        tools=draw(st.sampled_from([(), ("web_search",)])),
        extra=draw(st.none() | extra),
    )


@pytest.mark.parametrize(
    ("model", "command", "field"),
    [
        ("doubao-seedance-1-0-lite-t2v-250428", "--frames 57", {"frames": 29}),
        ("doubao-seedance-1-0-lite-t2v-250428", "--dur 10", {"duration": 5}),
        ("doubao-seedance-2-0-260128", "--rs 480p", {"resolution": "720p"}),
        ("doubao-seedance-2-0-260128", "--rt 1:1", {"ratio": "21:9"}),
    ],
)
def test_a_text_command_that_contradicts_a_field_gives_bounds(model, command, field):
    """It is unknown whether the field or the command counts, and the reason says so."""
    ways = {"resolution": "720p", "ratio": "16:9"} | field
    one = estimate(TaskSpec("a boat", model=model, **ways), PROVIDERS["ark"])
    two = estimate(TaskSpec(f"a boat {command}", model=model, **ways), PROVIDERS["ark"])
    assert one.exact
    assert not two.exact
    assert not any("text commands" in note for note in one.notes)
    assert any("text commands" in note for note in two.notes)


@given(specs(), st.sampled_from(sorted(PROVIDERS)))
def test_every_estimate_is_valid(spec, provider):
    """For any spec the lower bound is at most the upper one, and unknown figures are ``None``."""
    found = estimate(spec, PROVIDERS[provider])
    assert found.tokens_at_least >= 0
    assert found.tokens is None or found.tokens >= found.tokens_at_least
    assert (found.price is None) == (found.money_at_least is None) == (found.currency is None)
    if found.money is not None:
        assert 0 <= found.money_at_least <= found.money
    if provider == "cometapi":
        assert found.price is None
    if found.tokens is None or found.price is None or not found.exact:
        assert found.notes


@given(specs(), st.sampled_from(sorted(PROVIDERS)))
def test_equal_estimates_are_one_object(spec, provider):
    """Specs that differ only in their prompts share one estimate."""
    found = estimate(spec, PROVIDERS[provider])
    again = estimate(attrs.evolve(spec, prompt=f"other {spec.prompt}"), PROVIDERS[provider])
    assert found is again


@pytest.mark.parametrize(
    ("model", "resolution", "ratio", "duration", "billed"),
    [
        (PRO_1_5, "720p", "16:9", 5, 108_900),
        (PRO, "1080p", "16:9", 5, 246_840),
        (PRO_1_5, "480p", "9:16", 4, 40_594),
        (V2_5, "720p", "9:16", 18, 389_700),
        (PRO_1_5, "480p", "16:9", 5, 50_638),
        (V2_5, "480p", "16:9", 5, 48_437),
        (PRO, "480p", "16:9", 5, 49_005),
    ],
)
def test_tokens_equal_the_published_bills(model, resolution, ratio, duration, billed):
    """The tokens equal those in published answers, for every tier and with or without sound."""
    spec = TaskSpec("a", model=model, resolution=resolution, ratio=ratio, duration=duration)
    found = estimate(spec, ARK)
    assert found.exact
    assert found.tokens == billed
    assert tokens(*output_size(capability(model), resolution, ratio), duration) == billed


def test_seconds_of_the_input_count_like_seconds_of_the_output():
    """Thirty seconds that were made from thirty seconds were billed as sixty."""
    assert tokens(1280, 720, 30 + 30) == 1_296_900


@pytest.mark.parametrize(
    ("spec", "least", "most"),
    [
        (TaskSpec("a", model=PRO), 246_840, 246_840),  # 1080p, 16:9, 5 s
        (TaskSpec("a", model=PRO_1_5), tokens(1280, 720, 5), tokens(1112, 834, 5)),
        (TaskSpec("a", model=V2_5), tokens(1280, 720, 4), tokens(1112, 834, 30)),
        (TaskSpec("a", model=PRO, first_frame="https://a.test/a.png"),
         tokens(1920, 1088, 5) - 14_520, tokens(1920, 1088, 5)),
    ],
)  # fmt: skip
def test_unset_fields_have_the_defaults_of_the_model(spec, least, most):
    """Resolution, ratio and duration are the provider's defaults."""
    found = estimate(spec, ARK)
    assert found.tokens == most
    assert least <= found.tokens_at_least <= found.tokens


def test_frames_count_instead_of_a_duration():
    """The number of frames is used as it is, without one more."""
    spec = TaskSpec("a", model=PRO, resolution="480p", ratio="16:9", frames=57, duration=12)
    found = estimate(spec, ARK)
    assert found.tokens == found.tokens_at_least == 864 * 480 * 57 // 1024


def test_a_duration_that_the_model_chooses_has_bounds():
    """With a duration of -1 the bounds are the model's shortest and longest duration."""
    spec = TaskSpec("a", model=V2, ratio="1:1", duration=-1)
    found = estimate(spec, ARK)
    assert (found.tokens_at_least, found.tokens) == (tokens(960, 960, 4), tokens(960, 960, 15))
    assert not found.exact
    assert "the model chooses 4 to 15 seconds" in found.notes


@pytest.mark.parametrize("model", [row.cn for row in MODELS])
def test_an_adaptive_ratio_has_bounds(model):
    """The bounds include the tokens of every ratio."""
    loose = estimate(TaskSpec("a", model=model, ratio="adaptive", duration=5), ARK)
    for ratio in RATIOS[:-1]:
        made = estimate(TaskSpec("a", model=model, ratio=ratio, duration=5), ARK)
        assert made.exact
        assert loose.tokens_at_least <= made.tokens <= loose.tokens


def test_a_draft_is_small_and_has_a_lower_price():
    """A draft is 480p and costs at least six tenths of such a video."""
    spec = TaskSpec("a", model=PRO_1_5, draft=True, ratio="16:9", duration=5)
    found = estimate(spec, ARK)
    assert found.tokens == 50_638
    assert found.tokens_at_least == 50_638 * 6 // 10


def test_a_final_render_has_bounds():
    """The draft's ratio and duration are unknown, so the bounds include all that are possible."""
    found = estimate(TaskSpec(draft_task="cgt-1", model=PRO_1_5, resolution="480p"), ARK)
    assert found.tokens_at_least == tokens(640, 640, 4)
    assert found.tokens == max(
        tokens(*output_size(capability(PRO_1_5), "480p", ratio), 12) for ratio in RATIOS[:-1]
    )


def test_reference_videos_leave_the_tokens_unknown():
    """Their seconds are billed too, so only a lower bound is known, at the price for them."""
    spec = TaskSpec(
        "a", model=V2, ratio="16:9", duration=5, references=[VideoRef("https://a.test/a.mp4")]
    )
    found = estimate(spec, ARK)
    assert found.tokens is None
    assert found.money is None
    assert found.tokens_at_least == 108_900
    assert found.price.per_million == 28
    assert any("reference videos" in note for note in found.notes)


def test_options_in_the_prompt_count():
    """Text commands that the model supports count; for others its default counts."""
    plain = TaskSpec("a boat", model=PRO, resolution="480p", ratio="1:1", duration=7)
    written = TaskSpec("a boat --rs 480p --rt 1:1 --dur 7", model=PRO)
    assert estimate(written, ARK).tokens == estimate(plain, ARK).tokens
    silly = TaskSpec("a boat --rs 9k --rt 2:1 --dur soon --frames 30", model=PRO)
    assert estimate(silly, ARK) == estimate(TaskSpec("a boat", model=PRO), ARK)


@pytest.mark.parametrize(
    "spec",
    [
        TaskSpec("a --dur 4", model=PRO_1_5, ratio="1:1", duration=12),
        TaskSpec("a --dur 4", model=V2, ratio="1:1", extra={"duration": 12}),
        TaskSpec("a --frames 97", model=PRO, ratio="1:1", duration=12),
    ],
)
def test_a_prompt_that_contradicts_a_field_gives_bounds(spec):
    """It is unknown which one counts, so the bounds include both."""
    size = output_size(capability(spec.model), None, "1:1")
    found = estimate(spec, ARK)
    assert (found.tokens_at_least, found.tokens) == (tokens(*size, 4), tokens(*size, 12))


def test_commands_of_the_newer_models_may_not_count():
    """For the 2.x models either the command or the default may count."""
    found = estimate(TaskSpec("a --dur 15", model=V2, ratio="1:1"), ARK)
    assert (found.tokens_at_least, found.tokens) == (tokens(960, 960, 5), tokens(960, 960, 15))


def test_raw_keys_count():
    """The values in `extra` are sent, so they are priced."""
    raw = {"generate_audio": False, "service_tier": "flex", "duration": 4}
    found = estimate(TaskSpec("a", model=PRO_1_5, ratio="1:1", extra=raw), ARK)
    assert found.tokens == tokens(960, 960, 4)
    assert found.price.per_million == 4


@pytest.mark.parametrize("key", ["model", "content"])
def test_raw_model_and_content_leave_everything_unknown(key):
    """A raw model or content is not priced by the fields that it replaces."""
    spec = TaskSpec("a", model=PRO, ratio="1:1", extra={key: V2})
    found = estimate(spec, ARK)
    assert found.tokens is None
    assert found.tokens_at_least == 0
    assert found.price is None
    assert found.notes == (f"extra says {key}, which may make it cost anything",)
    assert estimate(attrs.evolve(spec, prompt="b"), ARK) is found


@pytest.mark.parametrize(
    "spec",
    [
        TaskSpec("a", model="ep-1"),
        TaskSpec("a", model=PRO, resolution="8k"),
        TaskSpec("a", model=PRO, ratio="2:1"),
        TaskSpec("a", model=PRO, duration=0),
    ],
)
def test_values_outside_the_tables_are_unknown(spec):
    """Unknown models, sizes and durations are not guessed, and the reason is given."""
    found = estimate(spec, ARK)
    assert found.tokens is None
    assert found.tokens_at_least == 0
    assert found.price is None
    assert found.notes


@pytest.mark.parametrize(
    ("spec", "cny", "usd"),
    [
        (TaskSpec("a", model=PRO_1_5, generate_audio=True), "16", "2.4"),
        (TaskSpec("a", model=PRO_1_5, generate_audio=False), "8", "1.2"),
        (TaskSpec("a", model=PRO_1_5, generate_audio=True, service_tier="flex"), "8", "1.2"),
        (TaskSpec("a", model=PRO_1_5, generate_audio=False, service_tier="flex"), "4", "0.6"),
        (TaskSpec("a", model=PRO), "15", "2.5"),
        (TaskSpec("a", model=PRO, service_tier="flex"), "7.5", None),
        (TaskSpec("a", model=LITE), "10", "1.8"),
        (TaskSpec("a", model=V2), "46", "7"),
        (TaskSpec("a", model=V2, generate_audio=False), "46", "7"),
        (TaskSpec("a", model=V2, resolution="1080P"), "51", "7.7"),
        (TaskSpec("a", model=V2, resolution="4k"), "26", "4"),
        (TaskSpec("a", model=V2_5, resolution="480p"), "70", "10.7"),
        (TaskSpec("a", model=V2_5, resolution="1080p"), "77", "11.7"),
        (TaskSpec("a", model="doubao-seedance-2-0-r2v-260128"), None, None),
        (TaskSpec("a", model=V2, tools=["web_search"]), None, None),
    ],
)
def test_price_is_that_of_the_price_list(spec, cny, usd):
    """It depends on tier, sound and resolution, and else it is unknown."""
    for provider, listed in ((ARK, cny), (BYTEPLUS, usd)):
        found = estimate(spec, provider)
        if listed is None:
            assert found.price is None
            assert found.money is None
        else:
            assert found.price.per_million == Decimal(listed)
            assert found.price.currency == TABLES[provider.name].currency
            assert found.price.source
            assert found.price.dated


def test_default_sound_gives_bounds():
    """It is unclear if sound is made by default: the upper bound has it, the lower has not."""
    found = estimate(TaskSpec("a", ratio="16:9", duration=5), ARK)
    assert found.exact
    assert found.money == Decimal("1.7424")
    assert found.money_at_least == Decimal("0.8712")


def test_money_is_exact():
    """Money is tokens times the price per million, without rounding."""
    found = estimate(TaskSpec("a", model=PRO, ratio="16:9"), BYTEPLUS)
    assert found.money == found.money_at_least == Decimal("0.6171")


def test_gateway_without_a_price_list_has_no_prices():
    """The prices of CometAPI and of any other provider are unknown, but the tokens are known."""
    for provider in (PROVIDERS["cometapi"], attrs.evolve(ARK, name="gateway")):
        found = estimate(TaskSpec("a", ratio="16:9", duration=5), provider)
        assert found.tokens == 108_900
        assert found.price is None
        assert any("no price" in note for note in found.notes)


def test_emulator_is_free():
    """Renders of the emulator cost nothing."""
    assert estimate(TaskSpec("a"), PROVIDERS["emulator"]).money == 0


@pytest.mark.parametrize("name", TABLES)
def test_every_priced_model_is_in_the_catalog(name):
    """The price tables have only families and resolutions of the catalog, and positive prices."""
    families = {row.family: row for row in MODELS}
    for (family, resolution), rates in TABLES[name].rates.items():
        row = families[family]
        assert resolution is None or resolution in row.resolutions
        assert rates.flex <= row.service_tier
        assert (rates.silent is None) or row.generate_audio
        assert (rates.video is None) or row.reference_videos > 0
        for flex in {False, rates.flex}:
            price = price_of(name, family, row.resolutions[0], sound=True, video=False, flex=flex)
            assert price.per_million > 0
