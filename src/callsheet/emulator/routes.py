"""Paths of the emulated service, and what a request to them is for."""

from __future__ import annotations


ARK = "/api/v3/contents/generations/tasks"
"""Path of the task API on Ark and BytePlus."""

COMET = "/volc/v3/contents/generations/tasks"
"""Path of the task API on CometAPI."""

FILES = "/files"
"""Path below which the object store has its files."""

VERBS = ("create", "get", "list", "delete", "download")


def verb_of(method: str, path: str) -> str | None:
    """Tell which verb a request is; None if it is for none of the service's routes."""
    if path.startswith(f"{FILES}/"):
        return "download"
    for face in (ARK, COMET):
        if path == face or path.startswith(f"{face}/"):
            if method == "GET":
                return "list" if path == face else "get"
            return {"POST": "create", "DELETE": "delete"}.get(method)
    return None
