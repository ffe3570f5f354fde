"""How a status answer is stored until it is read."""

from __future__ import annotations

import gc
from types import MappingProxyType

from hypothesis import given
from hypothesis import strategies as st

from callsheet import ErrorDetail, Outcome, Snapshot, Status, Usage, Video
from callsheet._models.snapshot import (
    Packed,
    pack,
    packed_updated_at,
    packed_url,
    unpack,
)
from callsheet._state.record import Record
from callsheet._state.registry import result_of


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
json = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
snapshots = st.builds(
    Snapshot,
    task_id=st.text(min_size=1),
    status=st.sampled_from(Status),
    raw_status=st.text(),
    video_url=st.none() | st.text(min_size=1),
    error=st.none() | st.builds(ErrorDetail, st.none() | st.text(), st.text()),
    usage=st.none()
    | st.builds(
        Usage,
        completion_tokens=st.none() | st.integers(),
        total_tokens=st.none() | st.integers(),
        tool_usage=st.dictionaries(st.text(), st.integers(), max_size=2),
    ),
    updated_at=st.none() | st.floats(allow_nan=False),
    duration=st.none() | st.integers() | st.floats(allow_nan=False),
    draft=st.none() | st.booleans(),
    raw=st.dictionaries(st.text(max_size=5), json, max_size=4),
)


@given(snapshots)
def test_a_stored_snapshot_is_read_back_equal(snapshot: Snapshot):
    """Every value, also the URL alone, is equal, and the collector tracks nothing of it."""
    kept = pack(snapshot)
    assert isinstance(kept, Packed)
    assert not gc.is_tracked(kept)
    assert unpack(kept) == snapshot
    assert repr(unpack(kept)) == repr(snapshot)
    assert packed_url(kept) == snapshot.video_url
    assert packed_updated_at(kept) == snapshot.updated_at


@given(snapshots)
def test_an_outcome_made_when_it_is_read_equals_one_made_at_once(snapshot: Snapshot):
    """An outcome is the same whether its video is made when it is read or before."""
    video = result_of(snapshot)
    if not isinstance(video, Video):
        return
    record = Record(None, task_id=snapshot.task_id)
    assert record.settle(video, snapshot.status)
    early, late = record.outcome, record.outcome
    at_once = Outcome(index=0, spec=None, task_id=snapshot.task_id, video=video)
    assert early.url == video.url
    assert early == at_once
    assert hash(early.task_id) == hash(at_once.task_id)
    assert repr(early) == repr(at_once)
    assert early.video == video
    assert early.video is early.video
    assert early == late
    assert early.url == late.url == at_once.url == video.url
    assert early.ok
    assert early.error is None
    assert record.outcome.video == video


def test_an_answer_that_is_not_plain_json_is_kept_as_it_is():
    """An answer with other values, from a caller's own transport, is returned unchanged."""
    raw = MappingProxyType({"id": "cgt-1"})
    snapshot = Snapshot(
        task_id="cgt-1",
        status=Status.SUCCEEDED,
        raw_status="succeeded",
        video_url="https://storage.test/1",
        raw=raw,
    )
    assert pack(snapshot) is snapshot
    record = Record(None, task_id="cgt-1")
    record.snapshot = snapshot
    assert record.snapshot is snapshot
    assert record.settle(Video.from_snapshot(snapshot), Status.SUCCEEDED)
    assert record.outcome.video == Video.from_snapshot(snapshot)
    assert record.outcome.url == "https://storage.test/1"
    record = Record(None)
    record.snapshot = None
    assert record.snapshot is None
