"""Reads and writes the provider's JSON. Nothing here does I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callsheet import _lazy


if TYPE_CHECKING:
    from callsheet._wire.callback import TOKEN, parse_callback
    from callsheet._wire.dialects import Dialect, dialect_of
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

if not TYPE_CHECKING:
    __getattr__ = _lazy.names_of(
        __name__,
        {
            "callback": ("TOKEN", "parse_callback"),
            "dialects": ("Dialect", "dialect_of"),
            "messages": ("Request", "Response"),
            "refusals": ("error_of", "parse_retry_after", "stops_batch"),
            "task_requests": ("LIST_BASE", "URL_ROOM", "id_cost"),
        },
    )
