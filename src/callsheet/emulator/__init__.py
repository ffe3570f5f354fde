"""An emulator of the video task service, for trial runs and tests.

It answers with the provider's JSON, refuses what the service refuses, applies its quotas, and
counts what it bills. It serves small videos that show their prompt. It is written from the
provider's documentation and shares no code with the client, so it does not repeat the client's
mistakes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from callsheet.emulator.app import Emulator
    from callsheet.emulator.callback_sender import Post
    from callsheet.emulator.faults import Fault, Faults
    from callsheet.emulator.faulty import ConnectionCut
    from callsheet.emulator.film import Film, FilmMaker
    from callsheet.emulator.ledger import Ledger
    from callsheet.emulator.process import EmulatorStartError, running
    from callsheet.emulator.quota import Requests
    from callsheet.emulator.rendering import render
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

# Who only starts the emulator as a process needs neither the server nor the libraries that draw.
# This is `_lazy.names_of` again, since the emulator imports nothing of the package but itself.
if not TYPE_CHECKING:  # a type checker that saw this would let every misspelt name pass
    _HOME_OF = {
        name: home
        for home, names in {
            "app": ("Emulator",),
            "callback_sender": ("Post",),
            "faults": ("Fault", "Faults"),
            "faulty": ("ConnectionCut",),
            "film": ("Film", "FilmMaker"),
            "ledger": ("Ledger",),
            "process": ("EmulatorStartError", "running"),
            "quota": ("Requests",),
            "rendering": ("render",),
            "routes": ("ARK", "COMET"),
            "serving": ("serve",),
            "settings": ("Settings",),
        }.items()
        for name in names
    }

    def __getattr__(name: str) -> object:
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
