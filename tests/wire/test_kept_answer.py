"""An answer that an earlier process kept is read in two steps, and nothing of it is lost."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet import Status, Video
from callsheet._models.snapshot import Packed, Snapshot, is_compressed
from callsheet._state.record import Record
from callsheet._state.registry import result_of
from callsheet._wire.kept_answer import (
    _LIKE_THE_FIRST,
    _SQUEEZERS,
    KeptAnswer,
    unpack_kept,
    unpack_video,
)
from callsheet._wire.snapshots import read_snapshot
from callsheet.errors import CallsheetError, ProtocolError


odd = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
urls = st.builds("https://storage.test/{}?X-Tos-Signature={}".format, st.integers(), st.text())
content = st.fixed_dictionaries({}, optional={"video_url": urls | odd, "last_frame_url": urls})
answers = st.fixed_dictionaries(
    {"status": st.sampled_from([*(status.value for status in Status), "Success", "timeout"]) | odd},
    optional={
        "id": st.text(max_size=5) | odd,
        "task_id": odd,
        "model": odd,
        "content": content | st.lists(content, max_size=2) | odd,
        "video_url": urls | odd,
        "usage": st.dictionaries(st.sampled_from(["completion_tokens", "total_tokens"]), odd) | odd,
        "error": st.fixed_dictionaries({"code": odd, "message": odd}) | odd,
        "created_at": odd,
        "updated_at": odd,
        "duration": odd,
        "anything": st.lists(odd, max_size=3),
    },
)


def read(raw: dict[str, Any]) -> Snapshot | None:
    """The whole snapshot, or ``None`` if there is none."""
    try:
        return read_snapshot(raw, task_id="cgt-1")
    except ProtocolError:
        return None


@given(answers)
def test_what_is_read_at_once_agrees_with_the_whole_answer(raw):
    """What decides about end and bill is as in the snapshot, and the same answers are no tasks."""
    snapshot = read(raw)
    if snapshot is None:
        with pytest.raises(ProtocolError, match="task cgt-1 is no task"):
            KeptAnswer.of(raw, task_id="cgt-1")
        return
    answer = KeptAnswer.of(raw, task_id="cgt-1")
    assert answer.snapshot == snapshot
    for name in ("task_id", "status", "video_url", "usage"):
        assert getattr(answer, name) == getattr(snapshot, name), name


@given(st.lists(answers, max_size=3))
def test_a_packed_answer_is_read_back_equal(raws):
    """Compression changes no value, and the collector tracks nothing of the result."""
    for raw in raws:
        snapshot = read(raw)
        if snapshot is None:
            continue
        packed = KeptAnswer.of(raw, task_id="cgt-1").pack()
        assert isinstance(packed, Packed)
        assert is_compressed(packed)
        assert not gc.is_tracked(packed)
        assert unpack_kept(packed) == snapshot
        assert repr(unpack_kept(packed)) == repr(snapshot)
        if snapshot.video_url is not None:
            assert unpack_video(packed) == Video.from_snapshot(snapshot)


@given(answers, st.sampled_from(Status))
def test_a_restored_outcome_equals_the_first_one(raw, status):
    """A record that gets its outcome from a journal shows what one does that has polled it."""
    raw |= {"id": "cgt-1", "status": status.value}
    snapshot = read_snapshot(raw, task_id="cgt-1")
    result = result_of(snapshot)
    error = result if isinstance(result, CallsheetError) else None
    first, restored = Record(None, task_id=snapshot.task_id), Record(None)
    first.settle(result, snapshot.status)
    restored.restore(KeptAnswer.of(raw, task_id="cgt-1"), error)
    assert restored.outcome == first.outcome
    assert restored.outcome.url == first.outcome.url
    assert restored.outcome.video == first.outcome.video
    assert restored.video == first.video
    assert restored.error is first.error
    assert (restored.task_id, restored.status) == (first.task_id, first.status)
    assert restored.succeeded is first.succeeded
    assert restored.snapshot == snapshot
    assert restored.updated_at == snapshot.updated_at


def test_an_answer_that_is_nested_too_deeply_to_be_packed_is_kept_as_it_is():
    """A record that is restored from such an answer shows all of it, too."""
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    raw = {"id": "cgt-1", "status": "succeeded", "content": {"video_url": "https://x.test/1"}}
    answer = KeptAnswer.of(raw | {"more": deep}, task_id="cgt-1")
    assert isinstance(answer.pack(), Snapshot)
    record = Record(None)
    record.restore(answer, None)
    assert record.outcome.url == "https://x.test/1"
    assert record.snapshot is not None
    assert record.snapshot.raw is answer.raw


def test_answers_of_one_account_take_little_memory_and_a_long_one_is_no_example(monkeypatch):
    """Of two answers that are alike, the later one is several times smaller than alone."""
    monkeypatch.delitem(_SQUEEZERS, _LIKE_THE_FIRST, raising=False)

    def answer(number: int, *, more: str = "") -> KeptAnswer:
        url = f"https://storage.test/{number}.mp4?{'X-Tos-Credential=AKLT0123456789' * 10}"
        raw = {"id": f"cgt-{number}", "status": "succeeded", "content": {"video_url": url + more}}
        return KeptAnswer.of(raw, task_id=f"cgt-{number}")

    def packed(answer: KeptAnswer) -> Packed:
        found = answer.pack()
        assert isinstance(found, Packed)
        return found

    long = answer(0, more="x" * 100_000)
    assert unpack_kept(packed(long)) == long.snapshot
    packed(answer(1))
    assert len(packed(answer(2))) < 100
    assert len(str(answer(2).raw)) > 300
