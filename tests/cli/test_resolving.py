"""``callsheet resolve``: uncertain rows, and what a person has seen on the account's pages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from callsheet._cli import main
from cli.running import Comet, Service, read_until, serving


if TYPE_CHECKING:
    from collections.abc import Iterator


PROMPTS = ("A paper boat", "A kite", "A train")


@pytest.fixture(scope="module")
def comet() -> Iterator[Service]:
    """An emulator for all tests of this file."""
    with serving(render_seconds=20.0) as service:
        yield service


@pytest.fixture
def workspace(comet, tmp_path, monkeypatch) -> Comet:
    """A folder in which the creates of the first two lines were lost, though both were made."""
    monkeypatch.setenv("COMETAPI_KEY", "key")
    found = Comet(comet, tmp_path / "shots.txt", tmp_path / "videos")
    found.write(*PROMPTS)
    comet.fail({"request": "taken", "times": 2})
    assert found.run("--quiet") == 1
    comet.fail()
    assert [row["status"] for row in found.rows] == ["uncertain", "uncertain", "succeeded"]
    return found


def test_the_run_says_how_to_resolve_what_is_uncertain(workspace, capfd):
    """The last lines name the command and the lines of the rows that need it."""
    capfd.readouterr()
    assert workspace.run() == 1
    out = capfd.readouterr().out
    assert f"callsheet resolve {workspace.out} LINE --task-id ID, or --none" in out
    assert "LINE of results.jsonl is 1, 2." in out


def test_a_task_that_is_named_is_fetched_by_the_next_run(workspace, capfd):
    """The row has its task, the next run downloads the video, and nothing is bought for it."""
    boat = workspace.made[-3]
    capfd.readouterr()
    assert workspace.resolve(1, "--task-id", boat) == 0
    said = capfd.readouterr().out
    assert f"{workspace.out}/results.jsonl:1 “A paper boat”: create 1 has made task {boat}" in said
    assert "its row was uncertain, and is interrupted now" in said
    assert "run the same command as before: it waits for this task" in said
    assert (workspace.rows[0]["status"], workspace.rows[0]["task_id"]) == ("interrupted", boat)
    before = workspace.service.state["created"]
    assert workspace.run("--quiet") == 1
    assert workspace.rows[0]["task_id"] == boat
    assert [row["status"] for row in workspace.rows] == ["succeeded", "uncertain", "succeeded"]
    assert "A paper boat.mp4" in workspace.videos
    assert workspace.service.state["created"] == before


def test_a_create_that_made_nothing_is_sent_by_the_next_run(workspace, capfd):
    """The row is free, and the next run buys its video once."""
    capfd.readouterr()
    assert workspace.resolve("A kite", "--none") == 0
    said = capfd.readouterr().out
    assert "results.jsonl:2 “A kite”: create 1 has made no task; noted by hand" in said
    assert "its row was uncertain, and is not submitted now" in said
    assert workspace.rows[1]["status"] == "not_submitted"
    before = workspace.service.state["created"]
    assert workspace.run("--quiet") == 1
    assert workspace.rows[1]["status"] == "succeeded"
    assert workspace.service.state["created"] == before + 1


def test_with_json_the_row_is_one_object(workspace, capfd):
    """A program reads what was changed as one JSON object."""
    kite = workspace.made[-2]
    capfd.readouterr()
    assert workspace.resolve(2, "--task-id", kite, "--json") == 0
    (event,) = map(json.loads, capfd.readouterr().out.splitlines())
    assert event == {"event": "resolved", "line": 2, "attempt": 1, **workspace.rows[1]}
    assert event["task_id"] == kite


MISTAKES = (
    (["1"], "say what became of it: either --task-id ID, or --none"),
    (["1", "--none", "--task-id", "x"], "say what became of it: either --task-id ID, or"),
    (["1", "--task-id", " "], "is no task id"),
    (["1", "--task-id", "x"], "nothing was changed: cometapi does not know task x"),
    (["3", "--none"], "line 3 “A train” is not uncertain: it is succeeded as task "),
    (["0", "--none"], "has no line 0, it has 3"),
    (["4", "--none"], "has no line 4, it has 3"),
    (["1/2", "--none"], "attempt 2 is not uncertain; uncertain is 1"),
    (["A boat", "--none"], "has the prompt “A boat”; give the number of its line there"),
    (["1", "--task-id", "TRAIN"], "is that of line 3 “A train”"),
)


def test_what_cannot_be_so_is_refused_and_changes_nothing(workspace, capfd):
    """Each mistake is named, the exit code is 2, and rows and journal stay as they were."""
    before = workspace.rows
    ids = {"TRAIN": before[2]["task_id"]}
    for arguments, words in MISTAKES:
        capfd.readouterr()
        assert workspace.resolve(*(ids.get(each, each) for each in arguments)) == 2
        assert words in capfd.readouterr().err
        assert workspace.rows == before
    assert workspace.resolve(1, "--none") == 0


def test_a_row_is_resolved_once(workspace, capfd):
    """What was said cannot be said again, nor otherwise: the row is not uncertain any longer."""
    assert workspace.resolve(1, "--task-id", workspace.made[-3]) == 0
    assert workspace.resolve(2, "--none") == 0
    for arguments in ([1, "--none"], [1, "--task-id", workspace.made[-3]], [2, "--none"]):
        capfd.readouterr()
        assert workspace.resolve(*arguments) == 2
        assert "is not uncertain" in capfd.readouterr().err


def test_a_run_that_is_under_way_is_not_disturbed(workspace, capfd):
    """The journal belongs to the run, so nothing can be resolved until that has ended."""
    workspace.write(*PROMPTS, "One more")
    with workspace.start() as process:
        read_until(process.stdout, event="progress")
        capfd.readouterr()
        assert workspace.resolve(1, "--none") == 2
        assert f"nothing was changed: journal {workspace.out}" in (said := capfd.readouterr().err)
        assert f"is in use by process {process.pid}" in said
        process.communicate()
    assert workspace.resolve(1, "--none") == 0


def test_equal_lines_are_resolved_one_by_one(comet, tmp_path, monkeypatch, capfd):
    """Two rows with one prompt are told apart by their lines, and each is resolved alone."""
    monkeypatch.setenv("COMETAPI_KEY", "key")
    twice = Comet(comet, tmp_path / "shots.txt", tmp_path / "videos")
    twice.write("A boat", "A boat")
    comet.fail({"request": "taken"})
    assert twice.run("--quiet") == 1
    comet.fail()
    capfd.readouterr()
    assert twice.resolve("A boat", "--none") == 2
    assert "the prompt of several lines: give one of 1, 2" in capfd.readouterr().err
    assert twice.resolve(2, "--task-id", twice.made[-1]) == 0
    assert twice.resolve(1, "--none") == 0
    before = comet.state["created"]
    assert twice.run("--quiet") == 0
    assert comet.state["created"] == before + 1


def test_several_creates_of_one_line_are_listed(comet, tmp_path, monkeypatch, capfd):
    """If a line was sent several times, each create is named with its time, to choose from."""
    monkeypatch.setenv("COMETAPI_KEY", "key")
    often = Comet(comet, tmp_path / "shots.txt", tmp_path / "videos")
    often.write("A boat")
    comet.fail({"request": "taken"})
    assert often.run("--quiet", "--resubmit", "always") == 1
    comet.fail()
    made = often.made[-6:]
    capfd.readouterr()
    assert often.resolve(1, "--none") == 2
    first, *creates = capfd.readouterr().err.splitlines()
    assert first == "line 1 “A boat” has 6 uncertain creates; say which:"
    assert [line.split(":")[0].strip() for line in creates] == [f"1/{n}" for n in range(1, 7)]
    assert all("sent 20" in line and "without a token" in line for line in creates)
    assert often.resolve("1/1", "--none") == 0
    assert often.rows[0]["status"] == "uncertain"
    assert often.resolve("1/3", "--task-id", made[2]) == 0
    assert (often.rows[0]["status"], often.rows[0]["task_id"]) == ("interrupted", made[2])
    assert often.run("--quiet") == 0
    capfd.readouterr()
    assert often.resolve("1/4", "--task-id", made[3]) == 0
    assert "beside that of the line's own" in capfd.readouterr().out
    assert often.resolve("1/5", "--none") == 0
    assert often.rows[0]["status"] == "succeeded"
    assert often.run("--quiet") == 0


@pytest.mark.parametrize("content", [None, "", "no journal"])
def test_a_folder_without_a_run_has_nothing_to_resolve(tmp_path, capfd, content):
    """Nothing is made in a folder that no run has used, or whose journal is none."""
    if content is not None:
        (tmp_path / "results.jsonl").write_text("")
    if content:
        (tmp_path / "journal.db").write_text(content)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert main(["resolve", str(tmp_path), "1", "--none"]) == 2
    assert str(tmp_path) in capfd.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
