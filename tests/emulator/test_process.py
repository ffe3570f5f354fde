"""The emulator in a separate process."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal

import anyio
import anyio.abc
import anyio.lowlevel
import httpx
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from callsheet import Client, SpendLimit, SpendLimitError, TaskSpec
from callsheet.emulator import ARK, EmulatorStartError, running
from callsheet.emulator.callback_sender import post_on_loopback
from emulator.desk import PRO, text


COMMAND = [sys.executable, "-m", "callsheet.emulator", "--port", "0"]


async def reachable(url):
    """Whether an emulator answers at *url*."""
    async with httpx.AsyncClient(trust_env=False) as client:
        try:
            return (await client.get(url + "/_emulator/state")).is_success
        except httpx.ConnectError:
            return False


async def test_a_process_serves_until_the_block_ends():
    """Inside the block tasks are made and videos downloaded; after it nothing answers."""
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


async def test_a_client_gives_its_prices_to_the_emulator_that_it_starts():
    """The embedded emulator bills the prices of the client, which it is asked for by its state."""
    limit = SpendLimit(usd=Decimal("0.3"))
    async with Client(provider="emulator", prices={PRO: "USD 2.4"}, spend=limit) as client:
        spec = TaskSpec("a boat", duration=5, ratio="16:9")
        made, refused = await (await client.submit_many([spec, spec])).result()
        origin = client.provider.base_url.removesuffix("/api/v3")
        async with httpx.AsyncClient(trust_env=False) as other:
            state = (await other.get(f"{origin}/_emulator/state")).json()
    assert made.ok
    assert isinstance(refused.error, SpendLimitError)
    assert (state["usd"], str(client.spend.spent.usd.normalize())) == ("0.26136", "0.26136")


async def test_an_exception_of_the_block_is_not_wrapped():
    """An exception of the block is raised unchanged, not in an exception group."""
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
    """If the process ends early, the exception has what it wrote."""
    child = tmp_path / "python"
    child.write_text("#!/bin/sh\necho 'no such module' >&2\nexit 1\n")
    child.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(child))
    with pytest.raises(EmulatorStartError, match="no such module"):
        await running().__aenter__()


async def test_without_its_extra_no_process_is_started(monkeypatch):
    """The exception says what to install."""
    monkeypatch.setattr("callsheet.emulator.process.find_spec", lambda name: name != "av" or None)
    with pytest.raises(EmulatorStartError, match=r'pip install "callsheet\[emulator\]"'):
        await running().__aenter__()


def test_the_process_ends_when_its_standard_input_does():
    """With the flag, the end of standard input stops the server, so it ends with its parent."""
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
    """Without the flag it serves until a signal stops it."""
    with subprocess.Popen(COMMAND, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as child:
        url = json.loads(child.stdout.readline())["url"]
        assert httpx.get(url + "/_emulator/state", trust_env=False).json()["created"] == 0
        child.terminate()
        assert child.wait(10) is not None


async def test_a_process_posts_to_a_receiver_on_this_machine():
    """Real callbacks are POSTs of JSON, are sent again without an answer, and have working URLs."""
    received, enough = [], anyio.Event()

    async def answer(stream):
        async with stream:
            reader = BufferedByteReceiveStream(stream)
            head = (await reader.receive_until(b"\r\n\r\n", 10_000)).decode().lower()
            length = int(head.partition("content-length: ")[2].split("\r\n")[0])
            received.append((head, json.loads(await reader.receive_exactly(length))))
            if len(received) == 4:
                enough.set()
            if len(received) != 3:
                await stream.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    settings = {"speed": 20.0, "render_seconds": 5.0, "concurrency": 1}
    async with listener, running(**settings) as url, anyio.create_task_group() as background:
        background.start_soon(listener.serve, answer)
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            hook = f"http://127.0.0.1:{port}/hook?token=a%20b"
            body = {"model": PRO, "content": text(), "callback_url": hook}
            created = await http.post(ARK, json=body, headers={"Authorization": "Bearer key"})
            await enough.wait()
            film = await http.get(received[3][1]["content"]["video_url"])
        background.cancel_scope.cancel()
    assert [task["status"] for _, task in received] == ["queued", "running", *["succeeded"] * 2]
    assert {task["id"] for _, task in received} == {created.json()["id"]}
    assert film.content[4:8] == b"ftyp"
    assert received[0][0].startswith("post /hook?token=a%20b http/1.1\r\n")
    assert f"host: 127.0.0.1:{port}\r\n" in received[0][0]
    assert "content-type: application/json\r\n" in received[0][0]
    assert "authorization" not in received[0][0]


async def test_a_process_ends_while_a_receiver_keeps_it_waiting():
    """A callback without an answer does not delay the shutdown."""

    async def keep(stream):
        async with stream:
            waiting.set()
            await anyio.sleep_forever()

    waiting = anyio.Event()
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as background:
        background.start_soon(listener.serve, keep)
        async with running() as url, httpx.AsyncClient(trust_env=False) as http:
            body = {"model": PRO, "content": text(), "callback_url": f"http://localhost:{port}"}
            await http.post(url + ARK, json=body, headers={"Authorization": "Bearer key"})
            await waiting.wait()
            began = anyio.current_time()
        assert anyio.current_time() - began < 4
        background.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        (b"HTTP/1.0 500\r\n\r\n", 500),
        (b"hello there\r\n", ValueError),
        (b"", anyio.IncompleteRead),
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_post_gives_the_status_or_says_why_not(answer, expected, host):
    """The status comes from the first line of an HTTP answer; any other answer raises."""

    async def reply(stream):
        async with stream:
            await BufferedByteReceiveStream(stream).receive_until(b"\r\n\r\n{}", 10_000)
            if answer:
                await stream.send(answer)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    url = f"http://{host}:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
    async with listener, anyio.create_task_group() as background:
        background.start_soon(listener.serve, reply)
        if isinstance(expected, int):
            assert await post_on_loopback(url, b"{}") == expected
        else:
            with pytest.raises(expected):
                await post_on_loopback(url, b"{}")
        background.cancel_scope.cancel()
    if not answer:
        with pytest.raises(OSError, match=r"."):
            await post_on_loopback(url, b"{}")
