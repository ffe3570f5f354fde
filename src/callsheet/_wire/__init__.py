"""Reads and writes the provider's JSON. Nothing here does I/O."""

from __future__ import annotations

from typing import Literal

from callsheet._wire.ark import Ark
from callsheet._wire.callback import TOKEN, parse_callback
from callsheet._wire.comet import Comet
from callsheet._wire.dialect import Dialect
from callsheet._wire.messages import Request, Response
from callsheet._wire.refusals import error_of, parse_retry_after, stops_batch
from callsheet._wire.task_requests import LIST_BASE, URL_ROOM, id_cost


__all__ = [
    "LIST_BASE",
    "TOKEN",
    "URL_ROOM",
    "Dialect",
    "Request",
    "Response",
    "dialect_of",
    "error_of",
    "id_cost",
    "parse_callback",
    "parse_retry_after",
    "stops_batch",
]

_DIALECTS: dict[str, Dialect] = {"ark": Ark(), "comet": Comet()}


def dialect_of(name: Literal["ark", "comet"]) -> Dialect:
    """The dialect with this name, as in `Provider.dialect`."""
    return _DIALECTS[name]
