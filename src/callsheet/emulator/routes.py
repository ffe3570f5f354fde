"""Paths of the emulated service, and the verb of a request to them."""

from __future__ import annotations


ARK = "/api/v3/contents/generations/tasks"
"""Path of the task API on Ark and BytePlus."""

COMET = "/volc/v3/contents/generations/tasks"
"""Path of the task API on CometAPI."""

FILES = "/files"
"""Path prefix of the files in the object store."""

VERBS = ("create", "get", "list", "delete", "download")


def verb_of(method: str, path: str) -> str | None:
    """Return the verb of a request; None if it matches no route of the service."""
    if path.startswith(f"{FILES}/"):
        return "download"
    for base in (ARK, COMET):
        if path == base or path.startswith(f"{base}/"):
            if method == "GET":
                return "list" if path == base else "get"
            return {"POST": "create", "DELETE": "delete"}.get(method)
    return None
