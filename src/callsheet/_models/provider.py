"""Where tasks go."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit, urlunsplit

import attrs

from callsheet._models.policy import Limits


def without_secrets(url: str) -> str:
    """An address as it may be shown and kept: without user, password, query and fragment.

    Of what is no address, everything up to its last ``@`` may be a password.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # a port that is none is told by reading it
    except ValueError:
        host, parts = None, urlsplit("")
    if host is None:
        return url.rpartition("@")[2].partition("?")[0]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _without_slash(url: str) -> str:
    return url.rstrip("/")


@attrs.frozen(kw_only=True)
class Provider:
    """An address that speaks the task API, and what is known of it.

    Attributes:
        name: Short name, used in messages.
        base_url: Address before ``/contents/generations/tasks``, without a slash at its end.
        dialect: ``"ark"`` (options are body fields) or ``"comet"`` (options are text commands in
            the prompt).
        key_variable: Environment variable that holds the key; ``None`` if no key is needed.
        default_model: Model of a spec that names none.
        limits: Published quota; a rate that is not set is that of Volcengine Ark.
        lists: Whether tasks can be listed by id; ``None`` if unknown: it is then tried once.
        token: Whether a submission carries a token in ``safety_identifier``, which the provider
            documents and echoes.
        speed: Seconds that pass at the provider in one second here; 1 except for an emulator
            that runs faster than life.
    """

    name: str
    base_url: str = attrs.field(
        converter=_without_slash, repr=lambda url: repr(without_secrets(url))
    )
    dialect: Literal["ark", "comet"] = "ark"
    key_variable: str | None = None
    default_model: str
    limits: Limits = attrs.field(factory=Limits)
    lists: bool | None = None
    token: bool = False
    speed: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
