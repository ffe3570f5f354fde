from __future__ import annotations

import json

import attrs
import pytest

from callsheet import TaskSpec
from callsheet._cli.continuing import sort
from callsheet._cli.plan import Job
from callsheet._cli.results import Ending, Results, ResultsError, Row, belongs


def job(index: int, prompt: str = "a cat") -> Job:
    """One thing to be made."""
    return Job(index=index, line=index + 1, spec=TaskSpec(prompt), file=f"{index}.mp4")


def row(index: int, status: Ending = Ending.SUCCEEDED, task_id: str | None = None) -> Row:
    """One row of an earlier run."""
    return Row(
        index=index,
        spec={"prompt": "a cat"},
        provider="ark",
        status=status,
        task_id=task_id,
        file=f"{index}.mp4" if status is Ending.SUCCEEDED else None,
    )


def lines(results: Results) -> list[dict]:
    """What is on disk."""
    return [json.loads(line) for line in results.path.read_text().splitlines()]


def test_rows_are_on_disk_as_soon_as_they_are_put(tmp_path):
    """A row can be read by others before the run is over."""
    with Results(tmp_path) as results:
        assert results.put(row(1))
        assert [line["index"] for line in lines(results)] == [1]


def test_later_row_of_an_index_holds(tmp_path):
    """A second row replaces the first; in the end each index stands there once, in order."""
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
    """What a run could not finish writing does no harm to the next."""
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
    """A line that is no row names itself, and the file stays as it is."""
    (tmp_path / "results.jsonl").write_text(text)
    with pytest.raises(ResultsError, match=r"results\.jsonl:1: not a row"):
        Results(tmp_path).__enter__()
    assert (tmp_path / "results.jsonl").read_text() == text


def test_rows_that_the_disk_refuses_are_given_back(tmp_path):
    """If the file cannot be written, its rows come out in the end, ids and all."""
    with Results(tmp_path / "missing") as results:
        assert not results.put(row(0, task_id="cgt-1"))
        (lost,) = results.finish()
        assert lost.task_id == "cgt-1"


def test_rows_that_the_disk_refused_once_are_written_later(tmp_path):
    """A row waits for room on the disk."""
    with Results(tmp_path / "later") as results:
        assert not results.put(row(0))
        (tmp_path / "later").mkdir()
        assert results.put(row(1))
        assert [line["index"] for line in lines(results)] == [0, 1]


def test_rows_of_other_input_are_told_apart():
    """Another spec, file name or provider is another run; a longer or shorter input is not."""
    rows = [row(0), row(1, Ending.FAILED)]
    assert belongs(rows, [job(0), job(1), job(2)], "ark") is None
    assert belongs(rows, [job(0)], "ark") is None
    assert "line 2" in (belongs(rows, [job(0), job(1, "a dog")], "ark") or "")
    assert "cometapi" in (belongs(rows, [job(0)], "cometapi") or "")
    assert "x.mp4" in (belongs(rows, [attrs.evolve(job(0), file="x.mp4")], "ark") or "")


def test_nothing_that_was_bought_is_bought_again(tmp_path):
    """What has an id is asked for, what is uncertain is left alone, the rest is submitted."""
    (tmp_path / "0.mp4").touch()
    rows = [
        row(0, Ending.SUCCEEDED, "cgt-0"),
        row(1, Ending.SUCCEEDED, "cgt-1"),
        row(2, Ending.DOWNLOAD_FAILED, "cgt-2"),
        row(3, Ending.INTERRUPTED, "cgt-3"),
        row(4, Ending.TIMEOUT, "cgt-4"),
        row(5, Ending.UNCERTAIN),
        row(6, Ending.NOT_SUBMITTED),
        row(7, Ending.FAILED, "cgt-7"),
    ]
    jobs = [job(index) for index in range(9)]
    work = sort(jobs, {row.index: row for row in rows}, tmp_path, tasks_live=True)
    assert work.kept == [jobs[0]]
    assert work.attached == [(jobs[index], f"cgt-{index}") for index in (1, 2, 3, 4)]
    assert work.uncertain == [jobs[5]]
    assert work.submitted == jobs[6:]
    assert work.again == 1


def test_tasks_of_an_embedded_emulator_are_made_anew(tmp_path):
    """Tasks that ended with the process that rendered them are not asked for."""
    rows = {0: row(0, Ending.INTERRUPTED, "cgt-0"), 1: row(1, Ending.UNCERTAIN)}
    work = sort([job(0), job(1)], rows, tmp_path, tasks_live=False)
    assert work.submitted == [job(0), job(1)]
