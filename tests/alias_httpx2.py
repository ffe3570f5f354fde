"""A plugin for ``pytest -p alias_httpx2``: every import of `httpx` gets `httpx2`."""

from __future__ import annotations

import httpx2


httpx2.alias_httpx()
