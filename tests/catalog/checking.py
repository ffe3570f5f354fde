"""How the tests of the catalog ask the preflight, and small parts to build specs from."""

from __future__ import annotations

from callsheet._catalog import PROVIDERS, check
from callsheet._models.media import AudioRef, Image, VideoRef
from callsheet._models.provider import Provider


ANYWHERE = Provider(name="proxy", base_url="https://proxy.test", default_model="ep-20260101-abcde")
"""A provider of no known cloud, with a model nobody knows."""

PICTURE = Image("https://cdn.test/a.png")
CLIP = VideoRef("https://cdn.test/a.mp4")
SOUND = AudioRef("https://cdn.test/a.wav")


def problems(spec, provider=ANYWHERE, facts=None):
    """What the preflight names; *provider* may be a name."""
    provider = PROVIDERS[provider] if isinstance(provider, str) else provider
    return check(spec, provider=provider, facts=facts or {})


def wrong(spec, provider=ANYWHERE, facts=None):
    """The names of the fields that are wrong, sorted."""
    return sorted({row.field for row in problems(spec, provider, facts)})


def allowed(spec, field, provider=ANYWHERE, facts=None):
    """What would be accepted in a field that is wrong, in the words of its only problem."""
    (text,) = [row.allowed for row in problems(spec, provider, facts) if row.field == field]
    return text
