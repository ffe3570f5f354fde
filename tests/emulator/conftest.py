"""Desks at the emulator, on both backends."""

from __future__ import annotations

import pytest

from callsheet.emulator import Emulator, Settings
from emulator.desk import EPOCH, EmulatorClient


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Run each async test on both event loops, in real time."""
    return request.param


@pytest.fixture
def make_client():
    """Make desks: ``desk(**settings)``; renders take 30 s sharp unless a setting says otherwise."""

    def make(*, film=lambda film: f"{film.form} of {film.prompt}".encode(), **settings):
        defaults = {"epoch": EPOCH, "render_seconds": 30.0, "render_sigma": 0.0}
        made = EmulatorClient(None)
        made.emulator = Emulator(
            Settings(**(defaults | settings)), clock=lambda: made.seconds, film=film
        )
        return made

    return make
