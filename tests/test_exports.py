"""Exactly the intended names of ``callsheet`` are public."""

from __future__ import annotations

import inspect
import subprocess
import sys

import attrs
import pytest

import callsheet
from callsheet import errors, events


TABLE = {
    "Batch", "BatchResult", "Client", "Limits", "Outcome", "Polling", "Progress", "Provider",
    "RetryPolicy", "Snapshot", "TaskHandle", "TaskSpec", "Video", "Page", "Status", "Usage",
    "Image", "VideoRef", "AudioRef", "Spend", "SpendLimit",
}  # fmt: skip
"""The names in the design's table of the surface."""


def test_every_exported_name_exists_once():
    """Each name in ``__all__`` exists and is there once."""
    assert len(set(callsheet.__all__)) == len(callsheet.__all__)
    assert all(hasattr(callsheet, name) for name in callsheet.__all__)
    assert not [name for name in callsheet.__all__ if name.startswith("_")]


def test_every_public_name_is_exported():
    """Every value, policy and error for users can be imported from ``callsheet``."""
    assert set(callsheet.__all__) >= TABLE
    assert set(callsheet.__all__) >= set(errors.__all__)


def test_no_other_name_is_public_by_accident():
    """A public name of the module is either exported or a module of the package."""
    public = {name for name in vars(callsheet) if not name.startswith("_")}
    stray = {n for n in public - set(callsheet.__all__) if not inspect.ismodule(vars(callsheet)[n])}
    assert stray <= {"annotations", "TYPE_CHECKING"}


def test_everything_exported_has_a_docstring():
    """Every exported name, and every public member of its classes, has a docstring."""
    for name in callsheet.__all__:
        value = getattr(callsheet, name)
        assert inspect.getdoc(value), name
        if inspect.isclass(value) and value.__module__.startswith("callsheet"):
            for member, own in vars(value).items():
                if not member.startswith("_") and (inspect.isfunction(own)
                                                   or isinstance(own, property)):  # fmt: skip
                    assert inspect.getdoc(own), f"{name}.{member}"


@pytest.mark.parametrize("name", sorted({"Limits", "Polling", "RetryPolicy", "TaskSpec", "Outcome",
                                         "Snapshot", "Video", "Progress", "Provider"}))  # fmt: skip
def test_values_are_frozen(name):
    """Specs, policies and other values cannot be changed after they were made."""
    kind = getattr(callsheet, name)
    assert attrs.has(kind)
    made = kind("boat") if name == "TaskSpec" else object.__new__(kind)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(made, attrs.fields(kind)[0].name, 1)


def test_every_event_is_frozen_and_in_the_union():
    """The union of events has every event class of the module, and each is frozen."""
    kinds = {
        kind for _, kind in inspect.getmembers(events, inspect.isclass)
        if kind.__module__ == "callsheet.events"
    }  # fmt: skip
    assert set(events.Event.__args__) == kinds
    assert all(attrs.has(kind) and inspect.getdoc(kind) for kind in kinds)


def test_options_are_keyword_only():
    """The client takes its options by name, and its signature has their defaults."""
    parameters = list(inspect.signature(callsheet.Client).parameters.values())
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in parameters)
    names = {p.name for p in parameters}
    assert names >= {"api_key", "provider", "base_url", "limits", "polling", "retry", "observer",
                     "transport", "cancel_on_exit"}  # fmt: skip


def loaded(code: str, *modules: str) -> set[str]:
    """Which of *modules* a process has that has run *code*."""
    code += f"\nimport sys; print(*(m for m in {modules} if m in sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(out.stdout.split())


def test_a_name_is_imported_when_it_is_asked_for():
    """The package alone loads no client and no HTTP library, the client not what runs in it."""
    late = ("httpx", "callsheet._client", "callsheet._runtime.engine", "sqlite3")
    assert loaded("import callsheet", *late) == set()
    made = "from callsheet import Client; Client(provider='emulator')"
    assert loaded(made, *late) == {"httpx", "callsheet._client"}
    assert loaded("import callsheet; callsheet.events.GateOpened", *late) == set()


def test_a_name_that_does_not_exist_is_an_attribute_error():
    """As from any module, with the name in it."""
    with pytest.raises(AttributeError, match="'callsheet' has no attribute 'Clinet'"):
        _ = callsheet.Clinet
    assert set(callsheet.__all__) <= set(dir(callsheet))


def test_the_package_needs_no_extra():
    """Importing ``callsheet`` loads no emulator, no command line and none of their libraries."""
    code = (
        "import sys, callsheet;"
        "print([m for m in ('starlette', 'uvicorn', 'av', 'PIL', 'cyclopts', 'imagesize',"
        "'trio', 'callsheet.emulator', 'callsheet._cli') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
