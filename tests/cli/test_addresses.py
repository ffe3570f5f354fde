"""Addresses that hold a password."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

import pytest

from callsheet import Client, Provider
from callsheet._cli import main
from callsheet._models.provider import without_secrets
from callsheet.errors import ConfigurationError
from cli.running import Service, Workspace, serving


if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("given", ["option", "environment"])
def test_a_password_in_the_address_is_refused_and_not_shown(
    tmp_path: Path, capfd, monkeypatch, given
):
    """It would replace the key; neither the output nor any file of the folder holds it."""
    with serving() as service:
        with_password = Service(service.origin.replace("//", "//user:sesame@"))
        workspace = Workspace(with_password, tmp_path / "boats.jsonl", tmp_path / "videos")
        workspace.write({"prompt": "boat"})
        command = workspace.arguments()
        if given == "environment":
            monkeypatch.setenv("CALLSHEET_BASE_URL", with_password.base_url)
            at = command.index("--base-url")
            del command[at : at + 2]
        assert main(command) == 2
    said = capfd.readouterr()
    assert f"'{service.base_url}' is given with a user, a password or a query" in said.err
    assert "sesame" not in said.out + said.err
    assert not any(b"sesame" in path.read_bytes() for path in tmp_path.rglob("*.*"))


@pytest.mark.parametrize(
    "address",
    [
        "http://user:sesame@here.test/api/v3",
        "http://user:se@same@here.test/api/v3",
        "http://sesame@here.test/api/v3",
        "http://here.test/api/v3?key=sesame",
        "http://here.test/api/v3#sesame",
        "https://user:sesame/pass@here.test/api/v3",
        "https://user:sesame@[::1/api/v3",
        "ftp://user:sesame@here.test",
        "user:sesame@here.test/api",
    ],
)
def test_an_address_with_a_secret_is_refused_without_it(address):
    """The error says what is wrong and where, but does not show the secret."""
    with pytest.raises(ConfigurationError) as caught:
        Client(provider="emulator", base_url=address)
    assert "sesame" not in "".join(traceback.format_exception(caught.value))


def test_a_password_in_the_address_is_in_no_repr():
    """A provider may be logged, so its repr shows no secret."""
    address = "http://user:sesame@here.test/api/v3?key=sesame"
    provider = Provider(name="x", base_url=address, default_model="m")
    assert "http://here.test/api/v3" in repr(provider)
    assert "sesame" not in repr(provider)


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
    """This holds for a text that is no address, too; a connection then reports the problem."""
    assert without_secrets(address) == without_secrets(shown) == shown
    provider = Provider(name="x", base_url=address, default_model="m")
    assert f"base_url={shown!r}" in repr(provider)
