"""Make a few videos with the library itself, on an emulated provider: no key, no cost.

Run it with ``python examples/batch.py``; the videos land in ``videos/``.
"""

from __future__ import annotations

from pathlib import Path

import anyio

from callsheet import Client, TaskSpec
from callsheet.downloads import Downloader


PROMPTS = Path(__file__).with_name("prompts.txt").read_text("utf-8").splitlines()


async def main() -> None:
    """Submit everything, and fetch each video as soon as it is finished."""
    folder = anyio.Path("videos")
    await folder.mkdir(exist_ok=True)
    async with Client(provider="emulator") as client, Downloader() as downloader:
        batch = await client.submit_many(TaskSpec(prompt, duration=5) for prompt in PROMPTS)
        async for outcome in batch.as_completed():
            if outcome.video is None:
                print(f"{outcome.index}: {outcome.error}")
            else:
                path = await downloader.fetch(outcome.video, f"videos/{outcome.index}.mp4")
                print(f"{outcome.index}: {path}")


if __name__ == "__main__":
    anyio.run(main)
