"""An emulator of the video task service, for trial runs and tests.

It answers with the provider's JSON, refuses what the service refuses, applies its quotas, and
counts what it bills. It serves small videos that show their prompt. It is written from the
provider's documentation and shares no code with the client, so it does not repeat the client's
mistakes.
"""

from __future__ import annotations

from callsheet.emulator.app import Emulator
from callsheet.emulator.callback_sender import Post
from callsheet.emulator.faults import Fault, Faults
from callsheet.emulator.faulty import ConnectionCut
from callsheet.emulator.ledger import Ledger
from callsheet.emulator.process import EmulatorStartError, running
from callsheet.emulator.quota import Requests
from callsheet.emulator.rendering import Film, FilmMaker, render
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
