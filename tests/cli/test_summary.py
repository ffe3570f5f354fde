"""What ``callsheet run`` prints when it is over, and what it advises."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from callsheet import SpendLimit, TaskSpec
from callsheet._cli import main
from callsheet._cli.plan import Job
from callsheet._cli.progress import Counts, LineDisplay, LiveDisplay
from callsheet._cli.results import Ending, Results, Row
from callsheet._cli.run_request import RunRequest
from callsheet._cli.summary import Finish, report
from cli.running import Workspace, serving


FULL = "No space left on device"


def job_of(index: int) -> Job:
    """Make a job."""
    spec = TaskSpec(f"boat {index}")
    return Job(index=index, line=index + 1, spec=spec, names={index: f"boat {index}.mp4"})


def row_of(index: int, **values: object) -> Row:
    """Make the row of a video that did not fit on the disk."""
    reason = f"video of task cgt-{index} not downloaded: cannot write boat {index}.mp4: {FULL}"
    error = {"type": "DownloadError", "message": reason, "code": None}
    full = {"task_id": f"cgt-{index}", "status": Ending.DOWNLOAD_FAILED, "error": error}
    return Row(index=index, spec={"prompt": f"boat {index}"}, provider="ark", **{**full, **values})


def counts(**numbers: object) -> Counts:
    """The counts of ten videos after a minute."""
    names = ("submitted", "kept", "waiting", "queued", "running", "rendered", "settled")
    rest = {"total": 10, "endings": {}, "elapsed": 60.0}
    return Counts(**{**dict.fromkeys(names, 0), **rest, **numbers})


def request_of(folder: Path, **values: object) -> RunRequest:
    """Make the options of a run."""
    names = ("base_url", "samples", "limit", "delay", "connections", "transport", "speed")
    plain = {
        "source": Path("boats.txt"),
        "folder": folder,
        "provider": "ark",
        "defaults": {},
        "parallel_downloads": 4,
        "resubmit": "if-absent",
        "journal_takeover": False,
        "spend": SpendLimit(),
        "prices": {},
        "quiet": False,
        "events": False,
    }
    return RunRequest(**{**dict.fromkeys(names), **plain, **values})


def test_failures_that_differ_only_by_task_are_one_line_with_what_to_do_first(tmp_path, capfd):
    """A full disk is shown as one line, with advice at the end."""
    with serving(render_seconds=20.0) as service:
        workspace = Workspace(service, tmp_path / "boats.jsonl", tmp_path / "videos")
        workspace.write(*({"prompt": f"boat {i}"} for i in range(4)))
        workspace.out.mkdir()
        for number in range(1, 4):
            (workspace.out / f".boat {number}.mp4.part").symlink_to("/dev/full")
        assert workspace.run() == 1
    said = capfd.readouterr().out
    assert said.count(FULL) == 1
    assert f"download failed: {workspace.source}:2 “boat 1” and 2 more: video of task " in said
    assert said.splitlines()[-1] == (
        "to try again what failed, make room on the disk first, then run the same command again"
    )


def test_a_kind_of_failure_is_shown_once_in_a_log_and_not_right_before_the_summary(capfd):
    """It is shown with the next numbers, which count all failures."""
    display = LineDisplay()
    for index in range(3):
        display.row(job_of(index), row_of(index), f"boats.txt:{index + 1}")
    display.show(counts(endings={Ending.DOWNLOAD_FAILED: 3}, elapsed=4.0))
    assert capfd.readouterr().out == ""
    display.show(counts(endings={Ending.DOWNLOAD_FAILED: 3}, elapsed=5.0))
    said = capfd.readouterr().out.splitlines()
    assert said[0].startswith("download failed: boats.txt:1 “boat 0”: ")
    assert [line[:24] for line in said[1:]] == ["3/10: 3 download failed "]


def test_failures_do_not_stay_on_a_terminal_beside_the_summary(capsys):
    """They are removed, as the summary names them."""
    display = LiveDisplay("boats")
    display.row(job_of(0), row_of(0), "boats.txt:1")
    assert "boat 0" in str(display._failures)
    display.show(counts())
    display.close()
    assert not display._failures


def test_rows_that_the_journal_can_give_back_are_counted_and_not_printed(tmp_path, capfd):
    """Rows with ids are printed only if the journal is incomplete, too."""
    results = Results(tmp_path)
    rows = [row_of(0), row_of(1, task_id=None, status=Ending.NOT_SUBMITTED)]
    results.rows = dict(enumerate(rows))
    jobs = [job_of(0), job_of(1)]
    assert report(request_of(tmp_path), jobs, results, rows, Finish()) == 1
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"{results.path} could not be written; rows that are not in it: 2")
    assert report(request_of(tmp_path), jobs, results, rows, Finish(journal_error="disk full")) == 1
    printed = [line for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    assert [json.loads(line)["task_id"] for line in printed] == ["cgt-0"]


@pytest.mark.parametrize(
    ("provider", "advice"),
    [
        ("ark", "with --max-cny: ark is paid in it"),
        ("cometapi", "in its place, or name your own prices with --prices"),
        ("byteplus", "with a limit that allows it"),
    ],
)
def test_advice_about_a_limit_is_one_that_works(tmp_path, capfd, monkeypatch, provider, advice):
    """The advice fits the reason, which may be that such a limit cannot work at all."""
    for name in ("ARK_API_KEY", "BYTEPLUS_API_KEY", "COMETAPI_KEY"):
        monkeypatch.setenv(name, "key")
    source = tmp_path / "boats.txt"
    source.write_text("a boat")
    with serving() as service:
        base_url = f"{service.origin}/volc/v3" if provider == "cometapi" else service.base_url
        at = ["--provider", provider, "--base-url", base_url, "--max-usd", "0.01"]
        assert main(["run", str(source), "--out", str(tmp_path / "videos"), *at]) == 1
    last = capfd.readouterr().out.splitlines()[-1]
    assert last.endswith(advice)


def test_a_wrong_address_is_to_be_corrected_first(tmp_path, capfd):
    """If no task API answers, the advice is to correct the address."""
    with serving() as service:
        workspace = Workspace(service, tmp_path / "boats.txt", tmp_path / "videos")
        workspace.write("a boat")
        command = workspace.arguments()
        command[command.index(service.base_url)] = f"{service.origin}/nowhere"
        assert main(command) == 1
    said = capfd.readouterr().out.splitlines()[-1]
    assert said.startswith("to try again what failed, correct the address and give another --out")


def test_a_run_that_was_stopped_before_anything_has_a_summary_of_that(tmp_path, capfd):
    """The folder holds nothing, so the summary does not mention it."""
    request = request_of(tmp_path, provider="emulator")
    assert report(request, [job_of(0)], Results(tmp_path), [], Finish(stopped=True)) == 130
    assert capfd.readouterr().out.splitlines() == [
        "stopped before anything was sent",
        "to go on, run the same command again",
    ]


@pytest.mark.parametrize("said_in", ["lines", "events", "summary"])
def test_a_finished_folder_tells_what_is_not_asked_for_any_more(tmp_path, capfd, said_in):
    """Videos of removed lines are counted, even if there is nothing to do."""
    source, out = tmp_path / "boats.txt", tmp_path / "videos"
    command = ["run", str(source), "--out", str(out), "--provider", "emulator", "--speed", "500"]
    source.write_text("a boat\n" * 3)
    assert main(command) == 0
    capfd.readouterr()
    assert main(command) == 0
    assert capfd.readouterr().out.splitlines()[-1] == "nothing was left to do"
    source.write_text("a boat\n")
    option = {"lines": [], "events": ["--json"], "summary": ["--quiet"]}[said_in]
    assert main([*command, *option]) == 0
    said = capfd.readouterr()
    text = said.err if said_in == "summary" else said.out
    assert text.count(f"videos in {out} not asked for now: 2. They stay there") == 1
