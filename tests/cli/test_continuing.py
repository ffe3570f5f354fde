"""Run the same command again, with the same input and with a changed one."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import zlib
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from callsheet._cli import main
from cli.running import CODE, Comet, Service, Workspace, read_until, serving


if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """An emulator whose videos differ from prompt to prompt."""
    with serving(render_seconds=20.0) as found:
        yield found


@pytest.fixture
def workspace(service: Service, tmp_path: Path) -> Workspace:
    """An input of three boats."""
    found = Workspace(service, tmp_path / "boats.jsonl", tmp_path / "videos")
    found.write(*boats(3))
    return found


def boats(count: int, **fields: object) -> list[dict]:
    """Make *count* specs."""
    return [{"prompt": f"boat {i}", **fields} for i in range(count)]


def picture() -> bytes:
    """A grey PNG, large enough for the service."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = struct.pack(">IIBBBBB", 320, 320, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(321 * 320))
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def created(workspace: Workspace) -> int:
    """How many tasks the service has made."""
    return workspace.service.state["created"]


def test_a_line_that_is_changed_is_made_and_no_other(workspace, capfd):
    """Lines may be moved, removed, added and changed; what was made for the others is kept."""
    assert workspace.run() == 0
    before, count, videos = workspace.ids, created(workspace), workspace.videos
    workspace.write("", {"prompt": "boat 2"}, {"prompt": "ship"}, {"prompt": "boat 0"})
    capfd.readouterr()
    assert workspace.run() == 0
    said = capfd.readouterr().out
    assert "videos in" in said
    assert "not asked for now: 1. They stay there" in said
    assert "going on: 2 kept, 1 to submit" in said
    assert created(workspace) == count + 1
    assert [row["spec"]["prompt"] for row in workspace.rows] == [
        "boat 2",
        "ship",
        "boat 0",
        "boat 1",
    ]
    assert before.items() <= workspace.ids.items()
    assert videos.items() <= workspace.videos.items()


def test_more_samples_keep_the_first_under_its_new_name(workspace):
    """Existing videos are renamed, and only the others are bought."""
    assert workspace.run() == 0
    before, count = workspace.videos, created(workspace)
    assert workspace.run("--samples", 2) == 0
    assert created(workspace) == count + 3
    assert sorted(workspace.videos) == [f"boat {i}-{n}.mp4" for i in range(3) for n in range(2)]
    assert all(workspace.videos[f"boat {i}-0.mp4"] == before[f"boat {i}.mp4"] for i in range(3))


def test_videos_swap_names_when_their_lines_swap_places(workspace):
    """Two specs with one prompt keep their own videos in any order."""
    short, long = {"prompt": "boat", "duration": 4}, {"prompt": "boat", "duration": 5}
    workspace.write(short, long)
    assert workspace.run() == 0
    before, count = workspace.videos, created(workspace)
    workspace.write(long, short)
    assert workspace.run() == 0
    assert created(workspace) == count
    assert workspace.videos == {"boat.mp4": before["boat~2.mp4"], "boat~2.mp4": before["boat.mp4"]}
    assert [row["file"] for row in workspace.rows] == ["boat.mp4", "boat~2.mp4"]


def test_a_video_of_another_spec_is_not_written_over(workspace, capfd):
    """A new spec that would overwrite a video is refused until that video is moved away."""
    assert workspace.run() == 0
    count = created(workspace)
    workspace.write(*boats(2), {"prompt": "boat 2", "duration": 4})
    assert workspace.run() == 2
    assert "line 3 would write over 'boat 2.mp4'" in capfd.readouterr().err
    assert created(workspace) == count
    (workspace.out / "boat 2.mp4").rename(workspace.out.parent / "old.mp4")
    assert workspace.run() == 0
    assert created(workspace) == count + 1
    assert workspace.run() == 0
    assert created(workspace) == count + 1


