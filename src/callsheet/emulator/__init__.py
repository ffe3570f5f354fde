"""A strict stand-in of the video-task service, for rehearsals and tests.

It speaks the provider's JSON on its own ground, refuses what the service refuses, keeps its quotas
and its books, and serves small films that show their prompt. Nothing here is told what a client
would like.
"""

from __future__ import annotations

from callsheet.emulator.app import ARK, COMET, Emulator
from callsheet.emulator.film import Film, FilmMaker, render
from callsheet.emulator.ledger import Ledger
from callsheet.emulator.process import EmulatorStartError, running
from callsheet.emulator.quota import Requests
from callsheet.emulator.serving import serve
from callsheet.emulator.settings import Settings


__all__ = [
    "ARK",
    "COMET",
    "Emulator",
    "EmulatorStartError",
    "Film",
    "FilmMaker",
    "Ledger",
    "Requests",
    "Settings",
    "render",
    "running",
    "serve",
]
