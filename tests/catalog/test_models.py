"""The table of models, tested row by row."""

from __future__ import annotations

import attrs
import pytest

from callsheet._catalog import MODELS, capability
from callsheet._catalog.models import RATIOS
from callsheet._models.spec import TaskSpec
from catalog.checking import CLIP, PICTURE, SOUND, wrong


rows = pytest.mark.parametrize("row", MODELS, ids=lambda row: row.family)

FLAGS = {
    "frames": 29,
    "camera_fixed": True,
    "generate_audio": True,
    "draft": False,
    "service_tier": "default",
    "priority": 5,
    "tools": ("web_search",),
}


def plain(row, **fields):
    """The simplest spec from which the model makes a video."""
    if not row.text:
        fields = {"first_frame": PICTURE} | fields
    return TaskSpec("A boat", model=row.cn, **fields)


def kinds(row):
    """Every kind of media that the model accepts, as fields of a spec."""
    if row.text:
        yield {}
    if row.first_frame:
        yield {"first_frame": PICTURE}
    if row.last_frame:
        yield {"first_frame": PICTURE, "last_frame": PICTURE}
    if row.reference_images:
        yield {"references": [PICTURE] * row.reference_images}
    if row.reference_videos:
        clips = [CLIP] * row.reference_videos + [SOUND] * row.reference_audios
        yield {"references": [*clips, *[PICTURE] * row.reference_images]}
    if row.audio_alone:
        yield {"references": [SOUND]}


@rows
def test_every_model_is_found_by_each_of_its_ids(row):
    """A row is found by the id of either cloud."""
    assert capability(row.cn) is row
    assert row.byteplus is None or capability(row.byteplus) is row


@pytest.mark.parametrize("model", ["ep-20260101-abcde", "doubao-seedance-1-5-pro", "seedance-9"])
def test_other_ids_are_unknown(model):
    """An endpoint, a family without a date and a newer model have no row."""
    assert capability(model) is None


def test_retired_models_are_marked_and_still_pass():
    """Not the catalog but the provider decides when a model is gone."""
    retired = [row for row in MODELS if row.retired]
    assert [row.family for row in retired] == ["1.0 lite t2v", "1.0 lite i2v"]
    assert all(not wrong(plain(row)) for row in retired)


@rows
def test_everything_a_row_allows_passes(row):
    """Each kind of media passes with each resolution, ratio and duration of the row."""
    for media in kinds(row):
        beside = "references" in media
        for resolution in row.reference_resolutions if beside else row.resolutions:
            for ratio in row.frame_ratios if "first_frame" in media else RATIOS:
                for duration in (row.shortest, row.longest, -1 if row.free_duration else None):
                    spec = TaskSpec(
                        "A boat",
                        model=row.cn,
                        resolution=resolution.upper(),
                        ratio=ratio,
                        duration=duration,
                        **media,
                    )
                    assert wrong(spec) == []


@rows
@pytest.mark.parametrize("field", FLAGS)
def test_a_flag_decides_about_its_field(row, field):
    """An option is allowed if the row has its flag, and else it is a problem."""
    spec = TaskSpec("A boat", model=row.cn, **{field: FLAGS[field]})
    assert (field in wrong(spec)) == (not getattr(row, field))


@rows
def test_durations_outside_the_row_are_named(row):
    """A second too short or too long is a problem, and so is -1 if the model does not allow it."""
    for duration in (row.shortest - 1, row.longest + 1, 0, -2):
        assert wrong(plain(row, duration=duration)) == ["duration"]
    assert wrong(plain(row, duration=-1)) == ([] if row.free_duration else ["duration"])


@rows
def test_sizes_outside_the_row_are_named(row):
    """A resolution or ratio that the model does not make is a problem."""
    made = row.resolutions
    for resolution in {"480p", "720p", "1080p", "2k", "4k", "", "720"} - set(made):
        assert wrong(plain(row, resolution=resolution)) == ["resolution"]
    assert wrong(plain(row, ratio="2:1")) == ["ratio"]


@rows
def test_media_outside_the_row_are_named(row):
    """Each frame and reference that the row does not allow is a problem of its field."""
    if not row.first_frame:
        assert wrong(plain(row, first_frame=PICTURE)) == ["first_frame"]
    if not row.last_frame:
        spec = plain(row, first_frame=PICTURE, last_frame=PICTURE)
        assert "last_frame" in wrong(spec)
    if not row.text:
        assert wrong(TaskSpec("A boat", model=row.cn)) == ["first_frame"]
    counts = [
        (PICTURE, row.reference_images),
        (CLIP, row.reference_videos),
        (SOUND, row.reference_audios),
    ]
    for medium, most in counts:
        others = [PICTURE] if medium is SOUND and row.reference_images else []
        spec = TaskSpec("A boat", model=row.cn, references=[medium] * (most + 1) + others)
        assert wrong(spec) == [f"references[{most}]"]


@rows
def test_rows_are_complete(row):
    """Each row has a quota, a default that the model can make, and a name for messages."""
    assert row.creates_per_minute > 0
    assert row.concurrent > 0
    assert row.default_resolution in row.resolutions
    assert set(row.reference_resolutions) <= set(row.resolutions)
    assert row.name == f"Seedance {row.family}"


def test_ids_are_unique():
    """No id is in two rows."""
    ids = [id_ for row in MODELS for id_ in (row.cn, row.byteplus) if id_]
    assert len(set(ids)) == len(ids)


def test_rows_are_values():
    """Rows are compared by value, so a changed row is a different one."""
    assert attrs.evolve(MODELS[0]) == MODELS[0]
    assert attrs.evolve(MODELS[0], longest=99) != MODELS[0]
