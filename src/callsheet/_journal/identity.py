"""The provider, address and key that a journal belongs to."""

from __future__ import annotations

import attrs

from callsheet._models.provider import without_secrets


@attrs.frozen(kw_only=True)
class Identity:
    """The provider, address and key that a journal belongs to.

    Attributes:
        provider: The short name of the provider.
        base_url: Its address, without user, password and query.
        fingerprint: A one-way hash of the key.
    """

    provider: str
    base_url: str = attrs.field(converter=without_secrets)
    fingerprint: str

    def difference(self, other: Identity) -> str | None:
        """In words, why a journal of *other* does not belong to this one; never names a key."""
        if self.provider != other.provider:
            return f"it holds tasks of provider {other.provider!r}, not {self.provider!r}"
        if self.base_url != other.base_url:
            return f"it holds tasks at {other.base_url}, not {self.base_url}"
        if self.fingerprint != other.fingerprint:
            return (
                "it was written with another API key; if that one was of the same account, "
                "Client(journal_takeover=True) or callsheet run --journal-takeover takes the "
                "journal over"
            )
        return None
