"""Video URLs: who may fetch what, how often and how long."""

from __future__ import annotations

import httpx
import pytest

from callsheet.emulator.storage import Denied, find_range
from emulator.desk import TWO_FIVE


DAY = 86_400
BODY = b"mp4 of A cat yawns"


async def finished(d, **fields):
    """Make a task, let it end, and give its URLs."""
    task_id = await d.created(**fields)
    d.later(30)
    return (await d.get(task_id)).json()["content"]


async def test_a_url_gives_the_video_whole(desk):
    """A plain GET of the signed URL gives the film with its type and tag."""
    d = desk()
    content = await finished(d)
    assert content["video_url"].startswith("http://desk.test/files/cgt-")
    assert "X-Tos-Expires=86400" in content["video_url"]
    assert "last_frame_url" not in content
    answer = await d.download(content["video_url"])
    assert (answer.status_code, answer.content) == (200, BODY)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-length"] == str(len(BODY))


async def test_a_last_frame_is_a_png(desk):
    """A last frame that was asked for has a URL of its own."""
    d = desk()
    content = await finished(d, return_last_frame=True)
    answer = await d.download(content["last_frame_url"])
    assert answer.headers["content-type"] == "image/png"
    assert answer.content == b"png of A cat yawns"


async def test_a_mov_is_served_as_one(desk):
    """2.5 gives mov files when asked."""
    d = desk()
    content = await finished(d, model=TWO_FIVE, output_format="mov", duration=4)
    assert ".mov?" in content["video_url"]
    answer = await d.download(content["video_url"])
    assert answer.headers["content-type"] == "video/quicktime"


async def test_a_url_works_for_a_day_after_the_update(desk):
    """24 hours after updated_at the store answers 403 with XML."""
    d = desk()
    url = (await finished(d))["video_url"]
    d.later(DAY - 1)
    assert (await d.download(url)).status_code == 200
    d.later(1)
    answer = await d.download(url)
    assert answer.status_code == 403
    assert answer.headers["content-type"].startswith("application/xml")
    assert "<Code>AccessDenied</Code>" in answer.text


async def test_a_url_outlives_the_record(desk):
    """Deleting the task leaves a URL that was read before working."""
    d = desk()
    url = (await finished(d))["video_url"]
    await d.delete(url.split("/")[4])
    assert (await d.download(url)).status_code == 200


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("X-Tos-Signature=", "X-Tos-Signature=0"),
        ("X-Tos-Signature=", "X-Tos-Other="),
        ("X-Tos-Expires=86400", "X-Tos-Expires=864000"),
        ("X-Tos-Date=20260801", "X-Tos-Date=20260802"),
        ("?", "?X-Tos-Signature=%C3%A9&"),
        (".mp4", ".png"),
        ("/files/cgt-", "/files/cgt-x"),
    ],
)
async def test_a_changed_url_is_refused(desk, old, new):
    """Any change to path, date, lifetime or signature is a 403."""
    d = desk()
    url = (await finished(d))["video_url"]
    assert old in url
    answer = await d.download(url.replace(old, new, 1))
    assert (answer.status_code, answer.text.count("SignatureDoesNotMatch")) in {(403, 1), (200, 0)}
    assert answer.status_code == 403 or old == "?"


async def test_head_is_not_what_was_signed(desk):
    """The URL is signed for GET, so HEAD is a 403."""
    d = desk()
    url = (await finished(d))["video_url"]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=d.emulator.app)) as client:
        assert (await client.head(url)).status_code == 403


async def test_a_leaked_key_is_refused(desk):
    """A download that carries the API key is a 400."""
    d = desk()
    url = (await finished(d))["video_url"]
    answer = await d.download(url, Authorization="Bearer key")
    assert answer.status_code == 400
    assert answer.text.startswith("<?xml")


async def test_videos_of_2_5_are_downloaded_a_hundred_times_at_most(desk):
    """The hundred and first download of a 2.5 video is refused; its last frame is not counted."""
    d = desk()
    content = await finished(d, model=TWO_FIVE, duration=4, return_last_frame=True)
    for _ in range(100):
        assert (await d.download(content["video_url"])).status_code == 200
        assert (await d.download(content["last_frame_url"])).status_code == 200
    assert (await d.download(content["video_url"])).status_code == 403
    assert d.emulator.requests.download.refused == 1
    assert d.emulator.requests.download.seen == 201


async def test_other_videos_are_downloaded_without_limit(desk):
    """Models before 2.5 have no download limit."""
    d = desk()
    url = (await finished(d))["video_url"]
    for _ in range(101):
        assert (await d.download(url)).status_code == 200


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-3", slice(0, 4)),
        ("bytes=4-", slice(4, None)),
        ("bytes=-4", slice(-4, None)),
        ("bytes=5-999", slice(5, None)),
        ("bytes=-999", slice(None)),
    ],
)
async def test_a_range_is_a_206(desk, header, part):
    """A single range gives that part and says where it lies."""
    d = desk()
    url = (await finished(d))["video_url"]
    answer = await d.download(url, Range=header)
    assert (answer.status_code, answer.content) == (206, BODY[part])
    start, stop, _ = part.indices(len(BODY))
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(BODY)}"


@pytest.mark.parametrize("header", ["bytes=0-1,3-4", "bytes=-", "lines=1-2", "bytes=4-2"])
async def test_ranges_that_are_none_are_ignored(desk, header):
    """Several ranges, other units and nonsense give the whole file."""
    d = desk()
    url = (await finished(d))["video_url"]
    assert (await d.download(url, Range=header)).status_code == 200


async def test_a_range_outside_the_file_is_a_416(desk):
    """A range past the end tells the length."""
    d = desk()
    url = (await finished(d))["video_url"]
    answer = await d.download(url, Range=f"bytes={len(BODY)}-")
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(BODY)}"
    with pytest.raises(Denied):
        find_range("bytes=-0", 10)


async def test_a_range_of_another_version_gives_the_whole_file(desk):
    """If-Range with the tag keeps the range, with any other it is dropped."""
    d = desk()
    url = (await finished(d))["video_url"]
    tag = (await d.download(url)).headers["etag"]
    assert (await d.download(url, Range="bytes=0-1", If_Range=tag)).status_code == 206
    assert (await d.download(url, Range="bytes=0-1", If_Range='"old"')).status_code == 200
    assert (await d.download(url, Range="bytes=99-", If_Range='"old"')).status_code == 200


async def test_a_film_is_rendered_without_holding_the_loop(desk):
    """Without a film maker the real film is rendered, in a worker thread."""
    d = desk(film=None)
    url = (await finished(d, duration=4))["video_url"]
    assert (await d.download(url)).content[4:8] == b"ftyp"


async def test_films_are_made_once_while_they_are_remembered(desk):
    """A film is rendered at its first download, kept for a while, and then made again."""
    made = []

    def film(film):
        made.append(film.prompt)
        return b"film"

    d = desk(film=film, concurrency=100)
    ids = [await d.created(f"cat {number}") for number in range(40)]
    d.later(30)
    urls = [(await d.get(task_id)).json()["content"]["video_url"] for task_id in ids]
    assert made == []
    for url in [urls[0], urls[0], *urls]:
        await d.download(url)
    assert len(made) == 40
    await d.download(urls[39])
    await d.download(urls[0])
    assert len(made) == 41
