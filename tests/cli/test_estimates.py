"""What ``check`` and ``run --dry-run`` say about money; neither sends anything."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from callsheet._cli import main


PLAIN = {"prompt": "a", "duration": 5, "ratio": "16:9", "generate_audio": False}
LOOSE = {"prompt": "b", "duration": 5, "ratio": "1:1"}
UNKNOWN = {"prompt": "c", "model": "ep-1"}
VIDEO = {
    "prompt": "d",
    "model": "doubao-seedance-2-0-260128",
    "references": [{"video": "https://a.test/v.mp4"}],
    "ratio": "16:9",
}


@pytest.fixture
def source(tmp_path):
    """Writes a file of specs."""

    def write(*rows: dict):
        path = tmp_path / "shots.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
        return path

    return write


def check(path, capfd, provider="ark") -> list[str]:
    """The lines that ``check`` prints about a good file."""
    assert main(["check", str(path), "--provider", provider]) == 0
    said = capfd.readouterr()
    assert said.err == ""
    return [line.replace(str(path), "FILE") for line in said.out.splitlines()]


def test_check_says_what_each_spec_and_all_together_may_cost(source, capfd):
    """Equal estimates share a line; bounds and unknown figures are marked as such."""
    lines = check(source(PLAIN, PLAIN, LOOSE, UNKNOWN, VIDEO), capfd)
    assert lines[0] == "FILE: 5 specs, nothing wrong for ark"
    assert lines[1:5] == [
        "  FILE:1 and 1 more, each: 108,900 tokens, CNY 0.8712",
        "  FILE:3: 108,900 tokens, CNY 0.8712 to 1.75",
        "  FILE:4: tokens unknown, price unknown",
        "  FILE:5: at least 108,900 tokens, at least CNY 3.04",
    ]
    assert lines[5] == (
        "together, if all succeed: at most 326,700 tokens, CNY 3.49; "
        "2 more of unknown tokens; 2 more of unknown price"
    )
    assert "  note: tokens and price of the model ep-1 are not known" in lines
    assert any(line.startswith("  prices: ") and "2026" in line for line in lines)


def test_exact_figures_are_not_called_bounds(source, capfd):
    """If everything is known, the total has neither bounds nor notes."""
    lines = check(source(PLAIN), capfd)
    assert lines[2] == "together, if all succeed: 108,900 tokens, CNY 0.8712"
    assert not any("note" in line for line in lines)


@pytest.mark.parametrize(
    ("provider", "words"),
    [
        ("byteplus", "108,900 tokens, USD 0.1307"),
        ("emulator", "108,900 tokens, free"),
    ],
)
def test_money_is_in_the_currency_of_the_provider(source, capfd, provider, words):
    """Dollars at BytePlus, and nothing at the emulator."""
    lines = check(source(PLAIN), capfd, provider)
    assert lines[1] == f"  FILE:1: {words}"
    assert lines[2] == f"together, if all succeed: {words}"


def test_unknown_prices_are_said_to_be_unknown(source, capfd):
    """At CometAPI the tokens are shown and the price is called unknown."""
    lines = check(source({"prompt": "a", "duration": 5, "ratio": "16:9"}), capfd, "cometapi")
    assert "108,900 tokens, price unknown" in lines[1]
    assert lines[2].endswith("108,900 tokens, price unknown")


def test_unknown_tokens_and_price_are_one_line(source, capfd):
    """A file of unknown models has neither tokens nor price."""
    lines = check(source(UNKNOWN, UNKNOWN), capfd)
    assert lines[2] == "together, if all succeed: tokens unknown, price unknown"


def test_long_list_of_estimates_is_cut(source, capfd):
    """Ten kinds of video are listed and the rest is counted."""
    rows = [
        {"prompt": "a", "duration": seconds, "ratio": ratio, "generate_audio": False}
        for seconds in range(4, 8)
        for ratio in ("16:9", "1:1", "4:3")
    ]
    lines = check(source(*rows), capfd)
    assert sum(line.startswith("  FILE:") for line in lines) == 8
    rows += [{**row, "resolution": "480p"} for row in rows]
    lines = check(source(*rows), capfd)
    assert sum(line.startswith("  FILE:") for line in lines) == 10
    assert "  … and 10 more kinds of video" in lines


def estimate_order(path, out, *options: str) -> int:
    """Run with ``--dry-run`` and return the exit code."""
    return main(["run", str(path), "--out", str(out), "--provider", "ark", "--dry-run", *options])


def test_dry_run_needs_no_key_and_leaves_nothing_behind(source, tmp_path, capfd, monkeypatch):
    """It prints the cost of every sample, makes no folder, and exits with 0."""
    monkeypatch.delenv("ARK_API_KEY", raising=False)
    out = tmp_path / "videos"
    assert estimate_order(source(PLAIN), out, "--samples", "3") == 0
    said = capfd.readouterr().out
    assert "3 videos for ark, none of them is made" in said
    assert ":1, 3 videos, each: 108,900 tokens, CNY 0.8712" in said
    assert "326,700 tokens, CNY 2.62" in said
    assert not out.exists()


def test_dry_run_names_what_is_wrong(source, tmp_path, capfd):
    """Bad input gives exit code 2, as in a run."""
    assert estimate_order(source({"prompt": "a", "duration": 99}), tmp_path / "videos") == 2
    assert "duration=99" in capfd.readouterr().err


def test_dry_run_can_print_events(source, tmp_path, capfd):
    """With --json there is one event per video, then one for the exact total."""
    assert estimate_order(source(PLAIN, UNKNOWN), tmp_path / "videos", "--json") == 0
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["estimate", "estimate", "total"]
    assert events[0]["tokens"] == events[0]["tokens_at_least"] == 108_900
    assert Decimal(events[0]["money"]) == Decimal("0.8712")
    assert events[0]["currency"] == "CNY"
    assert events[0]["place"].endswith("shots.jsonl:1")
    assert events[1]["tokens"] is events[1]["money"] is events[1]["currency"] is None
    assert events[1]["notes"]
    assert events[2] == {
        "event": "total", "tasks": 2, "tokens": 108_900, "usd": "0", "cny": "0.8712",
        "unmeasured": 1, "unpriced": 1,
    }  # fmt: skip


def test_quiet_dry_run_says_only_the_sum(source, tmp_path, capfd):
    """With --quiet stdout is empty and stderr holds one line."""
    assert estimate_order(source(PLAIN, LOOSE), tmp_path / "videos", "--quiet") == 0
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == ["together, if all succeed: at most 217,800 tokens, CNY 2.62"]


def test_own_prices_are_used_where_none_is_known(source, capfd, tmp_path):
    """With a file of prices, check and dry run say what videos cost at any provider."""
    prices = tmp_path / "prices.json"
    prices.write_text('{"doubao-seedance-1-5-pro-251215": "USD 2.4"}', "utf-8")
    path = str(source({"prompt": "a", "duration": 5, "ratio": "16:9"}))
    for command in (["check", path], ["run", path, "--out", str(tmp_path / "o"), "--dry-run"]):
        for provider in ("cometapi", "emulator", "ark"):
            more = ["--provider", provider, "--prices", str(prices)]
            assert main([*command, *more]) == 0
            said = capfd.readouterr().out
            assert "together, if all succeed: 108,900 tokens, USD 0.2614" in said
            assert "prices: given by you" in said


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("no", "Expecting value"),
        ("[]", "an object is expected"),
        ('{"a": 2}', "2 is no price; write it like"),
        ('{"a": "2 USD"}', "'2 USD' is no price; write it like"),
        (None, "No such file"),
    ],
)
def test_a_bad_file_of_prices_is_named(source, capfd, tmp_path, content, reason):
    """Each command that takes prices names the file and the reason, and does nothing."""
    prices, path = tmp_path / "prices.json", str(source(PLAIN))
    if content is not None:
        prices.write_text(content, "utf-8")
    out = tmp_path / "o"
    for command in (["check", path], ["run", path, "--out", str(out)], ["emulate", "--port", "0"]):
        assert main([*command, "--prices", str(prices)]) == 2
        assert (said := capfd.readouterr().err).startswith(f"{prices}: ")
        assert reason in said
    assert not out.exists()
