"""A web service with one client: ``POST /videos`` returns an id, ``GET /videos/{id}`` its state.

It needs fastapi and callsheet's extra ``emulator``. Run it with ``uvicorn --app-dir examples
fastapi_app:app``. It uses the emulator unless ``CALLSHEET_PROVIDER`` names another provider.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from callsheet import CallsheetError, Client, NotFoundError, SpecError, TaskHandle, TaskSpec


if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class VideoRequest(BaseModel):
    """What a caller can set."""

    prompt: str
    duration: int | None = None
    ratio: str | None = None


class State(BaseModel):
    """The state of a video; ``url`` is valid for 24 hours."""

    id: str
    status: str
    url: str | None = None
    error: str | None = None


routes = APIRouter()


@routes.post("/videos", status_code=202)
async def create_video(wanted: VideoRequest, request: Request) -> State:
    """Answer as soon as the provider has given an id; the client watches the task from then on."""
    handle = await request.app.state.client.submit(TaskSpec(**wanted.model_dump()))
    request.app.state.handles[handle.task_id] = handle
    return await state_of(handle)


@routes.get("/videos/{task_id}")
async def get_video(task_id: str, request: Request) -> State:
    """Answer from the client's own records, so a caller may ask as often as it likes."""
    handles: dict[str, TaskHandle] = request.app.state.handles
    if task_id not in handles:  # from an earlier process, or unknown
        client: Client = request.app.state.client
        try:
            await client.tasks.get(task_id)
        except NotFoundError as error:
            raise HTTPException(404, f"no task {task_id}") from error
        handles[task_id] = client.attach(task_id)
    return await state_of(handles[task_id])


async def state_of(handle: TaskHandle) -> State:
    """Return the state of a handle's task."""
    state = State(id=handle.task_id or "", status=handle.status or "unknown")
    if handle.done:
        outcome = await handle.outcome()
        state.url = outcome.url
        state.error = None if outcome.ok else str(outcome.error)
    return state


async def refused(_: Request, error: Exception) -> JSONResponse:
    """Answer with every problem of a spec; nothing was sent."""
    problems = [str(problem) for problem in error.problems] if isinstance(error, SpecError) else []
    return JSONResponse({"detail": problems}, 422)


async def failed(_: Request, error: Exception) -> JSONResponse:
    """Answer with the error: no task was made, or it is not known whether one was."""
    return JSONResponse({"detail": str(error)}, 502)


def create_app(**options: Any) -> FastAPI:
    """Make the application. *options* go to its `Client`, which opens and closes with it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with Client(**options) as client:
            app.state.client, app.state.handles = client, {}
            yield

    app = FastAPI(title="videos", lifespan=lifespan)
    app.include_router(routes)
    app.add_exception_handler(SpecError, refused)
    app.add_exception_handler(CallsheetError, failed)
    return app


app = create_app(provider=os.environ.get("CALLSHEET_PROVIDER", "emulator"))
