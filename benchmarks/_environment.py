"""The environment variables of a user's process."""

from __future__ import annotations

import os


USUAL = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""With that variable, each process would compile our files, but not those of the dependencies."""
