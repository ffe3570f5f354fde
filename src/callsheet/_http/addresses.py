"""Addresses that a connection can be made to."""

from __future__ import annotations

import httpx

from callsheet._models.provider import without_secrets
from callsheet._wire.task_requests import TASKS
from callsheet.errors import ConfigurationError


HIGHEST_PORT = 65_535

ENCODED = b"xn--"
"""How a label begins that holds other letters than ASCII."""


def host_of(url: httpx.URL) -> str:
    """The host that a URL names, empty if it names none.

    Raises:
        httpx.InvalidURL: No connection can ever be made there; sockets say so in their own words,
            and only when they are asked to connect.
    """
    try:
        host, raw = url.host, url.raw_host
        raw.decode().encode("idna")
        for label in raw.lower().split(b"."):  # not every library looks into these
            if label.startswith(ENCODED) and not label.removeprefix(ENCODED).decode("punycode"):
                raise UnicodeError("nothing is encoded in it")  # noqa: TRY301 - as a codec says it
    except UnicodeError as error:
        raise httpx.InvalidURL(f"Invalid host: {error}") from None
    if url.port is not None and not 0 <= url.port <= HIGHEST_PORT:
        raise httpx.InvalidURL(f"Invalid port: {url.port}")
    return host


def base_of(base_url: str) -> httpx.URL:
    """The address that every request to a provider begins with.

    Raises:
        ConfigurationError: It is none, holds a secret, or is that of the tasks themselves: creates
            may pass below that (seen live), and no poll does.
    """
    try:
        base = httpx.URL(base_url)
        host = host_of(base)
    except (httpx.InvalidURL, UnicodeError, TypeError) as error:
        why = "" if "@" in str(base_url) else f": {error}"  # it may quote from a password
        raise ConfigurationError(f"{_shown(base_url)} is no address{why}") from None
    if base.scheme not in {"http", "https"} or not host or set(host) & set(" %"):
        raise ConfigurationError(f"{_shown(base_url)} is no http(s) address")
    if base.userinfo or base.query or base.fragment:
        reason = "is given with a user, a password or a query: the key alone authenticates"
        raise ConfigurationError(f"{_shown(base_url)} {reason}")
    if base.path.rstrip("/").endswith(TASKS):
        reason = f"ends in {TASKS}, which is added to it: give what comes before"
        raise ConfigurationError(f"{_shown(base_url)} {reason}")
    return base


def _shown(base_url: object) -> str:
    return repr(without_secrets(base_url) if isinstance(base_url, str) else base_url)
