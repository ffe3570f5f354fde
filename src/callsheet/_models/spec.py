"""The description of a video that a caller wants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, cast

import attrs

from callsheet._models.media import AudioRef, Image, Media, VideoRef
from callsheet.errors import Problem, SpecError


MediaSource = str | bytes | bytearray | Path


def _image(value: Image | MediaSource | None) -> Image | None:
    return value if value is None or isinstance(value, Image) else Image(value)


def _sequence(value: Any) -> Any:
    """A tuple from any sequence. Other values stay unchanged: the preflight reports them."""
    if type(value) is tuple:  # most often: the default
        return cast("Any", value)
    if isinstance(value, str) or not isinstance(value, Sequence):
        return value
    return tuple(cast("Sequence[object]", value))


@attrs.frozen
class TaskSpec:
    """The description of one video. Fields that are not set are not sent.

    A spec is only a value. The preflight checks it when it is submitted, and reports all its
    problems at once. Some ranges depend on the model; those given here are the widest of the known
    models.

    Attributes:
        prompt: The text that describes the video; may be left out when media are given.
        model: Model id or endpoint id (``ep-…``); the provider's default if not set.
        first_frame: Picture that the video starts with.
        last_frame: Picture that the video ends with; needs `first_frame`.
        references: Pictures, videos and audio clips that the model uses, in the order in which the
            prompt names them. Not allowed together with a first or last frame.
        resolution: ``"480p"``, ``"720p"``, ``"1080p"`` or ``"4k"``.
        ratio: ``"16:9"``, ``"4:3"``, ``"1:1"``, ``"3:4"``, ``"9:16"``, ``"21:9"``, ``"adaptive"``.
        duration: Seconds, 2 to 30; -1 lets the model choose, if the model supports it.
        frames: Number of frames, 25 + 4k from 29 to 289. If the model supports it, it is used
            instead of `duration`.
        seed: -1 (random) to 2**32 - 1.
        camera_fixed: Keep the camera still.
        watermark: Draw the provider's watermark into the video.
        generate_audio: Make sound.
        draft: Make a draft, a cheap 480p preview.
        draft_task: Id of a draft task; the video is a full render of it.
        return_last_frame: Also return the URL of the last frame.
        service_tier: ``"default"`` or ``"flex"`` (cheaper, slower).
        execution_expires_after: Seconds after which the provider ends the task as expired, 3600 to
            259200; some models accept less than 3600.
        priority: 0 to 9; the order of the account's tasks in the provider's queue.
        tools: Tool names, such as ``"web_search"``, or tool objects as the provider documents them.
        callback_url: URL to which the provider posts status changes.
        extra: Raw keys for the request body, for fields that are newer than this package.
            ``model``, ``content`` and the names of fields that are set are not allowed here.
    """

    prompt: str | None = None
    model: str | None = attrs.field(default=None, kw_only=True)
    first_frame: Image | None = attrs.field(default=None, kw_only=True, converter=_image)
    last_frame: Image | None = attrs.field(default=None, kw_only=True, converter=_image)
    references: Sequence[Media] = attrs.field(default=(), kw_only=True, converter=_sequence)
    resolution: str | None = attrs.field(default=None, kw_only=True)
    ratio: str | None = attrs.field(default=None, kw_only=True)
    duration: int | None = attrs.field(default=None, kw_only=True)
    frames: int | None = attrs.field(default=None, kw_only=True)
    seed: int | None = attrs.field(default=None, kw_only=True)
    camera_fixed: bool | None = attrs.field(default=None, kw_only=True)
    watermark: bool | None = attrs.field(default=None, kw_only=True)
    generate_audio: bool | None = attrs.field(default=None, kw_only=True)
    draft: bool | None = attrs.field(default=None, kw_only=True)
    draft_task: str | None = attrs.field(default=None, kw_only=True)
    return_last_frame: bool | None = attrs.field(default=None, kw_only=True)
    service_tier: str | None = attrs.field(default=None, kw_only=True)
    execution_expires_after: int | None = attrs.field(default=None, kw_only=True)
    priority: int | None = attrs.field(default=None, kw_only=True)
    tools: Sequence[str | Mapping[str, Any]] = attrs.field(
        default=(), kw_only=True, converter=_sequence, hash=False
    )
    callback_url: str | None = attrs.field(default=None, kw_only=True)
    extra: Mapping[str, Any] | None = attrs.field(default=None, kw_only=True, hash=False)

    @property
    def media(self) -> tuple[tuple[str, Media], ...]:
        """Each medium with the name of its field, in the order in which they are sent."""
        named: list[tuple[str, Media]] = []
        if isinstance(self.first_frame, Media):
            named.append(("first_frame", self.first_frame))
        if isinstance(self.last_frame, Media):
            named.append(("last_frame", self.last_frame))
        if isinstance(self.references, tuple):
            named += [
                (f"references[{i}]", medium)
                for i, medium in enumerate(cast("Sequence[object]", self.references))
                if isinstance(medium, Media)
            ]
        return tuple(named)

    def to_dict(self) -> dict[str, Any]:
        """The fields that are set, as JSON values. `from_dict` reads them back.

        Raises:
            ValueError: A medium is given as bytes, which JSON cannot hold.
        """
        row: dict[str, Any] = {}
        for name, value in zip(_FIELD_NAMES, _FIELD_VALUES(self), strict=True):
            if value is None or value == ():
                continue
            if isinstance(value, Image):
                row[name] = _media_text(value)
            elif name == "references":
                row[name] = [{medium.kind: _media_text(medium)} for medium in value]
            else:
                row[name] = list(value) if name == "tools" else value
        return row

    @classmethod
    def from_dict(cls, row: Mapping[str, Any], *, base: Path | None = None) -> TaskSpec:
        """Read a spec from JSON values.

        Args:
            row: Field names and values; ``None`` means not set. `references` is a list of
                ``{"image": …}``, ``{"video": …}`` or ``{"audio": …}``, or of plain URLs and paths.
                The suffix of a plain one decides its kind.
            base: Folder that relative paths start from; the working directory if ``None``.

        Raises:
            SpecError: A name is not a field, or a medium is not a URL or a path.
        """
        problems = [
            Problem(str(name), _shortened(value), f"no such field; known are {_KNOWN_NAMES}")
            for name, value in row.items()
            if name not in _FIELD_NAMES
        ]
        values = {name: value for name, value in row.items() if value is not None}
        for name in ("first_frame", "last_frame"):
            if name in values:
                values[name] = _read_media(name, values[name], "image", base, problems)
        if "references" in values:
            given: Any = values["references"]
            many = isinstance(given, Sequence) and not isinstance(given, str)
            items = cast("Sequence[object]", given if many else [given])
            values["references"] = tuple(
                _read_media(f"references[{i}]", item, None, base, problems)
                for i, item in enumerate(items)
            )
        if problems:
            raise SpecError(problems)
        return cls(**values)


_FIELD_NAMES = tuple(field.name for field in attrs.fields(TaskSpec))
_FIELD_VALUES = attrgetter(*_FIELD_NAMES)
_KNOWN_NAMES = ", ".join(sorted(_FIELD_NAMES))


def in_body(spec: TaskSpec, field: str) -> Any:
    """The value of a field in the body of a create: a raw key in `extra` overrides the field."""
    extra = spec.extra or {}
    return extra[field] if field in extra else getattr(spec, field)


def all_in_body(spec: TaskSpec, fields: Iterable[str]) -> dict[str, Any]:
    """The values of several fields in the body of a create, by name; see `in_body`."""
    return {field: in_body(spec, field) for field in fields}


_KINDS: dict[str, type[Media]] = {"image": Image, "video": VideoRef, "audio": AudioRef}
_KIND_OF_SUFFIX = {".mp4": "video", ".mov": "video", ".wav": "audio", ".mp3": "audio"}


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004 - one terminal line


def _media_text(medium: Media) -> str:
    if isinstance(medium.source, bytes):
        msg = f"{medium.kind} given as bytes cannot be written as JSON; give a path or a URL"
        raise ValueError(msg)  # noqa: TRY004 - the type is allowed, only this use is not
    return str(medium.source)


def _read_media(
    field: str, value: Any, kind: str | None, base: Path | None, problems: list[Problem]
) -> Media | None:
    if isinstance(value, Mapping):
        named = cast("Mapping[str, object]", value)
        if len(named) == 1:
            ((kind, value),) = named.items()
    if not isinstance(value, str) or (kind is not None and kind not in _KINDS):
        found = _shortened(cast("object", value))
        problems.append(Problem(field, found, "a URL, an asset:// id or a file's path"))
        return None
    path = value.split("?", 1)[0] if "://" in value else value
    medium = _KINDS[kind or _KIND_OF_SUFFIX.get(Path(path).suffix.lower(), "image")](value)
    if base is not None and isinstance(medium.source, Path):
        medium = type(medium)(base / medium.source)
    return medium