@pytest.mark.parametrize("results", ["kept", "removed"])
def test_an_input_without_anything_in_common_is_refused(workspace, capfd, results):
    """A folder of another run is detected before anything is sent, even by its journal alone."""
    assert workspace.run() == 0
    count = created(workspace)
    if results == "removed":
        (workspace.out / "results.jsonl").unlink()
    before = sorted(path.name for path in workspace.out.iterdir())
    workspace.write({"prompt": "ship"})
    assert workspace.run() == 2
    assert "is of another run" in capfd.readouterr().err
    assert created(workspace) == count
    assert sorted(path.name for path in workspace.out.iterdir()) == before


def test_rows_that_are_gone_come_back_from_the_journal(workspace):
    """Without results.jsonl nothing is bought or downloaded again."""
    assert workspace.run() == 0
    before, asked = workspace.rows, workspace.service.state["requests"]
    (workspace.out / "results.jsonl").unlink()
    assert workspace.run() == 0
    key = json.dumps
    assert sorted(map(key, workspace.rows)) == sorted(map(key, before))
    assert workspace.service.state["requests"] == asked


def test_a_folder_without_a_journal_goes_on_by_its_rows(workspace):
    """Tasks of an earlier version are attached by id, and from then on they are in a journal."""
    assert workspace.run() == 0
    before, count = workspace.ids, created(workspace)
    (workspace.out / "journal.db").unlink()
    (workspace.out / "boat 1.mp4").unlink()
    for _ in range(2):
        assert workspace.run() == 0
        assert len(workspace.videos) == 3
        (workspace.out / "boat 1.mp4").unlink()
    assert (workspace.ids, created(workspace)) == (before, count)
    (workspace.out / "results.jsonl").unlink()
    assert workspace.run() == 2


@pytest.mark.parametrize("name", ["file", "task_id"])
def test_a_row_that_was_damaged_by_hand_is_named_and_nothing_is_bought(workspace, capfd, name):
    """The user is told which line is damaged before any request is sent."""
    assert workspace.run() == 0
    count, path = created(workspace), workspace.out / "results.jsonl"
    first, *others = workspace.rows
    path.write_text("".join(f"{json.dumps(row)}\n" for row in ({**first, name: 5}, *others)))
    (workspace.out / "boat 1.mp4").unlink()
    workspace.write(*boats(4))
    assert workspace.run() == 2
    assert f"{path}:1: not a row of a run ({name}" in capfd.readouterr().err
    assert created(workspace) == count


def test_the_input_may_be_named_from_elsewhere(workspace, monkeypatch, tmp_path):
    """Relative paths name the same files from another working directory: nothing is rebought."""
    (tmp_path / "start.png").write_bytes(picture())
    monkeypatch.chdir(tmp_path)
    workspace.write({"prompt": "boat", "first_frame": "start.png"})
    here = Workspace(workspace.service, Path("boats.jsonl"), Path("videos"))
    assert here.run() == 0
    count = created(workspace)
    (tmp_path / "videos/boat.mp4").unlink()
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    there = Workspace(workspace.service, Path("../boats.jsonl"), Path("../videos"))
    assert there.run() == 0
    assert created(workspace) == count
    assert len(there.rows) == len(there.videos) == 1


def test_a_task_whose_line_is_gone_is_named_and_fetched_once_it_is_back(tmp_path, capfd):
    """The run does not wait for it, does not lose it and does not buy it again."""
    with serving(concurrency=2, render_seconds=60.0, render_sigma=0.0) as service:
        workspace = Workspace(service, tmp_path / "boats.jsonl", tmp_path / "videos")
        workspace.write(*boats(4))
        workspace.kill_after("progress", submitted=4)
        workspace.write(*boats(1))
        assert workspace.run() == 0
        said = capfd.readouterr().out
        assert "not asked for now: 3. What comes of these is billed and not fetched" in said
        for task in service.state["tasks"][1:]:
            assert task["id"] in said
        assert list(workspace.videos) == ["boat 0.mp4"]
        assert workspace.run("--quiet", "--limit", 1, "--samples", 2) == 0
        assert "not asked for now: " in capfd.readouterr().err
        workspace.write(*boats(4))
        assert workspace.run() == 0
        assert {f"boat {i}.mp4" for i in range(4)} <= workspace.videos.keys()
        assert service.state["billed"] == service.state["created"] == 5


