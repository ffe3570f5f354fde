from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import av
import pytest

from callsheet._cli import main


if TYPE_CHECKING:
    from pathlib import Path


PROMPTS = ["A cat sits.", "一只猫在窗台上", "A cat sits."]
CODE = "import sys; from callsheet._cli import main; sys.exit(main())"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of three prompts, two of them equal."""
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(PROMPTS), "utf-8")
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder that does not exist yet."""
    return tmp_path / "videos"


@pytest.fixture
def emulator():
    """An emulator in a separate process, which outlives the runs that use it."""
    command = [sys.executable, "-c", CODE, "emulate", "--port", "0", "--speed", "60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        yield words[2].rstrip(",") + "/api/v3"
        process.send_signal(signal.SIGINT)


def make(source: Path, out: Path, *more: object) -> int:
    """Run in this process and return the exit code."""
    options = ["--provider", "emulator", "--out", out, *more]
    if "--speed" not in more:
        options += ["--speed", "500"]
    return main(["run", *map(str, [source, *options])])


def rows(out: Path) -> list[dict]:
    """The rows on disk, in the order of the file."""
    return [json.loads(line) for line in (out / "results.jsonl").read_text("utf-8").splitlines()]


def test_every_line_becomes_a_playable_video(source, out, capfd):
    """Each prompt, even a repeated one, gives an MP4 and a complete row."""
    assert make(source, out) == 0
    found = sorted(rows(out), key=lambda row: row["index"])
    assert [row["file"] for row in found] == [
        "A cat sits.mp4",
        "一只猫在窗台上.mp4",
        "A cat sits~2.mp4",
    ]
    for row, prompt in zip(found, PROMPTS, strict=True):
        assert row["status"] == "succeeded"
        assert row["spec"] == {"prompt": prompt}
        assert row["task_id"]
        assert row["usage"]["total_tokens"] > 0
        assert row["error"] is None
        with av.open(str(out / row["file"])) as film:
            assert film.streams.video[0].frames > 0
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [*(row["file"] for row in found), "results.jsonl"]
    )
    assert "3 succeeded" in capfd.readouterr().out


def test_aiohttp_carries_requests_and_downloads(source, out, monkeypatch):
    """With `--transport aiohttp` the run makes its videos, and httpx sends nothing."""

    def refuse(*_: object, **__: object):
        raise AssertionError("httpx was asked")

    monkeypatch.setattr("httpx.AsyncClient.send", refuse)
    assert make(source, out, "--transport", "aiohttp") == 0
    assert {row["status"] for row in rows(out)} == {"succeeded"}


def test_aiohttp_that_is_not_installed_is_named_with_its_extra(source, out, capfd, monkeypatch):
    """Nothing is sent, and the line says what to install."""
    monkeypatch.setitem(sys.modules, "callsheet._http.aiohttp_session", None)
    assert make(source, out, "--transport", "aiohttp") == 2
    assert "pip install 'callsheet[fast]'" in capfd.readouterr().err
    assert not [*out.glob("*.mp4")]


def test_samples_and_options_reach_every_video(source, out):
    """Samples are numbered from 0, and defaults fill fields that the file does not set."""
    assert make(source, out, "--samples", 2, "--limit", 1, "--duration", 4, "--ratio", "1:1") == 0
    assert {row["file"] for row in rows(out)} == {"A cat sits.-0.mp4", "A cat sits.-1.mp4"}
    assert all(row["spec"]["ratio"] == "1:1" for row in rows(out))


def test_last_frame_is_saved_beside_the_video(source, out):
    """A last frame that is asked for is saved as a picture next to the video."""
    assert make(source, out, "--limit", 1, "--return-last-frame") == 0
    (row,) = rows(out)
    assert (out / row["last_frame_file"]).read_bytes()[:4] in {b"\x89PNG", b"\xff\xd8\xff\xe0"}


def test_each_failure_is_named_with_its_reason(source, out, capfd):
    """With failed, rejected, refused or expired specs the run exits with 1 and lists them."""
    marks = ["[fail]", "[reject]", "[refuse]", "[expire]"]
    source.write_text("\n".join(["fine", *(f"a cat {mark}" for mark in marks)]))
    assert make(source, out, "--speed", "20000") == 1
    said = capfd.readouterr().out
    for line, mark in enumerate(marks, 2):
        assert f"{source}:{line} “a cat {mark}”" in said
    statuses = {row["index"]: row["status"] for row in rows(out)}
    assert statuses == {0: "succeeded", 1: "failed", 2: "failed", 3: "failed", 4: "expired"}


def test_events_are_one_json_object_a_line(source, out, capfd):
    """With --json stdout holds only events, and the last one has the totals."""
    assert make(source, out, "--json") == 0
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [event["event"] for event in events].count("row") == 3
    assert events[-1]["event"] == "end"
    assert events[-1]["succeeded"] == 3


def test_quiet_says_only_how_it_ended(source, out, capfd):
    """With --quiet stdout is empty and stderr holds the summary."""
    assert make(source, out, "--quiet") == 0
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith("3 succeeded")


def test_finished_run_costs_nothing_to_repeat(source, out, capfd):
    """The same command again keeps every row and makes nothing new."""
    assert make(source, out) == 0
    before = (out / "results.jsonl").read_bytes()
    assert make(source, out) == 0
    assert (out / "results.jsonl").read_bytes() == before


