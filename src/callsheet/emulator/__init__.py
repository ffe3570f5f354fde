"""A strict stand-in of the video-task service, for rehearsals and tests.

It speaks the provider's JSON on its own ground, refuses what the service refuses, keeps its quotas
and its books, and serves small films that show their prompt. Nothing here is told what a client
would like.
"""

from __future__ import annotations

from callsheet.emulator.app import Emulator
from callsheet.emulator.courier import Post
from callsheet.emulator.faults import Fault, Faults
from callsheet.emulator.faulty import ConnectionCut
from callsheet.emulator.film import Film, FilmMaker, render
from callsheet.emulator.ledger import Ledger
from callsheet.emulator.process import EmulatorStartError, running
from callsheet.emulator.quota import Requests
from callsheet.emulator.routes import ARK, COMET
from callsheet.emulator.serving import serve
from callsheet.emulator.settings import Settings


__all__ = [
    "ARK",
    "COMET",
    "ConnectionCut",
    "Emulator",
    "EmulatorStartError",
    "Fault",
    "Faults",
    "Film",
    "FilmMaker",
    "Ledger",
    "Post",
    "Requests",
    "Settings",
    "render",
    "running",
    "serve",
]
