"""Which job each row and task of an earlier run belongs to, and what the next run does."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet import Image, State, TaskSpec
from callsheet._cli.continuing import changes, find_work, refusal
from callsheet._cli.files import _in_order, rename
from callsheet._cli.matching import OVER, Task, comparable, match, spec_key
from callsheet._cli.plan import Job
from callsheet._cli.results import Ending, Row


def job(index: int, prompt: str = "a cat", file: str | None = None) -> Job:
    """Make a job."""
    name = file or f"{index}.mp4"
    return Job(index=index, line=index + 1, spec=TaskSpec(prompt), names={index: name})


def row(
    index: int,
    status: Ending = Ending.SUCCEEDED,
    task_id: str | None = None,
    *,
    prompt: str = "a cat",
    file: str | None = None,
) -> Row:
    """Make a row of an earlier run."""
    return Row(
        index=index,
        spec={"prompt": prompt},
        provider="ark",
        status=status,
        task_id=task_id,
        file=(file or f"{index}.mp4") if status is Ending.SUCCEEDED else None,
    )


def task(
    place: int,
    state: State = State.RUNNING,
    task_id: str | None = None,
    *,
    prompt: str | None = "a cat",
    file: str | None = None,
    done: bool = False,
) -> Task:
    """Make a submission of the journal; without a prompt it was attached by id."""
    spec = None if prompt is None else TaskSpec(prompt)
    return Task(place=place, spec=spec, task_id=task_id, file=file, state=state, done=done)


def places(jobs: list[Job], *tasks: Task, rows: tuple[Row, ...] = ()) -> dict[int, int]:
    """The position of the task that each job gets."""
    return {index: task.place for index, task in match(jobs, rows, tasks).tasks.items()}


def test_equal_specs_take_their_tasks_in_order():
    """The k-th job with a spec gets the k-th task with that spec, whatever is between them."""
    jobs = [job(0), job(1, "a dog"), job(2)]
    assert places(jobs, task(0), task(1), task(2, prompt="a dog")) == {0: 0, 1: 2, 2: 1}


def test_ids_of_rows_and_files_go_before_the_order():
    """Ids in rows and file names decide before the order does."""
    jobs = [job(0), job(1), job(2)]
    known = (row(2, Ending.INTERRUPTED, "cgt-a"),)
    tasks = (task(0, task_id="cgt-a"), task(1, task_id="cgt-b"), task(2, file="0.mp4"))
    assert places(jobs, *tasks, rows=known) == {2: 0, 1: 1, 0: 2}


def test_an_attached_task_is_found_by_its_row_alone():
    """It has no spec, so only the id in a row can match it."""
    known = (row(0, Ending.INTERRUPTED, "cgt-a"),)
    assert places([job(0)], task(0, task_id="cgt-a", prompt=None), rows=known) == {0: 0}
    assert places([job(0)], task(0, task_id="cgt-a", prompt=None)) == {}


def test_a_job_with_a_task_outside_the_journal_gets_no_other():
    """A job whose row has an id that the journal lacks keeps that id and gets no other task."""
    known = (row(0, task_id="cgt-a"), row(1, Ending.NOT_SUBMITTED))
    assert places([job(0), job(1)], task(0, task_id="cgt-b"), rows=known) == {1: 0}


def test_a_task_that_ended_without_a_video_belongs_to_no_job():
    """A job whose task failed gets the later attempt; without one it is submitted."""
    over = task(0, State.FAILED, "cgt-a")
    known = (row(0, Ending.INTERRUPTED, "cgt-a"),)
    assert places([job(0)], over, task(1, task_id="cgt-b"), rows=known) == {0: 1}
    found = match([job(0)], known, [over])
    assert (found.tasks, found.other_tasks) == ({}, [])
    assert find_work([job(0)], found, Path(), tasks_live=True).submitted == [job(0)]


@given(
    wanted=st.lists(st.sampled_from("abc"), max_size=8),
    kept=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(State)), max_size=8),
)
def test_every_task_belongs_to_one_job_or_to_none(wanted, kept):
    """No task is lost or used twice, and no job is bought while a task with its spec is unused."""
    jobs = [job(i, prompt) for i, prompt in enumerate(wanted)]
    tasks = [task(i, state, prompt=prompt) for i, (prompt, state) in enumerate(kept)]
    found = match(jobs, [], tasks)
    alive = [each for each in tasks if each.state not in OVER]
    taken = sorted(each.place for each in [*found.tasks.values(), *found.other_tasks])
    assert taken == [each.place for each in alive]
    assert all(jobs[index].spec == each.spec for index, each in found.tasks.items())
    without_task = {each.spec for each in jobs if each.index not in found.tasks}
    assert not without_task & {each.spec for each in found.other_tasks}


@given(st.permutations(range(6)), st.integers(0, 6))
def test_rows_follow_their_lines(order, count):
    """In any order and number of lines, rows keep their specs, and none is lost or doubled."""
    rows = [row(i, prompt=f"cat {i % 4}") for i in range(6)]
    jobs = [job(new, f"cat {old % 4}") for new, old in enumerate(order[:count])]
    arranged = match(jobs, rows, []).arranged(jobs, Path())
    assert len(arranged) == 6
    assert all(arranged[each.index].spec == {"prompt": each.spec.prompt} for each in jobs)
    assert all(arranged[index].index == index for index in arranged)


def test_a_file_is_one_file_however_it_is_named(monkeypatch, tmp_path):
    """Specs are compared by the absolute paths of their media."""
    monkeypatch.chdir(tmp_path)
    specs = [
        TaskSpec("a cat", first_frame=Image(Path(name)), references=[Image(b"bytes")])
        for name in ("cat.png", "below/../cat.png", str(tmp_path / "cat.png"))
    ]
    assert len({comparable(spec) for spec in specs}) == 1
    assert comparable(TaskSpec("a", first_frame=Image("asset://a"))).first_frame is not None


def test_nothing_that_was_bought_is_bought_again(tmp_path):
    """Jobs with an id are attached, uncertain jobs are left alone, and the rest is submitted."""
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
    found = match(jobs, rows, [])
    work = find_work(jobs, found, tmp_path, tasks_live=True)
    assert work.kept == [jobs[0]]
    assert work.attached == [(jobs[index], f"cgt-{index}") for index in (1, 2, 3, 4)]
    assert work.uncertain == [jobs[5]]
    assert work.submitted == jobs[6:]
    assert work.again == 1
    again = find_work(jobs, found, tmp_path, tasks_live=True, resubmit=True)
    assert again.submitted == jobs[5:]


def test_tasks_of_an_embedded_emulator_are_made_anew(tmp_path):
    """Tasks that ended with the emulator's process are not attached but submitted again."""
    rows = [row(0, Ending.INTERRUPTED, "cgt-0"), row(1, Ending.UNCERTAIN)]
    jobs = [job(0), job(1)]
    work = find_work(jobs, match(jobs, rows, []), tmp_path, tasks_live=False)
    assert work.submitted == jobs


