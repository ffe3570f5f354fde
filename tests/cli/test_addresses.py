"""Addresses that hold a password."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from callsheet import Client, Provider
from callsheet._cli import main
from callsheet._io.identity import Identity
from callsheet._models.provider import without_secrets
from cli.running import Service, Shoot, serving


if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("given", ["option", "environment"])
def test_a_password_in_the_address_is_written_and_said_nowhere(
    tmp_path: Path, capfd, monkeypatch, given
):
    """Neither what is shown nor any file of the folder holds it, and a second run is let in."""
    with serving(render_seconds=20.0) as service:
        with_password = Service(service.origin.replace("//", "//user:sesame@"))
        shoot = Shoot(with_password, tmp_path / "boats.jsonl", tmp_path / "videos")
        shoot.write({"prompt": "boat"})
        command = shoot.arguments()
        if given == "environment":
            monkeypatch.setenv("CALLSHEET_BASE_URL", with_password.base_url)
            at = command.index("--base-url")
            del command[at : at + 2]
        codes = [main(command) for _ in range(2)]  # the service is free to refuse them
        assert 2 not in codes
        assert shoot.rows[0]["provider"] == f"emulator at {service.base_url}"
    said = capfd.readouterr()
    assert "sesame" not in said.out + said.err
    assert not any(b"sesame" in path.read_bytes() for path in shoot.out.iterdir())


def test_a_password_in_the_address_is_in_no_repr():
    """A client and its provider may be logged."""
    client = Client(provider="emulator", base_url="http://user:sesame@here.test/api/v3?key=sesame")
    assert "http://here.test/api/v3" in repr(client)
    assert "http://here.test/api/v3" in repr(client.provider)
    assert "sesame" not in repr(client) + repr(client.provider)


@pytest.mark.parametrize(
    ("address", "shown"),
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
def test_what_is_shown_of_an_address_holds_no_secret(address, shown):
    """Also where it is none: whoever connects says what is wrong with it."""
    assert without_secrets(address) == without_secrets(shown) == shown
    provider = Provider(name="x", base_url=address, default_model="m")
    assert provider.address == shown
    assert Identity(provider="x", base_url=address, fingerprint="f").base_url == shown