def test_what_was_planned_and_is_no_longer_asked_for_is_not_sent(tmp_path, capfd):
    """Lines that are removed before they are sent cost nothing."""
    with serving(concurrency=1, queue_limit=1, render_seconds=60.0) as service:
        workspace = Workspace(service, tmp_path / "boats.jsonl", tmp_path / "videos")
        workspace.write(*boats(40))
        workspace.kill_after("row", status="succeeded")
        sent = service.state["created"]
        assert sent < 39
        assert workspace.run("--limit", sent + 1) == 0
        assert f"planned before, and not asked for now: {39 - sent}" in capfd.readouterr().out
        assert service.state["created"] == sent + 1
        assert workspace.run("--limit", sent + 2) == 0
        assert service.state["billed"] == service.state["created"] == sent + 2


def test_ctrl_c_leaves_nothing_to_buy_twice(tmp_path):
    """The next run looks up a create that was interrupted."""
    silence = {"request": "taken", "answer": "silence", "since": 45.0, "times": 1}
    queue = {"concurrency": 1, "queue_limit": 1, "render_seconds": 30.0}
    with serving(**queue, faults=[silence]) as service:
        workspace = Workspace(service, tmp_path / "boats.jsonl", tmp_path / "videos")
        workspace.write(*boats(40))
        with workspace.start() as process:
            assert process.stdout is not None
            read_until(process.stdout, status="succeeded")
            while not service.struck:
                pass
            process.send_signal(signal.SIGINT)
            *_, last = process.stdout
        assert process.returncode == 130
        assert json.loads(last)["uncertain"] == 1
        assert [row["index"] for row in workspace.rows] == list(range(40))
        # Several creates leave at once, so a later line may be accepted before an earlier one.
        sent = [row["index"] for row in workspace.rows if row["status"] != "not_submitted"]
        assert len(sent) == service.state["created"]
        lines = max(sent) + 2
        assert workspace.run("--limit", lines) == 0
        assert service.state["billed"] == service.state["created"] == lines