def test_a_run_says_how_many_jobs_it_continues(tmp_path):
    """Each submission counts under what the run does about it."""
    states = [State.RUNNING, State.SUCCEEDED, State.UNCERTAIN, State.UNCERTAIN, State.WAITING]
    jobs = [job(index, f"cat {index}") for index in range(6)]
    tasks = [
        task(place, state, prompt=f"cat {place}", done=place == 3)
        for place, state in enumerate(states)
    ]
    work = find_work(jobs, match(jobs, [], tasks), tmp_path, tasks_live=True)
    assert work.words() == (
        "going on: 2 asked for again, not bought again, 1 without an answer to be looked for, "
        "1 uncertain, 2 to submit"
    )
    assert find_work(jobs, match(jobs, [], []), tmp_path, tasks_live=True).words() is None


@pytest.mark.parametrize("state", [State.RUNNING, State.UNCERTAIN, State.SUCCEEDED])
@pytest.mark.parametrize("done", [False, True])
def test_paid_work_of_another_input_is_refused(tmp_path, state, done):
    """A folder belongs to another run if it holds paid work and this run asks for none of it."""
    jobs = [job(0, "a dog")]
    assert "another run" in (
        refusal(jobs, match(jobs, [], [task(0, state, done=done)]), tmp_path, tasks_live=True) or ""
    )
    both = match([*jobs, job(1)], [], [task(0, state, done=done)])
    assert refusal([*jobs, job(1)], both, tmp_path, tasks_live=True) is None


