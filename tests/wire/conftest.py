"""Fixtures for the tests of the wire format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from callsheet._wire import Response


SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture
def sample():
    """The body of a recorded answer or request, found by the beginning of its file name."""

    def read(name):
        (path,) = SAMPLES.glob(f"{name}*")
        return path.read_bytes()

    return read


@pytest.fixture
def answer():
    """A response whose body is given as bytes or as a JSON value."""

    def build(body, status_code=200, **headers):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Response(status_code=status_code, headers=named, body=body)

    return build