def test_a_journal_in_use_is_not_changed(workspace, capfd):
    """A second run into the folder ends at once and changes nothing."""
    assert workspace.run() == 0
    (workspace.out / "boat 1.mp4").unlink()
    with closing(sqlite3.connect(workspace.out / "journal.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        before = (workspace.out / "results.jsonl").read_bytes()
        assert workspace.run() == 2
        assert "in use by" in capfd.readouterr().err
        assert (workspace.out / "results.jsonl").read_bytes() == before


@pytest.mark.parametrize("content", [b"no journal, but as long as a database" * 40, b"short"])
def test_a_damaged_journal_is_named_and_kept(workspace, capfd, content):
    """The run exits with 2 and does not change the file."""
    workspace.out.mkdir()
    journal = workspace.out / "journal.db"
    journal.write_bytes(content)
    count = created(workspace)
    assert workspace.run() == 2
    assert f"{journal} is no journal" in capfd.readouterr().err
    assert journal.read_bytes() == content
    assert created(workspace) == count


@pytest.mark.parametrize("left", ["nothing", "no notes", "no tasks"])
def test_a_journal_that_lost_data_is_refused(workspace, capfd, left):
    """A journal that lost its -wal file is refused; without a journal the run uses the rows."""
    assert workspace.run() == 0
    count, journal = created(workspace), workspace.out / "journal.db"
    with closing(sqlite3.connect(journal, isolation_level=None)) as other:
        other.execute("DELETE FROM notes")
        if left == "no tasks":
            other.execute("DELETE FROM tasks")
    if left == "nothing":
        journal.write_bytes(b"")
    before = (workspace.out / "results.jsonl").read_bytes()
    assert workspace.run() == 0  # every video is there, so the journal is not needed
    workspace.write(*boats(4))
    capfd.readouterr()
    assert workspace.run() == 2
    assert "journal.db does not know 3 tasks that results.jsonl names" in capfd.readouterr().err
    assert (workspace.out / "results.jsonl").read_bytes() == before
    assert created(workspace) == count
    journal.unlink()
    for _ in range(2):
        assert workspace.run() == 0
        assert created(workspace) == count + 1


@pytest.mark.skipif(os.name == "nt", reason="folders have no write permission there")
@pytest.mark.skipif(os.name != "nt" and os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_named(workspace, capfd):
    """A read-only folder is detected before anything is sent."""
    workspace.out.mkdir(mode=0o500)
    assert workspace.run() == 2
    assert f"cannot write to {workspace.out}" in capfd.readouterr().err


def test_a_journal_of_another_key_is_kept(workspace, capfd, monkeypatch):
    """Tasks of one account are not requested with the key of another, and no key is shown."""
    workspace.write({"prompt": "boat"})
    at = ["--provider", "ark", "--base-url", workspace.service.base_url]
    command = ["run", str(workspace.source), "--out", str(workspace.out), *at]
    monkeypatch.setenv("ARK_API_KEY", "sesame-one")
    with subprocess.Popen(
        [sys.executable, "-c", CODE, *command, "--json"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        read_until(process.stdout, submitted=1)
        process.kill()
    assert not any(b"sesame" in path.read_bytes() for path in workspace.out.iterdir())
    monkeypatch.setenv("ARK_API_KEY", "sesame-two")
    assert main(command) == 2
    said = capfd.readouterr().err
    assert "journal.db cannot be used here" in said
    assert "sesame" not in said


def test_a_spend_limit_is_never_exceeded(workspace, capfd, monkeypatch):
    """A spec that would exceed the limit is not sent, and the reason is shown once."""
    monkeypatch.setenv("BYTEPLUS_API_KEY", "key")
    plain = {"duration": 5, "ratio": "16:9", "generate_audio": False}
    workspace.write(*boats(3, **plain))
    count = created(workspace)
    at = ["--provider", "byteplus", "--base-url", workspace.service.base_url]
    command = ["run", str(workspace.source), "--out", str(workspace.out), *at]
    assert main([*command, "--max-usd", "0.1"]) == 1
    said = capfd.readouterr().out
    assert said.count("the spend limit of USD 0.1 would be passed") == 1
    assert "boats.jsonl:1 and 2 more" in said
    assert "spent: 0 tasks; limit: USD 0.1" in said
    assert "with a limit that allows it" in said
    assert {row["status"] for row in workspace.rows} == {"not_submitted"}
    assert created(workspace) == count


def test_the_last_event_tells_what_was_spent(workspace, capfd):
    """The last event counts earlier runs into the same folder, too."""
    assert workspace.run("--limit", 2) == 0
    capfd.readouterr()
    assert workspace.run("--json", "--max-usd", 5) == 0
    end = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert end["spend"]["spent"]["tasks"] == 3
    assert end["spend"]["spent"]["tokens"] > 0
    assert end["spend"]["uncertain"]["tasks"] == 0
    assert end["spend"]["limit"] == {
        "usd": "5",
        "cny": None,
        "tasks": None,
        "tokens": None,
    }


def test_what_may_have_been_bought_is_sent_again_only_if_that_is_asked_for(
    workspace, capfd, monkeypatch
):
    """Where tasks cannot be listed, a lost answer stays uncertain until the user decides."""
    monkeypatch.setenv("COMETAPI_KEY", "key")
    workspace.write({"prompt": "boat [refuse]"})
    with serving() as service:
        service.fail({"request": "taken"})
        command = ["run", str(workspace.source), "--out", str(workspace.out)]
        command += ["--base-url", f"{service.origin}/volc/v3"]
        assert main(command) == 1
        assert main(command) == 1
        assert "1 uncertain: videos" in capfd.readouterr().out
        assert [row["status"] for row in workspace.rows] == ["uncertain"]
        assert service.state["requests"]["create"]["seen"] == 1
        service.fail()
        assert main([*command, "--resubmit", "always"]) == 1
        assert service.state["requests"]["create"]["seen"] == 2
        assert [row["error"]["type"] for row in workspace.rows] == ["ContentRejectedError"]


def test_a_limit_is_rehearsed_with_prices_and_a_provider_that_lies(tmp_path, capfd):
    """With prices, a limit on money is kept at the emulator, though every usage says 0."""
    prices, model = tmp_path / "prices.json", "doubao-seedance-1-5-pro-251215"
    prices.write_text(json.dumps({model: "USD 2.4"}), "utf-8")
    lie = {"verbs": ["get", "list"], "request": "taken", "answer": "usage"}
    with serving(prices={model: "USD 2.4"}, faults=[lie]) as service:
        space = Workspace(service, tmp_path / "shots.jsonl", tmp_path / "videos")
        space.write(*({"prompt": f"shot {n}", "duration": 5, "ratio": "16:9"} for n in range(9)))
        assert space.run("--prices", prices, "--max-usd", "0.8", "--json") == 1
        assert space.run("--prices", prices, "--max-usd", "0.8") == 1
        assert (service.state["created"], service.state["usd"]) == (3, "0.78408")
    assert "spent: 3 tasks, 326,700 tokens, USD 0.7841; limit: USD 0.8" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("option", "limit"),
    [(("--max-tasks", 2), "2 tasks"), (("--max-tokens", 220_000), "220,000 tok")],
)
def test_tasks_and_tokens_are_limited_where_no_price_is_known(
    tmp_path, capfd, monkeypatch, option, limit
):
    """A limit that needs no price holds at any provider, also over several runs."""
    monkeypatch.setenv("COMETAPI_KEY", "key")
    source, out = tmp_path / "shots.jsonl", tmp_path / "videos"
    rows = ({"prompt": f"shot {n}", "duration": 5, "ratio": "16:9"} for n in range(5))
    source.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    with serving() as service:
        command = ["run", str(source), "--out", str(out), *map(str, option)]
        for _ in range(2):
            assert main([*command, "--base-url", f"{service.origin}/volc/v3"]) == 1
        assert service.state["created"] == 2
    said = capfd.readouterr().out
    assert f"limit: {limit}" in said
    assert "run the same command with a limit that allows it" in said


def test_a_new_key_goes_on_with_a_folder_when_told_to(service, tmp_path, monkeypatch, capfd):
    """With --journal-takeover the new key owns the folder from then on, and the old one is refused.

    Without it nothing is sent and no file is changed. Nothing that is on disk is bought again.
    """
    comet = Comet(service, tmp_path / "boats.txt", tmp_path / "videos")
    comet.write("Boat 1", "Boat 2", "Boat 3")
    before = service.state["created"]

    def run(key: str, *more: object) -> tuple[int, int, str]:
        monkeypatch.setenv("COMETAPI_KEY", key)
        capfd.readouterr()
        code = comet.run("--quiet", *more)
        return code, service.state["created"] - before, capfd.readouterr().err

    assert run("old", "--limit", "1")[:2] == (0, 1)
    kept = {path: path.read_bytes() for path in comet.out.iterdir()}
    code, bought, said = run("new")
    assert (code, bought) == (2, 1)
    assert "another API key" in said
    assert "callsheet run --journal-takeover" in said
    assert {path: path.read_bytes() for path in comet.out.iterdir()} == kept
    assert run("new", "--limit", "2", "--journal-takeover")[:2] == (0, 2)
    code, bought, said = run("old")
    assert (code, bought) == (2, 2)
    assert "another API key" in said
    assert run("new")[:2] == (0, 3)
    assert sorted(comet.videos) == ["Boat 1.mp4", "Boat 2.mp4", "Boat 3.mp4"]