def test_a_run_of_the_whole_file_continues_a_limited_run(source, out, capfd):
    """A run of the whole file continues after a run with --limit."""
    assert make(source, out, "--limit", 1) == 0
    assert make(source, out) == 0
    assert "going on: 1 kept, 2 to submit" in capfd.readouterr().out
    assert sorted(row["index"] for row in rows(out)) == [0, 1, 2]


def test_results_of_other_input_are_not_mixed(source, out, capfd):
    """Changed specs in the same folder are refused, and the rows stay unchanged."""
    assert make(source, out, "--limit", 1) == 0
    before = (out / "results.jsonl").read_bytes()
    assert make(source, out, "--duration", 7) == 2
    assert "another run" in capfd.readouterr().err
    assert (out / "results.jsonl").read_bytes() == before


def test_missing_video_is_fetched_and_not_bought_again(source, out, emulator):
    """A removed video is downloaded again from the task that made it."""
    options = ["--base-url", emulator, "--speed", "60"]
    assert make(source, out, *options) == 0
    ids = {row["index"]: row["task_id"] for row in rows(out)}
    (out / "A cat sits~2.mp4").unlink()
    assert make(source, out, *options) == 0
    assert {row["index"]: row["task_id"] for row in rows(out)} == ids
    assert (out / "A cat sits~2.mp4").stat().st_size > 0


def test_interrupted_run_goes_on_where_it_stopped(source, out, emulator):
    """Ctrl-C leaves a correct row for every spec, and the next run buys nothing twice."""
    source.write_text("\n".join(f"cat {number}" for number in range(30)))
    options = ["--provider", "emulator", "--base-url", emulator, "--speed", "60", "--json"]
    command = [sys.executable, "-c", CODE, "run", source, "--out", out, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["event"] == "row":
                process.send_signal(signal.SIGINT)
                break
        process.stdout.read()
    assert process.returncode == 130
    found = rows(out)
    assert sorted(row["index"] for row in found) == list(range(30))
    assert {row["status"] for row in found} <= {"succeeded", "interrupted", "not_submitted"}
    ids = {row["index"]: row["task_id"] for row in found if row["task_id"]}
    assert ids
    assert make(source, out, "--base-url", emulator, "--speed", "60") == 0
    after = {row["index"]: row["task_id"] for row in rows(out)}
    assert len(after) == len(rows(out)) == 30
    assert ids.items() <= after.items()


def test_wrong_key_stops_after_the_first(source, out, capfd, monkeypatch):
    """A refused key fails one spec, the rest is not submitted, and the advice names the key."""
    monkeypatch.setenv("ARK_API_KEY", "sesame-closed")
    settings = json.dumps({"keys": ["sesame-open"]})
    command = [sys.executable, "-m", "callsheet.emulator", "--settings", settings]
    with subprocess.Popen(
        [*command, "--until-stdin-closes"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        base = json.loads(process.stdout.readline())["url"] + "/api/v3"
        code = main(
            ["run", str(source), "--out", str(out), "--provider", "ark", "--base-url", base]
        )
    assert code == 1
    statuses = [row["status"] for row in sorted(rows(out), key=lambda row: row["index"])]
    assert statuses == ["failed", "not_submitted", "not_submitted"]
    assert "sesame" not in (out / "results.jsonl").read_text()
    said = capfd.readouterr().out
    assert "401" in said
    assert "correct the key in ARK_API_KEY first, then run the same command again" in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "COMETAPI_KEY"),
        (["--speed", "3"], "--speed is for"),
        (["--duration", "99"], "prompts.txt:1: duration=99"),
        (["--provider", "other"], "other"),
        (["--samples", "0"], "--samples"),
    ],
)
def test_bad_usage_exits_with_2_and_one_reason(source, out, capfd, options, words):
    """Wrong options and input are reported before anything is sent, without a traceback."""
    assert main(["run", str(source), "--out", str(out), *options]) == 2
    said = capfd.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert not (out / "results.jsonl").exists()


def test_a_folder_that_cannot_be_made_is_detected_first(source, capfd):
    """An output folder that cannot be made is named, with exit code 2."""
    assert main(["run", str(source), "--out", f"{source}/below", "--provider", "emulator"]) == 2
    assert f"cannot write to {source}/below" in capfd.readouterr().err


def test_check_names_every_problem(tmp_path, capfd):
    """`check` lists what is wrong line by line and exits with 2; a good file exits with 0."""
    path = tmp_path / "shots.jsonl"
    path.write_text('{"prompt": "a", "duration": 99}\n{"prompt": "b", "resolution": "8k"}\n')
    assert main(["check", str(path)]) == 2
    said = capfd.readouterr().err
    assert f"{path}:1: duration=99" in said
    assert f"{path}:2: resolution='8k'" in said
    path.write_text('{"prompt": "a"}\n')
    assert main(["check", str(path)]) == 0
    assert f"{path}: 1 spec, nothing wrong" in capfd.readouterr().out


def test_long_list_of_problems_is_cut(tmp_path, capfd):
    """Twenty problems are printed and the rest is counted."""
    path = tmp_path / "shots.jsonl"
    path.write_text("[]\n" * 50)
    assert main(["check", str(path)]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "… and 30 more"


def test_missing_extra_is_named_in_one_line(capfd, monkeypatch):
    """Without cyclopts or rich the command prints what to install."""
    monkeypatch.delitem(sys.modules, "callsheet._cli.app", raising=False)
    monkeypatch.setitem(sys.modules, "cyclopts", None)
    assert main(["check", "x"]) == 2
    assert 'pip install "callsheet[cli]"' in capfd.readouterr().err
