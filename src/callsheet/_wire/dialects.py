"""The dialects by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from callsheet._wire.ark import Ark
from callsheet._wire.comet import Comet


if TYPE_CHECKING:
    from callsheet._wire.dialect import Dialect


_DIALECTS: dict[str, Dialect] = {"ark": Ark(), "comet": Comet()}


def dialect_of(name: Literal["ark", "comet"]) -> Dialect:
    """The dialect with this name, as in `Provider.dialect`."""
    return _DIALECTS[name]
