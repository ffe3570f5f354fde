"""How ``callsheet run`` downloads videos and last frames into its output folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cli.running import Service, Workspace, serving


if TYPE_CHECKING:
    from pathlib import Path


def workspace_with(service: Service, folder: Path, count: int) -> Workspace:
    """An input of *count* specs that ask for their last frames."""
    workspace = Workspace(service, folder / "boats.jsonl", folder / "videos")
    boats = ({"prompt": f"boat {i}", "return_last_frame": True} for i in range(count))
    workspace.write(*boats)
    return workspace


def names_in(workspace: Workspace) -> list[str]:
    """The videos, last frames and partial files in the output folder."""
    return sorted(
        path.name for path in workspace.out.iterdir() if path.name.startswith(("boat", "."))
    )


def test_a_full_disk_is_reported_and_later_only_missing_files_are_downloaded(tmp_path, capfd):
    """Rows name the file that did not fit; the same command then downloads it and buys nothing."""
    with serving(render_seconds=20.0) as service:
        workspace = workspace_with(service, tmp_path, 3)
        workspace.out.mkdir()
        for name in (".boat 0.mp4.part", ".boat 1-last.png.part"):
            (workspace.out / name).symlink_to("/dev/full")
        assert workspace.run() == 1
        assert "No space left on device" in capfd.readouterr().out
        rows = {row["spec"]["prompt"]: row for row in workspace.rows}
        statuses = {prompt: row["status"] for prompt, row in rows.items()}
        assert statuses == {
            "boat 0": "download_failed",
            "boat 1": "download_failed",
            "boat 2": "succeeded",
        }
        assert "boat 0.mp4: No space left" in rows["boat 0"]["error"]["message"]
        assert "its last frame: cannot write" in rows["boat 1"]["error"]["message"]
        assert names_in(workspace) == ["boat 1.mp4", "boat 2-last.png", "boat 2.mp4"]
        ids, downloads = workspace.ids, service.state["requests"]["download"]["seen"]
        assert workspace.run() == 0
        assert names_in(workspace) == [
            f"boat {i}{end}" for i in range(3) for end in ("-last.png", ".mp4")
        ]
        assert workspace.ids == ids
        state = service.state
    assert (state["created"], state["billed"]) == (3, 3)
    assert state["requests"]["download"]["seen"] - downloads <= 4


@pytest.mark.parametrize(("share", "strikes"), [(1.0, "video"), (0.5, "last frame")])
def test_a_refused_url_is_renewed_from_the_task(tmp_path, share, strikes):
    """If the URL of a video or a last frame is refused, the run gets a new one and succeeds."""
    fault = {"verbs": "download", "answer": 403, "share": share, "times": 1}
    with serving(render_seconds=20.0, seed=1, faults=[fault]) as service:
        workspace = workspace_with(service, tmp_path, 1)
        assert workspace.run() == 0
        (row,) = workspace.rows
        state = service.state
    assert (workspace.out / row["file"]).stat().st_size > 0
    assert (workspace.out / row["last_frame_file"]).read_bytes()[:4] == b"\x89PNG"
    assert state["requests"]["download"]["seen"] == 2, f"one more was refused: the {strikes}"
    assert state["requests"]["get"]["seen"] >= 2, "a single task is polled by get, too"
    assert state["requests"]["list"]["seen"] == 0
    assert state["created"] == 1


def test_a_video_that_stays_refused_is_reported_and_not_bought_again(tmp_path, capfd):
    """If the new URL is refused as well, the row says so, and the next run only downloads."""
    with serving(render_seconds=20.0) as service:
        workspace = workspace_with(service, tmp_path, 1)
        service.fail({"verbs": "download", "answer": 403})
        assert workspace.run() == 1
        (row,) = workspace.rows
        assert row["status"] == "download_failed"
        assert "HTTP 403: the URL has expired or is refused" in row["error"]["message"]
        assert "403" in capfd.readouterr().out
        service.fail()
        assert workspace.run() == 0
        assert service.state["created"] == 1
