"""Whose tasks a journal holds."""

from __future__ import annotations

import attrs

from callsheet._models.provider import without_secrets


@attrs.frozen(kw_only=True)
class Identity:
    """Whose tasks a journal holds.

    Attributes:
        provider: Its short name.
        base_url: Its address; user, password and query are left out.
        fingerprint: A one-way hash of the key.
    """

    provider: str
    base_url: str = attrs.field(converter=without_secrets)
    fingerprint: str

    def difference(self, other: Identity) -> str | None:
        """What makes a journal of *other* another one than this, in words; never a key."""
        if self.provider != other.provider:
            return f"it holds tasks of provider {other.provider!r}, not {self.provider!r}"
        if self.base_url != other.base_url:
            return f"it holds tasks at {other.base_url}, not {self.base_url}"
        if self.fingerprint != other.fingerprint:
            return "it was written with another API key"
        return None
