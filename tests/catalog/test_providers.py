"""The table of providers, and the rules for specs at each provider."""

from __future__ import annotations

import pytest

from callsheet._catalog import MODELS, PROVIDERS, capability
from callsheet._catalog.providers import CLOUDS
from callsheet._models.spec import TaskSpec
from catalog.checking import allowed, problems, wrong


CN, BYTEPLUS = "doubao-seedance-1-5-pro-251215", "seedance-1-5-pro-251215"


def test_there_are_four_providers():
    """Each provider is listed under its own name with its documented address."""
    assert {name: row.base_url for name, row in PROVIDERS.items()} == {
        "cometapi": "https://api.cometapi.com/volc/v3",
        "ark": "https://ark.cn-beijing.volces.com/api/v3",
        "byteplus": "https://ark.ap-southeast.bytepluses.com/api/v3",
        "emulator": "http://127.0.0.1:8787/api/v3",
    }
    assert all(row.name == name for name, row in PROVIDERS.items())


def test_keys_come_from_variables_except_for_the_emulator():
    """Every service has its own key variable, and the emulator needs no key."""
    keys = {name: row.key_variable for name, row in PROVIDERS.items()}
    assert keys == {
        "cometapi": "COMETAPI_KEY",
        "ark": "ARK_API_KEY",
        "byteplus": "BYTEPLUS_API_KEY",
        "emulator": None,
    }


def test_only_documented_capabilities_are_assumed():
    """Lists and tokens are used only if the provider documents them."""
    powers = {name: (row.dialect, row.lists, row.token) for name, row in PROVIDERS.items()}
    assert powers == {
        "cometapi": ("comet", None, False),
        "ark": ("ark", True, True),
        "byteplus": ("ark", True, True),
        "emulator": ("ark", True, True),
    }
    assert PROVIDERS["emulator"].speed == 60


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
def test_every_provider_is_ready_to_use(provider):
    """Its rates are set, except one that is probed, and a bare prompt has no problem."""
    limits = provider.limits
    assert limits.creates_per_minute <= 600
    assert limits.gets_per_second == (None if provider.name == "cometapi" else 20)
    assert limits.lists_per_second == 1
    assert limits.cancels_per_second == 20
    assert capability(provider.default_model).family == "1.5 pro"
    assert problems(TaskSpec("A boat"), provider) == []


@pytest.mark.parametrize(
    ("provider", "given", "right"),
    [("ark", BYTEPLUS, CN), ("cometapi", BYTEPLUS, CN), ("byteplus", CN, BYTEPLUS)],
)
def test_an_id_of_the_other_cloud_is_named_with_the_right_one(provider, given, right):
    """The problem has the id of the model at this provider."""
    assert right in allowed(TaskSpec("A boat", model=given), "model", provider)
    assert wrong(TaskSpec("A boat", model=right), provider) == []


def test_a_model_without_an_id_in_a_cloud_is_named():
    """A model without a known id at BytePlus is a problem there."""
    spec = TaskSpec("A boat", model="doubao-seedance-2-0-r2v-260128")
    assert wrong(spec, "byteplus") == ["model"]
    assert wrong(spec, "ark") == []


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("model", ["ep-20260101-abcde", "doubao-seedance-1-5-pro", "seedance-9-9"])
def test_unknown_ids_pass_everywhere(provider, model):
    """Endpoints, undated names and newer models are left to the provider."""
    assert wrong(TaskSpec("A boat", model=model), provider) == []


def test_the_emulator_knows_the_ids_of_both_clouds():
    """A provider of no cloud accepts either id of each model that makes videos from text."""
    assert "emulator" not in CLOUDS
    for row in MODELS:
        for model in filter(None, (row.cn, row.byteplus)):
            if row.text:
                assert wrong(TaskSpec("A boat", model=model), "emulator") == []


def test_tools_are_for_ark_only():
    """Web search is allowed at Ark and is a problem at BytePlus."""
    spec = TaskSpec("A boat", model="doubao-seedance-2-0-260128", tools=["web_search"])
    assert wrong(spec, "ark") == []
    abroad = TaskSpec("A boat", model="dreamina-seedance-2-0-260128", tools=["web_search"])
    assert wrong(abroad, "byteplus") == ["tools"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("generate_audio", False),
        ("draft", False),
        ("draft_task", "cgt-1"),
        ("return_last_frame", True),
        ("service_tier", "flex"),
        ("execution_expires_after", 3600),
        ("priority", 0),
        ("tools", ("web_search",)),
    ],
)
def test_options_without_a_text_command_are_named_at_cometapi(field, value):
    """The problem says how to send such an option nevertheless."""
    spec = TaskSpec(None if field == "draft_task" else "A boat", model="ep-1", **{field: value})
    assert wrong(spec) == []
    assert wrong(spec, "cometapi") == [field]
    assert "extra" in allowed(spec, field, "cometapi")


def test_raw_keys_are_allowed_at_cometapi():
    """A raw key is allowed even if its field is a problem."""
    assert wrong(TaskSpec("A boat", extra={"generate_audio": False}), "cometapi") == []


def test_options_that_have_text_commands_pass_at_cometapi():
    """Fields that are sent in the prompt are allowed there."""
    spec = TaskSpec(
        "A boat",
        duration=5,
        ratio="16:9",
        resolution="720p",
        seed=7,
        watermark=False,
        camera_fixed=True,
        callback_url="https://app.test/hook",
    )
    assert wrong(spec, "cometapi") == []


def test_commands_in_the_prompt_must_agree_with_fields():
    """The prompt is not changed, so a field that is missing in it or differs is a problem."""
    prompt = "A boat --rt 16:9 --wm TRUE"
    agreed = TaskSpec(prompt, ratio="16:9", watermark=True)
    assert wrong(agreed, "cometapi") == []
    differs = TaskSpec(prompt, ratio="9:16", duration=5, watermark=False)
    assert wrong(differs, "cometapi") == ["duration", "ratio", "watermark"]
    assert "--duration 5" in allowed(differs, "duration", "cometapi")
    assert "--watermark false" in allowed(differs, "watermark", "cometapi")
    odd = TaskSpec(prompt, resolution="\ud83d" * 9_000, model="ep-1")
    assert any("--resolution … there" in row.allowed for row in problems(odd, "cometapi"))
    assert wrong(differs, "ark") == []
