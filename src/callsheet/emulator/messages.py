"""HTTP messages: read parts of a request, and build answers."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from callsheet.emulator.answers import invalid, unauthorized
from callsheet.emulator.storage import find_range


if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request


BODY_LIMIT = 64 * 1024 * 1024
"""Largest create body, bytes (Ark create reference, Aug 2026)."""

_PAGE = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"


def read_key(request: Request) -> str:
    """Read the API key from one ``Authorization: Bearer`` header.

    Raises:
        Refusal: If there is no such header, or more than one.
    """
    headers = request.headers.getlist("authorization")
    scheme, _, key = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
    key = key.strip()
    if scheme.lower() != "bearer" or not key or set(key) & set(", \t"):
        raise unauthorized()
    return key


async def read_body(request: Request) -> object:
    """Read a JSON body of at most 64 MB.

    Raises:
        Refusal: If it is larger, or not JSON.
    """
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= BODY_LIMIT:
            chunks.append(chunk)
    if size > BODY_LIMIT:
        raise invalid("body", "it must not exceed 64 MB")
    try:
        body: object = json.loads(b"".join(chunks))
    except (ValueError, RecursionError):
        raise invalid("body", "it is not JSON") from None
    return body


def dump(body: object) -> str:
    """Write JSON as the service does."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def json_answer(body: object, status: int = 200) -> Response:
    """Answer with JSON."""
    return Response(dump(body), status, media_type="application/json")


def file_answer(request: Request, data: bytes) -> Response:
    """Answer with a file, or with the range of it that the request asks for.

    Raises:
        Denied: If the range lies outside the file.
    """
    etag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
    headers = {"ETag": etag, "Accept-Ranges": "bytes"}
    kinds = {"png": "image/png", "mov": "video/quicktime"}
    kind = kinds.get(request.url.path.rpartition(".")[2], "video/mp4")
    span = None
    if request.headers.get("if-range", etag) == etag:
        span = find_range(request.headers.get("range"), len(data))
    if span is None:
        return Response(data, 200, headers, kind)
    start, end = span
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
    return Response(data[start:end], 206, headers, kind)


def page_answer(status: int, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with an HTML page, like a web server that does not know the API."""
    return HTMLResponse(_PAGE.format(status), status, headers)


async def wrong_route(_: Request, error: Exception) -> Response:
    """Answer a wrong path or method."""
    if isinstance(error, HTTPException):
        return page_answer(error.status_code, error.headers)
    return page_answer(500)
