"""The emulator as a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import anyio
import anyio.lowlevel
import httpx
import pytest

from callsheet.emulator import ARK, EmulatorStartError, running
from emulator.desk import PRO, text


COMMAND = [sys.executable, "-m", "callsheet.emulator", "--port", "0"]


async def reachable(url):
    """Tell whether something answers at *url*."""
    async with httpx.AsyncClient(trust_env=False) as client:
        try:
            return (await client.get(url + "/_emulator/state")).is_success
        except httpx.ConnectError:
            return False


async def test_a_process_serves_until_the_block_ends():
    """Inside the block tasks are made and films fetched; after it nothing answers."""
    async with running(speed=1000.0, render_seconds=5.0, endpoints={"ep-1": PRO}) as url:
        headers = {"Authorization": "Bearer key"}
        async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as client:
            body = {"model": "ep-1", "content": text("小猫")}
            task_id = (await client.post(ARK, json=body)).json()["id"]
            answer = {}
            while answer.get("status") != "succeeded":
                answer = (await client.get(f"{ARK}/{task_id}")).json()
        async with httpx.AsyncClient(trust_env=False) as client:
            film = await client.get(answer["content"]["video_url"])
        assert film.status_code == 200
        assert film.content[4:8] == b"ftyp"
        assert await reachable(url)
    assert not await reachable(url)


async def test_a_cancelled_block_stops_the_process():
    """Cancellation ends the process as well."""
    url = ""
    with anyio.CancelScope() as scope:
        async with running() as url:
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert url
    assert not await reachable(url)


async def test_the_callers_exception_leaves_the_block_bare():
    """An exception of the block arrives as it is."""
    with pytest.raises(KeyError):
        async with running():
            raise KeyError


async def test_wrong_settings_start_nothing():
    """Unknown or impossible settings raise before a process is made."""
    with pytest.raises(TypeError):
        await running(sped=2).__aenter__()
    with pytest.raises(ValueError, match="speed"):
        await running(speed=0).__aenter__()


async def test_a_process_that_cannot_start_says_why(monkeypatch, tmp_path):
    """If the child dies, the exception holds what it wrote."""
    child = tmp_path / "python"
    child.write_text("#!/bin/sh\necho 'no such module' >&2\nexit 1\n")
    child.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(child))
    with pytest.raises(EmulatorStartError, match="no such module"):
        await running().__aenter__()


def test_the_process_ends_when_its_standard_input_does():
    """With the flag, end of input stops the server, so that it outlives no parent."""
    with subprocess.Popen(
        [*COMMAND, "--until-stdin-closes", "--settings", '{"seed": 3}'],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        ready = json.loads(child.stdout.readline())
        assert ready["url"].startswith("http://127.0.0.1:")
        child.stdin.close()
        assert child.stdout.read() == b""
        assert child.wait(10) == 0


def test_the_process_ends_on_a_signal():
    """Without the flag it serves until it is told to stop."""
    with subprocess.Popen(COMMAND, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as child:
        url = json.loads(child.stdout.readline())["url"]
        assert httpx.get(url + "/_emulator/state", trust_env=False).json()["created"] == 0
        child.terminate()
        assert child.wait(10) is not None
