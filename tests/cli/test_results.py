from __future__ import annotations

import json

import attrs
import pytest

from callsheet import TaskSpec
from callsheet._cli.plan import Job
from callsheet._cli.results import Ending, Results, ResultsError, Row
from callsheet._cli.rows import failure_row
from callsheet._models.outcome import Outcome
from callsheet.errors import JournalError, SpendLimitError


def row(index: int, status: Ending = Ending.SUCCEEDED, task_id: str | None = None) -> Row:
    """Make a row of an earlier run."""
    return Row(
        index=index,
        spec={"prompt": "a cat"},
        provider="ark",
        status=status,
        task_id=task_id,
        file=f"{index}.mp4" if status is Ending.SUCCEEDED else None,
    )


def lines(results: Results) -> list[dict]:
    """The rows on disk."""
    return [json.loads(line) for line in results.path.read_text().splitlines()]


def test_rows_are_on_disk_as_soon_as_they_are_put(tmp_path):
    """Other programs can read a row before the run is over."""
    with Results(tmp_path) as results:
        assert results.put(row(1))
        assert [line["index"] for line in lines(results)] == [1]


def test_later_row_of_an_index_holds(tmp_path):
    """A second row replaces the first; the finished file has each index once, in order."""
    with Results(tmp_path) as results:
        results.put(row(1, Ending.INTERRUPTED, "cgt-1"))
        results.put(row(0))
        results.put(row(1))
        assert results.finish() == []
        assert [(line["index"], line["status"]) for line in lines(results)] == [
            (0, "succeeded"),
            (1, "succeeded"),
        ]
    with Results(tmp_path) as again:
        assert again.rows == results.rows


def test_half_a_line_of_a_killed_run_is_overwritten(tmp_path):
    """The next run overwrites a line that was not written completely."""
    with Results(tmp_path) as results:
        results.put(row(0))
        with results.path.open("a") as file:
            file.write('{"index": 1, "spec": {"pro')
    with Results(tmp_path) as again:
        again.put(row(1))
    assert [line["index"] for line in lines(again)] == [0, 1]


@pytest.mark.parametrize(
    "text", ["hello\n", "[]\n", '{"index": 1}\n', '{"index":0,"spec":{},"x":1}\n']
)
def test_file_of_another_kind_is_refused(tmp_path, text):
    """The error names the line that is no row, and the file stays unchanged."""
    (tmp_path / "results.jsonl").write_text(text)
    with pytest.raises(ResultsError, match=r"results\.jsonl:1: not a row"):
        Results(tmp_path).__enter__()
    assert (tmp_path / "results.jsonl").read_text() == text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, 5) for name in ("task_id", "last_status", "url", "file", "last_frame_file")),
        ("file", ["0.mp4"]),
        ("spec", {"prompt": 5}),
        ("error", "disk full"),
        ("error", {"type": [], "message": "disk full"}),
        ("error", {"type": "DownloadError", "message": 5}),
    ],
)
def test_a_row_that_was_damaged_by_hand_is_refused(tmp_path, name, value):
    """A value that is not text where text is expected is refused, and the file stays unchanged."""
    damaged = json.dumps({**row(1, Ending.TIMEOUT, "cgt-1").to_dict(), name: value})
    text = f"{json.dumps(row(0).to_dict())}\n{damaged}\n"
    (tmp_path / "results.jsonl").write_text(text)
    with pytest.raises(ResultsError, match=rf"results\.jsonl:2: not a row of a run \({name}"):
        Results(tmp_path).__enter__()
    assert (tmp_path / "results.jsonl").read_text() == text


def test_rows_that_the_disk_refuses_are_given_back(tmp_path):
    """If the file cannot be written, its rows are returned at the end, with their ids."""
    with Results(tmp_path / "missing") as results:
        assert not results.put(row(0, task_id="cgt-1"))
        (lost,) = results.finish()
        assert lost.task_id == "cgt-1"


def test_rows_that_the_disk_refused_once_are_written_later(tmp_path):
    """A row that could not be written is written with the next one."""
    with Results(tmp_path / "later") as results:
        assert not results.put(row(0))
        (tmp_path / "later").mkdir()
        assert results.put(row(1))
        assert [line["index"] for line in lines(results)] == [0, 1]


def test_rows_are_put_in_order_in_the_end(tmp_path):
    """Specs end in any order, and the finished file has the order of the input."""
    with Results(tmp_path) as results:
        results.put(row(1))
        results.put(row(0))
        assert results.finish() == []
    assert [line["index"] for line in lines(results)] == [0, 1]


def test_arranged_rows_replace_the_file_at_once(tmp_path):
    """Rows with a new index are on disk before any row is appended."""
    with Results(tmp_path) as results:
        results.put(row(0))
        results.put(row(1))
    with Results(tmp_path) as again:
        again.arrange({0: attrs.evolve(again.rows[1], index=0)})
        assert [line["file"] for line in lines(again)] == ["1.mp4"]
        again.put(row(1))
    assert [line["index"] for line in lines(again)] == [0, 1]


@pytest.mark.parametrize("error", [SpendLimitError("cap"), JournalError("disk full")])
def test_an_unsent_spec_is_called_not_submitted(error):
    """A spec that was not sent because of the limit or the disk does not count as failed."""
    outcome = Outcome(index=0, spec=TaskSpec("a cat"), task_id=None, error=error)
    found = failure_row(
        Job(index=0, line=1, spec=TaskSpec("a cat"), names=["0.mp4"]), "ark", outcome, None, None
    )
    assert found.status is Ending.NOT_SUBMITTED
    assert found.error is not None
    assert found.error["type"] == type(error).__name__