@pytest.mark.parametrize("state", [State.WAITING, State.FAILED])
def test_an_input_that_cost_nothing_may_be_replaced(tmp_path, state):
    """An input whose specs were never sent, or have failed, may be replaced completely."""
    jobs = [job(0, "a dog")]
    found = match(jobs, [row(0, Ending.FAILED, "cgt-0")], [task(0, state)])
    assert refusal(jobs, found, tmp_path, tasks_live=True) is None


def test_a_video_is_protected_even_if_names_differ_only_by_case(tmp_path):
    """A name that differs from a kept video only by case is refused, too."""
    (tmp_path / "Cat.mp4").touch()
    jobs = [job(0), job(1, "cat", "cat.mp4")]
    found = match(jobs, [row(0), row(1, prompt="Cat", file="Cat.mp4")], [])
    assert "line 2" in (refusal(jobs, found, tmp_path, tasks_live=True) or "")


def test_each_task_that_nobody_asks_for_is_named_once(tmp_path):
    """At most twenty ids and prompts are listed; downloaded and failed tasks are not."""
    tasks = [task(i, task_id=f"cgt-{i}", prompt=f"cat {i}") for i in range(25)]
    tasks += [task(25, State.SUCCEEDED, "cgt-25", file="25.mp4"), task(26, State.FAILED, "cgt-26")]
    rows = [row(0, Ending.INTERRUPTED, "cgt-0", prompt="cat 0"), row(1, Ending.TIMEOUT, "cgt-99")]
    said = list(changes(match([], rows, tasks), tmp_path, tasks_live=True))
    assert "not asked for now: 26." in said[0]
    assert said[1] == "  cgt-0 “cat 0”: under way"
    assert len(said) == 22
    assert said[-1] == "  … and 6 more"


@given(st.permutations(range(5)))
def test_videos_get_the_names_of_their_lines_in_any_order(tmp_path_factory, order):
    """Even if names form a cycle, every video and its last frame get the right name."""
    folder = tmp_path_factory.mktemp("videos")
    jobs = [job(index, f"cat {index}") for index in range(5)]
    rows: dict[int, Row] = {}
    for index, old in enumerate(order):
        named = row(index, prompt=f"cat {index}", file=f"{old}.mp4")
        rows[index] = attrs.evolve(named, last_frame_file=f"{old}-last.png")
        (folder / f"{old}.mp4").write_text(f"cat {index}")
        (folder / f"{old}-last.png").write_text(f"frame {index}")
    renamed = rename(rows, jobs, folder)
    assert set(renamed) == {index for index, old in enumerate(order) if index != old}
    for index in range(5):
        assert (folder / f"{index}.mp4").read_text() == f"cat {index}"
        assert (folder / f"{index}-last.png").read_text() == f"frame {index}"
    assert len(list(folder.iterdir())) == 10


def test_a_chain_of_renames_is_looked_through_once():
    """If each video takes the name of the next one, the moves are found without searching."""
    looked = 0

    class Counted(dict):
        def __contains__(self, key):
            nonlocal looked
            looked += 1
            return super().__contains__(key)

        def items(self):
            nonlocal looked
            looked += len(self)
            return super().items()

    count = 500
    moves = Counted({f"{i}.mp4": (f"{i}.mp4", f"{i + 1}.mp4") for i in range(count)})
    assert [old for old, _ in _in_order(moves)] == [f"{i}.mp4" for i in reversed(range(count))]
    assert looked < 10 * count


def test_specs_that_differ_in_raw_keys_alone_are_told_apart_by_their_hash():
    """Matching many of them does not compare each with each."""
    specs = [TaskSpec("a cat", extra={"style": i}) for i in range(100)]
    assert len({hash(spec_key(spec)) for spec in specs}) > 90
    assert spec_key(specs[3]) == spec_key(TaskSpec("a cat", extra={"style": 3}))
    assert spec_key(TaskSpec("a cat", tools=["web_search"])) != spec_key(TaskSpec("a cat"))
