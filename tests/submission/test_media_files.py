"""What is read from any picture file."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from callsheet import Image
from callsheet._models.media import MediaFacts
from callsheet._submission.media_files import inspect
from pictures import boxes, picture


@given(st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", None]), st.data())
def test_broken_pictures_never_raise(name, data):
    """Any content gives either facts or a reason."""
    content = bytearray(picture(name, size=(9, 7)) if name else boxes(b"heic"))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    found = inspect(Image(content[: data.draw(st.integers(0, len(content)))]))
    assert isinstance(found, (MediaFacts, str))


def test_a_url_gives_a_reason():
    """A URL gives the reason why it is not read; a client never asks for it."""
    assert "a file or bytes" in inspect(Image("https://cdn.test/a.png"))
