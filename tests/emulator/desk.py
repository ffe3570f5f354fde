"""A client of an emulator in the same process, with a clock that tests advance."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import httpx

from callsheet.emulator import ARK, Emulator


EPOCH = 1_785_542_400.0  # 2026-08-01T00:00:00Z
PRO = "doubao-seedance-1-5-pro-251215"
TWO = "doubao-seedance-2-0-260128"
TWO_FIVE = "doubao-seedance-2-5-260628"


def sample(name):
    """Read one published body from ``tests/samples``."""
    (path,) = (Path(__file__).parents[1] / "samples").glob(f"{name}-*.json")
    return json.loads(path.read_text("utf-8"))


def text(prompt="A cat yawns"):
    """Make a ``content`` array of one prompt."""
    return [{"type": "text", "text": prompt}]


@attrs.define
class EmulatorClient:
    """Sends requests to an emulator in this process. Time passes only by `advance`."""

    emulator: Emulator
    base: str = ARK
    key: str = "key"
    seconds: float = 0.0

    def advance(self, seconds):
        """Let *seconds* pass."""
        self.seconds += seconds

    async def send(self, method, url, **options):
        """Send any request with the key."""
        transport = httpx.ASGITransport(app=self.emulator.app)
        headers = {"Authorization": f"Bearer {self.key}"} | options.pop("headers", {})
        async with httpx.AsyncClient(
            transport=transport, base_url="http://emulator.test"
        ) as client:
            return await client.request(method, url, headers=headers, **options)

    async def create(self, prompt="A cat yawns", **fields):
        """Create a task; *fields* are body fields."""
        body = {"model": PRO, "content": text(prompt)} | fields
        return await self.send("POST", self.base, json=body)

    async def created(self, prompt="A cat yawns", **fields):
        """Create and return the id."""
        answer = await self.create(prompt, **fields)
        assert answer.status_code == 200, answer.text
        return answer.json()["id"]

    async def get(self, task_id):
        """Get one task, 0.05 s later, to stay within the quota."""
        self.advance(0.05)
        return await self.send("GET", f"{self.base}/{task_id}")

    async def status(self, task_id):
        """Get the status word of one task."""
        return (await self.get(task_id)).json()["status"]

    async def list(self, *task_ids, **params):
        """List tasks, 1 s later; ``filter__status`` stands for ``filter.status``."""
        self.advance(1)
        query = [("filter.task_ids", task_id) for task_id in task_ids]
        query += [(name.replace("__", "."), value) for name, value in params.items()]
        return await self.send("GET", self.base, params=query)

    async def delete(self, task_id):
        """Delete one task, 0.05 s later."""
        self.advance(0.05)
        return await self.send("DELETE", f"{self.base}/{task_id}")

    async def download(self, url, **headers):
        """Fetch a URL without the key."""
        transport = httpx.ASGITransport(app=self.emulator.app)
        async with httpx.AsyncClient(transport=transport) as client:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            return await client.get(url, headers=names)


def problem(answer):
    """Read status, code and parameter of a refusal."""
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]
