"""Video URLs: which downloads are allowed, how often and how long."""

from __future__ import annotations

import httpx
import pytest

from callsheet.emulator.storage import Denied, find_range
from emulator.desk import TWO_FIVE


DAY = 86_400
BODY = b"mp4 of A cat yawns"


async def finished(client, **fields):
    """Make a task, let it end, and return its URLs."""
    task_id = await client.created(**fields)
    client.advance(30)
    return (await client.get(task_id)).json()["content"]


async def test_a_url_gives_the_video_whole(make_client):
    """A plain GET of the signed URL returns the whole video with its headers."""
    client = make_client()
    content = await finished(client)
    assert content["video_url"].startswith("http://emulator.test/files/cgt-")
    assert "X-Tos-Expires=86400" in content["video_url"]
    assert "last_frame_url" not in content
    answer = await client.download(content["video_url"])
    assert (answer.status_code, answer.content) == (200, BODY)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-length"] == str(len(BODY))


async def test_a_last_frame_is_a_png(make_client):
    """A last frame that was asked for has a URL of its own."""
    client = make_client()
    content = await finished(client, return_last_frame=True)
    answer = await client.download(content["last_frame_url"])
    assert answer.headers["content-type"] == "image/png"
    assert answer.content == b"png of A cat yawns"


async def test_a_mov_is_served_as_one(make_client):
    """Model 2.5 makes mov files on request."""
    client = make_client()
    content = await finished(client, model=TWO_FIVE, output_format="mov", duration=4)
    assert ".mov?" in content["video_url"]
    answer = await client.download(content["video_url"])
    assert answer.headers["content-type"] == "video/quicktime"


async def test_a_url_works_for_a_day_after_the_update(make_client):
    """24 hours after updated_at the store answers with 403 and XML."""
    client = make_client()
    url = (await finished(client))["video_url"]
    client.advance(DAY - 1)
    assert (await client.download(url)).status_code == 200
    client.advance(1)
    answer = await client.download(url)
    assert answer.status_code == 403
    assert answer.headers["content-type"].startswith("application/xml")
    assert "<Code>AccessDenied</Code>" in answer.text


async def test_a_url_outlives_the_record(make_client):
    """A URL still works after its task is deleted."""
    client = make_client()
    url = (await finished(client))["video_url"]
    await client.delete(url.split("/")[4])
    assert (await client.download(url)).status_code == 200


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
async def test_a_changed_url_is_refused(make_client, old, new):
    """A URL with a changed path, date, lifetime or signature is answered with 403."""
    client = make_client()
    url = (await finished(client))["video_url"]
    assert old in url
    answer = await client.download(url.replace(old, new, 1))
    assert (answer.status_code, answer.text.count("SignatureDoesNotMatch")) in {(403, 1), (200, 0)}
    assert answer.status_code == 403 or old == "?"


async def test_a_head_request_is_refused(make_client):
    """The URL is signed for GET, so HEAD is answered with 403."""
    client = make_client()
    url = (await finished(client))["video_url"]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=client.emulator.app)) as http:
        assert (await http.head(url)).status_code == 403


async def test_a_leaked_key_is_refused(make_client):
    """A download with the API key is answered with 400."""
    client = make_client()
    url = (await finished(client))["video_url"]
    answer = await client.download(url, Authorization="Bearer key")
    assert answer.status_code == 400
    assert answer.text.startswith("<?xml")


async def test_videos_of_2_5_are_downloaded_a_hundred_times_at_most(make_client):
    """The 101st download of a 2.5 video is refused; downloads of its last frame do not count."""
    client = make_client()
    content = await finished(client, model=TWO_FIVE, duration=4, return_last_frame=True)
    for _ in range(100):
        assert (await client.download(content["video_url"])).status_code == 200
        assert (await client.download(content["last_frame_url"])).status_code == 200
    assert (await client.download(content["video_url"])).status_code == 403
    assert client.emulator.requests.download.refused == 1
    assert client.emulator.requests.download.seen == 201


async def test_other_videos_are_downloaded_without_limit(make_client):
    """Models before 2.5 have no download limit."""
    client = make_client()
    url = (await finished(client))["video_url"]
    for _ in range(101):
        assert (await client.download(url)).status_code == 200


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
async def test_a_range_is_a_206(make_client, header, part):
    """A single range returns that part, and a header says which part it is."""
    client = make_client()
    url = (await finished(client))["video_url"]
    answer = await client.download(url, Range=header)
    assert (answer.status_code, answer.content) == (206, BODY[part])
    start, stop, _ = part.indices(len(BODY))
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(BODY)}"


@pytest.mark.parametrize("header", ["bytes=0-1,3-4", "bytes=-", "lines=1-2", "bytes=4-2"])
async def test_ranges_that_are_none_are_ignored(make_client, header):
    """Several ranges, other units and invalid ranges return the whole file."""
    client = make_client()
    url = (await finished(client))["video_url"]
    assert (await client.download(url, Range=header)).status_code == 200


async def test_a_range_outside_the_file_is_a_416(make_client):
    """A range past the end is answered with 416 and the length of the file."""
    client = make_client()
    url = (await finished(client))["video_url"]
    answer = await client.download(url, Range=f"bytes={len(BODY)}-")
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(BODY)}"
    with pytest.raises(Denied):
        find_range("bytes=-0", 10)


async def test_a_range_of_another_version_gives_the_whole_file(make_client):
    """If-Range with the file's tag keeps the range; with any other tag the range is ignored."""
    client = make_client()
    url = (await finished(client))["video_url"]
    tag = (await client.download(url)).headers["etag"]
    assert (await client.download(url, Range="bytes=0-1", If_Range=tag)).status_code == 206
    assert (await client.download(url, Range="bytes=0-1", If_Range='"old"')).status_code == 200
    assert (await client.download(url, Range="bytes=99-", If_Range='"old"')).status_code == 200


async def test_a_film_is_rendered_without_holding_the_loop(make_client):
    """Without a film maker the real video is rendered, in a worker thread."""
    client = make_client(film=None)
    url = (await finished(client, duration=4))["video_url"]
    assert (await client.download(url)).content[4:8] == b"ftyp"


async def test_films_are_rendered_once_while_they_are_cached(make_client):
    """A video is rendered at its first download, cached, and rendered again after it is evicted."""
    made = []

    def film(film):
        made.append(film.prompt)
        return b"film"

    client = make_client(film=film, concurrency=100)
    ids = [await client.created(f"cat {number}") for number in range(40)]
    client.advance(30)
    urls = [(await client.get(task_id)).json()["content"]["video_url"] for task_id in ids]
    assert made == []
    for url in [urls[0], urls[0], *urls]:
        await client.download(url)
    assert len(made) == 40
    await client.download(urls[39])
    await client.download(urls[0])
    assert len(made) == 41
