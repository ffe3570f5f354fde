"""An answer that was kept by an earlier process: what decides about end and bill is read at once.

The rest is read when somebody asks. A journal may hold a hundred thousand answers, and most of them
are never asked for.
"""

from __future__ import annotations

import marshal
import zlib
from typing import Any, Final, Self

import attrs

from callsheet._models.snapshot import COMPRESSED, Packed, Snapshot, Status, Usage, Video
from callsheet._wire.snapshots import identify, read_snapshot, status_of, usage_of, video_url_of
from callsheet.errors import ProtocolError


@attrs.frozen
class KeptAnswer:
    """What a journal keeps of the answer about a task that has ended.

    Attributes:
        task_id: The provider's id.
        status: As in `Snapshot`.
        video_url: As in `Snapshot`.
        usage: As in `Snapshot`.
        raw: What was kept.
    """

    task_id: str
    status: Status
    video_url: str | None
    usage: Usage | None
    raw: dict[str, Any] = attrs.field(repr=False)

    @classmethod
    def of(cls, raw: dict[str, Any], *, task_id: str) -> Self:
        """Read what was kept as `Snapshot.raw`.

        Raises:
            ProtocolError: It is no task.
        """
        known = identify(raw, task_id)
        if known is None:
            raise ProtocolError(f"what was kept of task {task_id} is no task", "")
        found, raw_status = known
        return cls(found, status_of(raw_status), video_url_of(raw), usage_of(raw), raw)

    @property
    def snapshot(self) -> Snapshot:
        """All that the answer says."""
        return read_snapshot(self.raw, task_id=self.task_id)

    def pack(self) -> Packed | Snapshot:
        """As bytes, for this process only. They are compressed, since they are seldom read.

        An answer that is nested too deeply for that becomes a snapshot.

        Answers are alike in their keys, and those of one account in most of their URLs. So a
        typical answer, and the first video that was packed here, say what need not be repeated.
        """
        try:
            kept = marshal.dumps((self.task_id, self.raw))
        except ValueError:
            return self.snapshot
        squeezer = _SQUEEZERS.get(_LIKE_THE_FIRST)
        if squeezer is not None:
            return _LIKE_THE_FIRST + squeezer.squeeze(kept)
        if self.video_url is not None and len(kept) < _MOST_TYPICAL:
            # It is never replaced: what was compressed with it cannot be read without it.
            _SQUEEZERS.setdefault(_LIKE_THE_FIRST, _Squeezer(_TYPICAL + kept))
        return _LIKE_TYPICAL + _SQUEEZERS[_LIKE_TYPICAL].squeeze(kept)


def unpack_kept(packed: Packed) -> Snapshot:
    """All that an answer says that `KeptAnswer.pack` has written."""
    kept = _SQUEEZERS[packed[:1]].loosen(packed[1:])
    task_id, raw = marshal.loads(kept)  # noqa: S302 - written by `KeptAnswer.pack`
    return read_snapshot(raw, task_id=task_id)


def unpack_video(packed: Packed) -> Video:
    """The video of such an answer, which has one."""
    return Video.from_snapshot(unpack_kept(packed))


class _Squeezer:
    """Compresses answers that are like a typical one."""

    def __init__(self, typical: bytes) -> None:
        self._typical = typical
        # It is copied for each answer: a new one would have to read the typical answer again. With
        # so little memory it is copied quickly; an answer needs no more.
        self._begun = zlib.compressobj(level=1, wbits=_WINDOW, memLevel=4, zdict=typical)

    def squeeze(self, kept: bytes) -> bytes:
        squeezer = self._begun.copy()
        return squeezer.compress(kept) + squeezer.flush()

    def loosen(self, squeezed: bytes) -> bytes:
        return zlib.decompressobj(wbits=_WINDOW, zdict=self._typical).decompress(squeezed)


_LIKE_TYPICAL, _LIKE_THE_FIRST = COMPRESSED
"""First byte of an answer that was compressed with the typical one, or with the first one, too."""

_WINDOW: Final = -12
"""A raw stream, whose window holds a typical answer, the first one and another one."""

_MOST_TYPICAL: Final = 2048
"""Most bytes of a first answer, so that all three find room in that window."""

_TYPICAL: Final = marshal.dumps(
    (
        "cgt-20260801000000-00000",
        {
            "id": "cgt-20260801000000-00000",
            "model": "doubao-seedance-1-5-pro-251215",
            "status": "succeeded",
            "content": {
                "video_url": "https://ark-content-generation-cn-beijing.tos-cn-beijing.volces.com/"
                "doubao-seedance-1-5-pro/02.mp4?X-Tos-Algorithm=TOS4-HMAC-SHA256&X-Tos-Credential="
                "AKLTY%2F20260801%2Fcn-beijing%2Ftos%2Frequest&X-Tos-Date=20260801T000000Z"
                "&X-Tos-Expires=86400&X-Tos-Signature=0123456789abcdef&X-Tos-SignedHeaders=host"
            },
            "usage": {"completion_tokens": 108_900, "total_tokens": 108_900},
            "created_at": 1_785_000_000,
            "updated_at": 1_785_000_000,
            "seed": 1,
            "resolution": "720p",
            "ratio": "16:9",
            "duration": 5,
            "framespersecond": 24,
            "service_tier": "default",
            "execution_expires_after": 172_800,
            "generate_audio": True,
        },
    )
)
"""An answer as the provider writes most of them."""

_SQUEEZERS: Final = {_LIKE_TYPICAL: _Squeezer(_TYPICAL)}
"""By the first byte of what they write."""
