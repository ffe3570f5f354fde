"""The metadata, the dependencies and the typing marker of the package."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import callsheet


ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def name_of(requirement: str) -> str:
    """The name in a requirement."""
    return re.split(r"[^A-Za-z0-9_.-]", requirement, maxsplit=1)[0].lower()


def test_there_are_exactly_four_core_dependencies():
    """The package itself needs anyio, attrs, httpx and tenacity, each with a lower bound only."""
    required = [r for r in metadata.requires("callsheet") if "extra ==" not in r]
    assert sorted(map(name_of, required)) == ["anyio", "attrs", "httpx", "tenacity"]
    assert sorted(map(name_of, PROJECT["dependencies"])) == ["anyio", "attrs", "httpx", "tenacity"]
    assert all(">=" in r and "<" not in r and "==" not in r for r in PROJECT["dependencies"])


def test_sniffio_comes_with_the_extra_fast_alone():
    """It only makes httpx faster, so the core does not need it."""
    extras = PROJECT["optional-dependencies"]
    assert [extra for extra in extras if "sniffio" in map(name_of, extras[extra])] == ["fast"]


def test_extras_are_in_the_metadata():
    """Every extra is in the metadata, and its requirements have lower bounds."""
    extras = set(metadata.metadata("callsheet").get_all("Provides-Extra"))
    assert extras >= {"cli", "emulator", "media"}
    assert extras == set(PROJECT["optional-dependencies"])
    for needs in PROJECT["optional-dependencies"].values():
        assert all(">=" in need or need.startswith("callsheet[") for need in needs)


def test_the_package_is_typed():
    """The marker for type checkers is part of the package."""
    assert (Path(callsheet.__file__).parent / "py.typed").is_file()
    assert "Typing :: Typed" in PROJECT["classifiers"]


def test_the_version_is_the_same_everywhere():
    """The package, the metadata and the project have the same version."""
    assert callsheet.__version__ == metadata.version("callsheet")
    declared = PROJECT.get("version", callsheet.__version__)
    assert declared == callsheet.__version__


def test_the_metadata_is_complete():
    """The summary, Python version, licence and description are set."""
    found = metadata.metadata("callsheet")
    assert found["Requires-Python"] == ">=3.11"
    assert found["License-Expression"] == "MIT"
    assert found["Summary"]
    assert (ROOT / "LICENSE").read_text("utf-8").startswith("MIT")
    assert found["Description-Content-Type"] == "text/markdown"


def test_the_command_line_is_installed():
    """There is one script, which is called ``callsheet``."""
    (script,) = [e for e in metadata.entry_points(group="console_scripts")
                 if e.value.startswith("callsheet")]  # fmt: skip
    assert script.name == "callsheet"
