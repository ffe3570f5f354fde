"""A plugin, ``pytest -p alias_httpx2``: everything runs on `httpx2` under the name of `httpx`."""

from __future__ import annotations

import httpx2


httpx2.alias_httpx()
