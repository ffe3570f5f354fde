"""The provider, address and key that a journal belongs to."""

from __future__ import annotations

import pytest

from callsheet._journal.identity import Identity


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("https://ark.test:8443/api/v3", "https://ark.test:8443/api/v3"),
        ("https://user:se@same@ark.test/api/v3?key=x#y", "https://ark.test/api/v3"),
        ("https://[::1]:80/team@work", "https://[::1]:80/team@work"),
        ("https://user:se/same@ark.test/api", "ark.test/api"),
        ("https://user:se#same@ark.test/api?key=x", "ark.test/api"),
        ("https://user:sesame@[::1/api?key=x", "[::1/api"),
        ("user:sesame@ark.test/api", "ark.test/api"),
        ("nonsense", "nonsense"),
    ],
)
def test_the_stored_address_holds_no_secret(address, kept):
    """The user, the password and the query are left out."""
    assert Identity(provider="x", base_url=address, fingerprint="f").base_url == kept
