"""Clients of the emulator, on both backends."""

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
    """Make clients: ``make_client(**settings)``. Renders take exactly 30 s by default."""

    def make(*, film=lambda film: f"{film.form} of {film.prompt}".encode(), **settings):
        defaults = {"epoch": EPOCH, "render_seconds": 30.0, "render_sigma": 0.0}
        made = EmulatorClient(None)
        made.emulator = Emulator(
            Settings(**(defaults | settings)), clock=lambda: made.seconds, film=film
        )
        return made

    return make
