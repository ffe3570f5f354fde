"""Make video files from a file of prompts, with an emulated provider: no key, no cost.

Run it with ``python examples/batch.py [FILE]``. The videos are written to ``videos/``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import anyio

from callsheet import Client, DownloadError, TaskSpec, Video
from callsheet.downloads import Downloader


PROMPTS = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("prompts.txt")
FOLDER = Path("videos")


async def main() -> None:
    """Submit everything, and download each video as soon as it is finished."""
    text = await anyio.Path(PROMPTS).read_text("utf-8")
    prompts = [line for line in text.splitlines() if line.strip()]
    await anyio.Path(FOLDER).mkdir(exist_ok=True)
    async with (
        Client(provider="emulator") as client,  # leave it out: CometAPI and COMETAPI_KEY
        Downloader(client, parallel=4) as downloader,
        anyio.create_task_group() as downloads,
    ):
        batch = await client.submit_many(TaskSpec(prompt, duration=5) for prompt in prompts)
        async for outcome in batch.as_completed():
            if outcome.video is None:
                print(f"{outcome.index}: {outcome.error}")
            else:
                path = FOLDER / f"{outcome.index}.mp4"
                downloads.start_soon(fetch, downloader, outcome.video, path)


async def fetch(downloader: Downloader, video: Video, path: Path) -> None:
    """Download one video. If this fails, the other downloads continue."""
    try:
        await downloader.fetch(video, path)
    except DownloadError as error:
        print(error)
    else:
        print(path)


if __name__ == "__main__":
    anyio.run(main)
